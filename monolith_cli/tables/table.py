"""Tables of a checkpoint: one interface, whether a table has its files to itself or shares them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monolith_cli.formats.tfrecord import DumpFile
from monolith_cli.tables.multi import MultiDump, extra_records, find_extents
from monolith_cli.tables.pages import Page, Pager
from monolith_cli.tables.skipped import distinct
from monolith_cli.tables.stream import EntryFilter, EntryStream, Extent, ReadOptions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from monolith_cli.checkpoint.shard_set import ShardSet
    from monolith_cli.formats.tfrecord import Skipped
    from monolith_cli.tables.columns import Columns

__all__ = ["MultiTable", "SingleTable", "Table", "entry_stream"]


class Table:
    """A hash table in a checkpoint: entries, each a feature id with its vector and more.

    Entries come in the order of the files. Nothing is read before it is asked for.

    Attributes
    ----------
    name
        A single table's base name, or its name in a multi table's table of contents.
    kind
        `single` or `multi`.
    options
        How its files are read.
    """

    kind = ""

    def __init__(self, name: str, options: ReadOptions) -> None:
        self.name = name
        self.options = options
        self._pager: Pager | None = None

    def __repr__(self) -> str:
        return f"<{self.kind} table {self.name!r}>"

    @property
    def shards(self) -> int:
        """The number of its files."""
        return len(self.files)

    @property
    def files(self) -> list[DumpFile]:
        """Its files in order; those of a multi table hold other tables as well."""
        raise AttributeError("files")

    @property
    def stored_bytes(self) -> int | None:
        """The size on disk; None for a multi table, which shares its files."""
        return None

    @property
    def promised_entries(self) -> int | None:
        """How many entries a table of contents says there are; None for a single table."""
        return None

    @property
    def copies(self) -> list[tuple[str, str]]:
        """Pairs of a file, tables of contents too, and one that another server has of it."""
        raise AttributeError("copies")

    def extents(self, jobs: int = 1) -> list[Extent]:
        """Where its entries lie. Costs one pass over a multi dump's files the first time, by `jobs`
        threads.

        Raises
        ------
        CorruptionError
            Damage met on that pass, unless it is to be skipped.
        """
        raise AttributeError("extents")

    @property
    def stream(self) -> EntryStream:
        """Its entries as one stream of bytes, which positions and cursors are of."""
        return self._pages().stream

    def page(
        self,
        offset: int = 0,
        limit: int = 1000,
        *,
        shard: int = 0,
        nshards: int = 1,
        chosen: EntryFilter | None = None,
    ) -> Page:
        """A page of entries, in time proportional to the page.

        Parameters
        ----------
        offset
            0 for the start of the shard, else the `next_offset` of the page before.
        limit
            At most so many entries; fewer come only when the shard is finished.
        shard, nshards
            Any number of shards, whatever the number of files: together they hold every entry
            once.
        chosen
            Which entries are wanted; `limit` counts those.

        Raises
        ------
        UsageError
            `limit` < 1, or not 0 <= shard < nshards.
        CursorError
            `offset` points at no record of the shard. One behind the end gives an empty page.
        CorruptionError
            Damage in the page, unless it is to be skipped.
        PathNotFoundError, NotReadableError, ChangedWhileReadError
            A file went away, or changed.
        """
        return self._pages().page(offset, limit, shard, nshards, chosen)

    def save_as_tensor(
        self, shard_idx: int, num_shards: int, limit: int, offset: int
    ) -> tuple[int, list[bytes]]:
        """The page as `(new offset, serialized EntryDump records)`: the protocol of all tables.

        The new offset is > 0, and larger than the given one unless the page is empty. Raises as
        `page`.
        """
        page = self.page(offset, limit, shard=shard_idx, nshards=num_shards)
        return page.next_offset, page.entries

    def __iter__(self) -> Iterator[bytes]:
        """All entries, serialized. Raises as `page`."""
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
        jobs: int = 1,
    ) -> Columns:
        """Entries as NumPy arrays by name; see `monolith_cli.tables.columns.read_columns`."""
        from monolith_cli.tables.columns import read_columns

        return read_columns(self, columns, shard, nshards, chosen, jobs)

    def skipped(self) -> list[Skipped]:
        """The damage that pages of this table have skipped so far, each place once.

        Of a multi table also the damage that was met when its extents were looked for, which may
        lie in its neighbours.
        """
        return distinct(self._pager.skipped if self._pager else [])

    def warnings(self) -> list[str]:
        """Oddities that are no damage, found by `extents`: a phrase each."""
        return []

    def _pages(self) -> Pager:
        if self._pager is None:
            self._pager = Pager(EntryStream(self.extents()), self.options)
        return self._pager


class SingleTable(Table):
    """A table with files of its own."""

    kind = "single"

    def __init__(self, name: str, shards: ShardSet, options: ReadOptions) -> None:
        super().__init__(name, options)
        self._files = [DumpFile(path, "plain", options.max_record_bytes) for path in shards.paths]
        self._set = shards

    @property
    def files(self) -> list[DumpFile]:
        return self._files

    @property
    def stored_bytes(self) -> int:
        return self._set.stored_bytes

    @property
    def copies(self) -> list[tuple[str, str]]:
        return list(self._set.copies)

    def extents(self, jobs: int = 1) -> list[Extent]:
        return [Extent(file, 0, file.stream_bytes, self.name) for file in self._files]


class MultiTable(Table):
    """A table that shares its files with others."""

    kind = "multi"

    def __init__(self, name: str, dumps: Sequence[MultiDump], options: ReadOptions) -> None:
        super().__init__(name, options)
        self.dumps = dumps

    @property
    def files(self) -> list[DumpFile]:
        return [file for dump in self.dumps for file in dump.files]

    @property
    def promised_entries(self) -> int:
        return sum(dump.entries().get(self.name, 0) for dump in self.dumps)

    @property
    def copies(self) -> list[tuple[str, str]]:
        return [pair for dump in self.dumps for pair in dump.copies]

    def extents(self, jobs: int = 1) -> list[Extent]:
        find_extents(self.dumps, jobs)
        return [
            extent
            for dump in self.dumps
            for shard in dump.all_extents()
            for extent in shard.extents
            if extent.table == self.name
        ]

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


def entry_stream(
    tables: Sequence[Table], *, unattributed: bool = False, jobs: int = 1
) -> EntryStream:
    """The entries of several tables as one stream, one table after another.

    Parameters
    ----------
    unattributed
        At the end, also the entries of which damage hides the table they belong to.
    jobs
        Threads for the pass over the files of multi tables that finds out where their entries lie.

    Raises
    ------
    CorruptionError
        As `Table.extents`.
    """
    multis = [table for table in tables if isinstance(table, MultiTable)]
    dumps = list({id(dump): dump for table in multis for dump in table.dumps}.values())
    find_extents(dumps, jobs)
    extents = [extent for table in tables for extent in table.extents()]
    if unattributed:
        extents += [
            extent
            for dump in dumps
            for shard in dump.all_extents()
            for extent in shard.extents
            if extent.table is None
        ]
    return EntryStream(extents)
