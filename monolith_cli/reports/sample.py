"""What `sample` says about the directory that it wrote."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from monolith_cli.reports.model import Report, Section, Text
from monolith_cli.reports.text import bytes_text, count_text

if TYPE_CHECKING:
    from monolith_cli.samples.sample import Sample

__all__ = ["SampleReport"]


class SampleReport(Report):
    """A sentence: where, which step, how much."""

    def __init__(self, sample: Sample, *, model_dir: str) -> None:
        self.sample = sample
        self.model_dir = model_dir
        self.entries = sum(table.entries for table in sample.tables)

    def sections(self) -> Iterator[Section]:
        entries = count_text(self.entries, "entry", "entries")
        tables = count_text(len(self.sample.tables), "table")
        size = bytes_text(self.sample.stored_bytes)
        yield [
            Text(f"{self.model_dir}, step {self.sample.step}: {entries} in {tables}, {size}"),
        ]

    def document(self) -> dict[str, object]:
        sample = self.sample
        return {
            "model_dir": self.model_dir,
            "step": sample.step,
            "entries": self.entries,
            "tables": [
                {"name": table.name, "entries": table.entries, "slots": list(table.slots)}
                for table in sample.tables
            ],
            "shards": sample.shards,
            "bytes": sample.stored_bytes,
        }
