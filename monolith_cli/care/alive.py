"""Whether a job lives that saves into a directory, for commands that move or remove steps there.

It lives if it answers; if its chief's claim says so; or, where there is no claim of a chief that
was here last, if somebody has just saved.
"""

from __future__ import annotations

import time
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING

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
from monolith_cli.formats.checkpoint_state import read_checkpoint_state
from monolith_cli.storage.location import HERE, as_location, join
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from monolith_cli.storage.location import AnyPath
    from monolith_cli.storage.store import Item

__all__ = ["QUIET_SECONDS", "check_quiet"]

QUIET_SECONDS = 600.0
"""What was written longer ago says nothing of a job that lives."""

_COMMITS = 5
_STOP = "stop the job first"


def check_quiet(model_dir: AnyPath, quiet_for_seconds: float | None = None) -> None:
    """Make sure that no job saves into a directory.

    Who has just saved is taken for alive: if `checkpoint` or an index is younger than ten minutes,
    and than twice the longest time between the last five commits. A directory that is not there is
    quiet.

    Takes no time where nobody listens and there is no claim, or one of a process of this host; else
    a call, and up to half a minute for a claim whose counter stands still.

    Parameters
    ----------
    quiet_for_seconds
        How long ago the last save must have been, in place of that rule of times; 0 leaves it out.

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
        _check_times(place, quiet_for_seconds, seen_at)


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
    if not is_known_gone:
        try:
            data = wait_for_sign_of_life(directory, data)
        except DirectoryInUseError as error:
            what = f"a job runs here: the counter of its chief moves, {who}"
            raise DirectoryInUseError(what, path=directory, hint=_STOP, kind="job_runs") from error
    path = join(directory, CHIEF_CLAIM)
    try:
        return None if data is None else store_of(path).status(path).modified
    except PathNotFoundError:
        return None


def _check_times(directory: str, quiet_for_seconds: float | None, seen_at: float | None) -> None:
    try:
        items = {item.name: item for item in store_of(directory).items(directory or HERE)}
    except PathNotFoundError:
        return
    last = _last_written(items)
    if last is None:
        return
    name, at = last
    if seen_at is not None and at <= seen_at + CLAIM_SECONDS:
        return  # by the chief that is known to be gone
    age = time.time() - at
    if quiet_for_seconds is not None:
        # A clock that goes wrong is what is overruled, too.
        is_young = abs(age) < quiet_for_seconds
        limit = quiet_for_seconds
    else:
        limit = min(QUIET_SECONDS, 2 * _longest_gap(directory, items))
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


def _last_written(items: Mapping[str, Item]) -> tuple[str, float] | None:
    """What a save has written last of all, and when, in seconds since 1970."""
    last: tuple[str, float] | None = None
    for name, item in items.items():
        if name != CHECKPOINT and not name.endswith(INDEX_SUFFIX):
            continue
        if name != CHECKPOINT and parse_step_file(name) is None:
            continue
        with suppress(MonolithError):
            at = item.status().modified
            if last is None or at > last[1]:
                last = name, at
    return last


def _longest_gap(directory: str, items: Mapping[str, Item]) -> float:
    """Between two of the last commits, in seconds; infinite where there are not two."""
    try:
        state = read_checkpoint_state(join(directory, CHECKPOINT))
    except MonolithError:
        return float("inf")
    times = []
    for each in recorded_checkpoints(state, items)[-_COMMITS:]:
        index = items.get(each.name + INDEX_SUFFIX)
        at = each.time
        if at is None and index is not None:
            with suppress(MonolithError):
                at = index.status().modified
        times += [] if at is None else [at]
    return max((abs(b - a) for a, b in pairwise(times)), default=float("inf"))
