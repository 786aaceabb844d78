"""A plan that applies a delta: what makes room, what is brought, and whether it fits.

A table's entries are sieved by feature id, and behind them come those that the delta brings, read
from its file. While that is done the digest of all entries is made, and of those that make room. So
whether the delta fits, and does what it promises, is known before anything gets its name.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.errors import CorruptionError, DifferentError, UsageError
from monolith_cli.tables.folds.rewrite import DeltaSums
from monolith_cli.tables.folds.servers import SpreadCounts
from monolith_cli.tables.rewrite.brought import BroughtPart, count_brought
from monolith_cli.tables.rewrite.plan import TablePlan, Target, TargetDump, reading_of
from monolith_cli.tables.spreading import RULES, Spread, choose_rule, count_rules, find_spreads
from monolith_cli.tables.writer import check_base

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from monolith_cli.execution.workers import Workers
    from monolith_cli.tables.diff.read_delta import Delta, DeltaTable
    from monolith_cli.tables.rewrite.plan import RewriteOptions, RewritePlan
    from monolith_cli.tables.stream import Extent

__all__ = ["check_delta", "with_delta"]

_ENTRIES_A_SHARD = 1_000_000
_MOST_SHARDS = 4
"""What the training system writes by itself."""


def with_delta(
    plan: RewritePlan,
    delta: Delta,
    options: RewriteOptions,
    workers: Workers,
    progress: Callable[[int], None],
) -> RewritePlan:
    """The plan that applies a delta before all else.

    Tables that the delta does not know stay as they are, and so do those that are dropped. Where a
    table lies in several dumps, of several servers, its entries are read once more, for the rule by
    which they are spread.

    Parameters
    ----------
    progress
        Called with how many more bytes were read, uncompressed.

    Raises
    ------
    UsageError
        Entries are to expire, or feature ids to be converted: that is done to what comes of it.
    DifferentError
        The delta is of another base: a table is missing, or one too many; or nobody knows to which
        server an entry belongs.
    CorruptionError
        As `read_ranges`; or files of a new table cannot have its name.
    PathNotFoundError, NotReadableError, ChangedWhileReadError
        As `read_ranges`.
    """
    if options.convert_fids or options.expire_days is not None:
        raise UsageError("a delta is applied alone first: what comes of it can be rewritten")
    return _Applying(plan, delta, options, workers, progress).plan_of_all()


def check_delta(tables: Iterable[tuple[TablePlan, DeltaSums | None]]) -> None:
    """Make sure that the delta fitted, and did what it promises.

    Parameters
    ----------
    tables
        Plans, with what came of their entries.

    Raises
    ------
    DifferentError
        It was made from other tables.
    CorruptionError
        It does something else than it promises.
    """
    deltas: dict[str, DeltaTable] = {}
    totals: dict[str, DeltaSums] = {}
    paths: dict[str, str] = {}
    for plan, sums in tables:
        if plan.delta is None or plan.transforms.brought:
            continue
        deltas[plan.name] = plan.delta
        totals.setdefault(plan.name, DeltaSums()).merge(sums or DeltaSums())
        for _, extent in plan.extents:
            paths.setdefault(plan.name, extent.file.path)
    for name, table in deltas.items():
        table.check_base(totals[name].entries, totals[name].total, paths.get(name))
    for name, table in deltas.items():
        found = totals[name]
        table.check_result(found.total, found.gone_entries, found.gone_total)


class _Place(NamedTuple):
    """Where a table's entries go to that a delta brings: a dump, and of which server it is."""

    base: str
    server: int
    spread: Spread


class _Applying:
    """What is found out of one plan."""

    def __init__(
        self,
        plan: RewritePlan,
        delta: Delta,
        options: RewriteOptions,
        workers: Workers,
        progress: Callable[[int], None],
    ) -> None:
        self.plan = plan
        self.delta = delta
        self.options = options
        self.workers = workers
        self.progress = progress
        self.deltas = {
            table.name: table for table in delta.tables if table.is_in_a or table.is_in_b
        }
        self.there: dict[str, list[TablePlan]] = {}
        for table in plan.tables:
            self.there.setdefault(table.name, []).append(table)
        self.counts: dict[str, SpreadCounts] = {}
        self.rules: dict[str, str] = {}

    def plan_of_all(self) -> RewritePlan:
        for table in self.deltas.values():
            if table.is_in_a != (table.name in self.there):
                have = "is not here" if table.is_in_a else "is here, where the base has none"
                raise self._another(f"table {table.name!r} {have}")
        tables: list[TablePlan] = []
        for plan in self.plan.tables:
            known = self.deltas.get(plan.name)
            tables += [plan] if known is None or not plan.targets else self._applied(plan, known)
        dumps = {dump.base: dump for dump in self.plan.dumps}
        for table in self.deltas.values():
            if not table.is_in_b:
                _remove(dumps, table.name, self.there[table.name])
            elif not table.is_in_a and self._is_wanted(table.name):
                tables += self._new(table, dumps)
        return self.plan._replace(dumps=tuple(dumps.values()), tables=tuple(tables))

    def _another(self, what: str) -> DifferentError:
        return DifferentError(
            f"the delta is of another base: {what}",
            path=self.delta.file.path,
            hint="apply it to the step that it was made from",
            kind="another_base",
        )

    def _applied(self, plan: TablePlan, table: DeltaTable) -> list[TablePlan]:
        """A table that the base has, and behind it what is brought to it."""
        transforms = plan.transforms._replace(gone=table.gone, sieved=True)
        targets = plan.targets if table.is_in_b else ()
        sieved = plan._replace(transforms=transforms, targets=targets, delta=table)
        if not table.brought:
            return [sieved]
        bases = [each.base for each in self.there[table.name]]
        place = self._places(table, bases)[bases.index(plan.base)]
        return [sieved, self._brought(plan, table, place)]

    def _brought(self, plan: TablePlan, table: DeltaTable, place: _Place) -> TablePlan:
        only = None
        if place.spread.servers > 1:
            is_unsigned = self._rule(place.spread, table) == RULES[1]
            only = (place.server, place.spread.servers, is_unsigned)
        return plan._replace(
            extents=((0, self.delta.extent(table)),),
            keeps_files=False,
            transforms=plan.transforms._replace(brought=True, only=only),
            delta=table,
        )

    def _new(self, table: DeltaTable, dumps: dict[str, TargetDump]) -> list[TablePlan]:
        """A table that the base has not."""
        plans = []
        bases = table.dumps_b or (table.name,)
        kind = "multi" if table.dumps_b else "single"
        for place in self._places(table, bases):
            try:
                check_base(place.base)
            except UsageError as error:
                path = self.delta.file.path
                raise CorruptionError(error.what, path=path, kind="bad_message") from None
            dump = dumps.get(place.base)
            if dump is not None and (dump.kind, kind) != ("multi", "multi"):
                raise self._another(f"files of {place.base!r} are here, and are of another table")
            if dump is None:
                dump = TargetDump(place.base, kind, self._shards(table, dumps, kind), ())
            dumps[place.base] = dump._replace(tables=(*dump.tables, table.name))
            empty = TablePlan(
                table.name,
                place.base,
                kind,
                (),
                (Target(place.base, table.name),),
                shards=dump.shards,
                keeps_files=False,
                transforms=self.options.transforms(),
                delta=table,
            )
            plans.append(self._brought(empty, table, place) if table.brought else empty)
        return plans

    def _shards(self, table: DeltaTable, dumps: Mapping[str, TargetDump], kind: str) -> int:
        if self.options.shards is not None:
            return self.options.shards
        shared = [dump.shards for dump in dumps.values() if dump.kind == kind == "multi"]
        by_size = max(1, min(table.entries_b // _ENTRIES_A_SHARD, _MOST_SHARDS))
        return shared[0] if shared else by_size

    def _is_wanted(self, name: str) -> bool:
        options = self.options
        kept = not options.keep_tables or any(
            fnmatchcase(name, each) for each in options.keep_tables
        )
        return kept and not any(fnmatchcase(name, each) for each in options.drop_tables)

    def _places(self, table: DeltaTable, bases: Sequence[str]) -> list[_Place]:
        """Those of a table that lies in these dumps."""
        if len(bases) == 1:
            return [_Place(bases[0], 0, Spread(bases[0], 1, {0: bases[0]}))]
        spreads = find_spreads(bases)
        if len(spreads) > 1:
            raise DifferentError(
                f"table {table.name!r} lies in {', '.join(bases)}: nobody knows in which of them"
                " new entries belong",
                path=self.delta.file.path,
                kind="no_server_rule",
            )
        servers = {base: server for server, base in spreads[0].parts.items()}
        return [_Place(base, servers[base], spreads[0]) for base in bases]

    def _rule(self, spread: Spread, table: DeltaTable) -> str:
        """By which rule entries of a table are spread over dumps of several servers."""
        if self.options.servers is not None:
            # They are read with some dump, each with one, and spread anew by a rule found for all.
            return RULES[0]
        if table.name not in self.rules:
            counts = SpreadCounts()
            counts.merge(self._counts(spread, table))
            part = BroughtPart([self.delta.extent(table)])
            counts.merge(count_brought([part], reading_of(self.options), self.workers))
            rule = self.options.server_rule
            self.rules[table.name] = choose_rule(counts, [spread], spread.servers, rule)
        return self.rules[table.name]

    def _counts(self, spread: Spread, table: DeltaTable) -> SpreadCounts:
        """How the entries that are in these dumps keep to the rules."""
        if spread.name not in self.counts:
            extents: dict[str, list[Extent]] = {base: [] for base in spread.parts.values()}
            for plan in self.plan.tables:
                if plan.base in extents:
                    extents[plan.base] += [extent for _, extent in plan.extents]
            if not any(extents.values()) and self.options.server_rule is None:
                raise DifferentError(
                    f"table {table.name!r} is new, on several servers, and no entry here tells by"
                    " which rule it is spread over them",
                    path=self.delta.file.path,
                    hint="say which rule the job has",
                    kind="no_server_rule",
                )
            done = 0

            def on_read(position: int, _: int) -> None:
                nonlocal done
                self.progress(position - done)
                done = position

            self.counts[spread.name] = count_rules(
                [spread],
                extents,
                reading_of(self.options),
                workers=self.workers,
                progress=on_read,
            )
        return self.counts[spread.name]


def _remove(dumps: dict[str, TargetDump], name: str, plans: Iterable[TablePlan]) -> None:
    """Take a table out of its dumps, and away those that have no other."""
    for plan in plans:
        dump = dumps.get(plan.base)
        if dump is None or not plan.targets:
            continue
        left = tuple(each for each in dump.tables if each != name)
        if left:
            dumps[plan.base] = dump._replace(tables=left)
        else:
            del dumps[plan.base]
