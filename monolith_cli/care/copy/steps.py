"""Steps of a model directory, copied into another one, which lists them when they are whole there.

Beside the steps come along what a job needs to start from them. What arrives is read back and
compared; what is there and the same is not sent again. `checkpoint` is written last of all, so the
directory never lists a step that is not whole. A journal lets the same command go on where it was
cut off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.care.alive import check_quiet
from monolith_cli.care.copy.choose import (
    Chosen,
    check_apart,
    check_target,
    choose_again,
    choose_all,
    choose_one,
    names_in,
)
from monolith_cli.care.copy.part import Part
from monolith_cli.care.copy.request import (
    Request,
    journal_plan,
    unfinished,
)
from monolith_cli.care.copy.step import Way
from monolith_cli.care.journal import begin, check_mine, finish, replan
from monolith_cli.care.survey import DENSE_ONLY, survey
from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.errors import DirectoryInUseError, PathNotFoundError, UsageError, WriteError
from monolith_cli.execution.workers import Workers
from monolith_cli.storage.location import as_location, join, normal
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from monolith_cli.care.copy.step import CopiedStep
    from monolith_cli.care.journal import Journal
    from monolith_cli.errors import MonolithError
    from monolith_cli.storage.location import AnyPath

__all__ = ["Copied", "copy_steps", "verify_copy"]


class Copied(NamedTuple):
    """What a copy has done, or would do, or has found.

    Attributes
    ----------
    source, target
        The directories.
    steps
        What became of each step, in the order of steps; those of `dense_only` behind the others.
    latest
        The latest step in the target in the end; None without one.
    asked_latest
        What is the latest of the chosen steps where they come from; None if none of them is.
    resumed
        Whether this finished what another run had begun.
    notes
        What a job that starts there meets, and did not where the steps come from.
    """

    source: str
    target: str
    steps: Sequence[CopiedStep]
    latest: int | None
    asked_latest: int | None
    resumed: bool
    notes: Sequence[str] = ()

    @property
    def errors(self) -> list[MonolithError]:
        """Why steps did not come, or are not the same."""
        return [step.error for step in self.steps if step.error is not None]


def copy_steps(
    source: AnyPath,
    target: AnyPath,
    step: int | None = None,
    *,
    every: bool = False,
    link: bool = False,
    as_latest: bool = False,
    dry_run: bool = False,
    command: Sequence[str] = (),
    quiet_for_seconds: float | None = None,
    jobs: int | None = None,
    executor: Executor | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Copied:
    """Copy a step, or all of them, into another model directory.

    Everything is read once and written once, and what was written is read again; memory is a few
    megabytes for each thread. A job may run in the source: a step that goes meanwhile is left out,
    and so is one that is damaged, or of which the target has another one; see `Copied.steps`.

    The same copy goes on where it was cut off. What has come to be the latest step since then, or
    one of all, is copied after that.

    Parameters
    ----------
    target
        A directory that is new, empty, or that of a job that does not run.
    step
        The latest by default. With `every` it has no meaning.
    link
        Give dumps and data files a second name, and copy only what may be written again in place.
    as_latest
        Make the step the latest there, even if it is not the newest.
    dry_run
        Write nothing. Files that are there with the right size are taken for the same; a job that
        lives in the target is a note.
    command
        The words that finish it when they are run again.
    quiet_for_seconds
        As of `check_quiet`.
    jobs, executor
        As of `Workers`.
    progress
        Called with the bytes done so far, and those to do.

    Raises
    ------
    UsageError
        The source is no job's directory, or one of the two is in the other.
    AlreadyExistsError
        The target holds other things than checkpoints.
    StepNotFoundError, PathNotFoundError, NotReadableError
        There is no such step, or none at all.
    CorruptionError
        The one step that was asked for is not whole.
    DirectoryInUseError
        A job lives in the target, or has begun there; or another command was cut off there, or a
        copy of something else from a directory that is still there.
    WriteError
        The store refused: what has arrived stays, and the same command goes on from there. Where
        no links can be made (`not_linked`), nothing is left.
    """
    to = normal(as_location(target))
    check_apart(as_location(source), to)
    names = names_in(to)
    asked_for = Request(as_location(source), step, every, link, as_latest, is_new=names is None)
    request, journal = asked_for, None
    if names is not None:
        request, journal = unfinished(to, asked_for, dry_run=dry_run)
    if journal is None:
        check_target(to, names or ())
    try:
        parts, asked = _parts(request, to)
    except PathNotFoundError as error:
        if journal is not None and request.is_source_gone():
            error.hint = (
                "if it has been moved, name its new place, which goes on with what was begun"
            )
        raise
    notes = []
    if names:
        # What this very command has written says nothing of a job.
        is_ours = all(part.is_as_begun() or part.is_as_left() for part in parts)
        try:
            check_quiet(to, 0.0 if is_ours else quiet_for_seconds)
        except DirectoryInUseError as error:
            if not dry_run:
                raise
            notes.append(f"not now: {error.what}")
    with Workers(jobs, executor) as workers:
        way = Way(workers, link=request.link, progress=progress)
        if dry_run:
            for part in parts:
                part.look()
        else:
            _send(request, to, parts, way, journal, command)
    done = _copied(request, to, parts, asked, resumed=journal is not None)
    done = done._replace(notes=[*done.notes, *notes])
    if journal is None or dry_run or request.takes_over or not _has_more(asked_for, to, request):
        return done
    more = copy_steps(
        source,
        target,
        step,
        every=every,
        link=link,
        as_latest=as_latest,
        command=command,
        quiet_for_seconds=quiet_for_seconds,
        jobs=jobs,
        executor=executor,
        progress=progress,
    )
    known = {(each.step, each.is_dense_only) for each in more.steps}
    first = [each for each in done.steps if (each.step, each.is_dense_only) not in known]
    return more._replace(steps=[*first, *more.steps], resumed=True)


def _has_more(asked_for: Request, target: str, done: Request) -> bool:
    """Whether steps that were not there when a copy was begun are asked for as well."""
    if asked_for.step is not None and not asked_for.every:
        return False
    begun = done.begun or {}
    parts, _ = _parts(asked_for, target)
    return any(
        result.step not in (begun[part.name].steps if part.name in begun else ())
        for part in parts
        for result in part.results
    )


def verify_copy(
    source: AnyPath,
    target: AnyPath,
    step: int | None = None,
    *,
    every: bool = False,
    jobs: int | None = None,
    executor: Executor | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Copied:
    """Compare what a directory holds of a step, or of all, with another one; writes nothing.

    Both are read once, but for files that are one under two names. Jobs may run in both.

    Parameters and errors are those of `copy_steps`. A `PathNotFoundError` also where there is no
    target.
    """
    to = normal(as_location(target))
    check_apart(as_location(source), to)
    if names_in(to) is None:
        raise PathNotFoundError("no such directory", path=to)
    request = Request(as_location(source), step, every)
    parts, asked = _parts(request, to)
    with Workers(jobs, executor) as workers:
        way = Way(workers, link=False, progress=progress)
        for part in parts:
            part.expect(way)
        for part in parts:
            part.compare(way)
            part.judge()
    return _copied(request, to, parts, asked, resumed=False)


def _parts(request: Request, target: str) -> tuple[list[Part], int | None]:
    """What goes into the target, and into `dense_only` in it; and the latest that was chosen."""
    model_dir = open_model_dir(request.source)
    if model_dir.kind != "training":
        what = "no job's directory: only its steps can be copied"
        raise UsageError(what, path=request.source)
    found = survey(model_dir)
    if request.begun is not None and not request.takes_over:
        founds = {"": found, DENSE_ONLY: found.dense_only}
        chosen = [
            choose_again(each, request.begun[name]) if each and name in request.begun else None
            for name, each in founds.items()
        ]
    elif request.every:
        chosen = [*choose_all(model_dir, found)]
    else:
        chosen = [*choose_one(model_dir, found, request.step)]
    begun = request.begun or {}
    if request.takes_over and DENSE_ONLY in begun and len(chosen) == 1:
        chosen.append(Chosen([], set(), None))
    parts = []
    places = (found, found.dense_only or found)
    for name, each, some in zip(("", DENSE_ONLY), places, chosen, strict=False):
        if some is not None and (some.steps or not name or name in begun):
            place = join(target, name) if name else target
            parts.append(Part(name, each, some, place, request))
    for part in parts:
        part.plan()
    return parts, chosen[0].latest if chosen[0] is not None else None


def _send(
    request: Request,
    target: str,
    parts: Sequence[Part],
    way: Way,
    journal: Journal | None,
    command: Sequence[str],
) -> None:
    for part in parts:
        part.expect(way)
    if journal is None and all(part.is_done() for part in parts):
        for part in parts:
            part.compare(way)
            part.note()
        return
    begun = {part.name: part.begun() for part in parts}
    if journal is None:
        store_of(target).make_directory(target)
        journal = begin(target, "cp", command, journal_plan(request, begun))
    elif request.takes_over:
        journal = replan(target, journal, command, journal_plan(request, begun))
    try:
        for part in parts:
            if part.name:
                store_of(target).make_directory(part.target)
            part.send(way, begun[part.name])
    except WriteError as error:
        if error.kind != "not_linked":
            go_on = "run it again, which goes on from here"
            error.hint = f"{error.hint}; {go_on}" if error.hint else go_on
            raise
        for part in parts:
            part.remove([result.step for result in part.results], begun[part.name])
        finish(target, journal)
        _remove_empty(target, parts, request)
        raise
    check_mine(target, journal)
    for part in reversed(parts):
        part.commit(begun[part.name])
    finish(target, journal)
    _remove_empty(target, parts, request)


def _remove_empty(target: str, parts: Sequence[Part], request: Request) -> None:
    """Remove the directories that were made, where nothing has come into them."""
    for part in reversed(parts):
        if (part.name or request.is_new) and names_in(part.target) == []:
            store_of(target).delete(part.target)


def _copied(
    request: Request, target: str, parts: Sequence[Part], asked: int | None, *, resumed: bool
) -> Copied:
    results = [result for part in parts for result in part.results]
    notes = parts[0].notes()
    return Copied(request.source, target, results, parts[0].latest, asked, resumed, notes)
