"""Leftovers that are old enough to go, and what rollbacks have moved away."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.care.leftovers import ROLLED_BACK, bytes_of
from monolith_cli.checkpoint.names import is_unfinished_dump, target_of_temporary
from monolith_cli.errors import MonolithError, PathNotFoundError, StateFileError
from monolith_cli.storage.location import join, name_of
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from monolith_cli.care.states import Survey
    from monolith_cli.storage.store import Status

__all__ = ["OLD_SECONDS", "Waste", "find_rolled_back", "find_waste", "newest_file_ns"]

OLD_SECONDS = 72 * 3600.0
"""How long ago the last of a leftover must have been written."""

_OF_NO_STEP = ("manifest", "checked", "repaired")
"""Kinds of files that say nothing once the rest of their step is gone."""


class Waste(NamedTuple):
    """Something that goes, and is of no step.

    Attributes
    ----------
    name
        Below the model directory.
    what
        What it is, in a phrase.
    """

    name: str
    what: str
    bytes: int
    age_seconds: float


def find_waste(
    found: Survey,
    place: str,
    protected: Collection[int | None],
    in_use: Collection[tuple[str, int]],
    now: float,
) -> list[Waste]:
    """Saves that were given up, and temporaries, that are old: older than the newest commit, too.

    What was written at a time that is not known, or lies in the future, stays. So do counts, item
    pools, unfinished ones too, and iterator states that a job may still start from.

    Parameters
    ----------
    place
        What the names of the directory's files begin with below the model directory.
    protected
        Steps that never go: an export may read the tables of one that is not whole.
    in_use
        The iterator states that a job may start from: base and step.
    """
    commits = [step.time for step in found.steps if step.is_listed and step.time is not None]
    before = min(max(commits, default=0.0), now - OLD_SECONDS)
    waste = []
    for names, what in _leftovers(found, protected, in_use):
        written = [_last_written(join(found.directory, name)) for name in names]
        known = [at for at in written if at is not None]
        if not names or len(known) < len(written) or max(known) >= before:
            continue
        for name in names:
            size = bytes_of(join(found.directory, name))
            path = join(place, name) if place else name
            waste.append(Waste(path, what, size, now - max(known)))
    return waste


def _leftovers(
    found: Survey, protected: Collection[int | None], in_use: Collection[tuple[str, int]]
) -> Iterator[tuple[Sequence[str], str]]:
    """What belongs together, and is judged by the last of it that was written."""
    seen: set[str] = set()
    for step in found.steps:
        if step.state == "uncommitted":
            names = [name for name in step.names if _may_go(found, name, in_use)]
            seen.update(step.names)
            if step.step in protected:
                continue
            yield names, f"of step {step.step}, which was given up"
        else:
            for name in step.table_files:
                if is_unfinished_dump(name_of(name)):
                    yield [name], "left by a writer that died"
    steps = {step.step for step in found.steps}
    for name in found.items:
        if name in seen:
            continue
        file = found.step_files.get(name)
        if file is not None and file.kind == "item_pool":
            continue
        if (file and file.is_temporary) or target_of_temporary(name) is not None:
            yield [name], "left by a writer that died"
        elif file and file.kind in _OF_NO_STEP and file.step not in steps:
            yield [name], f"of step {file.step}, of which nothing else is here"


def _may_go(found: Survey, name: str, in_use: Collection[tuple[str, int]]) -> bool:
    file = found.step_files[name]
    # Of an item pool what was to replace it, or was replaced, may be all that there is.
    if file.is_temporary and file.kind != "item_pool":
        return True
    if file.kind == "input":
        return (file.base, file.step) not in in_use
    if file.kind == "inputs":
        return all(step != file.step for _, step in in_use)
    return file.kind not in ("info", "item_pool")


def find_rolled_back(
    found: Survey, older_seconds: float | None, now: float
) -> tuple[list[Waste], list[str]]:
    """What rollbacks have moved away: at least so long ago, by the time of the directory.

    A directory below `rolled-back` goes if a rollback has left its record there, and nobody has
    laid anything else beside that.

    Returns
    -------
    waste : list of Waste
    strays : list of str
        What no rollback has put there, below the model directory: what it is in stays.
    """
    if ROLLED_BACK not in found.items:
        return [], []
    directory = join(found.directory, ROLLED_BACK)
    waste, strays = [], []
    for name in store_of(directory).names(directory):
        path = join(directory, name)
        try:
            status = store_of(path).status(path, follow=False)
            stray = _stray(found.directory, join(ROLLED_BACK, name), status)
        except MonolithError:
            continue
        age = now - status.modified
        if stray is not None:
            strays.append(stray)
        elif older_seconds is None or age >= older_seconds:
            waste.append(
                Waste(join(ROLLED_BACK, name), "moved away by a rollback", bytes_of(path), age)
            )
    return waste, strays


def _stray(directory: str, name: str, status: Status) -> str | None:
    """The first of what is there, or in it, that no rollback has put there; None if all is of one.

    Who gives a directory another name wants it for something else.
    """
    from monolith_cli.care.rollback.carry import RECORD, read_record

    if status.kind != "directory":
        return name
    try:
        plan = read_record(directory, name)
    except StateFileError:
        return name
    if plan is None or plan.to != name:
        return name
    moved = {target for _, target in plan.moves} | {join(name, RECORD)}
    return _first_other(directory, name, moved, set(plan.directories))


def _first_other(
    directory: str, name: str, moved: Collection[str], parents: Collection[str]
) -> str | None:
    for each in store_of(directory).names(join(directory, name)):
        path = join(name, each)
        if path in moved or target_of_temporary(each) is not None:
            continue
        other = _first_other(directory, path, moved, parents) if path in parents else path
        if other is not None:
            return other
    return None


def _last_written(path: str) -> float | None:
    """When the last of a file, or of all that is in a directory, was written; None if not known."""
    store = store_of(path)
    try:
        status = store.status(path, follow=False)
        names = store.names(path) if status.kind == "directory" else ()
    except MonolithError:
        return None
    times = [status.modified, *(_last_written(join(path, name)) for name in names)]
    known = [at for at in times if at is not None]
    return max(known) if len(known) == len(times) else None


def newest_file_ns(path: str) -> int:
    """When the last of a file, or of all files in a directory, was written; 0 without any.

    That of directories says nothing: removing a file changes it, too.
    """
    store = store_of(path)
    try:
        status = store.status(path, follow=False)
        if status.kind != "directory":
            return status.modified_ns
        return max((newest_file_ns(join(path, name)) for name in store.names(path)), default=0)
    except PathNotFoundError:
        return 0
