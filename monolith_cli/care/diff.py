"""What differs between two checkpoints, as conditions and exit codes have it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monolith_cli.errors import DifferentError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from monolith_cli.tables.diff.compare import TablesDiff
    from monolith_cli.tables.diff.joining import Fates

__all__ = ["TablesMeasured", "difference_error"]

_VALUES: dict[str, Callable[[Fates], int]] = {
    "entries": lambda fates: fates.entries_b,
    "added": lambda fates: fates.added,
    "removed": lambda fates: fates.removed,
    "changed": lambda fates: fates.changed,
}


class TablesMeasured:
    """A comparison of tables, for conditions: of the second side, before is the first one."""

    def __init__(self, found: TablesDiff) -> None:
        self.found = found

    def measured(self, scope: str, name: str) -> Mapping[str | int, float | None] | None:
        """As `conditions.Measured`: entries, added, removed and changed, by table and by slot."""
        value = _VALUES.get(name)
        return None if value is None else self._each(scope, value)

    def before(self, scope: str, name: str) -> Mapping[str | int, float | None] | None:
        """The same of the first side, which knows its entries alone."""
        return self._each(scope, lambda fates: fates.entries_a) if name == "entries" else None

    def _each(
        self, scope: str, value: Callable[[Fates], int]
    ) -> Mapping[str | int, float | None] | None:
        if scope == "":
            return {"": value(self.found.fates)}
        if scope == "table":
            return {table.name: value(table.fates) for table in self.found.tables}
        if scope == "slot":
            return {slot: value(fates) for slot, fates in self.found.slots.items()}
        return None


def difference_error(found: TablesDiff) -> DifferentError:
    """The error of tables that differ, where they should not."""
    which = [table.name for table in found.tables if table.differs]
    more = f" and {len(which) - 1} more" if len(which) > 1 else ""
    differing = found.fates.differing
    entries = "1 entry differs" if differing == 1 else f"{differing:,} entries differ"
    return DifferentError(f"{entries}, of table {which[0]}{more}")
