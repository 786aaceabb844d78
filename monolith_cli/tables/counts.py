"""Counting a checkpoint: entries by slot, by table, and what a scan sees besides.

Single tables are read whole. Of multi tables the contents files are enough for their numbers
of entries; their data is read when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.errors import PathNotFoundError
from monolith_cli.formats.ckpt_info import CkptInfo
from monolith_cli.formats.tfrecord import MAX_RECORD_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from monolith_cli.checkpoint.checkpoint import Checkpoint
    from monolith_cli.errors import CorruptionError
    from monolith_cli.formats.tfrecord import Skipped
    from monolith_cli.tables.found import FoundTables
    from monolith_cli.tables.hash_filters import HashFilterSummary

__all__ = [
    "CheckpointCounts",
    "CountOptions",
    "TableCount",
    "count_checkpoint",
]


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
    read_bytes, read_ahead
        As in `ReadOptions`.
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
    read_bytes: int | None = None
    read_ahead: int | None = None


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
        Records behind those that contents files promise, by path; they are not counted, and
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

        Records that no contents file promises are not looked at: see `extra`.
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


def count_checkpoint(
    checkpoint: Checkpoint,
    options: CountOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
    executor: Executor | None = None,
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
    executor
        Does the work in place of threads of its own, and is not shut down. It is given twice
        `options.jobs` tasks at a time, with one job as many as with None.

    Raises
    ------
    UsageError
        No such version of feature ids, a slot or a feature id that it has not, or `jobs` < 1.
    CorruptionError
        Damage, unless it is to be skipped; a table that is not whole, unless `options.partial`.
    TableNotFoundError
        A pattern matches no table.
    BrokenExecutorError
        The executor did not do its work.
    PathNotFoundError, NotReadableError
        The checkpoint was deleted meanwhile, or cannot be read.
    """
    from monolith_cli.execution.workers import Workers
    from monolith_cli.tables.counting import Counting

    options = options or CountOptions()
    try:
        with Workers(options.jobs, executor) as workers:
            counts = Counting(checkpoint, options, workers, progress).run()
    except PathNotFoundError:
        checkpoint.require()
        raise
    checkpoint.require()
    return counts
