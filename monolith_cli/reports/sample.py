"""What `sample` says about the directory that it wrote."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from monolith_cli.reports.text import bytes_text, count_text, name_text

if TYPE_CHECKING:
    from monolith_cli.samples.sample import Sample

__all__ = ["sample_document", "sample_lines"]


def sample_lines(sample: Sample, model_dir: str) -> Iterator[str]:
    """A line: where, which step, how much."""
    entries = count_text(sum(table.entries for table in sample.tables), "entry", "entries")
    tables = count_text(len(sample.tables), "table")
    size = bytes_text(sample.stored_bytes)
    yield f"{name_text(model_dir)}, step {sample.step}: {entries} in {tables}, {size}"


def sample_document(sample: Sample, model_dir: str) -> dict[str, object]:
    """The JSON document."""
    return {
        "model_dir": model_dir,
        "step": sample.step,
        "entries": sum(table.entries for table in sample.tables),
        "tables": [
            {"name": table.name, "entries": table.entries, "slots": list(table.slots)}
            for table in sample.tables
        ],
        "shards": sample.shards,
        "bytes": sample.stored_bytes,
    }
