"""Tables that share their files with others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monolith_cli.execution.workers import Workers
from monolith_cli.tables.extents import extra_records, find_extents
from monolith_cli.tables.paged import PagedTable
from monolith_cli.tables.skipped import distinct

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Executor

    from monolith_cli.formats.tfrecord import DumpFile, Skipped
    from monolith_cli.tables.multi_dump import MultiDump
    from monolith_cli.tables.stream import Extent, ReadOptions

__all__ = ["MultiTable"]


class MultiTable(PagedTable):
    """A table that shares its files with others."""

    def __init__(self, name: str, dumps: Sequence[MultiDump], options: ReadOptions) -> None:
        super().__init__(name, options)
        self._dumps = dumps

    @property
    def kind(self) -> str:
        return "multi"

    @property
    def files(self) -> list[DumpFile]:
        return [file for dump in self.dumps for file in dump.files]

    @property
    def dumps(self) -> Sequence[MultiDump]:
        return self._dumps

    @property
    def stored_bytes(self) -> None:
        return None

    @property
    def promised_entries(self) -> int:
        return sum(dump.entries().get(self.name, 0) for dump in self.dumps)

    @property
    def copies(self) -> list[tuple[str, str]]:
        return [pair for dump in self.dumps for pair in dump.copies]

    def extents(self, jobs: int | None = 1, executor: Executor | None = None) -> list[Extent]:
        with Workers(jobs, executor) as workers:
            find_extents(self.dumps, workers)
        return [extent for dump in self.dumps for extent in dump.extents_of(self.name)]

    def skipped(self) -> list[Skipped]:
        found = [
            damage
            for dump in self.dumps
            for shard in dump.all_extents()
            for damage in shard.skipped
        ]
        return distinct([*found, *super().skipped()])

    def warnings(self) -> list[str]:
        found = [
            extra_records(file, shard.extra)
            for dump in self.dumps
            for file, shard in zip(dump.files, dump.all_extents(), strict=True)
        ]
        return [warning for warning in found if warning]
