"""What a copy of steps has done, or would do, or has found: what `ckpt cp` shows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from monolith_cli.reports.model import (
    BYTES,
    COUNT,
    NAME,
    NUMBER,
    Column,
    Report,
    Section,
    Table,
    Title,
    Verdict,
)
from monolith_cli.reports.text import bytes_text, count_text

if TYPE_CHECKING:
    from monolith_cli.care.copy.step import CopiedStep
    from monolith_cli.care.copy.steps import Copied

__all__ = ["CopyReport"]

_FATES = {
    "to_copy": "to copy",
    "copied": "copied",
    "there": "there, the same",
    "missing": "not there",
    "different": "another is there",
    "not_whole": "not whole",
    "gone": "gone",
    "unreadable": "not readable",
    "damaged": "damaged",
}


class CopyReport(Report):
    """A row for each step, then what there is in the end."""

    def __init__(self, copied: Copied, *, dry_run: bool, verify_only: bool) -> None:
        self.copied = copied
        self.dry_run = dry_run
        self.verify_only = verify_only

    def notes(self) -> Iterator[str]:
        """What one would want to know besides."""
        done = self.copied
        if done.resumed:
            yield f"{done.target}: what was begun from {done.source} and cut off is gone on with"
        if not self.verify_only:
            yield from done.notes
        asked, latest = done.asked_latest, done.latest
        came = any(
            s.step == asked and not s.is_dense_only and s.is_listed and s.error is None
            for s in done.steps
        )
        if not self.verify_only and came and latest is not None and latest != asked:
            yield f"the latest step there is {latest}, not {asked}: --as-latest changes that"

    def sections(self) -> Iterator[Section]:
        done = self.copied
        yield [Title(done.target, f", from {done.source}")]
        columns = [Column("step", NUMBER), Column("", NAME)]
        columns += [Column("files", COUNT), Column("size", BYTES)]
        if not self.verify_only:
            written = "to write" if self.dry_run else "written"
            columns += [Column(written, BYTES), Column("linked", COUNT), Column("listed", NAME)]
        yield [Table(tuple(columns), [self._row(step) for step in done.steps])]
        yield [Verdict(self._verdict(), good=not done.errors)]

    def _row(self, step: CopiedStep) -> tuple[object, ...]:
        fate = _FATES[step.fate]
        if self.dry_run and step.fate == "there":
            fate = "there, of the same size"
        row: list[object] = [step.step, f"{fate} (dense_only)" if step.is_dense_only else fate]
        row += [step.files, step.bytes]
        if not self.verify_only:
            comes = step.error is None
            row += [step.sent_bytes if comes else 0, step.linked_files if comes else 0]
            row.append("yes" if step.is_listed else "no")
        return tuple(row)

    def _verdict(self) -> str:
        done = self.copied
        good = [step for step in done.steps if step.error is None]
        bad = len(done.steps) - len(good)
        if self.verify_only:
            if bad:
                return f"{count_text(bad, 'step')} not the same, of {len(done.steps)}"
            size = bytes_text(sum(step.bytes for step in good))
            return f"the same: {count_text(len(good), 'step')}, {size}"
        written = bytes_text(sum(step.sent_bytes for step in good))
        linked = sum(step.linked_files for step in good)
        texts = [f"{written} {'to write' if self.dry_run else 'written, read back and compared'}"]
        if not any(step.sent_files or step.linked_files for step in good):
            texts = ["nothing to write"]
        if linked:
            texts.append(f"{count_text(linked, 'file')} {'to link' if self.dry_run else 'linked'}")
        if done.latest is not None:
            texts.append(f"the latest step is {'then ' if self.dry_run else ''}{done.latest}")
        if bad:
            texts.append(f"{count_text(bad, 'step')} left out")
        return "; ".join(texts)

    def document(self) -> dict[str, object]:
        done = self.copied
        return {
            "source": done.source,
            "to": done.target,
            "dry_run": self.dry_run,
            "verify_only": self.verify_only,
            "resumed": done.resumed,
            "latest": done.latest,
            "steps": [_document(step) for step in done.steps],
        }


def _document(step: CopiedStep) -> dict[str, object]:
    comes = step.error is None
    return {
        "step": step.step,
        "dense_only": step.is_dense_only,
        "state": step.fate,
        "files": step.files,
        "bytes": step.bytes,
        "sent_files": step.sent_files if comes else 0,
        "sent_bytes": step.sent_bytes if comes else 0,
        "linked_files": step.linked_files if comes else 0,
        "listed": step.is_listed,
        "different": step.differing,
        "missing": step.missing if step.fate == "missing" else [],
        "error": None if step.error is None else step.error.what,
    }
