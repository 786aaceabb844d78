"""What tables a step's are made into: which entries go where, and what is done to them.

A plan is made from names, contents files, and where entries lie; no entry is looked at. It says of
each table which target tables its entries may go to, and of each target dump which tables are in
it.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.errors import TableNotFoundError, UsageError
from monolith_cli.fid import MAX_V1_SLOT, MAX_V2_SLOT, version_number
from monolith_cli.formats.tfrecord import MAX_RECORD_BYTES
from monolith_cli.tables.extents import find_extents
from monolith_cli.tables.folds.rewrite import Transforms
from monolith_cli.tables.spreading import RULES
from monolith_cli.tables.stream import EntryFilter, Extent, ReadOptions
from monolith_cli.tables.table import shared_dumps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monolith_cli.execution.workers import Workers
    from monolith_cli.tables.diff.read_delta import DeltaTable
    from monolith_cli.tables.found import FoundTables

__all__ = [
    "CONDITIONS",
    "EmptyFilter",
    "RewriteOptions",
    "RewritePlan",
    "TablePlan",
    "Target",
    "TargetDump",
    "plan_rewrite",
    "reading_of",
]

CONDITIONS = ("nan", "nonfinite", "zero", "norm-above")
"""What an entry can be chosen by."""

_MOST_SHARDS = 99_999
"""What the names of files have room for."""

_MOST_SERVERS = 100_000
"""More than anybody has."""


class RewriteOptions(NamedTuple):
    """What is to be made of a step's tables.

    Attributes
    ----------
    shards
        The number of files of each table; None for as many as it has.
    keep_tables, drop_tables
        Shell patterns of names. Only tables that match one of the first stay, and none that
        matches one of the others; without any, all.
    keep_slots, drop_slots
        The same of slots: ranges with both ends.
    fid_version
        `v1` or `v2`: which bits of a fid are its slot.
    where, norm, set_zero
        As of `Transforms`.
    expire_days
        Entries that are older than the newest of their table by so many days or more go; None for
        none.
    min_keep
        Of each table so many stay at least, if it has them: what is younger than some number of
        whole days.
    servers
        Over how many servers entries are spread; None for as many as there are.
    server_rule
        The rule by which they are, of `RULES`, where the entries obey both.
    convert_fids
        Make v1 feature ids those of version 2; `fid_version` is `v1` then.
    reset_filters
        Make empty occurrence filters, as the old ones do not fit.
    max_record_bytes
        Longer records are damage.
    """

    shards: int | None = None
    keep_tables: Sequence[str] = ()
    drop_tables: Sequence[str] = ()
    keep_slots: Sequence[tuple[int, int]] = ()
    drop_slots: Sequence[tuple[int, int]] = ()
    fid_version: str = "v2"
    where: str = ""
    norm: float = 0.0
    set_zero: bool = False
    expire_days: int | None = None
    min_keep: int = 0
    servers: int | None = None
    server_rule: str | None = None
    convert_fids: bool = False
    reset_filters: bool = False
    max_record_bytes: int = MAX_RECORD_BYTES

    def check(self) -> None:
        """Make sure that it can be meant.

        Raises
        ------
        UsageError
            It cannot.
        """
        EntryFilter([*self.keep_slots, *self.drop_slots], (), self.fid_version).native()
        if self.shards is not None and not 1 <= self.shards <= _MOST_SHARDS:
            raise UsageError(f"{self.shards} shards: a dump has 1 to {_MOST_SHARDS}")
        if self.where and self.where not in CONDITIONS:
            raise UsageError(f"no condition {self.where!r}: there are {', '.join(CONDITIONS)}")
        if self.set_zero and self.where in ("", "zero"):
            what = "embeddings that are zero are zero already" if self.where else "nothing to set"
            raise UsageError(what)
        if self.norm < 0 or self.norm != self.norm:
            raise UsageError(f"no norm is above {self.norm}, or all are")
        if self.expire_days is not None and self.expire_days < 1:
            raise UsageError(f"entries cannot expire after {self.expire_days} days")
        if self.servers is not None and not 1 <= self.servers <= _MOST_SERVERS:
            raise UsageError(f"{self.servers} servers: there are 1 to {_MOST_SERVERS}")
        if self.server_rule not in (None, *RULES):
            raise UsageError(f"no rule {self.server_rule!r}: there are {', '.join(RULES)}")
        if self.convert_fids and self.fid_version != "v1":
            raise UsageError("feature ids are converted from version 1: their slots are of that")
        if self.reset_filters and not self.spreads:
            raise UsageError("occurrence filters fit as they are: nothing is spread anew")
        if self.min_keep < 0 or (self.min_keep and self.expire_days is None):
            raise UsageError(f"{self.min_keep} entries to keep, and none that expire")

    @property
    def spreads(self) -> bool:
        """Whether entries are spread over servers anew."""
        return self.servers is not None or self.convert_fids

    def slots(self) -> list[tuple[int, int]] | None:
        """The slots that stay: ascending ranges with both ends; None for all."""
        if not self.keep_slots and not self.drop_slots:
            return None
        last = MAX_V1_SLOT if version_number(self.fid_version) == 1 else MAX_V2_SLOT
        stay = sorted(self.keep_slots) or [(0, last)]
        for low, high in sorted(self.drop_slots):
            stay = [
                part
                for first, end in stay
                for part in ((first, min(end, low - 1)), (max(first, high + 1), end))
                if part[0] <= part[1]
            ]
        return stay

    def transforms(self) -> Transforms:
        """The same for a table's entries; when they expire is not known yet."""
        return Transforms(
            slots=self.slots(),
            fid_version=self.fid_version,
            where=self.where,
            norm=self.norm,
            set_zero=self.set_zero,
        )


class Target(NamedTuple):
    """A table that entries go into: its name, and the base name of its dump."""

    base: str
    table: str


class TargetDump(NamedTuple):
    """A dump that is made.

    Attributes
    ----------
    base, kind, shards
        Its base name, `single` or `multi`, and its number of files.
    tables
        Those that are in it, in order; none of a single one that is dropped, which keeps its files.
    """

    base: str
    kind: str
    shards: int
    tables: tuple[str, ...]


class TablePlan(NamedTuple):
    """Entries that are read as one table, and go to some target tables.

    Attributes
    ----------
    name, base, kind
        Of the table, and of the dump that it is in.
    extents
        Where the entries lie, in order, each with the number of the file that it is in.
    targets
        Where entries go to; none if the table is dropped.
    shards
        Of the dumps of the targets.
    keeps_files
        Whether entries stay in the file of their number, as the targets have as many files. Else
        each file gets an equal part of the bytes, in order.
    transforms
        What is done to the entries.
    delta
        What a delta does to the table; None where none is applied.
    """

    name: str
    base: str
    kind: str
    extents: tuple[tuple[int, Extent], ...]
    targets: tuple[Target, ...]
    shards: int
    keeps_files: bool
    transforms: Transforms
    delta: DeltaTable | None = None

    @property
    def size(self) -> int:
        """Of the entries, in uncompressed bytes with their frames."""
        return sum(extent.size for _, extent in self.extents)

    def is_same(self, other: TablePlan) -> bool:
        """Whether both are of the same table in the same dump."""
        return (self.name, self.base, self.kind) == (other.name, other.base, other.kind)


class EmptyFilter(NamedTuple):
    """A file of an occurrence filter that is made with nothing in it.

    Attributes
    ----------
    base, number, shards
        The base name of its files, which one it is, and of how many.
    head
        Its first record, which says how large it is.
    """

    base: str
    number: int
    shards: int
    head: bytes


class RewritePlan(NamedTuple):
    """What is made of a step's tables.

    Attributes
    ----------
    dumps
        Those that are made.
    tables
        What is read for them, tables of one dump in the order that they have there.
    filters
        The occurrence filters, which stay as they are: the paths of their files.
    warnings
        What is odd about the step's tables and no damage, a phrase each.
    empty_filters
        Those that are made in place of the others.
    """

    dumps: tuple[TargetDump, ...]
    tables: tuple[TablePlan, ...]
    filters: tuple[str, ...]
    warnings: tuple[str, ...]
    empty_filters: tuple[EmptyFilter, ...] = ()

    @property
    def size(self) -> int:
        """Of all that is read, in uncompressed bytes."""
        return sum(table.size for table in self.tables)


def plan_rewrite(found: FoundTables, options: RewriteOptions, workers: Workers) -> RewritePlan:
    """Plan it. Where tables share files, these are read once, as nothing else tells where they lie.

    Raises
    ------
    UsageError
        As `RewriteOptions.check`.
    TableNotFoundError
        A pattern matches no table.
    CorruptionError
        A table, or a filter, is not whole, or is damaged.
    PathNotFoundError, NotReadableError, ChangedWhileReadError
        A file went away, changed, or cannot be read.
    """
    options.check()
    for problem in (*found.problems, *found.filter_problems):
        raise problem
    stays = _stays(found, options)
    transforms = options.transforms()
    dumps: list[TargetDump] = []
    tables: list[TablePlan] = []

    def add(
        name: str, base: str, kind: str, shards: int, extents: Sequence[tuple[int, Extent]]
    ) -> None:
        kept = name in stays
        tables.append(
            TablePlan(
                name,
                base,
                kind,
                tuple(extents),
                (Target(base, name),) if kept else (),
                shards=options.shards or shards,
                keeps_files=options.shards in (None, shards),
                transforms=transforms if kept else Transforms(drop_all=True),
            )
        )

    for table in found.tables:
        if table.dumps:
            continue
        add(table.name, table.name, table.kind, table.shards, list(enumerate(table.extents())))
        own = (table.name,) if table.name in stays else ()
        dumps.append(TargetDump(table.name, table.kind, options.shards or table.shards, own))
    shared = shared_dumps(found.tables)
    find_extents(shared, workers)
    for dump in shared:
        numbers = {file.path: number for number, file in enumerate(dump.files)}
        for name in dump.entries():
            extents = dump.extents_of(name)
            placed = [(numbers[extent.file.path], extent) for extent in extents]
            add(name, dump.base, "multi", len(dump.files), placed)
        names = tuple(name for name in dump.entries() if name in stays)
        dumps.append(TargetDump(dump.base, "multi", options.shards or len(dump.files), names))
    odd = [warning for table in found.tables for warning in table.warnings()]
    return RewritePlan(
        tuple(dumps),
        tuple(tables),
        tuple(path for shards in found.files.hash_filters.values() for path in shards.paths),
        (*found.warnings, *dict.fromkeys(odd)),
    )


def reading_of(options: RewriteOptions) -> ReadOptions:
    """How tables are read that are made anew: every checksum counts."""
    return ReadOptions(max_record_bytes=options.max_record_bytes)


def _stays(found: FoundTables, options: RewriteOptions) -> set[str]:
    """The names of the tables that stay."""
    names = {table.name for table in found.tables}

    def matching(patterns: Sequence[str]) -> set[str]:
        chosen: set[str] = set()
        for pattern in patterns:
            # A name may look like a pattern.
            here = {pattern} & names or {name for name in names if fnmatchcase(name, pattern)}
            if not here:
                raise TableNotFoundError(f"no table matches {pattern!r}")
            chosen |= here
        return chosen

    kept = matching(options.keep_tables) if options.keep_tables else names
    return kept - matching(options.drop_tables)
