"""Counting a checkpoint: entries by slot, by table, and what a scan sees besides.

Single tables are read whole. Of multi tables the tables of contents are enough for their numbers
of entries; their data is read when it is asked for.
"""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli import _native
from monolith_cli.errors import CorruptionError, PathNotFoundError
from monolith_cli.fid import version_number
from monolith_cli.formats.ckpt_info import CkptInfo
from monolith_cli.formats.tfrecord import MAX_RECORD_BYTES, Skipped
from monolith_cli.tables.found import NO_TABLES, FoundTables, find_tables
from monolith_cli.tables.hash_filters import HashFilterSummary, summarize_hash_filter
from monolith_cli.tables.multi import (
    MultiDump,
    extra_records,
    find_extents,
    too_few_records,
)
from monolith_cli.tables.ranges import read_ranges
from monolith_cli.tables.skipped import distinct
from monolith_cli.tables.stream import EntryFilter, EntryStream, Extent, ReadOptions
from monolith_cli.tables.table import MultiTable, Table

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from monolith_cli.checkpoint.checkpoint import Checkpoint
    from monolith_cli.formats.tfrecord import DumpFile
    from monolith_cli.tables.ranges import Piece

__all__ = [
    "CheckpointCounts",
    "CountOptions",
    "TableCount",
    "count_checkpoint",
    "usable_processors",
]


_RANK_0 = "_0"
"""What names of rank 0's tables end in."""


class CountOptions(NamedTuple):
    """What is counted, and how.

    Attributes
    ----------
    patterns
        Shell patterns of table names; none means all.
    slots, fids
        Only entries in these slot ranges (both ends included), with these fids.
    fid_version
        `v1` or `v2`: which bits of a fid are its slot.
    scan_multi
        Read the data of multi tables too, and compare the copies of files that several servers of
        an export have. Selecting entries reads the data in any case.
    by_table
        With that, count slots, dims and optimizers of each multi table; a second pass.
    verify
        Check the records' checksums.
    skip_corrupt
        Read on behind damage, and list it.
    partial
        Count what is whole where tables are not, and list what is wrong with those in `problems`.
    max_record_bytes
        Longer records are damage.
    jobs
        Threads; None for as many as there are processors to use.
    """

    patterns: Sequence[str] = ()
    slots: Sequence[tuple[int, int]] = ()
    fids: Sequence[int] = ()
    fid_version: str = "v2"
    scan_multi: bool = False
    by_table: bool = False
    verify: bool = True
    skip_corrupt: bool = False
    partial: bool = False
    max_record_bytes: int = MAX_RECORD_BYTES
    jobs: int | None = None


class TableCount(NamedTuple):
    """One table's counts.

    Attributes
    ----------
    name, kind
        As in `Table`.
    entries
        How many it has, of those that were selected.
    shards
        The number of its files.
    bytes
        On disk; None for a multi table, which shares its files.
    verified
        Whether every entry was read, with its checksum.
    dim
        The number of floats of an entry's embedding; None if entries differ, there are none, or
        they were not read.
    dims
        The smallest and the largest of those numbers; None if no entry was read.
    optimizers
        The types of optimizer state, by number of their field; None if entries were not read.
    slot_counts
        Entries by slot; None if entries were not read.
    damaged
        Whether damage was skipped in its files, which tables of a dump share.
    """

    name: str
    kind: str
    entries: int
    shards: int
    bytes: int | None
    verified: bool
    dim: int | None = None
    dims: tuple[int, int] | None = None
    optimizers: list[str] | None = None
    slot_counts: dict[int, int] | None = None
    damaged: bool = False


class CheckpointCounts:
    """The counts of one checkpoint.

    Attributes
    ----------
    tables
        A `TableCount` each, single tables first.
    slot_counts
        Entries by slot, ascending, of all entries that were read.
    single_slot_counts
        The same of single tables only.
    feature_counts
        Entries by name, of multi tables.
    unattributed
        Entries between damaged places of a multi table's file, whose table nobody knows.
    extra
        Records behind those that tables of contents promise, by path; they are not counted, and
        nobody knows of which table they are.
    hash_filters
        A summary of each occurrence filter.
    skipped
        Damage that was skipped.
    problems
        Only with `CountOptions.partial`: what is wrong with tables and filters that are not whole,
        and were left out; also with those that were not asked for; and `differing`.
    differing
        Copies of files that were counted, whose bytes are others.
    unread_copies
        How many copies of files there are that were compared by their sizes alone.
    warnings
        Oddities that are no damage, a phrase each.
    rank_0
        The counts of rank 0 alone, as full sync training writes them: of the dumps, or tables in
        them, whose names end in `_0`.
    found
        What was there to count, and beside it.
    """

    def __init__(self) -> None:
        self.tables: list[TableCount] = []
        self.slot_counts: dict[int, int] = {}
        self.single_slot_counts: dict[int, int] = {}
        self.feature_counts: dict[str, int] = {}
        self.unattributed = 0
        self.extra: dict[str, int] = {}
        self.hash_filters: list[HashFilterSummary] = []
        self.skipped: list[Skipped] = []
        self.problems: list[CorruptionError] = []
        self.differing: list[CorruptionError] = []
        self.unread_copies = 0
        self.warnings: list[str] = []
        self.rank_0 = CkptInfo({}, {})
        self.found: FoundTables | None = None

    @property
    def entries(self) -> int:
        """All entries together."""
        return sum(table.entries for table in self.tables) + self.unattributed

    @property
    def is_whole(self) -> bool:
        """Whether nothing was left out, neither damaged data nor tables that are not whole.

        Records that no table of contents promises are not looked at: see `extra`.
        """
        return not self.skipped and not self.problems

    def ckpt_info(self) -> CkptInfo:
        """What `ckpt.info-<step>` has to say: slots of single tables, or names of multi tables.

        With any multi table the training system writes those alone.
        """
        if self.feature_counts:
            return CkptInfo({}, dict(self.feature_counts))
        return CkptInfo(dict(self.single_slot_counts), {})

    def everything(self) -> CkptInfo:
        """Both: what a `ckpt.info-<step>` may have, whoever wrote it."""
        return CkptInfo(dict(self.single_slot_counts), dict(self.feature_counts))


def usable_processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def count_checkpoint(
    checkpoint: Checkpoint,
    options: CountOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CheckpointCounts:
    """Count the entries of a checkpoint.

    Costs one read of the files of single tables, at about the speed of memory; some megabytes of
    memory for each thread, whatever the size of the checkpoint.

    Parameters
    ----------
    checkpoint
        From `ModelDir.checkpoint()`.
    options
        What to count; everything by default.
    progress
        Called with the uncompressed bytes read so far, and those to read.

    Raises
    ------
    UsageError
        No such version of feature ids, or a slot that it has not.
    CorruptionError
        Damage, unless it is to be skipped; a table that is not whole, unless `options.partial`.
    TableNotFoundError
        A pattern matches no table.
    PathNotFoundError, NotReadableError
        The checkpoint was deleted meanwhile, or cannot be read.
    """
    options = options or CountOptions()
    try:
        counts = _Count(checkpoint, options, progress).run()
    except PathNotFoundError:
        checkpoint.require()
        raise
    checkpoint.require()
    return counts


class _Tally:
    """Counts of some entries; small, where a native counter has room for every slot.

    `dims` are the smallest and the largest number of floats, None without entries; `types` has a
    bit for each optimizer type.
    """

    __slots__ = ("dims", "entries", "slots", "types")

    def __init__(self) -> None:
        self.entries = 0
        self.dims: tuple[int, int] | None = None
        self.types = 0
        self.slots: dict[int, int] = {}

    def add(self, other: _Tally) -> None:
        self.entries += other.entries
        self.types |= other.types
        if self.dims and other.dims:
            self.dims = (min(self.dims[0], other.dims[0]), max(self.dims[1], other.dims[1]))
        else:
            self.dims = self.dims or other.dims
        for slot, count in other.slots.items():
            self.slots[slot] = self.slots.get(slot, 0) + count


def _tally_of(counter: _native.Counter) -> _Tally:
    tally = _Tally()
    tally.entries = counter.entries
    tally.dims = (counter.dim_min, counter.dim_max) if counter.entries else None
    tally.types = counter.types
    tally.slots = counter.slot_counts()
    return tally


class _Count:
    """One count, while it is made."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        options: CountOptions,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.checkpoint = checkpoint
        self.options = options
        self.progress = progress
        self.read_options = ReadOptions(
            options.verify, options.skip_corrupt, options.max_record_bytes
        )
        self.jobs = options.jobs or usable_processors()
        self.version = version_number(options.fid_version)
        self.filter = EntryFilter(options.slots, options.fids, options.fid_version).native()
        self.counts = CheckpointCounts()
        # By path and table of what was read; whole multi files have no table.
        self.tallies: dict[tuple[str, str | None], _Tally] = {}

    def run(self) -> CheckpointCounts:
        found = find_tables(self.checkpoint, self.options.patterns, self.read_options)
        self._note_problems(found)
        with found.naming_copies():
            return self._run(found)

    def _run(self, found: FoundTables) -> CheckpointCounts:
        options = self.options
        tables = found.tables
        self.single_paths = {f.path for t in tables if t.kind == "single" for f in t.files}
        multis = [table for table in tables if isinstance(table, MultiTable)]
        dumps = list({id(dump): dump for table in multis for dump in table.dumps}.values())
        read_multis = bool(options.scan_multi or self.filter)
        # Whole files need no search for where their tables lie; else each table is read by itself.
        by_table = bool(options.patterns or options.by_table or found.problems)
        whole = not (by_table or self.filter or options.skip_corrupt)
        extents = [
            extent for table in tables if table.kind == "single" for extent in table.extents()
        ]
        if read_multis and whole:
            extents += [Extent(file, 0, file.stream_bytes, None) for d in dumps for file in d.files]
        elif read_multis:
            extents += self._multi_extents(dumps, {table.name for table in multis})
        self._read(EntryStream(extents))
        if read_multis and whole:
            self._compare(dumps)
        elif not read_multis:
            for dump in dumps:
                self._note(dump.too_small())
        for table in tables:
            self.counts.tables.append(self._table_count(table, read_multis, whole))
        if read_multis and not whole:
            self.counts.unattributed = sum(
                self.tallies[key].entries for key in self.tallies if key[1] is None
            )
        self._sum_up(dumps)
        filters = found.files.hash_filters if not options.patterns else {}
        for name, shards in filters.items():
            try:
                summary = summarize_hash_filter(name, shards, self.read_options)
            except CorruptionError as error:
                if not options.skip_corrupt:
                    raise
                self._note([_skipped_filter(error)])
            else:
                self.counts.hash_filters.append(summary)
        copies = [pair for table in tables for pair in table.copies]
        copies += [pair for shards in filters.values() for pair in shards.copies]
        copies = list(dict.fromkeys(copies))
        if options.scan_multi:
            self._compare_copies(copies)
        else:
            self.counts.unread_copies = len(copies)
        self.counts.warnings += found.copies_of(self.counts.skipped)
        return self.counts

    def _note_problems(self, found: FoundTables) -> None:
        self._warn(NO_TABLES if found.is_empty else None)
        self.counts.warnings += found.warnings
        self.counts.found = found
        for problem in (*found.problems, *found.filter_problems):
            self._problem(problem)
        if self.options.partial:
            self.counts.problems += found.others
        else:
            self.counts.warnings += map(str, found.others)

    def _problem(self, problem: CorruptionError) -> None:
        if not self.options.partial:
            raise problem
        self.counts.problems.append(problem)

    def _compare_copies(self, copies: list[tuple[str, str]]) -> None:
        if not copies:
            return
        from concurrent.futures import ThreadPoolExecutor

        from monolith_cli.checkpoint.copies import compare_copies

        with ThreadPoolExecutor(self.jobs) as pool:
            for problem in pool.map(lambda pair: compare_copies(*pair), copies):
                if problem is not None:
                    self._problem(problem)
                    self.counts.differing.append(problem)

    def _multi_extents(self, dumps: list[MultiDump], names: set[str]) -> list[Extent]:
        extents = []
        find_extents(dumps, self.jobs)
        for dump in dumps:
            for file, shard in zip(dump.files, dump.all_extents(), strict=True):
                self._note(shard.skipped)
                self._note_extra(file, shard.extra)
                unknown = not self.options.patterns
                extents += [
                    extent
                    for extent in shard.extents
                    if extent.table in names or (extent.table is None and unknown)
                ]
        return extents

    def _read(self, stream: EntryStream) -> None:
        done = 0
        with closing(self._pieces(stream)) as pieces:
            for piece in pieces:
                self._keep(piece)
                self._note(piece.skipped)
                done += piece.size
                if self.progress:
                    self.progress(done, stream.size)

    def _pieces(self, stream: EntryStream) -> Generator[Piece[_native.Counter], None, None]:
        return read_ranges(stream, self.read_options, self._count, jobs=self.jobs)

    def _count(self, reader: _native.Reader, extent: Extent) -> _native.Counter:
        counter = _native.Counter(self.version)
        reader.count(counter, self.filter)
        return counter

    def _keep(self, piece: Piece[_native.Counter]) -> None:
        key = (piece.extent.file.path, piece.extent.table)
        self.tallies.setdefault(key, _Tally()).add(_tally_of(piece.value))

    def _warn(self, warning: str | None) -> None:
        if warning:
            self.counts.warnings.append(warning)

    def _note_extra(self, file: DumpFile, extra: int) -> None:
        if extra:
            self.counts.extra[file.path] = extra
            self._warn(extra_records(file, extra))

    def _note(self, skipped: list[Skipped]) -> None:
        """Keep damage once: a multi table's file is read twice."""
        self.counts.skipped = distinct([*self.counts.skipped, *skipped])

    def _table_count(self, table: Table, read_multis: bool, whole: bool) -> TableCount:
        places = {damage.path for damage in self.counts.skipped}
        damaged = any(file.path in places for file in table.files)
        extra = any(file.path in self.counts.extra for file in table.files)
        if table.kind == "multi" and (not read_multis or whole):
            return TableCount(
                table.name,
                "multi",
                table.promised_entries or 0,
                table.shards,
                None,
                read_multis and self.options.verify and not extra,
                damaged=damaged,
            )
        total = _Tally()
        for file in table.files:
            tally = self.tallies.get((file.path, table.name))
            if tally is not None:
                total.add(tally)
        dims = total.dims
        return TableCount(
            table.name,
            table.kind,
            total.entries,
            table.shards,
            table.stored_bytes,
            self.options.verify and not damaged and not extra,
            dims[0] if dims and dims[0] == dims[1] else None,
            dims,
            _native.optimizer_names(total.types),
            dict(sorted(total.slots.items())),
            damaged,
        )

    def _compare(self, dumps: list[MultiDump]) -> None:
        """Whether the files of multi tables hold what their tables of contents promise."""
        for dump in dumps:
            for shard, file in enumerate(dump.files):
                tally = self.tallies.get((file.path, None))
                found, promised = tally.entries if tally else 0, dump.expected(shard)
                if found < promised:
                    raise too_few_records(file, found, promised)
                if found > promised:
                    self._note_extra(file, found - promised)
                    self._recount(file, dump.shard_extents(shard).extents)

    def _recount(self, file: DumpFile, extents: list[Extent]) -> None:
        """Count a multi table's file again, without the records that belong to no table."""
        del self.tallies[file.path, None]
        stream = EntryStream(extent._replace(table=None) for extent in extents)
        with closing(self._pieces(stream)) as pieces:
            for piece in pieces:
                self._keep(piece)

    def _sum_up(self, dumps: Sequence[MultiDump]) -> None:
        single, everything = _Tally(), _Tally()
        for (path, _), tally in self.tallies.items():
            everything.add(tally)
            if path in self.single_paths:
                single.add(tally)
        self.counts.slot_counts = dict(sorted(everything.slots.items()))
        self.counts.single_slot_counts = dict(sorted(single.slots.items()))
        self.counts.feature_counts = {
            table.name: table.entries for table in self.counts.tables if table.kind == "multi"
        }
        self.counts.rank_0 = self._rank_0(dumps)

    def _rank_0(self, dumps: Sequence[MultiDump]) -> CkptInfo:
        names: dict[str, int] = {}
        for dump in dumps:
            for name, entries in dump.entries().items():
                if dump.base.endswith(_RANK_0) or name.endswith(_RANK_0):
                    names[name] = names.get(name, 0) + entries
        if dumps:
            return CkptInfo({}, names)
        slots = _Tally()
        for table in self.counts.tables:
            if table.name.endswith(_RANK_0):
                for slot, count in (table.slot_counts or {}).items():
                    slots.slots[slot] = slots.slots.get(slot, 0) + count
        return CkptInfo(dict(sorted(slots.slots.items())), {})


def _skipped_filter(error: CorruptionError) -> Skipped:
    """A damaged occurrence filter, of which nothing is shown."""
    at = error.offset or 0
    return Skipped(error.path or "", error.kind, error.what, at, at, at, False)
