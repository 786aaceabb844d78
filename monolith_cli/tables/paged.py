"""What both kinds of tables have in common: pages and columns of a stream of entries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monolith_cli.tables.skipped import distinct
from monolith_cli.tables.stream import EntryStream
from monolith_cli.tables.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Executor

    from monolith_cli.formats.tfrecord import Skipped
    from monolith_cli.tables.columns import Columns
    from monolith_cli.tables.pages import Page, Pager
    from monolith_cli.tables.stream import EntryFilter, ReadOptions

__all__ = ["PagedTable"]


class PagedTable(Table):
    """A table whose pages and columns follow from where its entries lie, in `extents`."""

    def __init__(self, name: str, options: ReadOptions) -> None:
        self._name = name
        self._options = options
        self._pager: Pager | None = None

    def __repr__(self) -> str:
        return f"<{self.kind} table {self.name!r}>"

    @property
    def name(self) -> str:
        return self._name

    @property
    def options(self) -> ReadOptions:
        return self._options

    @property
    def shards(self) -> int:
        return len(self.files)

    @property
    def stream(self) -> EntryStream:
        return self._pages(1, None).stream

    def page(
        self,
        offset: int = 0,
        limit: int = 1000,
        *,
        shard: int = 0,
        nshards: int = 1,
        chosen: EntryFilter | None = None,
        jobs: int | None = 1,
        executor: Executor | None = None,
    ) -> Page:
        return self._pages(jobs, executor).page(offset, limit, shard, nshards, chosen)

    def save_as_tensor(
        self, shard_idx: int, num_shards: int, limit: int, offset: int
    ) -> tuple[int, list[bytes]]:
        page = self.page(offset, limit, shard=shard_idx, nshards=num_shards)
        return page.next_offset, page.entries

    def __iter__(self) -> Iterator[bytes]:
        offset, done = 0, False
        while not done:
            entries, offset, done = self.page(offset, 1000)
            yield from entries

    def read_columns(
        self,
        columns: Iterable[str] | None = None,
        *,
        shard: int = 0,
        nshards: int = 1,
        chosen: EntryFilter | None = None,
        jobs: int | None = 1,
        executor: Executor | None = None,
    ) -> Columns:
        from monolith_cli.tables.columns import read_columns

        return read_columns(self, columns, shard, nshards, chosen, jobs, executor)

    def skipped(self) -> list[Skipped]:
        return distinct(self._pager.skipped if self._pager else [])

    def warnings(self) -> list[str]:
        return []

    def _pages(self, jobs: int | None, executor: Executor | None) -> Pager:
        if self._pager is None:
            from monolith_cli.tables.pages import Pager

            self._pager = Pager(EntryStream(self.extents(jobs, executor)), self.options)
        return self._pager
