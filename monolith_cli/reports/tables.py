"""Tables as a listing: what `table ls` shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    Text,
)

if TYPE_CHECKING:
    from monolith_cli.tables.counts import TableCount

__all__ = ["TablesReport"]

COLUMNS = (
    Column("table", NAME),
    Column("kind", NAME),
    Column("entries", COUNT),
    Column("shards", COUNT),
    Column("size", BYTES),
    Column("dim", NUMBER),
    Column("slots", COUNT),
    Column("optimizers", NAME),
)


class TablesReport(Report):
    """A row for each table; what was not read is a dash.

    Parameters
    ----------
    step
        Of which checkpoint they are; None where it has none.
    several
        Whether it is one of several, which has to say its step.
    """

    def __init__(
        self, tables: Sequence[TableCount], *, step: int | None = None, several: bool = False
    ) -> None:
        self.tables = tables
        self.step = step
        self.several = several

    def sections(self) -> Iterator[Section]:
        table = Table(COLUMNS, map(_row, self.tables))
        if self.several:
            yield [Text("no step" if self.step is None else f"step {self.step}"), table]
        else:
            yield [table]

    def document(self) -> object:
        """A list of objects, one per table; of several checkpoints each with its step."""
        tables = [
            {
                "name": table.name,
                "kind": table.kind,
                "entries": table.entries,
                "shards": table.shards,
                "bytes": table.bytes,
                "dim": table.dim,
                "optimizers": table.optimizers,
                "slots": None if table.slot_counts is None else len(table.slot_counts),
            }
            for table in self.tables
        ]
        return {"step": self.step, "tables": tables} if self.several else tables


def _row(table: TableCount) -> tuple[object, ...]:
    return (
        table.name,
        table.kind,
        table.entries,
        table.shards,
        table.bytes,
        _dims(table),
        None if table.slot_counts is None else len(table.slot_counts),
        None if table.optimizers is None else ", ".join(table.optimizers),
    )


def _dims(table: TableCount) -> str | None:
    if table.dims is None:
        return None
    smallest, largest = table.dims
    return str(smallest) if smallest == largest else f"{smallest}-{largest}"
