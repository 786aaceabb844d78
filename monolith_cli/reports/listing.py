"""What a checkpoint is made of: what `ckpt show` shows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from monolith_cli.reports.model import (
    BYTES,
    COUNT,
    NAME,
    Column,
    Report,
    Section,
    Table,
    Text,
    Title,
)
from monolith_cli.reports.text import bytes_text, count_text

if TYPE_CHECKING:
    from monolith_cli.checkpoint.dense import DenseVariable
    from monolith_cli.tables.listing import CheckpointListing

__all__ = ["ListingReport"]


class ListingReport(Report):
    """Totals, then a row for each table, each variable and each file."""

    def __init__(self, listing: CheckpointListing, *, model_dir: str, step: int | None) -> None:
        self.listing = listing
        self.model_dir = model_dir
        self.step = step

    def sections(self) -> Iterator[Section]:
        where = self.model_dir
        yield [
            Title(where if self.step is None else f"{where}, step {self.step}"),
            Text(self._totals()),
        ]
        for table in (self._tables(), self._variables(), self._files()):
            if table.rows:
                yield [table]

    def _totals(self) -> str:
        listing = self.listing
        tables = sum(table.kind != "filter" for table in listing.tables)
        variables = len(listing.variables)
        return (
            f"{_total_text(tables, 'table', listing.table_bytes)};"
            f" {_total_text(variables, 'dense variable', listing.dense_bytes)}"
            + (", values not verified" if variables else "")
        )

    def _tables(self) -> Table:
        columns = (
            Column("table", NAME),
            Column("kind", NAME),
            Column("entries", COUNT),
            Column("shards", COUNT),
            Column("size", BYTES),
        )
        rows = [
            (table.name, table.kind, table.entries, table.shards, table.bytes)
            for table in self.listing.tables
        ]
        return Table(columns, rows)

    def _variables(self) -> Table:
        """With a column for the sub graph where there is one, as in an export of several."""
        columns = [
            Column("sub graph", NAME),
            Column("variable", NAME),
            Column("dtype", NAME),
            Column("shape", NAME),
            Column("size", BYTES),
        ]
        variables = self.listing.variables
        rows = [
            (each.sub_graph, each.name, each.dtype, _shape_text(each), each.bytes)
            for each in variables
        ]
        if any(each.sub_graph for each in variables):
            return Table(columns, rows)
        return Table(columns[1:], [row[1:] for row in rows])

    def _files(self) -> Table:
        columns = (Column("file", NAME), Column("what", NAME), Column("size", BYTES, "missing"))
        rows = [
            (_relative(file.path, self.model_dir), file.what, file.bytes)
            for file in self.listing.files
        ]
        return Table(columns, rows)

    def document(self) -> dict[str, object]:
        listing = self.listing
        return {
            "model_dir": self.model_dir,
            "step": self.step,
            "dense_bytes": listing.dense_bytes,
            "table_bytes": listing.table_bytes,
            "tables": [
                {
                    "name": table.name,
                    "kind": table.kind,
                    "entries": table.entries,
                    "shards": table.shards,
                    "bytes": table.bytes,
                }
                for table in listing.tables
            ],
            "variables": [
                {
                    "name": variable.name,
                    "dtype": variable.dtype,
                    "shape": list(variable.shape),
                    "bytes": variable.bytes,
                    "slices": variable.slices,
                    "sub_graph": variable.sub_graph or None,
                }
                for variable in listing.variables
            ],
            "files": [
                {"path": file.path, "bytes": file.bytes, "what": file.what}
                for file in listing.files
            ],
            "problems": [str(problem) for problem in listing.problems],
        }


def _total_text(count: int, what: str, size: int | None) -> str:
    if size is not None:
        return f"{count_text(count, what)}, {bytes_text(size)}"
    return f"{count_text(count, what)} and more" if count else f"{what}s cannot be read"


def _shape_text(variable: DenseVariable) -> str:
    shape = f"[{', '.join(map(str, variable.shape))}]"
    return f"{shape} in {variable.slices:,} parts" if variable.slices > 1 else shape


def _relative(path: str, model_dir: str) -> str:
    """A path below the model directory without that; any other as it is."""
    below = os.path.relpath(path, model_dir)
    return path if below.startswith(os.pardir) else below
