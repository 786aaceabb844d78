"""What a checkpoint is made of: the lines of `ckpt show`, and its JSON document."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from monolith_cli.reports.text import (
    PLAIN,
    Look,
    bytes_text,
    columns,
    count_text,
    name_json,
    name_text,
)

if TYPE_CHECKING:
    from monolith_cli.checkpoint.dense import DenseVariable
    from monolith_cli.tables.listing import CheckpointListing

__all__ = ["listing_document", "listing_lines"]


def listing_lines(
    listing: CheckpointListing, *, model_dir: str, step: int | None, look: Look = PLAIN
) -> Iterator[str]:
    """Totals, then a row a table, a row a variable, a row a file."""
    where = name_text(model_dir)
    yield look.bold(where if step is None else f"{where}, step {step}")
    tables = sum(table.kind != "filter" for table in listing.tables)
    variables = len(listing.variables)
    yield (
        f"{_total_text(tables, 'table', listing.table_bytes)};"
        f" {_total_text(variables, 'dense variable', listing.dense_bytes)}"
        + (", values not verified" if variables else "")
    )
    variable_rows = _variable_rows(listing)
    if not any(variable.sub_graph for variable in listing.variables):
        variable_rows = [row[1:] for row in variable_rows]
    sections = (
        (_table_rows(listing), "<<>>>"),
        (variable_rows, "<<<<>"[-len(variable_rows[0]) :]),
        (_file_rows(listing, model_dir), "<<>"),
    )
    for rows, align in sections:
        if len(rows) > 1:
            yield ""
            head, *lines = columns(rows, align)
            yield look.bold(head)
            yield from lines


def _total_text(count: int, what: str, size: int | None) -> str:
    if size is not None:
        return f"{count_text(count, what)}, {bytes_text(size)}"
    return f"{count_text(count, what)} and more" if count else f"{what}s cannot be read"


def _table_rows(listing: CheckpointListing) -> list[tuple[str, ...]]:
    return [
        ("table", "kind", "entries", "shards", "size"),
        *(
            (
                name_text(table.name),
                table.kind,
                "-" if table.entries is None else f"{table.entries:,}",
                f"{table.shards:,}",
                "-" if table.bytes is None else bytes_text(table.bytes),
            )
            for table in listing.tables
        ),
    ]


def _variable_rows(listing: CheckpointListing) -> list[tuple[str, ...]]:
    """With a column for the sub graph, which is empty but in an export of several."""
    return [
        ("sub graph", "variable", "dtype", "shape", "size"),
        *(
            (
                name_text(variable.sub_graph),
                name_text(variable.name),
                variable.dtype,
                _shape_text(variable),
                bytes_text(variable.bytes),
            )
            for variable in listing.variables
        ),
    ]


def _shape_text(variable: DenseVariable) -> str:
    shape = f"[{', '.join(map(str, variable.shape))}]"
    return f"{shape} in {variable.slices:,} parts" if variable.slices > 1 else shape


def _file_rows(listing: CheckpointListing, model_dir: str) -> list[tuple[str, ...]]:
    return [
        ("file", "what", "size"),
        *(
            (
                name_text(_relative(file.path, model_dir)),
                file.what,
                "missing" if file.bytes is None else bytes_text(file.bytes),
            )
            for file in listing.files
        ),
    ]


def _relative(path: str, model_dir: str) -> str:
    """A path below the model directory without that; any other as it is."""
    below = os.path.relpath(path, model_dir)
    return path if below.startswith(os.pardir) else below


def listing_document(
    listing: CheckpointListing, *, model_dir: str, step: int | None
) -> dict[str, object]:
    """The JSON document."""
    return {
        "model_dir": name_json(model_dir),
        "step": step,
        "dense_bytes": listing.dense_bytes,
        "table_bytes": listing.table_bytes,
        "tables": [
            {
                "name": name_json(table.name),
                "kind": table.kind,
                "entries": table.entries,
                "shards": table.shards,
                "bytes": table.bytes,
            }
            for table in listing.tables
        ],
        "variables": [
            {
                "name": name_json(variable.name),
                "dtype": variable.dtype,
                "shape": list(variable.shape),
                "bytes": variable.bytes,
                "slices": variable.slices,
                "sub_graph": name_json(variable.sub_graph) or None,
            }
            for variable in listing.variables
        ],
        "files": [
            {"path": name_json(file.path), "bytes": file.bytes, "what": file.what}
            for file in listing.files
        ],
        "problems": [name_json(str(problem)) for problem in listing.problems],
    }
