"""Tables of a checkpoint: one interface, whether a table has its files to itself or shares them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from monolith_cli.execution.workers import Workers
from monolith_cli.tables.stream import EntryStream

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from concurrent.futures import Executor

    from monolith_cli.formats.tfrecord import DumpFile, Skipped
    from monolith_cli.tables.columns import Columns
    from monolith_cli.tables.multi_dump import MultiDump
    from monolith_cli.tables.pages import Page
    from monolith_cli.tables.stream import EntryFilter, Extent, ReadOptions

__all__ = ["Table", "entry_stream", "shared_dumps"]


class Table(Protocol):
    """A hash table in a checkpoint: entries, each a feature id with its vector and more.

    Entries come in the order of the files. Nothing is read before it is asked for. Where a pass
    over data is made, `jobs` threads make it (None: as many as there are processors), or an
    `executor` that is handed in, which is not shut down.
    """

    @property
    def name(self) -> str:
        """A single table's base name, or its name in a multi table's contents file."""

    @property
    def kind(self) -> str:
        """`single` or `multi`."""

    @property
    def options(self) -> ReadOptions:
        """How its files are read."""

    @property
    def shards(self) -> int:
        """The number of its files."""

    @property
    def files(self) -> Sequence[DumpFile]:
        """Its files in order; those of a multi table hold other tables as well."""

    @property
    def dumps(self) -> Sequence[MultiDump]:
        """The dumps that it shares with other tables; none if it has its files to itself."""

    @property
    def stored_bytes(self) -> int | None:
        """The size on disk; None for a multi table, which shares its files."""

    @property
    def promised_entries(self) -> int | None:
        """How many entries a contents file says there are; None for a single table."""

    @property
    def copies(self) -> list[tuple[str, str]]:
        """Pairs of a file, contents files too, and one that another server has of it."""

    @property
    def stream(self) -> EntryStream:
        """Its entries as one stream of bytes, which positions and cursors are of."""

    def extents(self, jobs: int | None = 1, executor: Executor | None = None) -> list[Extent]:
        """Where its entries lie. Costs one pass over a multi dump's files the first time.

        Raises
        ------
        CorruptionError
            Damage met on that pass, unless it is to be skipped.
        """

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
        """A page of entries, in time proportional to the page.

        Parameters
        ----------
        offset
            0 for the start of the partition, else the `next_offset` of the page before.
        limit
            At most so many entries; fewer come only when the partition is finished.
        shard, nshards
            Which of how many partitions, whatever the number of files: together they hold every
            entry once.
        chosen
            Which entries are wanted; `limit` counts those.
        jobs, executor
            Who makes the pass over a multi dump's files, the first time.

        Raises
        ------
        UsageError
            `limit` < 1, or not 0 <= shard < nshards.
        CursorError
            `offset` points at no record of the partition. One behind the end gives an empty page.
        CorruptionError
            Damage in the page, unless it is to be skipped.
        PathNotFoundError, NotReadableError, ChangedWhileReadError
            A file went away, or changed.
        """

    def save_as_tensor(
        self, shard_idx: int, num_shards: int, limit: int, offset: int
    ) -> tuple[int, list[bytes]]:
        """The page as `(new offset, serialized EntryDump records)`: the protocol of all tables.

        The new offset is > 0, and larger than the given one unless the page is empty. Raises as
        `page`.
        """

    def __iter__(self) -> Iterator[bytes]:
        """All entries, serialized. Raises as `page`."""

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
        """Entries as NumPy arrays by name; see `monolith_cli.tables.columns.read_columns`."""

    def skipped(self) -> list[Skipped]:
        """The damage that pages of this table have skipped so far, each place once.

        Of a multi table also the damage that was met when its extents were looked for, which may
        lie in its neighbours.
        """

    def warnings(self) -> list[str]:
        """Oddities that are no damage, found by `extents`: a phrase each."""


def entry_stream(
    tables: Sequence[Table],
    *,
    unattributed: bool = False,
    jobs: int | None = 1,
    executor: Executor | None = None,
) -> EntryStream:
    """The entries of several tables as one stream, one table after another.

    Parameters
    ----------
    unattributed
        At the end, also the entries of which damage hides the table they belong to.
    jobs, executor
        Who makes the pass over the files of multi tables that finds out where their entries lie.

    Raises
    ------
    CorruptionError
        As `Table.extents`.
    """
    dumps = shared_dumps(tables)
    if dumps:
        from monolith_cli.tables.extents import find_extents

        with Workers(jobs, executor) as workers:
            find_extents(dumps, workers)
    extents = [extent for table in tables for extent in table.extents()]
    if unattributed:
        extents += [extent for dump in dumps for extent in dump.extents_of(None)]
    return EntryStream(extents)


def shared_dumps(tables: Iterable[Table]) -> list[MultiDump]:
    """The dumps that tables share, each once."""
    return list({id(dump): dump for table in tables for dump in table.dumps}.values())
