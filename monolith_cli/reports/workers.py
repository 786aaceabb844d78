"""The inputs of a job's workers: what `iterator ls` shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from monolith_cli.reports.model import BYTES, KEY, NAME, NUMBER, Column, Report, Section, Table

if TYPE_CHECKING:
    from monolith_cli.iterators.workers import WorkerState

__all__ = ["WorkersReport"]

COLUMNS = (
    Column("worker", KEY),
    Column("step", NUMBER),
    Column("behind", NUMBER),
    Column("size", BYTES),
    Column("iterators", NUMBER),
    Column("", NAME),
)
MARKS = {
    "state_gone": "gone",
    "not_found": "gone",
    "no_such_step": "missing",
    "missing_shard": "incomplete",
    "not_readable": "not readable",
}
"""What is wrong with a state, in a word, by the error's kind."""


class WorkersReport(Report):
    """A row for each worker; what is not known is a dash, what is wrong is in the last column."""

    def __init__(self, workers: Sequence[WorkerState]) -> None:
        self.workers = workers

    def sections(self) -> Iterator[Section]:
        yield [Table(COLUMNS, map(_row, self.workers))]

    def document(self) -> list[dict[str, object]]:
        """An object for each worker."""
        return [
            {
                "worker": state.worker,
                "name": state.name,
                "step": state.step,
                "bytes": state.size_bytes,
                "iterators": state.iterators,
                "behind": state.behind,
                "model_step": state.model_step,
                "resumes_from": state.resumes_from,
                "problem": None if state.problem is None else str(state.problem),
                "remarks": list(state.remarks),
            }
            for state in self.workers
        ]


def _row(state: WorkerState) -> tuple[object, ...]:
    return (
        (state.name or None) if state.worker is None else state.worker,
        state.step,
        state.behind,
        state.size_bytes,
        state.iterators,
        "; ".join(_remarks(state)),
    )


def _remarks(state: WorkerState) -> Iterator[str]:
    if state.problem is not None:
        yield MARKS.get(state.problem.kind, "damaged")
    yield from state.remarks
    if state.resumes_from not in (None, state.step):
        yield f"our jobs go on from step {state.resumes_from}"
