"""What is said of inputs that go back to an older step, or that somebody peeks at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from monolith_cli.reports.model import NUMBER, Column, Report, Section, Table
from monolith_cli.reports.text import count_text

if TYPE_CHECKING:
    from monolith_cli.iterators.peek import Peeked
    from monolith_cli.iterators.rollback import Rollback

__all__ = ["RollbackReport", "peeked_note", "rollback_beside", "rollback_outlook"]


class RollbackReport(Report):
    """A row for each worker: the step that its input would have gone on from, and now does."""

    def __init__(self, done: Rollback) -> None:
        self.done = done

    def sections(self) -> Iterator[Section]:
        columns = (
            Column("worker", NUMBER),
            Column("from step", NUMBER, none="the start"),
            Column("to step", NUMBER),
        )
        yield [Table(columns, self.done.moves)]

    def document(self) -> dict[str, object]:
        done, replaced = self.done, self.done.replaced
        return {
            "model_dir": done.model_dir,
            "model_step": done.model_step,
            "step": done.step,
            "workers": [move._asdict() for move in done.moves],
            "override": _override(done.model_step, done.inputs) if done.inputs else None,
            "replaced": _override(replaced.model_step, replaced.inputs) if replaced else None,
            "files": list(done.files),
            "dry_run": done.dry_run,
        }


def _override(model_step: int | None, inputs: Mapping[int, int]) -> dict[str, object]:
    """As `ckpt.override` has it."""
    return {
        "model_step": model_step,
        "inputs": {str(worker): at for worker, at in sorted(inputs.items())},
    }


def rollback_outlook(done: Rollback) -> str:
    """When it takes effect, and until when."""
    if not done.inputs:
        text = f"all inputs go on from the model's step, {done.model_step}, as without a rollback"
    else:
        text = (
            f"it takes effect when the job starts next, with the model of step {done.model_step},"
            " and ends with the first checkpoint after that"
        )
    return f"a dry run: nothing is written; {text}" if done.dry_run else text


def rollback_beside(done: Rollback) -> str:
    """What becomes of it beside a job that runs."""
    if done.dry_run:
        return "stop it first"
    return (
        f"what it saves from now on is dropped when it next starts, from step {done.model_step},"
        " and if that step is gone by then it cannot start: stop it, and roll back again"
    )


def peeked_note(done: Peeked) -> str | None:
    """That there is no more, where there is none."""
    if not done.has_ended:
        return None
    return f"the input ends after {count_text(done.elements, 'element')}"
