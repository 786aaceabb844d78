"""What `ckpt rollback` shows: steps that are moved away or brought back, and what is written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from monolith_cli.reports.model import (
    COUNT,
    NAME,
    NUMBER,
    Column,
    Report,
    Section,
    Table,
    Text,
    Verdict,
)
from monolith_cli.reports.text import count_text

if TYPE_CHECKING:
    from monolith_cli.care.rollback.back import RolledBack

__all__ = ["RolledBackReport"]


class RolledBackReport(Report):
    """A row for each step that has another place, then the files that say something else."""

    def __init__(self, done: RolledBack, *, is_known: bool = False) -> None:
        self.done = done
        self.is_known = is_known
        """Whether the steps and files were shown before."""

    def sections(self) -> Iterator[Section]:
        done = self.done
        if self.is_known:
            yield [Verdict(self.verdict(), good=True)]
            return
        if done.steps:
            columns = (
                Column("step", NUMBER),
                Column("state", NAME),
                Column("files", COUNT),
                Column("", NAME, none=""),
            )
            rows = [(s.step, s.state, s.files, s.directory or None) for s in done.steps]
            yield [Table(columns, rows)]
        said = []
        if done.texts:
            said.append(Text(f"written: {', '.join(done.texts)}"))
        if done.exports:
            said.append(Text(f"exports that the next save deletes: {len(done.exports)}"))
            said += [Text(f"{e.directory}, of step {e.step}", indent=2) for e in done.exports]
        if said:
            yield said
        yield [Verdict(self.verdict(), good=True)]

    def verdict(self) -> str:
        """What has become of the steps, in a sentence."""
        done = self.done
        files = f"{count_text(done.files, 'file')} of newer steps"
        would = "would be" if done.is_dry_run else "were"
        if done.is_undo and done.step is None:
            return f"{files} {would} brought into {done.directory}, which lists no step"
        if done.is_undo and done.before is None:
            return f"{files} {would} brought into {done.directory}; its latest step is {done.step}"
        if done.is_undo:
            where = f"{done.directory}; the latest step is {done.step}"
            return f"{files} {would} brought back from {where}"
        if not done.files and not done.texts:
            return f"nothing is newer than step {done.step}"
        goes = "would start" if done.is_dry_run else "starts"
        return f"{files} {would} moved to {done.directory}; a job {goes} from step {done.step}"

    def document(self) -> dict[str, object]:
        done = self.done
        return {
            "model_dir": done.model_dir,
            "step": done.step,
            "before": done.before,
            "undo": done.is_undo,
            "dry_run": done.is_dry_run,
            "resumed": done.is_resumed,
            "directory": done.directory,
            "steps": [
                {
                    "step": each.step,
                    "state": each.state,
                    "files": each.files,
                    "dense_only": bool(each.directory),
                }
                for each in done.steps
            ],
            "files": done.files,
            "written": list(done.texts),
            "exports": [{"directory": e.directory, "step": e.step} for e in done.exports],
        }
