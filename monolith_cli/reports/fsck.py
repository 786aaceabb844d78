"""What a check of a directory has found: what `ckpt fsck` shows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from monolith_cli.reports.model import Omitted, Report, Section, Text, Title, Verdict
from monolith_cli.reports.text import age_text, bytes_text, count_text

if TYPE_CHECKING:
    from monolith_cli.care.findings import Finding
    from monolith_cli.care.fsck.judgement import Judgement

__all__ = ["FsckReport"]

_A_FILE = 20
"""Findings of one file that are shown; the others are counted."""


class FsckReport(Report):
    """The findings, worst first, then the verdict."""

    def __init__(self, judgement: Judgement) -> None:
        self.judgement = judgement

    def sections(self) -> Iterator[Section]:
        judgement = self.judgement
        yield [Title(judgement.model_dir, f": {self._steps()}")]
        for severity in ("error", "warning", "note"):
            findings = [each for each in judgement.findings if each.severity == severity]
            if findings:
                yield [Title(count_text(len(findings), severity)), *self._lines(findings)]
        yield [Verdict(self._verdict(), good=judgement.verdict == "sound")]

    def _steps(self) -> str:
        steps = [each.step for each in self.judgement.steps if each.step is not None]
        if not steps:
            return "no step was checked" if not self.judgement.steps else "checked"
        if len(steps) == 1:
            return f"step {steps[0]}"
        return f"{len(steps):,} steps, {steps[0]} to {steps[-1]}"

    def _lines(self, findings: list[Finding]) -> Iterator[Text]:
        shown: dict[str | None, int] = {}
        for finding in findings:
            shown[finding.file] = shown.get(finding.file, 0) + 1
            if finding.file is None or shown[finding.file] <= _A_FILE:
                yield Text(self._text(finding), 2)
        for file, count in shown.items():
            if file is not None and count > _A_FILE:
                yield Omitted(f"{count - _A_FILE:,} more in {self._relative(file)}", 2)

    def _text(self, finding: Finding) -> str:
        where = [] if finding.file is None else [self._relative(finding.file)]
        if finding.table is not None and finding.table not in "".join(where):
            where.append(f"table {finding.table}")
        if finding.step is not None and str(finding.step) not in "".join(where):
            where.append(f"step {finding.step}")
        text = f"{finding.id}: {', '.join(where)}: " if where else f"{finding.id}: "
        text += finding.message
        if finding.offset is not None:
            text += f", at byte {finding.offset:,}"
        return f"{text}; {finding.suggest}" if finding.suggest else text

    def _relative(self, file: str) -> str:
        start = f"{self.judgement.model_dir.rstrip('/')}/"
        return file.removeprefix(start)

    def _verdict(self) -> str:
        judgement = self.judgement
        if judgement.depth != "full":
            depth = "quick: names, sizes, indexes and small files; the data was not read"
            return f"{judgement.verdict} ({depth})"
        ages = [each.checked_seconds_ago for each in judgement.steps]
        known = sorted(age for age in ages if age is not None)
        what = "all that can be read" if judgement.unread else "every byte"
        depth = f"{what} was read, {bytes_text(judgement.bytes_read)}"
        if known:
            steps = count_text(len(known), "step")
            if len(known) < len(ages):
                steps = f"{len(known):,} of {len(ages):,} steps"
            when = list(dict.fromkeys(map(age_text, (known[0], known[-1]))))
            left_out = f"the data of {steps} was not read: checked {' to '.join(when)} ago"
            depth = f"{left_out}; of the rest {depth}"
        return f"{judgement.verdict} ({depth})"

    def document(self) -> dict[str, object]:
        judgement = self.judgement
        return {
            "model_dir": judgement.model_dir,
            "verdict": judgement.verdict,
            "depth": judgement.depth,
            "bytes_read": judgement.bytes_read,
            "steps": [each._asdict() for each in judgement.steps],
            "findings": [
                {
                    "id": each.id,
                    "severity": each.severity,
                    "step": each.step,
                    "table": each.table,
                    "variable": each.variable,
                    "worker": each.worker,
                    "file": each.file,
                    "offset": each.offset,
                    "message": each.message,
                    "suggest": each.suggest,
                }
                for each in judgement.findings
            ],
        }
