"""Tables as a listing: the lines of `table ls`, and its JSON document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from monolith_cli.reports.text import PLAIN, Look, bytes_text, columns, name_json, name_text

if TYPE_CHECKING:
    from monolith_cli.tables.counts import TableCount

__all__ = ["tables_document", "tables_lines"]

HEAD = ("table", "kind", "entries", "shards", "size", "dim", "slots", "optimizers")


def tables_lines(tables: Sequence[TableCount], *, look: Look = PLAIN) -> Iterator[str]:
    """A row a table; what was not read is a dash."""
    rows = [HEAD]
    for table in tables:
        rows.append(
            (
                name_text(table.name),
                table.kind,
                f"{table.entries:,}",
                f"{table.shards:,}",
                "-" if table.bytes is None else bytes_text(table.bytes),
                _dims(table),
                "-" if table.slot_counts is None else f"{len(table.slot_counts):,}",
                "-" if table.optimizers is None else ", ".join(table.optimizers),
            )
        )
    head, *lines = columns(rows, "<<>>>>><")
    yield look.bold(head)
    yield from lines


def _dims(table: TableCount) -> str:
    if table.dims is None:
        return "-"
    smallest, largest = table.dims
    return str(smallest) if smallest == largest else f"{smallest}-{largest}"


def tables_document(tables: Sequence[TableCount]) -> list[dict[str, object]]:
    """The JSON document: an object a table."""
    return [
        {
            "name": name_json(table.name),
            "kind": table.kind,
            "entries": table.entries,
            "shards": table.shards,
            "bytes": table.bytes,
            "dim": table.dim,
            "optimizers": table.optimizers,
            "slots": None if table.slot_counts is None else len(table.slot_counts),
        }
        for table in tables
    ]
