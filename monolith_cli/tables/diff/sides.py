"""The two sides of a comparison: their tables, and which of them are held against each other."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.errors import TableNotFoundError
from monolith_cli.tables.found import find_tables
from monolith_cli.tables.outcome import read_outcome
from monolith_cli.tables.stream import EntryStream

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from monolith_cli.checkpoint.checkpoint import Checkpoint
    from monolith_cli.errors import MonolithError
    from monolith_cli.execution.workers import Workers
    from monolith_cli.tables.found import FoundTables
    from monolith_cli.tables.stream import ReadOptions
    from monolith_cli.tables.table import Table

__all__ = ["Side", "two_sides"]


class Side(NamedTuple):
    """A checkpoint in a comparison.

    Attributes
    ----------
    checkpoint
        It.
    found
        Its tables.
    names
        The name under which each table is compared, by its own.
    """

    checkpoint: Checkpoint
    found: FoundTables
    names: dict[str, str]

    @property
    def tables(self) -> list[Table]:
        """Those that are compared."""
        return [table for table in self.found.tables if table.name in self.names]

    def stream(self, workers: Workers) -> EntryStream:
        """All their entries, table by table; those that share files cost a pass over these.

        Raises as `Table.extents`.
        """
        from monolith_cli.tables.table import shared_dumps

        dumps = shared_dumps(self.tables)
        if dumps:
            from monolith_cli.tables.extents import find_extents

            find_extents(dumps, workers)
        return EntryStream(extent for table in self.tables for extent in table.extents())

    def outcome(self) -> list[MonolithError]:
        """What is wrong with its tables, compared or not. Raises as `read_outcome`."""
        return read_outcome(self.checkpoint, self.found).errors


def two_sides(
    a: Checkpoint,
    b: Checkpoint,
    patterns: Sequence[str],
    options: ReadOptions,
    *,
    merge_servers: bool = False,
) -> tuple[Side, Side]:
    """Find the tables of both checkpoints that are whole and wanted.

    Parameters
    ----------
    patterns
        Names, or shell patterns of names, of which a table must match one; none: all.
    merge_servers
        Compare the tables `user_0`, `user_1`, … of servers as one, `user`.

    Raises
    ------
    TableNotFoundError
        A pattern matches no table, neither here nor there.
    MonolithError
        As `find_tables`.
    """
    found = [find_tables(checkpoint, (), options) for checkpoint in (a, b)]
    names = [_names(each, merge_servers) for each in found]
    wanted = _wanted(patterns, names)
    if wanted is None:
        return Side(a, found[0], names[0]), Side(b, found[1], names[1])
    chosen = [{own: name for own, name in each.items() if own in wanted} for each in names]
    unmatched = next(_unmatched(patterns, chosen), None)
    if unmatched is not None:
        for each in found:
            if each.problems:
                raise each.problems[0]  # it may be one of those
        where = b.assets[0] if b.assets else b.prefix
        raise TableNotFoundError(f"no table matches {unmatched!r}", path=where)
    return Side(a, found[0], chosen[0]), Side(b, found[1], chosen[1])


def _names(found: FoundTables, merge_servers: bool) -> dict[str, str]:
    names = [table.name for table in found.tables]
    if not merge_servers:
        return {name: name for name in names}
    from monolith_cli.tables.servers import merge_servers as merged

    return merged(names)


def _wanted(patterns: Sequence[str], sides: Sequence[dict[str, str]]) -> set[str] | None:
    """The own names of those that are; None for all."""
    if not patterns:
        return None
    wanted: set[str] = set()
    for pattern in patterns:
        for side in sides:
            wanted |= {own for own, name in side.items() if _matches(pattern, own, name)}
    return wanted


def _matches(pattern: str, own: str, name: str) -> bool:
    # A name may look like a pattern.
    return pattern in (own, name) or fnmatchcase(own, pattern) or fnmatchcase(name, pattern)


def _unmatched(patterns: Sequence[str], sides: Sequence[dict[str, str]]) -> Iterator[str]:
    pairs = [pair for side in sides for pair in side.items()]
    for pattern in patterns:
        if not any(_matches(pattern, own, name) for own, name in pairs):
            yield pattern
