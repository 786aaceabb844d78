"""The positions of inputs: the lines of `iterator ls` and `iterator show`, and their JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from monolith_cli.reports.text import PLAIN, Look, bytes_text, columns

if TYPE_CHECKING:
    from monolith_cli.iterators.workers import WorkerState

__all__ = ["workers_document", "workers_lines"]

_HEAD = ("worker", "step", "behind", "size", "iterators", "")
_MARKS = {"state_gone": "gone", "not_found": "gone", "no_such_step": "missing"}


def workers_lines(workers: Sequence[WorkerState], *, look: Look = PLAIN) -> Iterator[str]:
    """A row a worker; what is not known is a dash, what is wrong is in the last column."""
    rows = [_HEAD]
    for state in workers:
        rows.append(
            (
                _number(state.worker),
                _number(state.step),
                _number(state.behind),
                "-" if state.size_bytes is None else bytes_text(state.size_bytes),
                _number(state.iterators),
                "; ".join(_remarks(state)),
            )
        )
    head, *lines = columns(rows, ">>>>><")
    yield look.bold(head)
    yield from lines


def _remarks(state: WorkerState) -> Iterator[str]:
    if state.problem is not None:
        yield _MARKS.get(state.problem.kind, "damaged")
    yield from state.remarks
    if state.resumes_from not in (None, state.step):
        yield f"a job of ours goes on from step {state.resumes_from}"


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)


def workers_document(workers: Sequence[WorkerState]) -> list[dict[str, object]]:
    """The JSON document: an object a worker."""
    return [
        {
            "worker": state.worker,
            "step": state.step,
            "bytes": state.size_bytes,
            "iterators": state.iterators,
            "behind": state.behind,
            "model_step": state.model_step,
            "resumes_from": state.resumes_from,
            "problem": None if state.problem is None else str(state.problem),
            "remarks": list(state.remarks),
        }
        for state in workers
    ]
