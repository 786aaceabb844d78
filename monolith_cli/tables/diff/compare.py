"""Two checkpoints, entry by entry: what was added, removed, changed.

Each side is read once. Of an entry its fid, digests of its embedding and its optimizer state, and
its time are kept, 32 bytes, in parts by a hash of the fid; what does not fit into the memory that
is given waits in a file. Then both sides of each table are joined part by part. The order of
entries, shards, the number of files and how an entry is written make no difference.
"""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.errors import PathNotFoundError, UsageError
from monolith_cli.execution.workers import Workers
from monolith_cli.fid import version_number
from monolith_cli.formats.tfrecord import MAX_RECORD_BYTES
from monolith_cli.storage.scratch import Scratch
from monolith_cli.tables.diff.held import HeldParts
from monolith_cli.tables.diff.joining import Fates, JoinOptions, join_table, total
from monolith_cli.tables.diff.sides import Side, two_sides
from monolith_cli.tables.diff.values import ValueOptions, ValuesDiff, bits_for, diff_values
from monolith_cli.tables.folds.chosen import ChosenFold
from monolith_cli.tables.folds.digest import DigestFold, PartsList
from monolith_cli.tables.ranges import RANGE_BYTES, read_ranges
from monolith_cli.tables.stream import EntryFilter, EntryStream, ReadOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from monolith_cli import _native
    from monolith_cli.checkpoint.checkpoint import Checkpoint
    from monolith_cli.errors import MonolithError
    from monolith_cli.tables.diff.delta import DeltaWriter
    from monolith_cli.tables.folds.protocol import Fold

__all__ = [
    "LEAST_MEMORY_BYTES",
    "Comparison",
    "DiffOptions",
    "TableDiff",
    "TablesDiff",
    "diff_tables",
]

LEAST_MEMORY_BYTES = 16 << 20
"""Less is not enough to sort in."""

_LEAST_RANGE_BYTES = 1 << 20
_ROW_BYTES = 32
_SHARE = 2
"""What part of the memory is for parts that wait; the rest is for reading and joining."""


class DiffOptions(NamedTuple):
    """What is compared, and how.

    Attributes
    ----------
    patterns
        Shell patterns of table names; none means all.
    slots
        Only entries in these slot ranges, both ends included.
    fid_version
        `v1` or `v2`: which bits of a fid are its slot.
    merge_servers
        Compare the parts of a table on several servers as one table.
    sums
        Make digests of each table's sides.
    values
        What is asked about the values of entries that differ, which takes a second pass; None for
        nothing.
    memory_bytes
        How much memory rows may take; what is more waits in a file. Not counted is what reading
        itself takes.
    tmp
        Where on this machine that file is; None for the system's temporary directory.
    verify, max_record_bytes, jobs
        As in `CountOptions`.
    """

    patterns: Sequence[str] = ()
    slots: Sequence[tuple[int, int]] = ()
    fid_version: str = "v2"
    merge_servers: bool = False
    sums: bool = False
    values: ValueOptions | None = None
    memory_bytes: int = 1 << 30
    tmp: str | None = None
    verify: bool = True
    max_record_bytes: int = MAX_RECORD_BYTES
    jobs: int | None = None


class TableDiff(NamedTuple):
    """How a table differs.

    Attributes
    ----------
    name
        Of the table, or of the one that servers have parts of.
    is_in_a, is_in_b
        Whether the sides have it.
    fates
        Of all its entries. With a tolerance those that are close, and those whose time alone
        differs, are the same.
    slots
        The same by slot, ascending.
    sum_a, sum_b
        Digests of both sides: equal if they have the same entries, whatever their order. None if
        they were not asked for.
    values
        How the values of its entries differ; None if that was not asked for.
    touched
        With a tolerance, how many of the same ones are of another time alone; None without.
    """

    name: str
    is_in_a: bool
    is_in_b: bool
    fates: Fates
    slots: dict[int, Fates]
    sum_a: int | None = None
    sum_b: int | None = None
    values: ValuesDiff | None = None
    touched: int | None = None

    @property
    def differs(self) -> bool:
        """Whether anything does; a table that one side has not, too."""
        return bool(self.fates.differing) or self.is_in_a != self.is_in_b

    def tolerating(self, values: ValuesDiff) -> TableDiff:
        """The same where what is close, or of another time alone, counts as the same."""
        close = values.close_slots
        slots = {
            slot: each.tolerating(close.get(slot, Fates())) for slot, each in self.slots.items()
        }
        return self._replace(
            fates=total(slots.values()), slots=slots, values=values, touched=self.fates.touched
        )


class TablesDiff(NamedTuple):
    """How the tables of two checkpoints differ.

    Attributes
    ----------
    a, b
        The sides.
    tables
        Those of the first side in its order, then those that only the other one has.
    errors
        What is wrong with tables of either side. Those that are not whole were left out.
    """

    a: Side
    b: Side
    tables: list[TableDiff]
    errors: list[MonolithError]

    @property
    def fates(self) -> Fates:
        """Of all entries."""
        return total(table.fates for table in self.tables)

    @property
    def slots(self) -> dict[int, Fates]:
        """The same by slot, ascending."""
        slots: dict[int, Fates] = {}
        for table in self.tables:
            for slot, fates in table.slots.items():
                slots[slot] = slots[slot].plus(fates) if slot in slots else fates
        return dict(sorted(slots.items()))

    @property
    def differs(self) -> bool:
        """Whether anything does."""
        return any(table.differs for table in self.tables)


def diff_tables(
    a: Checkpoint,
    b: Checkpoint,
    options: DiffOptions | None = None,
    *,
    on_changes: Callable[[str, bytes], None] | None = None,
    delta: DeltaWriter | None = None,
    progress: Callable[[int, int], None] | None = None,
    executor: Executor | None = None,
) -> TablesDiff:
    """Compare the tables of two checkpoints.

    Costs one read of each side. Memory is that of `options.memory_bytes`, and some megabytes for
    each thread.

    Parameters
    ----------
    on_changes
        Called with the name of a table, and what is not the same in it, packed as
        `_native.Join.changes`: table by table, in order of a hash of the fid.
    delta
        Gets what makes the tables of `a` those of `b`. It is opened here, and appears at the end;
        nothing is written where a table of either side is not whole.
    progress
        Called with the uncompressed bytes read so far, and those to read.
    executor
        Reads in place of threads of its own, and is not shut down. The join is made here.

    Raises
    ------
    UsageError
        As `count_checkpoint`; too little memory.
    CorruptionError
        Damage.
    TableNotFoundError
        A pattern matches no table of either side.
    WriteError
        There is no room for what does not fit into memory.
    PathNotFoundError, NotReadableError
        A checkpoint was deleted meanwhile, or cannot be read.
    """
    options = options or DiffOptions()
    with Comparison(a, b, options, progress, executor, on_changes=on_changes) as comparison:
        if delta is None:
            return comparison.run()
        with delta:
            comparison.write_to(delta)
            return comparison.run()


class Comparison:
    """One comparison, while it is made: a context manager.

    Parameters and errors are those of `diff_tables`.
    """

    def __init__(
        self,
        a: Checkpoint,
        b: Checkpoint,
        options: DiffOptions,
        progress: Callable[[int, int], None] | None = None,
        executor: Executor | None = None,
        *,
        on_changes: Callable[[str, bytes], None] | None = None,
    ) -> None:
        if options.memory_bytes < LEAST_MEMORY_BYTES:
            raise UsageError(f"{options.memory_bytes} bytes of memory: at least 16 MiB are needed")
        self.options = options
        self.reading = ReadOptions(options.verify, False, options.max_record_bytes)
        self.chosen = EntryFilter(options.slots, (), options.fid_version)
        self.progress = progress
        self.workers = Workers(options.jobs, executor)
        self.joiners = Workers(options.jobs) if executor is not None else self.workers
        self.scratch = Scratch(options.tmp)
        self.checkpoints = a, b
        self.on_changes = on_changes
        self.delta: DeltaWriter | None = None
        self.wants_values = True

    def __enter__(self) -> Comparison:
        return self

    def __exit__(self, *exc: object) -> None:
        self.workers.close()
        self.joiners.close()
        self.scratch.close()

    def write_to(self, delta: DeltaWriter) -> None:
        """Write a delta, too."""
        self.delta = delta
        self.wants_values = self.options.values is not None
        values = (self.options.values or ValueOptions(top=0))._replace(delta=delta.write)
        self.options = self.options._replace(sums=True, values=values)

    def run(self) -> TablesDiff:
        """Compare."""
        try:
            found = self._run()
        except PathNotFoundError:
            for checkpoint in self.checkpoints:
                checkpoint.require()
            raise
        for checkpoint in self.checkpoints:
            checkpoint.require()
        return found

    def _run(self) -> TablesDiff:
        options = self.options
        on_changes = self.on_changes
        tolerant = options.values is not None and options.values.tolerant
        sides = two_sides(
            *self.checkpoints, options.patterns, self.reading, merge_servers=options.merge_servers
        )
        if self.delta is not None:
            for side in sides:
                if side.found.problems:
                    raise side.found.problems[0]
        streams = self._streams(sides)
        held = self._read(sides, streams, DigestFold(self.chosen))
        bits = None
        if options.values is not None:
            rows = sum(each.size for side in held for each in side.everything()) // _ROW_BYTES
            bits = bits_for(rows, options.memory_bytes)
        tables = []
        for name, is_in_a, is_in_b in _names(sides):
            join = join_table(
                held[0].take(name),
                held[1].take(name),
                JoinOptions(
                    version_number(options.fid_version),
                    options.sums,
                    bits,
                    None if on_changes is None or tolerant else partial(on_changes, name),
                ),
                self.joiners,
                options.memory_bytes // 4,
            )
            sums = (join.sum_a, join.sum_b) if options.sums else (None, None)
            fates = total(join.slots.values())
            tables.append(TableDiff(name, is_in_a, is_in_b, fates, join.slots, *sums))
        if options.values is not None and bits is not None:
            if self.delta is not None:
                shared = {
                    table.name: [dump.base for dump in table.dumps] for table in sides[1].tables
                }
                self.delta.begin(tables, shared)
            tables = self._add_values(tables, options.values, sides, streams, bits)
        errors = [error for side in sides for error in side.outcome()]
        return TablesDiff(*sides, tables, errors)

    def _add_values(
        self,
        tables: list[TableDiff],
        options: ValueOptions,
        sides: tuple[Side, Side],
        streams: list[EntryStream],
        bits: _native.FidBits,
    ) -> list[TableDiff]:
        """The same with what the second pass tells of values."""
        self.scratch.clear()
        held = self._read(sides, streams, ChosenFold(bits, self.chosen))
        version = version_number(self.options.fid_version)
        found = []
        for number, table in enumerate(tables):
            a, b = (side.take(table.name) for side in held)
            rows = None
            if options.tolerant and self.on_changes is not None:
                rows = partial(self.on_changes, table.name)
            asked = options._replace(fid_version=version, rows=rows)
            values = diff_values(a, b, number, asked, self.joiners, self.options.memory_bytes // 4)
            found.append(
                table.tolerating(values) if options.tolerant else table._replace(values=values)
            )
        return found if self.wants_values else tables

    def _streams(self, sides: tuple[Side, Side]) -> list[EntryStream]:
        streams = []
        for side in sides:
            with side.found.naming_copies():
                streams.append(side.stream(self.workers))
        return streams

    def _read(
        self, sides: tuple[Side, Side], streams: list[EntryStream], fold: Fold[PartsList]
    ) -> list[HeldParts]:
        """What a fold gives of both sides."""
        size = sum(stream.size for stream in streams)
        done = 0
        found = []
        left = self.options.memory_bytes // _SHARE
        range_bytes = self.options.memory_bytes // (16 * self.workers.jobs)
        range_bytes = min(max(range_bytes, _LEAST_RANGE_BYTES), RANGE_BYTES)
        for side, stream in zip(sides, streams, strict=True):
            held = HeldParts(left, self.scratch)
            found.append(held)
            pieces = read_ranges(
                stream, self.reading, fold, workers=self.workers, range_bytes=range_bytes
            )
            with side.found.naming_copies(), closing(pieces):
                for piece in pieces:
                    held.add(side.names[piece.extent.table or ""], piece.value.parts)
                    done += piece.size
                    if self.progress:
                        self.progress(done, size)
            left = held.left_bytes
        return found


def _names(sides: tuple[Side, Side]) -> list[tuple[str, bool, bool]]:
    """The names of tables that are compared, and which sides have them.

    One that is on one side only may be among those of the other that are not whole: it is left out.
    """
    a, b = (dict.fromkeys(side.names.values()) for side in sides)
    whole_a, whole_b = (not side.found.problems for side in sides)
    return [
        (name, name in a, name in b)
        for name in {**a, **b}
        if (name in a or whole_a) and (name in b or whole_b)
    ]
