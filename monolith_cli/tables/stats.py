"""Statistics of a checkpoint's tables: what is in the values of their entries."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

from monolith_cli import _native
from monolith_cli.errors import UsageError
from monolith_cli.tables.folds.statistics import FoundStatistics, StatisticsFold
from monolith_cli.tables.ranges import read_ranges
from monolith_cli.tables.skipped import distinct
from monolith_cli.tables.stream import EntryFilter
from monolith_cli.tables.table import entry_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Executor

    from monolith_cli.formats.tfrecord import Skipped
    from monolith_cli.tables.folds.statistics import Example
    from monolith_cli.tables.stream import ReadOptions
    from monolith_cli.tables.table import Table

__all__ = [
    "BY",
    "AgeStats",
    "FieldStats",
    "GroupStats",
    "NormStats",
    "StatsOptions",
    "TablesStats",
    "table_stats",
]

BY = ("table", "slot")
"""What statistics can be made of, each by itself."""

SECONDS_A_DAY = 86400


class StatsOptions(NamedTuple):
    """Statistics of what, and what else is wanted.

    Attributes
    ----------
    by
        `table`, or `slot`: of each slot of each table.
    with_slots
        Also of each slot, all tables together.
    examples
        How many of the worst entries to name, of each table.
    chosen
        Which entries.
    names
        Another name for a table, by its own: tables of one name are one.
    unattributed
        Also entries of which damage hides the table they belong to.
    jobs
        Threads; None for as many as there are processors to use.
    """

    by: str = "table"
    with_slots: bool = False
    examples: int = 0
    chosen: EntryFilter = EntryFilter()
    names: Mapping[str, str] = {}
    unattributed: bool = False
    jobs: int | None = None


class FieldStats(NamedTuple):
    """The values of one field, of all entries of a group that have it.

    Attributes
    ----------
    name
        `embedding`, or `opt.<index>.<type>.<field>`; optimizers behind the 64th are one.
    values
        How many.
    nan, plus_inf, minus_inf
        Those that are not finite. All that follows is of the others.
    huge
        Those above 1e30 or below -1e30.
    rows, zero_rows
        Entries that have values of it, and those that have but zeros.
    min, max, mean, std
        In double precision; the standard deviation is of all values, not of a sample. None where
        no value is finite. Integers have integers as min and max.
    """

    name: str
    values: int
    nan: int
    plus_inf: int
    minus_inf: int
    huge: int
    rows: int
    zero_rows: int
    min: float | int | None
    max: float | int | None
    mean: float | None
    std: float | None

    @property
    def inf(self) -> int:
        """Infinities of both signs."""
        return self.plus_inf + self.minus_inf

    @property
    def max_abs(self) -> float | None:
        """The largest size of a finite value."""
        return None if self.min is None or self.max is None else max(abs(self.min), abs(self.max))


class NormStats(NamedTuple):
    """The lengths of embeddings: Euclidean norms of those that have values, all of them finite.

    Attributes
    ----------
    entries
        How many.
    p0, p1, p50, p99, max
        The norm that is the first, or which so many percent are not above; None without any. `p0`
        and `max` are exact, the others are off by 0.4 % of themselves at most.
    zero
        How many are 0.
    by_power
        How many others there are, by e: those in [2^e, 2^(e + 1)).
    """

    entries: int
    p0: float | None
    p1: float | None
    p50: float | None
    p99: float | None
    max: float | None
    zero: int
    by_power: dict[int, int]


class AgeStats(NamedTuple):
    """How long ago entries were updated, counted back from the newest one of their table.

    Attributes
    ----------
    entries
        Those that have a time.
    without
        Those that have none, or 0.
    odd
        Those whose time is before 1970, or after 2242: perhaps not in seconds.
    newest, oldest
        In seconds since 1970, of the group; None without any.
    p1, p50, p99
        Days, which so many percent are not above; off by less than an hour.
    by_day
        How many have the age of so many whole days, by that number; off by less than an hour too.
    """

    entries: int
    without: int
    odd: int
    newest: int | None
    oldest: int | None
    p1: float | None
    p50: float | None
    p99: float | None
    by_day: dict[int, int]


class GroupStats(NamedTuple):
    """Statistics of a table, or of a slot of it.

    Attributes
    ----------
    table
        Its name; None of entries of which damage hides it.
    tables
        How many tables are together under that name.
    slot
        None where all slots are together.
    bytes
        The table's size as stored; None of a slot, and of multi tables, which share their files.
    entries
        How many.
    dims
        The smallest and the largest number of floats of an embedding; None without entries.
    nan_entries, inf_entries, huge_entries
        Entries with such a value, in any field.
    fields
        The embedding first.
    norms, ages
        Of the embeddings; of the entries.
    """

    table: str | None
    tables: int
    slot: int | None
    bytes: int | None
    entries: int
    dims: tuple[int, int] | None
    nan_entries: int
    inf_entries: int
    huge_entries: int
    fields: list[FieldStats]
    norms: NormStats
    ages: AgeStats

    @property
    def embedding(self) -> FieldStats | None:
        """The field of that name; None where no entry has a value."""
        return self.fields[0] if self.fields and self.fields[0].name == "embedding" else None


class TablesStats(NamedTuple):
    """What `table_stats` found.

    Attributes
    ----------
    groups
        A table each, in the order of the tables; with `by` slot, a slot of a table each, ascending.
    tables
        The tables, whatever `by`.
    slots
        The slots of all tables together, ascending; None if statistics were not made by slot.
    whole
        All tables and slots together; it has no name.
    examples
        The worst entries of each table, in the same order.
    skipped
        Damage that was skipped, each place once.
    """

    groups: list[GroupStats]
    tables: list[GroupStats]
    slots: list[GroupStats] | None
    whole: GroupStats
    examples: list[Example]
    skipped: list[Skipped]

    @property
    def entries(self) -> int:
        """All of them together."""
        return self.whole.entries


def table_stats(
    tables: Sequence[Table],
    reading: ReadOptions,
    options: StatsOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
    executor: Executor | None = None,
) -> TablesStats:
    """Statistics of tables, by table or by slot.

    Costs one read of their files, and one before that of those of multi tables, which finds out
    where tables lie. Memory: some megabytes for each thread, and some kilobytes for each group.
    Results do not depend on who reads.

    Parameters
    ----------
    tables
        From `find_tables`.
    reading
        How they are read.
    progress
        Called with the uncompressed bytes read so far, and those to read.
    executor
        Does the work in place of threads of its own, and is not shut down.

    Raises
    ------
    UsageError
        No such version of feature ids, a slot or a feature id that it has not, `jobs` < 1,
        `examples` < 0, or `by` is not one of `BY`.
    CorruptionError
        Damage, unless it is to be skipped.
    PathNotFoundError, NotReadableError, ChangedWhileReadError
        A file went away, cannot be read, or changed.
    """
    from monolith_cli.execution.workers import Workers

    options = options or StatsOptions()
    if options.by not in BY:
        raise UsageError(f"no statistics by {options.by!r}")
    if options.examples < 0:
        raise UsageError("examples < 0")
    by_slot = options.by == "slot" or options.with_slots
    fold = StatisticsFold(options.chosen, by_slot, options.examples)
    names = {table.name: options.names.get(table.name, table.name) for table in tables}
    found: dict[str | None, FoundStatistics] = {
        name: FoundStatistics(most=options.examples) for name in names.values()
    }
    skipped: list[Skipped] = []
    done = 0
    with Workers(options.jobs, executor) as workers:
        stream = entry_stream(
            tables, unattributed=options.unattributed, jobs=options.jobs, executor=executor
        )
        pieces = read_ranges(stream, reading, fold, workers=workers)
        with closing(pieces):
            for piece in pieces:
                table = piece.extent.table
                name = None if table is None else names[table]
                if name not in found:
                    found[name] = FoundStatistics(most=options.examples)
                found[name].merge(piece.value)
                skipped += piece.skipped
                done += piece.size
                if progress:
                    progress(done, stream.size)
    parts: dict[str | None, list[Table]] = {}
    for each in tables:
        parts.setdefault(names[each.name], []).append(each)
    everything = _native.Summary()
    groups, by_table = [], []
    for name, made in found.items():
        everything.merge(made.summary)
        mine = parts.get(name, [])
        size = _bytes_of(mine)
        [(_, values)] = made.summary.total().groups()
        by_table.append(_group(name, len(mine), None, size, values))
        if options.by == "slot":
            slots = made.summary.groups()
            groups += [_group(name, len(mine), slot, None, values) for slot, values in slots]
    [(_, values)] = everything.total().groups()
    return TablesStats(
        groups if options.by == "slot" else by_table,
        by_table,
        [_group(None, len(tables), slot, None, values) for slot, values in everything.groups()]
        if by_slot
        else None,
        _group(None, len(tables), None, _bytes_of(tables), values),
        [example for made in found.values() for example in made.examples],
        distinct(skipped),
    )


def _bytes_of(tables: Sequence[Table]) -> int | None:
    sizes = [table.stored_bytes for table in tables]
    known = [size for size in sizes if size is not None]
    return sum(known) if known and len(known) == len(sizes) else None


def _group(
    name: str | None, tables: int, slot: int | None, size: int | None, values: Mapping[str, Any]
) -> GroupStats:
    fields = [FieldStats(**field) for field in values["fields"]]
    has_embedding = fields and fields[0].name == "embedding"
    norms, ages = values["norms"], values["ages"]
    return GroupStats(
        table=name,
        tables=tables,
        slot=slot,
        bytes=size,
        entries=values["entries"],
        dims=(values["dim_min"], values["dim_max"]) if values["entries"] else None,
        nan_entries=values["nan_entries"],
        inf_entries=values["inf_entries"],
        huge_entries=values["huge_entries"],
        fields=fields,
        norms=NormStats(
            **{key: value for key, value in norms.items() if key != "by_power"},
            zero=fields[0].zero_rows if has_embedding else 0,
            by_power=dict(norms["by_power"]),
        ),
        ages=AgeStats(
            entries=ages["entries"],
            without=ages["without"],
            odd=ages["odd"],
            newest=ages["newest"],
            oldest=ages["oldest"],
            p1=_days(ages["p1"]),
            p50=_days(ages["p50"]),
            p99=_days(ages["p99"]),
            by_day=dict(ages["by_day"]),
        ),
    )


def _days(seconds: int | None) -> float | None:
    return None if seconds is None else seconds / SECONDS_A_DAY
