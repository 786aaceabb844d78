"""What is said of inputs that go back to an older step, or that somebody peeks at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from monolith_cli.reports.text import PLAIN, Look, columns, count_text

if TYPE_CHECKING:
    from monolith_cli.iterators.peek import Peeked
    from monolith_cli.iterators.rollback import Rollback

__all__ = ["peeked_note", "rollback_document", "rollback_lines", "rollback_outlook"]


def rollback_lines(done: Rollback, *, look: Look = PLAIN) -> Iterator[str]:
    """A row a worker: the step that its input would have gone on from, and the one it does."""
    rows = [("worker", "from step", "to step")]
    for worker, before, after in done.moves:
        rows.append((str(worker), "the start" if before is None else str(before), str(after)))
    head, *lines = columns(rows, ">>>")
    yield look.bold(head)
    yield from lines


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


def peeked_note(done: Peeked) -> str | None:
    """That there is no more, where there is none."""
    if not done.has_ended:
        return None
    return f"the input ends after {count_text(done.elements, 'element')}"


def rollback_document(done: Rollback) -> dict[str, object]:
    """The JSON document."""
    replaced = done.replaced
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
