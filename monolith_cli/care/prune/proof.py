"""What must be right before anything goes: the latest step, and the newest that stays."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.errors import CorruptionError, PathNotFoundError
from monolith_cli.storage.location import join

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from concurrent.futures import Executor

    from monolith_cli.care.fsck.judgement import Judgement
    from monolith_cli.care.prune.plan import Place, PrunePlan

__all__ = ["MAX_AGE_SECONDS", "Proof", "proofs_of", "prove"]

MAX_AGE_SECONDS = 7 * 86_400.0
"""How old the record of a full check may be that spares reading a step."""

_NOTHING_REMOVED = "nothing was removed"
_REPAIR = "see what can be repaired, or go back to another step first"
_IN_THE_WAY = "unloadable_leftover"


class Proof(NamedTuple):
    """A step that must pass a full check.

    Attributes
    ----------
    place
        Empty, or `dense_only`.
    bytes
        What a full check reads; 0 where a record spares that.
    checked_seconds_ago
        How old that record is; None without one that still fits.
    """

    place: str
    step: int
    bytes: int
    checked_seconds_ago: float | None


def proofs_of(plan: PrunePlan, *, now: float | None = None) -> list[Proof]:
    """What is to be checked; nothing is read but records of checks. None if nothing goes."""
    if plan.is_empty:
        return []
    now = time.time() if now is None else now
    return [
        _proof(place, step, now)
        for place in plan.places
        for step in dict.fromkeys(_steps(place))
        if step is not None
    ]


def _steps(place: Place) -> tuple[int | None, int | None]:
    latest = place.survey.latest
    return (latest.step if latest else None, place.newest_kept())


def _proof(place: Place, step: int, now: float) -> Proof:
    from monolith_cli.care.check_records import fitting_record

    found = next(each for each in place.survey.steps if each.step == step)
    record = fitting_record(place.survey.directory, step)
    age = None if record is None else max(now - record.at, 0.0)
    if age is not None and age >= MAX_AGE_SECONDS:
        age = None
    size = found.table_bytes + found.dense_bytes if age is None else 0
    return Proof(place.name, step, size, age)


def prove(
    plan: PrunePlan,
    *,
    quick: bool = False,
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    executor: Executor | None = None,
) -> list[Proof]:
    """Check the latest step of each place, and the newest that stays.

    Parameters
    ----------
    quick
        Read no data.
    jobs, progress, executor
        As in `care.fsck.check`.

    Returns
    -------
    list of Proof
        What was checked.

    Raises
    ------
    CorruptionError
        One of them is damaged, or not whole, or could not be judged. Its kind is that of the worst
        finding.
    MonolithError
        As `care.fsck.check`.
    """
    from monolith_cli.care.fsck import CheckOptions, check

    proofs = proofs_of(plan)
    goes = {join(plan.directory, each.name) for each in plan.waste}
    options = CheckOptions(quick=quick, max_age_seconds=MAX_AGE_SECONDS, jobs=jobs)
    for proof in proofs:
        directory = join(plan.directory, proof.place) if proof.place else plan.directory
        judgement = check(directory, proof.step, options, progress=progress, executor=executor)
        _require(judgement, proof, directory, goes)
    return proofs


def _require(judgement: Judgement, proof: Proof, directory: str, goes: Collection[str]) -> None:
    """Raise an error for what is wrong with a step, but for files in the way that go, too."""
    from monolith_cli.care.findings import ERROR, UNREAD

    step = proof.step
    errors = [
        f
        for f in judgement.findings
        if f.severity == ERROR and f.step == step and not (f.id == _IN_THE_WAY and f.file in goes)
    ]
    verdicts = [each.verdict for each in judgement.steps if each.step == step]
    if not verdicts:
        what = f"step {step} was deleted while it was checked"
        raise PathNotFoundError(what, path=directory, hint=_NOTHING_REMOVED)
    if errors:
        worst = errors[0]
        more = f" (one of {len(errors)} errors)" if len(errors) > 1 else ""
        hint = worst.suggest if worst.id == _IN_THE_WAY else _REPAIR
        raise CorruptionError(
            f"step {step}, which is to stay, is not right: {worst.message}{more}",
            path=worst.file or directory,
            offset=worst.offset,
            hint=f"{_NOTHING_REMOVED}: {hint}",
            kind=worst.id,
        )
    # What could not be looked at of other steps is no matter here.
    doubtful = {f.file for f in judgement.findings if f.id in UNREAD and f.step in (step, None)}
    for error in judgement.unread:
        if error.path in doubtful:
            error.hint = f"{error.hint}; {_NOTHING_REMOVED}" if error.hint else _NOTHING_REMOVED
            raise error
