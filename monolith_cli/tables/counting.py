"""The way of one count: plan, read, and sum up."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli import _native
from monolith_cli.errors import CorruptionError
from monolith_cli.formats.ckpt_info import CkptInfo
from monolith_cli.formats.tfrecord import Skipped
from monolith_cli.tables.counts import CheckpointCounts, CountOptions, TableCount
from monolith_cli.tables.folds.count import CountFold, Tally
from monolith_cli.tables.found import NO_TABLES, FoundTables, find_tables
from monolith_cli.tables.plan import BY_TABLE, CONTENTS, WHOLE, Plan, plan_reading
from monolith_cli.tables.ranges import read_files, read_ranges
from monolith_cli.tables.skipped import distinct
from monolith_cli.tables.stream import EntryFilter, EntryStream, Extent, ReadOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    from monolith_cli.checkpoint.checkpoint import Checkpoint
    from monolith_cli.checkpoint.shard_set import ShardSet
    from monolith_cli.execution.workers import Workers
    from monolith_cli.formats.tfrecord import DumpFile
    from monolith_cli.tables.multi_dump import MultiDump
    from monolith_cli.tables.ranges import Piece
    from monolith_cli.tables.table import Table

__all__ = ["CopyTask", "Counting"]

_RANK_0 = "_0"
"""What names of rank 0's tables end in."""


class Counting:
    """One count, while it is made.

    Parameters
    ----------
    checkpoint, options, progress
        As of `count_checkpoint`, which says what is raised.
    workers
        Who reads.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        options: CountOptions,
        workers: Workers,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.checkpoint = checkpoint
        self.options = options
        self.workers = workers
        self.progress = progress
        self.reading = ReadOptions(
            options.verify,
            options.skip_corrupt,
            options.max_record_bytes,
            options.read_bytes,
            options.read_ahead,
        )
        self.chosen = EntryFilter(options.slots, options.fids, options.fid_version)
        self.fold = CountFold(self.chosen)
        self.counts = CheckpointCounts()
        # By path and table of what was read; whole multi files have no table.
        self.tallies: dict[tuple[str, str | None], Tally] = {}

    def run(self) -> CheckpointCounts:
        """Count."""
        found = find_tables(self.checkpoint, self.options.patterns, self.reading)
        self._note_problems(found)
        with found.naming_copies():
            plan = plan_reading(
                found.tables,
                self._multis(found),
                self.workers,
                unattributed=not self.options.patterns,
            )
            self._note(plan.skipped)
            for file, extra in plan.extra:
                self._note_extra(file, extra)
            self._read(plan.extents, self.progress)
            if plan.unmapped:
                pieces = read_files(plan.unmapped, self.reading, self.fold, self.workers)
                self._keep(pieces, sum(file.stored_bytes for file in plan.unmapped), self.progress)
            self._hold_against_contents(plan)
            self._sum_up(found.tables, plan)
            self._count_filters(found)
            self._compare_copies(found)
        self.counts.warnings += found.copies_of(self.counts.skipped)
        return self.counts

    def _multis(self, found: FoundTables) -> str:
        """How multi tables are read."""
        options = self.options
        selects = bool(options.slots or options.fids)
        if not (options.scan_multi or selects):
            return CONTENTS
        by_table = bool(options.patterns or options.by_table or found.problems)
        return BY_TABLE if by_table or selects or options.skip_corrupt else WHOLE

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

    def _warn(self, warning: str | None) -> None:
        if warning:
            self.counts.warnings.append(warning)

    def _note(self, skipped: Iterable[Skipped]) -> None:
        """Keep damage once: a multi table's file is read twice."""
        if skipped:
            self.counts.skipped = distinct([*self.counts.skipped, *skipped])

    def _note_extra(self, file: DumpFile, extra: int) -> None:
        from monolith_cli.tables.extents import extra_records

        self.counts.extra[file.path] = extra
        self._warn(extra_records(file, extra))

    def _read(
        self, extents: Iterable[Extent], progress: Callable[[int, int], None] | None = None
    ) -> None:
        stream = EntryStream(extents)
        pieces = read_ranges(stream, self.reading, self.fold, workers=self.workers)
        self._keep(pieces, stream.size, progress)

    def _keep(
        self,
        pieces: Generator[Piece[Tally], None, None],
        size: int,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        """Add what comes of reading so many bytes to the tallies."""
        done = 0
        with closing(pieces):
            for piece in pieces:
                key = (piece.extent.file.path, piece.extent.table)
                tally = self.tallies.get(key)
                if tally is None:
                    self.tallies[key] = piece.value
                else:
                    tally.merge(piece.value)
                self._note(piece.skipped)
                done += piece.size
                if progress:
                    progress(done, size)

    def _hold_against_contents(self, plan: Plan) -> None:
        """Whether the files of multi tables hold what their contents files promise.

        Where each table is read by itself, the search for where they lie has told already.
        """
        if plan.multis == BY_TABLE:
            return
        for dump in plan.dumps:
            if plan.multis == CONTENTS:
                self._note(dump.too_small())
                continue
            for shard, file in enumerate(dump.files):
                self._hold_against(dump, shard, file)

    def _hold_against(self, dump: MultiDump, shard: int, file: DumpFile) -> None:
        from monolith_cli.tables.extents import find_extents, too_few_records

        tally = self.tallies.get((file.path, None))
        found, promised = tally.entries if tally else 0, dump.expected(shard)
        if found < promised:
            raise too_few_records(file, found, promised)
        if found > promised:
            self._note_extra(file, found - promised)
            # Count it again, without the records that belong to no table.
            find_extents([dump], self.workers, only=shard)
            del self.tallies[file.path, None]
            extents = dump.shard_extents(shard).extents
            self._read(extent._replace(table=None) for extent in extents)

    def _sum_up(self, tables: Sequence[Table], plan: Plan) -> None:
        counts = self.counts
        counts.tables += [self._table_count(table, plan) for table in tables]
        if plan.multis == BY_TABLE:
            counts.unattributed = sum(
                tally.entries for (_, table), tally in self.tallies.items() if table is None
            )
        single_paths = {f.path for table in tables if not table.dumps for f in table.files}
        single, everything = Tally(), Tally()
        for (path, _), tally in self.tallies.items():
            everything.merge(tally)
            if path in single_paths:
                single.merge(tally)
        counts.slot_counts = dict(sorted(everything.slots.items()))
        counts.single_slot_counts = dict(sorted(single.slots.items()))
        counts.feature_counts = {
            table.name: table.entries for table in counts.tables if table.kind == "multi"
        }
        counts.rank_0 = self._rank_0(plan.dumps)

    def _table_count(self, table: Table, plan: Plan) -> TableCount:
        places = {damage.path for damage in self.counts.skipped}
        damaged = any(file.path in places for file in table.files)
        extra = any(file.path in self.counts.extra for file in table.files)
        if not plan.tells_apart(table):
            return TableCount(
                table.name,
                table.kind,
                table.promised_entries or 0,
                table.shards,
                None,
                plan.multis == WHOLE and self.options.verify and not extra,
                damaged=damaged,
            )
        total = Tally()
        for file in table.files:
            tally = self.tallies.get((file.path, table.name))
            if tally is not None:
                total.merge(tally)
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

    def _rank_0(self, dumps: Sequence[MultiDump]) -> CkptInfo:
        names: dict[str, int] = {}
        for dump in dumps:
            for name, entries in dump.entries().items():
                if dump.base.endswith(_RANK_0) or name.endswith(_RANK_0):
                    names[name] = names.get(name, 0) + entries
        if dumps:
            return CkptInfo({}, names)
        slots: dict[int, int] = {}
        for table in self.counts.tables:
            if table.name.endswith(_RANK_0):
                for slot, count in (table.slot_counts or {}).items():
                    slots[slot] = slots.get(slot, 0) + count
        return CkptInfo(dict(sorted(slots.items())), {})

    def _filters(self, found: FoundTables) -> dict[str, ShardSet]:
        return found.files.hash_filters if not self.options.patterns else {}

    def _count_filters(self, found: FoundTables) -> None:
        filters = self._filters(found)
        if not filters:
            return
        from monolith_cli.tables.hash_filters import summarize_hash_filter

        for name, shards in filters.items():
            try:
                summary = summarize_hash_filter(name, shards, self.reading, self.workers)
            except CorruptionError as error:
                if not self.options.skip_corrupt:
                    raise
                self._note([_skipped_filter(error)])
            else:
                self.counts.hash_filters.append(summary)

    def _compare_copies(self, found: FoundTables) -> None:
        pairs = [pair for table in found.tables for pair in table.copies]
        pairs += [pair for shards in self._filters(found).values() for pair in shards.copies]
        copies = dict.fromkeys(pairs)
        if not self.options.scan_multi:
            self.counts.unread_copies = len(copies)
            return
        with closing(self.workers.in_order(CopyTask(*pair) for pair in copies)) as done:
            for _, problem in done:
                if problem is not None:
                    self._problem(problem)
                    self.counts.differing.append(problem)


class CopyTask(NamedTuple):
    """Two files to be compared, which ought to be the same."""

    path: str
    copy: str

    def run(self) -> CorruptionError | None:
        """The error of a copy that differs. Raises as `compare_copies`."""
        from monolith_cli.checkpoint.copies import compare_copies

        return compare_copies(self.path, self.copy)


def _skipped_filter(error: CorruptionError) -> Skipped:
    """A damaged occurrence filter, of which nothing is shown."""
    at = error.offset or 0
    return Skipped(error.path or "", error.kind, error.what, at, at, at, False)
