"""Whether a job lives that saves into a directory, for commands that move or remove steps there.

It lives if it answers; if its chief's claim says so; or, where there is no claim of a chief that
was here last, if somebody has just saved.
"""

from __future__ import annotations

import time
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING

from monolith_cli.care.brought import brought
from monolith_cli.care.survey import DENSE_ONLY
from monolith_cli.checkpoint.claim import (
    CLAIM_SECONDS,
    is_gone,
    parse_claim,
    read_claim_bytes,
    wait_for_sign_of_life,
)
from monolith_cli.checkpoint.names import (
    CHECKPOINT,
    CHIEF_CLAIM,
    INDEX_SUFFIX,
    parse_step_file,
)
from monolith_cli.checkpoint.steps import recorded_checkpoints
from monolith_cli.errors import (
    DirectoryInUseError,
    MonolithError,
    PathNotFoundError,
    RefusedError,
    StateFileError,
)
from monolith_cli.execution.waits import say
from monolith_cli.formats.checkpoint_state import CheckpointState, read_checkpoint_state
from monolith_cli.storage.location import HERE, as_location, join
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from monolith_cli.checkpoint.steps import Recorded
    from monolith_cli.storage.location import AnyPath
    from monolith_cli.storage.store import Item

__all__ = ["QUIET_SECONDS", "check_quiet"]

QUIET_SECONDS = 600.0
"""What was written longer ago says nothing of a job that lives."""

_COMMITS = 5
_STOP = "stop the job first"

_stood_still: dict[str, bytes] = {}
"""By directory the claim whose counter was watched last, and did not move."""


def check_quiet(
    model_dir: AnyPath, quiet_for_seconds: float | None = None, *, resumed: bool = False
) -> None:
    """Make sure that no job saves into a directory.

    Who has just saved is taken for alive: if the last commit, or an index, is younger than ten
    minutes, and than twice the longest time between the last five commits. The last commit was when
    `checkpoint` says; only where it does not, when that file was written: commands write it, too. A
    directory that is not there is quiet. What a copy has brought was saved elsewhere.

    Takes no time where nobody listens and there is no claim, or one of a process of this host; else
    a call, and half a minute for a claim whose counter stands still: once, as long as it is the
    same. That is told before to who hears of waits.

    Parameters
    ----------
    quiet_for_seconds
        How long ago the last save must have been, in place of that rule of times; 0 leaves it out.
    resumed
        Whether a command that was cut off goes on, which may have written `checkpoint` itself: then
        the time of that file says nothing.

    Raises
    ------
    DirectoryInUseError
        A job lives, or may live: it says how that is known. Its kind is `job_runs`, or
        `just_saved` where the times alone speak for it.
    NotReadableError
        The directory, the claim or the address of a job cannot be read.
    """
    directory = as_location(model_dir)
    _check_answers(directory)
    seen_at = _check_claim(directory)
    for place in (directory, join(directory, DENSE_ONLY)):
        _check_times(place, quiet_for_seconds, seen_at, resumed)


def _check_answers(directory: str) -> None:
    from monolith_cli.control.running import check_stopped

    try:
        check_stopped(directory)
    except RefusedError as error:
        raise DirectoryInUseError(
            error.what, path=directory, hint=_STOP, kind="job_runs"
        ) from error


def _check_claim(directory: str) -> float | None:
    """When the chief whose claim is still here gave its last sign of life; None without one."""
    data = read_claim_bytes(directory)
    if data is None:
        return None
    who = "whose claim cannot be read"
    is_known_gone = False
    with suppress(StateFileError):
        claim = parse_claim(data, directory)
        who, is_known_gone = claim.who, is_gone(claim)
    if not is_known_gone and _stood_still.get(directory) != data:
        say(f"watching for {CLAIM_SECONDS:.0f} s whether a chief lives here, {who}")
        try:
            data = wait_for_sign_of_life(directory, data)
        except DirectoryInUseError as error:
            what = f"a job runs here: the counter of its chief moves, {who}"
            raise DirectoryInUseError(what, path=directory, hint=_STOP, kind="job_runs") from error
        if data is not None:
            _stood_still[directory] = data
    path = join(directory, CHIEF_CLAIM)
    try:
        return None if data is None else store_of(path).status(path).modified
    except PathNotFoundError:
        return None


def _check_times(
    directory: str, quiet_for_seconds: float | None, seen_at: float | None, resumed: bool
) -> None:
    try:
        items = {item.name: item for item in store_of(directory).items(directory or HERE)}
    except PathNotFoundError:
        return
    state = CheckpointState()
    with suppress(MonolithError):
        state = read_checkpoint_state(join(directory, CHECKPOINT))
    recorded = recorded_checkpoints(state, items)
    copied = brought(directory, items)
    last = [_last_index(items, copied)]
    last += [] if resumed else [_last_commit(state, recorded, items, copied)]
    known = [each for each in last if each is not None]
    if not known:
        return
    name, at = max(known, key=lambda each: each[1])
    if seen_at is not None and at <= seen_at + CLAIM_SECONDS:
        return  # by the chief that is known to be gone
    age = time.time() - at
    if quiet_for_seconds is not None:
        # A clock that goes wrong is what is overruled, too.
        is_young = abs(age) < quiet_for_seconds
        limit = quiet_for_seconds
    else:
        limit = min(QUIET_SECONDS, 2 * _longest_gap(recorded, items))
        is_young = age < limit
    if not is_young:
        return
    when = f"{age:.0f} s ago" if age >= 0 else f"{-age:.0f} s from now, by the clock of this host"
    raise DirectoryInUseError(
        f"a job may save here: '{name}' was written {when}",
        path=directory,
        hint=f"stop the job, or wait until nothing was saved for {limit:.0f} s",
        kind="just_saved",
    )


def _last_index(items: Mapping[str, Item], copied: Collection[str]) -> tuple[str, float] | None:
    """The index that a job wrote last, and when, in seconds since 1970."""
    last: tuple[str, float] | None = None
    for name, item in items.items():
        if not name.endswith(INDEX_SUFFIX) or name in copied or parse_step_file(name) is None:
            continue
        at = _written(item)
        if at is not None and (last is None or at > last[1]):
            last = name, at
    return last


def _last_commit(
    state: CheckpointState,
    recorded: Sequence[Recorded],
    items: Mapping[str, Item],
    copied: Collection[str],
) -> tuple[str, float] | None:
    """When `checkpoint` says that the latest was committed, or when the file was written."""
    for each in recorded:
        if each.path == state.model_checkpoint_path:
            if each.name + INDEX_SUFFIX in copied:
                return None
            if each.time is not None:
                return CHECKPOINT, each.time
    at = _written(items[CHECKPOINT]) if CHECKPOINT in items else None
    return None if at is None else (CHECKPOINT, at)


def _longest_gap(recorded: Sequence[Recorded], items: Mapping[str, Item]) -> float:
    """Between two of the last commits, in seconds; infinite where there are not two."""
    times = []
    for each in [each for each in recorded if each.is_listed][-_COMMITS:]:
        index = items.get(each.name + INDEX_SUFFIX)
        at = each.time
        if at is None and index is not None:
            at = _written(index)
        times += [] if at is None else [at]
    return max((abs(b - a) for a, b in pairwise(times)), default=float("inf"))


def _written(item: Item) -> float | None:
    try:
        return item.status().modified
    except MonolithError:
        return None
