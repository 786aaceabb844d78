"""What a check comes to: a verdict on a directory, and on each of its steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.care.findings import ERROR, NOTE, SEVERITIES, UNREAD, WARNING, Finding
from monolith_cli.errors import (
    CorruptionError,
    DifferentError,
    MonolithError,
    NotReadableError,
    PathNotFoundError,
)
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from monolith_cli.care.fsck.record import Recorded

__all__ = [
    "DAMAGED",
    "DOUBTFUL",
    "FULL",
    "QUICK",
    "SOUND",
    "Judgement",
    "StepVerdict",
    "Unread",
    "if_there",
    "verdict_on",
    "worst_first",
]

SOUND, DOUBTFUL, DAMAGED = "sound", "doubtful", "damaged"
"""Verdicts: nothing but notes; something that is not right; something damaged, or lost."""

QUICK, FULL = "quick", "full"
"""Depths: names, sizes, indexes and small files; every byte."""


class StepVerdict(NamedTuple):
    """A step, and what it was found to be.

    Attributes
    ----------
    step
        None where it has no number.
    checked_seconds_ago
        How old the check record is because of which its data was not read; None where it was read,
        and in a quick check.
    """

    step: int | None
    verdict: str
    checked_seconds_ago: float | None = None


class Unread(NamedTuple):
    """What could not be looked at, and of which step it is; None for what is of none, or of all."""

    step: int | None
    error: MonolithError


class Judgement(NamedTuple):
    """What a check has found.

    Attributes
    ----------
    model_dir
        As it was given.
    verdict
        `sound`, `doubtful` or `damaged`: the worst of all findings. Not `sound` where something
        could not be looked at.
    depth
        `quick` or `full`.
    bytes_read
        How many bytes of files were read for it, small files left out.
    steps
        Those that were checked, in the order of steps.
    findings
        Worst first.
    unread
        What could not be looked at, and so was not judged. Each is a finding too.
    left_out
        Steps that were deleted while they were checked.
    recorded
        Steps of which a manifest and a check record were written.
    unrecorded
        Why that was not done of others that it was wanted of.
    """

    model_dir: str
    verdict: str
    depth: str
    bytes_read: int
    steps: Sequence[StepVerdict]
    findings: Sequence[Finding]
    unread: Sequence[MonolithError] = ()
    left_out: Sequence[int] = ()
    recorded: Sequence[Recorded] = ()
    unrecorded: Sequence[MonolithError] = ()

    def error(self) -> MonolithError | None:
        """The worst finding as an error, which says how many others there are; None if sound.

        A CorruptionError where something is damaged, else a DifferentError. What could not be
        looked at is left to `unread`; where there is such, notes are no error.
        """
        if self.verdict == SOUND:
            return None
        findings = [each for each in self.findings if each.id not in UNREAD]
        if not findings or (self.unread and findings[0].severity == NOTE):
            return None
        worst = findings[0]
        same = sum(each.severity == worst.severity for each in findings)
        what = worst.message
        if same > 1:
            what += f" (one of {same} {worst.severity}s)"
        cls = CorruptionError if self.verdict == DAMAGED else DifferentError
        return cls(
            what,
            path=worst.file or self.model_dir,
            offset=worst.offset,
            hint=worst.suggest,
            kind=worst.id,
        )


def if_there(error: PathNotFoundError) -> NotReadableError | None:
    """Of a file that was not found: why it cannot be read, if something of its name is there.

    A directory, say; None where there is nothing, as of a file that was deleted meanwhile.
    """
    if error.path is None:
        return None
    try:
        kind = store_of(error.path).status(error.path, follow=False).kind
    except MonolithError:
        return None
    if kind == "file":
        return None
    return NotReadableError("not readable: not a regular file", path=error.path)


def verdict_on(findings: Iterable[Finding], *, strict: bool = False, is_read: bool = True) -> str:
    """The verdict that findings come to; with `strict` notes count as warnings do.

    Parameters
    ----------
    is_read
        Whether all could be looked at: else nothing is sound.
    """
    severities = {finding.severity for finding in findings}
    if ERROR in severities:
        return DAMAGED
    if not is_read or WARNING in severities or (strict and NOTE in severities):
        return DOUBTFUL
    return SOUND


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Errors, then warnings, then notes; otherwise as they come."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))
