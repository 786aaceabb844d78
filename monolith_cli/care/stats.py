"""What tables hold, as conditions have it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monolith_cli.errors import NotMeasuredError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from monolith_cli.tables.stats import FieldStats, GroupStats, TablesStats

__all__ = ["StatsMeasured"]


def _of_embedding(name: str) -> Callable[[GroupStats], Any]:
    return lambda group: None if group.embedding is None else getattr(group.embedding, name)


_OF_GROUPS: dict[str, Callable[[GroupStats], Any]] = {
    "entries": lambda group: group.entries,
    "bytes": lambda group: group.bytes,
    "zero_rows": lambda group: group.embedding.zero_rows if group.embedding else 0,
    "nan": lambda group: sum(field.nan for field in group.fields),
    "inf": lambda group: sum(field.inf for field in group.fields),
    "huge": lambda group: sum(field.huge for field in group.fields),
    "max_abs": _of_embedding("max_abs"),
    "mean": _of_embedding("mean"),
    "std": _of_embedding("std"),
    "norm_p50": lambda group: group.norms.p50,
    "norm_p99": lambda group: group.norms.p99,
    "norm_max": lambda group: group.norms.max,
    "age_p50": lambda group: group.ages.p50,
}

_OF_FIELDS: dict[str, Callable[[FieldStats], Any]] = {
    "entries": lambda field: field.rows,
    "zero_rows": lambda field: field.zero_rows,
    "nan": lambda field: field.nan,
    "inf": lambda field: field.inf,
    "huge": lambda field: field.huge,
    "max_abs": lambda field: field.max_abs,
    "mean": lambda field: field.mean,
    "std": lambda field: field.std,
}


class StatsMeasured:
    """Statistics of tables, for conditions.

    Of the whole, by table and by slot: `zero_rows`, `max_abs`, `mean` and `std` are of embeddings;
    `nan`, `inf` and `huge` of all fields. By `opt`, whose keys are such as `0.adagrad.norm`: of
    that field in all tables together.
    """

    def __init__(self, found: TablesStats) -> None:
        self.found = found

    def measured(self, scope: str, name: str) -> Mapping[str | int, float | None] | None:
        """As `conditions.Measured`."""
        if scope == "opt":
            of_field = _OF_FIELDS.get(name)
            if of_field is None:
                return None
            return {
                field.name.removeprefix("opt."): of_field(field)
                for field in self.found.whole.fields
                if field.name != "embedding"
            }
        of_group = _OF_GROUPS.get(name)
        if of_group is None or scope == "dense" or (scope == "slot" and name == "bytes"):
            return None
        if scope == "":
            return {"": of_group(self.found.whole)}
        if scope == "table":
            tables = self.found.tables
            return {group.table: of_group(group) for group in tables if group.table is not None}
        if self.found.slots is None:
            raise NotMeasuredError("statistics were not made by slot")
        return {group.slot: of_group(group) for group in self.found.slots if group.slot is not None}

    def before(self, scope: str, name: str) -> Mapping[str | int, float | None] | None:
        """Nothing: one step is looked at."""
        return None
