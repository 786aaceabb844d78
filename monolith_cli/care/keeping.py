"""Which steps stay: the policies of `ckpt prune`, as functions of steps, times and sizes alone.

Policies are joined by "or": a step stays if one of them keeps it. They see whole steps only, listed
or not, in the order of steps, never in that of numbers. Times are those of commits, reckoned back
from the newest step; a time that lies in the future counts as now.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Candidate", "Policy", "Reason", "duration_text", "kept_by", "size_text"]

_DAY_SECONDS = 86_400.0
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"))


class Reason(NamedTuple):
    """Why a step stays, or goes: a word for programs, and one or more for people."""

    id: str
    text: str


class Candidate(NamedTuple):
    """A whole step.

    Attributes
    ----------
    time
        When it was committed, in seconds since 1970; None where nobody knows.
    bytes
        Of all its files.
    """

    step: int
    time: float | None
    bytes: int


class Policy(NamedTuple):
    """What is kept.

    Attributes
    ----------
    last
        So many of the newest steps.
    within_seconds
        What was committed at most so long before the newest.
    daily
        The newest of each day, UTC, for so many days that have a step.
    every
        Steps whose number is a multiple of it.
    steps
        These.
    size_bytes
        The newest, as many as have that size together.
    """

    last: int | None = None
    within_seconds: float | None = None
    daily: int | None = None
    every: int | None = None
    steps: tuple[int, ...] = ()
    size_bytes: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is kept by it."""
        return self == Policy()


def kept_by(
    policy: Policy, candidates: Sequence[Candidate], now: float
) -> Mapping[int, Sequence[Reason]]:
    """Why each of these steps stays; those that are in it, and have no reason, go.

    Parameters
    ----------
    candidates
        In the order of steps, oldest first.
    now
        In seconds since 1970.
    """
    reasons: dict[int, list[Reason]] = {each.step: [] for each in candidates}
    for keep in (_last, _within, _daily, _every, _asked_for, _size):
        for step, reason in keep(policy, candidates, now).items():
            reasons[step].append(reason)
    return reasons


def _last(policy: Policy, candidates: Sequence[Candidate], now: float) -> dict[int, Reason]:
    if not policy.last:
        return {}
    reason = Reason("last", f"last {policy.last}")
    return {each.step: reason for each in candidates[-policy.last :]}


def _within(policy: Policy, candidates: Sequence[Candidate], now: float) -> dict[int, Reason]:
    if policy.within_seconds is None or not candidates:
        return {}
    newest = candidates[-1].time
    reason = Reason("within", f"within {duration_text(policy.within_seconds)}")
    unknown = Reason("within", "its time is not known")
    kept = {}
    for each in candidates:
        if each.time is None or newest is None:
            kept[each.step] = unknown
        elif min(each.time, now) >= min(newest, now) - policy.within_seconds:
            kept[each.step] = reason
    return kept


def _daily(policy: Policy, candidates: Sequence[Candidate], now: float) -> dict[int, Reason]:
    if not policy.daily:
        return {}
    kept: dict[int, Reason] = {}
    days: set[float] = set()
    for each in reversed(candidates):
        if each.time is None:
            kept[each.step] = Reason("daily", "its time is not known")
            continue
        at = min(each.time, now)
        day = at // _DAY_SECONDS
        if day not in days and len(days) < policy.daily:
            days.add(day)
            text = time.strftime("%Y-%m-%d", time.gmtime(at))
            kept[each.step] = Reason("daily", f"newest of {text}")
    return kept


def _every(policy: Policy, candidates: Sequence[Candidate], now: float) -> dict[int, Reason]:
    if not policy.every:
        return {}
    reason = Reason("every", f"multiple of {policy.every}")
    return {each.step: reason for each in candidates if each.step % policy.every == 0}


def _asked_for(policy: Policy, candidates: Sequence[Candidate], now: float) -> dict[int, Reason]:
    reason = Reason("step", "asked for")
    return {each.step: reason for each in candidates if each.step in policy.steps}


def _size(policy: Policy, candidates: Sequence[Candidate], now: float) -> dict[int, Reason]:
    if policy.size_bytes is None:
        return {}
    reason = Reason("size", f"within {size_text(policy.size_bytes)}")
    kept = {}
    left = policy.size_bytes
    for each in reversed(candidates):
        left -= each.bytes
        if left < 0:
            break
        kept[each.step] = reason
    return kept


def duration_text(seconds: float) -> str:
    """As one would give it: `2d`, `90m`, `45s`."""
    for size, unit in _UNITS:
        if seconds >= size and seconds % size == 0:
            return f"{int(seconds // size)}{unit}"
    return f"{seconds:g}s"


def size_text(size: int) -> str:
    """As one would give it: `500GiB`, `1000 bytes`."""
    for power, unit in ((4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
        if size >= 1024**power and size % 1024**power == 0:
            return f"{size // 1024**power}{unit}"
    return f"{size} bytes"
