"""Tables made anew: read in ranges by several workers, written in order, read back and compared.

What comes out does not depend on how many read: ranges are cut by the sizes of files alone, and
each target file gets what comes of them in their order.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.tables.folds.rewrite import (
    DeltaSums,
    Passages,
    RecordSums,
    RewriteFold,
    RewrittenRange,
    add_passages,
)
from monolith_cli.tables.ranges import RangeTask, read_tasks
from monolith_cli.tables.rewrite.brought import find_touched
from monolith_cli.tables.rewrite.deltas import check_delta
from monolith_cli.tables.rewrite.expiry import Expiry, find_expiry
from monolith_cli.tables.rewrite.files import TargetFiles, WrittenFile
from monolith_cli.tables.rewrite.plan import reading_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from monolith_cli.execution.workers import Workers
    from monolith_cli.tables.rewrite.plan import RewriteOptions, RewritePlan, TablePlan, Target
    from monolith_cli.tables.stream import Extent, ReadOptions

__all__ = [
    "RANGE_BYTES",
    "TableOutcome",
    "TablesOutcome",
    "TargetOutcome",
    "preview_tables",
    "rewrite_tables",
]

RANGE_BYTES = 4 << 20
"""The size of a range, uncompressed: what comes of one is held until it is written."""


class TargetOutcome(NamedTuple):
    """What went into a target table.

    Attributes
    ----------
    target
        It.
    entries
        How many.
    slots
        The same by slot, of v2 feature ids, as they were read back; empty where nothing is written.
        Where several tables go there, those of all are with the first of them.
    """

    target: Target
    entries: int
    slots: dict[int, int]


class TableOutcome(NamedTuple):
    """What became of a table.

    Attributes
    ----------
    plan
        It, and where its entries go to.
    slots
        What became of its entries, by slot, ascending.
    targets
        What went where.
    expiry
        When its entries expire; None where they do not.
    """

    plan: TablePlan
    slots: dict[int, Passages]
    targets: tuple[TargetOutcome, ...]
    expiry: Expiry | None = None

    @property
    def passages(self) -> Passages:
        """What became of its entries."""
        total = Passages()
        for passages in self.slots.values():
            total = total.plus(passages)
        return total

    def plus(self, brought: TableOutcome) -> TableOutcome:
        """The same with what a delta has brought."""
        slots = dict(self.slots)
        add_passages(slots, brought.slots)
        targets = tuple(
            into._replace(entries=into.entries + more.entries)
            for into, more in zip(self.targets, brought.targets, strict=True)
        )
        return self._replace(slots=slots, targets=targets)


class TablesOutcome(NamedTuple):
    """What became of all tables, and the files that were made, by their names in the directory."""

    tables: tuple[TableOutcome, ...]
    files: Mapping[str, WrittenFile]


class RewriteTask(RangeTask[RewrittenRange]):
    """A range of a table, and which file of its targets gets what comes of it.

    Attributes
    ----------
    table
        The number of its plan.
    shard
        The number of that file.
    """

    __slots__ = ("shard", "table")

    def __init__(
        self,
        extent: Extent,
        options: ReadOptions,
        fold: RewriteFold,
        start: int,
        end: int,
        how: str,
        table: int,
        shard: int,
    ) -> None:
        super().__init__(extent, options, fold, start, end, how)
        self.table = table
        self.shard = shard


def preview_tables(
    plan: RewritePlan,
    options: RewriteOptions,
    workers: Workers,
    progress: Callable[[int], None],
) -> TablesOutcome:
    """Find out what would come of it; all is read, nothing is written.

    Parameters and errors are those of `rewrite_tables`.
    """
    return _Run(plan, options, workers, progress, None).run()


def rewrite_tables(
    plan: RewritePlan,
    options: RewriteOptions,
    directory: str,
    workers: Workers,
    progress: Callable[[int], None],
) -> TablesOutcome:
    """Make the tables, and read them back.

    Parameters
    ----------
    plan, options
        What is made.
    directory
        Where: one that nobody looks into yet.
    workers
        Who reads.
    progress
        Called with how many more bytes were read, uncompressed, of the step or of what was made.

    Raises
    ------
    CorruptionError
        The step is damaged.
    PathNotFoundError, NotReadableError, ChangedWhileReadError
        A file of it went away, changed, or cannot be read.
    WriteError
        The store refused to write; or what was read back is not what was written.
    """
    with TargetFiles(plan.dumps, directory, options.max_record_bytes) as files:
        return _Run(plan, options, workers, progress, files).run()


class _Run:
    """One run over the tables of a plan; with files it writes them."""

    def __init__(
        self,
        plan: RewritePlan,
        options: RewriteOptions,
        workers: Workers,
        progress: Callable[[int], None],
        files: TargetFiles | None,
    ) -> None:
        self.plan = plan
        self.options = options
        self.workers = workers
        self.progress = progress
        self.files = files
        self.reading = reading_of(options)

    def run(self) -> TablesOutcome:
        expiries = [self._expiry(table) for table in self.plan.tables]
        slots: list[dict[int, Passages]] = [{} for _ in self.plan.tables]
        entries: list[dict[Target, int]] = [{} for _ in self.plan.tables]
        deltas: list[DeltaSums | None] = [None for _ in self.plan.tables]
        sums: dict[Target, RecordSums] = {}
        extent, reached = None, 0
        with closing(read_tasks(self._tasks(expiries), self.workers)) as done:
            for task, partial in done:
                if partial.failed:
                    raise partial.damage[0].error()
                assert isinstance(task, RewriteTask)
                add_passages(slots[task.table], partial.value.slots)
                deltas[task.table] = _merged(deltas[task.table], partial.value.delta)
                here = entries[task.table]
                targets = self.plan.tables[task.table].targets
                for target, outputs in zip(targets, partial.value.outputs, strict=False):
                    for output in outputs:
                        here[target] = here.get(target, 0) + output.entries
                        if self.files is not None:
                            self.files.append(target, task.shard, output)
                if task.extent is not extent:
                    extent, reached = task.extent, task.extent.start
                self.progress(task.end - reached)  # ranges that a record covers were left out
                reached = task.end
        check_delta(zip(self.plan.tables, deltas, strict=True))
        if self.files is not None:
            self.files.complete()
            sums = self.files.read_back(self.workers, self.progress)
        tables: list[TableOutcome] = []
        for number, table in enumerate(self.plan.tables):
            if table.transforms.brought:
                touched = find_touched(table, self.reading, self.workers)
                add_passages(slots[number], touched)
            into = []
            for target in table.targets:
                # Of several tables that go there the first has the slots of all.
                found = sums.pop(target, RecordSums())
                into.append(TargetOutcome(target, entries[number].get(target, 0), found.slots))
            outcome = TableOutcome(table, slots[number], tuple(into), expiries[number])
            if table.transforms.brought and tables and tables[-1].plan.is_same(table):
                outcome = tables.pop().plus(outcome)
            slots_of = dict(sorted(outcome.slots.items()))
            tables.append(outcome._replace(slots=slots_of))
        return TablesOutcome(tuple(tables), self.files.written if self.files else {})

    def _expiry(self, table: TablePlan) -> Expiry | None:
        if self.options.expire_days is None or not table.targets:
            return None
        return find_expiry(table, self.options, self.reading, self.workers, self.progress)

    def _tasks(self, expiries: Sequence[Expiry | None]) -> Iterator[RewriteTask]:
        """The ranges of all tables, in order, cut where files of the targets begin, too."""
        for number, (table, expiry) in enumerate(zip(self.plan.tables, expiries, strict=True)):
            transforms = table.transforms
            if expiry is not None:
                transforms = transforms._replace(oldest=expiry.oldest)
            fold = RewriteFold(transforms, table.kind == "multi", self.files is None)
            for extent, shard, start, end in _pieces(table):
                how = "exact" if start == extent.start else "search"
                while True:
                    stop = min(start + RANGE_BYTES, end)
                    yield RewriteTask(extent, self.reading, fold, start, stop, how, number, shard)
                    if stop == end:
                        break
                    start, how = stop, "search"


def _pieces(table: TablePlan) -> Iterator[tuple[Extent, int, int, int]]:
    """Parts of extents, in order: which file of the targets each belongs to, and its ends."""
    if table.keeps_files:
        for number, extent in table.extents:
            yield extent, number, extent.start, extent.end
        return
    size, shards = max(table.size, 1), table.shards
    base = shard = 0
    for _, extent in table.extents:
        start = extent.start
        while True:
            position = base + start - extent.start
            while size * (shard + 1) // shards <= position and shard < shards - 1:
                shard += 1
            left = size * (shard + 1) // shards - position
            end = min(extent.end, start + left)
            yield extent, shard, start, end
            if end == extent.end:
                break
            start = end
        base += extent.size


def _merged(one: DeltaSums | None, other: DeltaSums | None) -> DeltaSums | None:
    if one is None or other is None:
        return one or other
    one.merge(other)
    return one
