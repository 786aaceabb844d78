"""What an export has written: what `table export` shows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from monolith_cli.reports.model import (
    BYTES,
    COUNT,
    NAME,
    Column,
    Facts,
    Report,
    Section,
    Table,
    Text,
    Title,
)
from monolith_cli.reports.text import bytes_text, count_text

if TYPE_CHECKING:
    from monolith_cli.care.export import Exported

__all__ = ["ExportReport"]


class ExportReport(Report):
    """Where it is, and a row for each table."""

    def __init__(self, exported: Exported, *, model_dir: str, format: str) -> None:
        self.exported = exported
        self.model_dir = model_dir
        self.format = format

    def sections(self) -> Iterator[Section]:
        done = self.exported
        step = "" if done.step is None else f"step {done.step} of "
        files = sum(table.files for table in done.tables)
        size = sum(table.bytes for table in done.tables)
        entries = sum(table.entries for table in done.tables)
        yield [
            Title(done.path, f", {step}{self.model_dir}"),
            Text(
                f"{count_text(entries, 'entry', 'entries')},"
                f" {count_text(len(done.tables), 'table')}, {count_text(files, 'file')},"
                f" {bytes_text(size)}"
            ),
        ]
        if not done.tables:
            return
        columns = (
            Column("table", NAME),
            Column("folder", NAME),
            Column("entries", COUNT),
            Column("files", COUNT),
            Column("bytes", BYTES),
        )
        rows = [
            (
                table.name,
                table.folder,
                table.entries,
                table.files,
                table.bytes,
            )
            for table in done.tables
        ]
        yield [Table(columns, rows)]
        same = {tuple(table.columns) for table in done.tables}
        if len(same) == 1:  # else JSON has them
            facts = [(column.name, column.text) for column in same.pop()]
            yield [Facts(facts)]

    def document(self) -> dict[str, object]:
        done = self.exported
        return {
            "model_dir": self.model_dir,
            "step": done.step,
            "to": done.path,
            "format": self.format,
            "tables": [
                {
                    "name": table.name,
                    "folder": table.folder,
                    "entries": table.entries,
                    "files": table.files,
                    "bytes": table.bytes,
                    "columns": [
                        {"name": column.name, "type": column.text} for column in table.columns
                    ],
                }
                for table in done.tables
            ],
        }
