"""Many tables in one file: the files of a dump, and their contents files.

Shard k's `.meta` file names the tables of shard k's data file in order, with their numbers of
entries. Nothing in the data says where a table ends: see `extents`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from monolith_cli.errors import CorruptionError, RecordCountError
from monolith_cli.formats.tfrecord import DumpFile, Skipped, read_records
from monolith_cli.formats.wire import TableMeta, parse_table_meta
from monolith_cli.tables.extents import ShardExtents, find_extents

if TYPE_CHECKING:
    from monolith_cli.checkpoint.shard_set import ShardSet
    from monolith_cli.tables.stream import Extent, ReadOptions

__all__ = ["MultiDump", "least_bytes", "read_contents"]

_CONTENTS_HINT = "restore it: without it nobody knows which entries belong to which table"

_MOST_ENTRIES = 2**63 - 1
"""What ckpt.info has room for (an int64)."""

_LEAST = 16 * 3 / 64
"""Bytes of a record on disk: its frame has 16 bytes, and 3 bytes of Snappy stand for 64 at most."""


class MultiDump:
    """A multi table dump: its files, and their contents files.

    Parameters
    ----------
    data, meta
        The two sharded files, of equally many shards.

    Raises
    ------
    CorruptionError
        A contents file is damaged, empty where it cannot be, or names fewer tables than others.
    PathNotFoundError, NotReadableError, ChangedWhileReadError
        As `read_records`.
    """

    def __init__(self, data: ShardSet, meta: ShardSet, options: ReadOptions) -> None:
        self.base = data.base
        self.copies = [*data.copies, *meta.copies]
        self.options = options
        self.files = [DumpFile(path, "snappy", options.max_record_bytes) for path in data.paths]
        self.contents = [read_contents(path, options) for path in meta.paths]
        self._meta_paths = meta.paths
        self.sizes = data.sizes()
        self._check_contents()
        self._too_small = [
            shard
            for shard, size in enumerate(self.sizes)
            if size < least_bytes(self.expected(shard))
        ]
        self._entries = self._count()
        self._found: dict[int, ShardExtents] = {}
        self._by_table: dict[str | None, list[Extent]] | None = None

    def _check_contents(self) -> None:
        """Whether every contents file names all tables, as each does that is whole."""
        if any(self.sizes) or any(self.contents):
            for path, contents, size in zip(
                self._meta_paths, self.contents, self.sizes, strict=True
            ):
                if not contents:
                    raise CorruptionError(
                        f"an empty contents file, beside {size} bytes of entries"
                        if size
                        else "an empty contents file, while others of the dump name tables",
                        path=path,
                        hint=_CONTENTS_HINT,
                        kind="empty_contents",
                    )
        names = [{table.table_name for table in contents} for contents in self.contents]
        every = set().union(*names)
        for path, here in zip(self._meta_paths, names, strict=True):
            if len(here) < len(every):
                raise CorruptionError(
                    f"names {len(here)} of the {len(every)} tables that the contents files of"
                    f" '{self.base}' name together: it may be cut short",
                    path=path,
                    hint=_CONTENTS_HINT,
                    kind="short_contents",
                )

    def shortfall(self) -> RecordCountError | None:
        """The error of data files that are too small for what is promised, by their size alone.

        None means nothing: only reading the files tells.
        """
        if not self._too_small:
            return None
        error = self._shortfall(self._too_small[0])
        others = len(self._too_small) - 1
        if others:
            error.hint = f"restore it, like {others} more of its dump"
        return error

    def too_small(self) -> list[Skipped]:
        """The same as damage, a place a file; `entries` leaves out what was in them."""
        errors = map(self._shortfall, self._too_small)
        return [
            Skipped(error.path or "", error.kind, error.what, error.offset or 0, 0, 0, False)
            for error in errors
        ]

    def _shortfall(self, shard: int) -> RecordCountError:
        promised, size = self.expected(shard), self.sizes[shard]
        from monolith_cli.formats.magic import what_the_file_is

        known = what_the_file_is(self.files[shard].path) if size else None
        if known is not None:
            return RecordCountError(
                f"this is {known.name}",
                path=self.files[shard].path,
                hint=known.remedy,
                kind="not_records",
            )
        nothing = f"no bytes, where its contents file promises {promised} records"
        few = f"too small for the {promised} records that its contents file promises"
        return RecordCountError(
            few if size else nothing,
            path=self.files[shard].path,
            offset=size,
            hint="restore it",
            kind=None if size else "empty_shard",
        )

    def entries(self) -> dict[str, int]:
        """Entries by table, as the contents files have them, in order of first mention.

        Those of files that are too small for them are left out.
        """
        return self._entries

    def _count(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for shard, contents in enumerate(self.contents):
            for table in contents:
                entries = 0 if shard in self._too_small else table.num_entries
                counts[table.table_name] = counts.get(table.table_name, 0) + entries
        return counts

    def expected(self, shard: int) -> int:
        """How many entries a shard's contents file promises."""
        return sum(table.num_entries for table in self.contents[shard])

    def shard_extents(self, shard: int) -> ShardExtents:
        """Where the tables of a shard lie; a pass over its file the first time.

        Raises
        ------
        RecordCountError
            The file has fewer records than promised, and damage is not to be skipped.
        CorruptionError
            Damage, likewise.
        """
        find_extents([self], only=shard)
        return self._found[shard]

    def all_extents(self) -> list[ShardExtents]:
        """Those of all shards. Raises as `shard_extents`."""
        find_extents([self])
        return [self._found[shard] for shard in range(len(self.files))]

    def extents_of(self, table: str | None) -> list[Extent]:
        """Where a table's entries lie; of None those whose table nobody knows. Raises as
        `shard_extents`."""
        if self._by_table is None:
            by_table: dict[str | None, list[Extent]] = {}
            for shard in self.all_extents():
                for extent in shard.extents:
                    by_table.setdefault(extent.table, []).append(extent)
            self._by_table = by_table
        return self._by_table.get(table, [])

    def unknown_shards(self) -> list[int]:
        """The shards that a pass over their files is still to be made for."""
        return [shard for shard in range(len(self.files)) if shard not in self._found]

    def keep(self, shard: int, found: ShardExtents) -> None:
        """Note where the tables of a shard lie, so that nobody looks again."""
        self._found[shard] = found


def least_bytes(records: int) -> float:
    """How large a file with so many records is at least, however well they compress."""
    return records * _LEAST


def read_contents(path: str, options: ReadOptions) -> list[TableMeta]:
    """What one contents file says. Raises as `MultiDump`."""
    contents = []
    try:
        records = read_records(path, max_record_bytes=options.max_record_bytes)
        for record, data in enumerate(records):
            try:
                table = parse_table_meta(data)
                if table.num_entries > _MOST_ENTRIES:
                    raise ValueError(f"it promises {table.num_entries} entries")
                contents.append(table)
            except ValueError as error:
                raise CorruptionError(
                    f"not a contents file: {error}", path=path, record=record, kind="bad_message"
                ) from None
    except CorruptionError as error:
        if error.kind != "not_records":
            error.hint = _CONTENTS_HINT
        raise
    return contents
