"""Tables with files of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monolith_cli.formats.tfrecord import DumpFile
from monolith_cli.tables.paged import PagedTable
from monolith_cli.tables.stream import Extent, ReadOptions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Executor

    from monolith_cli.checkpoint.shard_set import ShardSet
    from monolith_cli.tables.multi_dump import MultiDump

__all__ = ["SingleTable"]


class SingleTable(PagedTable):
    """A table with files of its own."""

    def __init__(self, name: str, shards: ShardSet, options: ReadOptions) -> None:
        super().__init__(name, options)
        self._files = [DumpFile(path, "plain", options.max_record_bytes) for path in shards.paths]
        self._set = shards

    @property
    def kind(self) -> str:
        return "single"

    @property
    def files(self) -> list[DumpFile]:
        return self._files

    @property
    def dumps(self) -> Sequence[MultiDump]:
        return ()

    @property
    def promised_entries(self) -> None:
        return None

    @property
    def stored_bytes(self) -> int:
        return self._set.stored_bytes

    @property
    def copies(self) -> list[tuple[str, str]]:
        return list(self._set.copies)

    def extents(self, jobs: int | None = 1, executor: Executor | None = None) -> list[Extent]:
        return [Extent(file, 0, file.stream_bytes, self.name) for file in self._files]
