"""What `ckpt rollback` shows: steps that are moved away or brought back, and what is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from monolith_cli.checkpoint.names import CHECKPOINT
from monolith_cli.reports.model import (
    COUNT,
    NAME,
    NUMBER,
    Block,
    Column,
    Facts,
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

_OF_WORKERS = f"{CHECKPOINT}_input_worker_"


class RolledBackReport(Report):
    """A row for each step that has another place, then the files that say something else."""

    def __init__(self, done: RolledBack, *, is_known: bool = False) -> None:
        self.done = done
        self.is_known = is_known
        """Whether the steps and files were shown before."""

    def sections(self) -> Iterator[Section]:
        done = self.done
        verdict: Section = [Verdict(self.verdict(), good=True), *self._goes_on()]
        if self.is_known:
            yield verdict
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
        said: list[Block] = []
        if done.texts:
            said.append(Facts([("written", ", ".join(_grouped(done.texts)))], wraps=True))
        if done.exports:
            said.append(Text(f"exports that the next save deletes: {len(done.exports)}"))
            said += [Text(f"{e.directory}, of step {e.step}", indent=2) for e in done.exports]
        if said:
            yield said
        yield verdict

    def verdict(self) -> str:
        """What has become of the steps, in a sentence."""
        done = self.done
        files = count_text(done.files, "file")
        would = "would be" if done.is_dry_run else "were"
        if done.is_undo and done.before is None:
            return f"{files} {would} brought into {done.directory}"
        if done.is_undo:
            return f"{files} {would} brought back from {done.directory}"
        if self._is_nothing:
            return f"nothing is newer than step {done.step}"
        return f"{files} of newer steps {would} moved to {done.directory}"

    @property
    def _is_nothing(self) -> bool:
        return not self.done.is_undo and not self.done.files and not self.done.texts

    def _goes_on(self) -> list[Block]:
        """Where a job goes on, in a line of its own: the one before it has a long name in it."""
        done = self.done
        if self._is_nothing:
            return []
        if not done.is_undo:
            goes = "would start" if done.is_dry_run else "starts"
            return [Text(f"a job {goes} from step {done.step}")]
        if done.step is None:
            return [Text("it lists no step")]
        return [Text(f"{'its' if done.before is None else 'the'} latest step is {done.step}")]

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


def _grouped(names: Sequence[str]) -> list[str]:
    """Names of files, those of the workers as one: there may be hundreds."""
    count = sum(name.startswith(_OF_WORKERS) for name in names)
    if count < 2:
        return list(names)
    return list(
        dict.fromkeys(
            f"{_OF_WORKERS}* ({count})" if name.startswith(_OF_WORKERS) else name for name in names
        )
    )
