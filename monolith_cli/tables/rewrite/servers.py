"""A plan that spreads entries anew over servers, or makes their feature ids those of version 2."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.checkpoint.names import HASH_FILTER_PREFIX, parse_shard_name
from monolith_cli.errors import CorruptionError, UsageError
from monolith_cli.formats.tfrecord import read_first_record
from monolith_cli.storage.location import name_of
from monolith_cli.storage.scratch import Scratch
from monolith_cli.tables.fid_conversion import find_collisions
from monolith_cli.tables.hash_filters import empty_filter_head
from monolith_cli.tables.missing_parts import check_parts
from monolith_cli.tables.rewrite.brought import BroughtPart, count_brought
from monolith_cli.tables.rewrite.plan import EmptyFilter, Target, TargetDump, reading_of
from monolith_cli.tables.spreading import RULES, Spread, find_rule, find_spreads
from monolith_cli.tables.stream import EntryFilter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from monolith_cli.execution.workers import Workers
    from monolith_cli.tables.fid_conversion import TableCollisions
    from monolith_cli.tables.rewrite.plan import RewriteOptions, RewritePlan, TablePlan
    from monolith_cli.tables.stream import Extent

__all__ = ["spread_plan"]


def spread_plan(
    plan: RewritePlan,
    options: RewriteOptions,
    workers: Workers,
    progress: Callable[[int], None],
) -> RewritePlan:
    """The plan whose entries go to the servers that they belong to.

    What the entries say is found out here: by which rule they are spread, and which feature ids
    become the same. Each costs a read of the tables.

    Parameters
    ----------
    progress
        Called with how many more bytes were read, uncompressed.

    Raises
    ------
    UsageError
        There are occurrence filters, and they are not to be reset; or two tables would have one
        name.
    DifferentError
        As `check_parts` and `find_rule`.
    CorruptionError
        A part of a table is missing, or feature ids become the same; or the tables, or a filter,
        are damaged.
    WriteError
        There is no room to look for feature ids that become the same.
    PathNotFoundError, NotReadableError, ChangedWhileReadError
        As `read_ranges`.
    """
    if plan.filters and not options.reset_filters:
        raise UsageError(
            "there are occurrence filters, which do not fit entries that are spread anew",
            path=plan.filters[0],
            hint="make empty ones in their place",
            kind="old_filters",
        )
    groups = _groups(plan)
    _check_parts(groups, options, workers, progress)
    is_unsigned = _rule(groups, options, workers, progress) == RULES[1]
    if options.convert_fids:
        _check_collisions(groups, options, workers, progress)
    dumps: dict[str, TargetDump] = {}
    tables: list[TablePlan] = []
    for group in groups:
        servers = options.servers or group.spread.servers
        bases = [
            f"{group.spread.name}_{server}" if options.servers else group.spread.base_of(server)
            for server in range(servers)
        ]
        shards = options.shards or max(group.shards, default=1)
        for base in bases if group.shards else ():
            if base in dumps:
                raise UsageError(f"two dumps would be named {base!r}")
            single = (base,) if group.names else ()
            names = tuple(group.names) if group.kind == "multi" else single
            dumps[base] = TargetDump(base, group.kind, shards, names)
        for table in group.tables:
            if not table.targets:
                tables.append(table)
                continue
            name = table.name if group.kind == "multi" else None
            tables.append(
                table._replace(
                    targets=tuple(Target(base, name or base) for base in bases),
                    shards=shards,
                    keeps_files=table.keeps_files and table.shards == shards,
                    transforms=table.transforms._replace(
                        convert=options.convert_fids, servers=servers, is_unsigned=is_unsigned
                    ),
                )
            )
    odd = ("occurrence filters are empty now: feature ids are counted anew",)
    return plan._replace(
        dumps=tuple(dumps.values()),
        tables=tuple(tables),
        filters=(),
        warnings=(*plan.warnings, *(odd if plan.filters else ())),
        empty_filters=_empty_filters(plan.filters, options),
    )


class _Group(NamedTuple):
    """Dumps that are parts of one: their tables, in the order in which entries are read.

    Attributes
    ----------
    spread, kind
        Which dumps they are.
    tables
        Plans of tables, of those of one name one after the other.
    names
        Of the tables that stay, in that order.
    shards
        How many files the dumps have.
    """

    spread: Spread
    kind: str
    tables: list[TablePlan]
    names: list[str]
    shards: list[int]


def _groups(plan: RewritePlan) -> list[_Group]:
    """The dumps of a plan, by what they are parts of."""
    groups = []
    kinds = {table.base: table.kind for table in plan.tables}
    kinds.update((dump.base, dump.kind) for dump in plan.dumps)
    made = {dump.base: dump for dump in plan.dumps}
    for kind in ("single", "multi"):
        for spread in find_spreads(base for base, each in kinds.items() if each == kind):
            here = set(spread.parts.values())
            tables = [table for table in plan.tables if table.base in here]
            if kind == "multi":
                # Tables that share files lie in them one after the other.
                tables = _by_name(tables)
            stay = {name for base in here if base in made for name in made[base].tables}
            names = [name for name in dict.fromkeys(table.name for table in tables) if name in stay]
            shards = [made[base].shards for base in here if base in made]
            groups.append(_Group(spread, kind, tables, names, shards))
    return groups


def _by_name(tables: Sequence[TablePlan]) -> list[TablePlan]:
    """The same, those of one name one after the other."""
    groups: dict[str, list[TablePlan]] = {}
    for table in tables:
        groups.setdefault(table.name, []).append(table)
    return [table for group in groups.values() for table in group]


def _rule(
    groups: Sequence[_Group],
    options: RewriteOptions,
    workers: Workers,
    progress: Callable[[int], None],
) -> str:
    """The rule by which the entries are spread, where one is needed."""
    concerned = [group for group in groups if any(table.targets for table in group.tables)]
    # Feature ids of version 2 have no top bit.
    servers = 1 if options.convert_fids else options.servers or 1
    if servers & (servers - 1) == 0 and all(group.spread.servers == 1 for group in concerned):
        return RULES[0]
    extents: dict[str, list[Extent]] = {}
    brought: dict[tuple[str, str], BroughtPart] = {}
    for group in concerned:
        numbers = {base: server for server, base in group.spread.parts.items()}
        for base in numbers:
            extents[base] = []
        for table in group.tables:
            here = [extent for _, extent in table.extents]
            if not table.transforms.brought:
                extents[table.base] += here
                continue
            # Of a table that shares files a delta does not say on which server an entry was.
            part = BroughtPart(here)
            if group.kind == "single":
                part = BroughtPart(here, numbers[table.base], group.spread.servers)
            brought[group.kind, table.name] = part
    return find_rule(
        [group.spread for group in concerned],
        extents,
        servers,
        reading_of(options),
        rule=options.server_rule,
        brought=count_brought(brought.values(), reading_of(options), workers),
        workers=workers,
        progress=_steps(progress),
    )


def _extents(groups: Sequence[_Group]) -> dict[str, list[Extent]]:
    """Where the entries of dumps lie, by base name, without what a delta brings."""
    extents: dict[str, list[Extent]] = {}
    for group in groups:
        extents.update((base, []) for base in group.spread.parts.values())
        for table in group.tables:
            if not table.transforms.brought:
                extents[table.base] += [extent for _, extent in table.extents]
    return extents


def _check_parts(
    groups: Sequence[_Group],
    options: RewriteOptions,
    workers: Workers,
    progress: Callable[[int], None],
) -> None:
    for kind in ("single", "multi"):
        check_parts(
            _extents([group for group in groups if group.kind == kind]),
            reading_of(options),
            workers=workers,
            progress=_steps(progress),
        )


def _check_collisions(
    groups: Sequence[_Group],
    options: RewriteOptions,
    workers: Workers,
    progress: Callable[[int], None],
) -> None:
    tables: dict[str, list[Extent]] = {}
    for group in groups:
        for table in group.tables:
            name = table.name if group.kind == "multi" else group.spread.name
            if table.targets:
                tables.setdefault(name, []).extend(extent for _, extent in table.extents)
    chosen = EntryFilter(options.slots() or (), (), options.fid_version)
    with Scratch() as scratch:
        found = find_collisions(
            tables,
            reading_of(options),
            scratch,
            chosen=chosen,
            workers=workers,
            progress=_steps(progress),
        )
    if found:
        raise _collide(found, options)


def _collide(found: Sequence[TableCollisions], options: RewriteOptions) -> CorruptionError:
    lines = []
    for table in found:
        lines += [
            f"table {table.table!r}: {each.one} and {each.other} would both be {each.fid}"
            for each in table.examples
        ]
        if table.fids > len(table.examples):
            lines.append(f"and {table.fids - len(table.examples):,} more")
    count = sum(table.fids for table in found)
    what = f"feature ids would become the same in version 2, {count:,} of them"
    hint = "leave out their slots or their tables: those that become the same are of one slot"
    if options.expire_days is not None or (options.where and not options.set_zero):
        what += ", counting entries that would be left out by their age or by what is in them"
        hint = "leave these out first, in another directory, and convert what comes of it"
    return CorruptionError(
        f"{what}: {'; '.join(lines)}",
        hint=hint,
        kind="fids_collide",
    )


def _empty_filters(paths: Sequence[str], options: RewriteOptions) -> tuple[EmptyFilter, ...]:
    """Filters like those, without anything in them, one for each server."""
    by_base: dict[str, dict[int, str]] = {}
    for path in paths:
        shard = parse_shard_name(name_of(path))
        if shard is not None:
            by_base.setdefault(shard.base, {})[shard.number] = path
    if not by_base:
        return ()
    first = next(iter(by_base))
    bases = list(by_base)
    if options.servers is not None:
        bases = [f"{HASH_FILTER_PREFIX}{server}" for server in range(options.servers)]
    made = []
    for base in bases:
        splits = by_base.get(base, by_base[first])
        for number, path in sorted(splits.items()):
            made.append(EmptyFilter(base, number, len(splits), _empty_head(path, options)))
    return tuple(made)


def _empty_head(path: str, options: RewriteOptions) -> bytes:
    record = read_first_record(path, max_record_bytes=options.max_record_bytes)
    try:
        if record is None:
            raise ValueError("it is empty")
        return empty_filter_head(record)
    except ValueError as error:
        raise CorruptionError(
            f"no hash filter: {error}", path=path, record=0, kind="bad_message"
        ) from None


def _steps(progress: Callable[[int], None]) -> Callable[[int, int], None]:
    """What is told of how much was read in all, as how much more it is."""
    done = 0

    def on_read(position: int, _: int) -> None:
        nonlocal done
        progress(position - done)
        done = position

    return on_read
