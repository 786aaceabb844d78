"""Which step is the newest, and waiting for one to be committed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from monolith_cli.care.survey import survey
from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.checkpoint.names import CHECKPOINT
from monolith_cli.errors import MonolithError, PathNotFoundError, StepNotFoundError, TimedOutError
from monolith_cli.storage.location import as_location, join
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from monolith_cli.checkpoint.model_dir import ModelDir
    from monolith_cli.storage.location import AnyPath

__all__ = ["latest_step", "newest_complete", "wait_for_step"]

_FIRST_POLL_SECONDS = 0.1
_LONGEST_POLL_SECONDS = 2.0
_LOOK_AGAIN_SECONDS = 30.0
"""After which a directory is looked at though `checkpoint` seems to be the same."""


def latest_step(model_dir: AnyPath) -> int:
    """The step that `checkpoint` names as the latest; without that file, what is read as it.

    Raises
    ------
    StepNotFoundError
        There is none, its files are gone, or it has no number.
    MonolithError
        As `ModelDir.checkpoint`.
    """
    directory = open_model_dir(model_dir)
    step = directory.checkpoint().step
    if step is None:
        raise StepNotFoundError("its checkpoint has no step", path=directory.path)
    return step


def newest_complete(model_dir: ModelDir | AnyPath) -> int:
    """The newest step that is complete, in the order of steps.

    Raises
    ------
    StepNotFoundError
        There is none.
    MonolithError
        As `survey`.
    """
    found = survey(model_dir)
    for step in reversed(found.steps):
        if step.state == "complete" and step.step is not None:
            return step.step
    raise StepNotFoundError("no step is complete", path=found.directory)


def wait_for_step(
    model_dir: AnyPath,
    *,
    step: int | None = None,
    newer_than: int | None = None,
    complete: bool = False,
    timeout_seconds: float,
) -> int:
    """Wait until a step is committed, and return its number.

    While nothing happens it looks at the status of `checkpoint` alone, every two seconds at most.

    Parameters
    ----------
    step
        The step that is waited for.
    newer_than
        Else any that comes after this one in the order of steps; the newest of them is returned. If
        there is no such step, those with a higher number come after it.
    complete
        Whether all of its files must be there, too.

    Raises
    ------
    TimedOutError
        The time is over.
    MonolithError
        The directory is not there, or cannot be read. One without a checkpoint is waited for.
    """
    model_dir = as_location(model_dir)
    path = join(model_dir, CHECKPOINT)
    deadline = time.monotonic() + timeout_seconds
    poll, looked_at = _FIRST_POLL_SECONDS, 0.0
    version: Hashable = None
    older: set[int] = set()
    committed: list[int] = []
    while True:
        now = _version(path)
        if now != version or not looked_at or time.monotonic() - looked_at > _LOOK_AGAIN_SECONDS:
            version, looked_at = now, time.monotonic()
            committed = _committed(model_dir)
            found = _wanted(committed, step, newer_than, older)
            if complete and found:
                states = {each.step: each.state for each in survey(model_dir).steps}
                found = [each for each in found if states.get(each) == "complete"]
                if not found:
                    looked_at = 0.0  # what is missing may come without another commit
            if found:
                return found[-1]
        left = deadline - time.monotonic()
        if left <= 0:
            raise _timed_out(path, committed, step, newer_than, complete)
        time.sleep(min(poll, left))
        poll = min(poll * 1.5, _LONGEST_POLL_SECONDS)


def _version(path: str) -> Hashable:
    try:
        return store_of(path).status(path).version
    except PathNotFoundError:
        return None


def _committed(model_dir: str) -> list[int]:
    """Steps that can be read, in their order; none where nothing is committed yet."""
    try:
        return open_model_dir(model_dir).steps()
    except (PathNotFoundError, StepNotFoundError):
        if store_of(model_dir).is_directory(model_dir):
            return []
        raise


def _wanted(
    committed: Sequence[int], step: int | None, newer_than: int | None, older: set[int]
) -> list[int]:
    """What is waited for of the committed steps. Those that are older are kept in `older`."""
    if newer_than is None:
        return [each for each in committed if each == step]
    if newer_than in committed:
        at = committed.index(newer_than) + 1
        older.clear()
        older.update(committed[:at])
        return list(committed[at:])
    if older:  # it was there, and is gone
        return [each for each in committed if each not in older]
    return [each for each in committed if each > newer_than]


def _timed_out(
    path: str, committed: Sequence[int], step: int | None, newer_than: int | None, complete: bool
) -> MonolithError:
    what = f"no step newer than {newer_than}" if step is None else f"step {step} is not"
    how = "complete" if complete else "committed"
    what = f"{what} is {how}" if step is None else f"{what} {how}"
    latest = f"the newest is step {committed[-1]}" if committed else "there is none yet"
    return TimedOutError(f"{what} in time: {latest}", path=path)
