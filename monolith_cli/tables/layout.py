"""How the columns of a table are stored in a file for analysts."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monolith_cli.tables.folds.shape import Shape

__all__ = ["COLUMNS", "ColumnLayout", "Layout", "layout_of"]

COLUMNS = ("fid", "slot", "embedding", "opt", "last_update_ts_sec")
"""What can be chosen, in the order of files. `opt` stands for all fields of optimizers."""

_TYPES = {"fid": "int64", "slot": "int16", "last_update_ts_sec": "int64"}


class ColumnLayout(NamedTuple):
    """A column.

    Attributes
    ----------
    name
        What it is called.
    type
        Of its values: `int16`, `int64` or `float`.
    is_list
        Whether an entry has a list of them.
    size
        How many values each list has; None if that differs, or none has any.
    is_optional
        Whether there are entries without a value; an embedding is empty then, other columns are
        null.
    """

    name: str
    type: str
    is_list: bool = False
    size: int | None = None
    is_optional: bool = False

    @property
    def text(self) -> str:
        """The type in words, such as `float[33]`."""
        if not self.is_list:
            return self.type
        return f"{self.type}[{'' if self.size is None else self.size}]"


class Layout(NamedTuple):
    """The columns of a table.

    Attributes
    ----------
    columns
        Those that are stored, in order.
    has_embedding, has_optimizers
        Whether these are wanted, whatever there is of them.
    """

    columns: tuple[ColumnLayout, ...]
    has_embedding: bool
    has_optimizers: bool

    def holds(self, shape: Shape) -> bool:
        """Whether entries of that shape can be stored so."""
        if not shape.rows:
            return True
        stored = {column.name: column for column in self.columns}
        if any(name not in stored for name in shape.columns):
            return False
        for column in self.columns:
            if column.name in _TYPES:
                continue
            found = shape.columns.get(column.name)
            if found is None:
                if not column.is_optional:
                    return False
            elif column.size is not None:
                if (found.least, found.most) != (column.size, column.size):
                    return False
            elif found.least == 0 and not column.is_optional and column.name != "embedding":
                return False
        return True


def layout_of(shape: Shape, wanted: Sequence[str] = COLUMNS) -> Layout:
    """The layout that fits a shape best.

    Parameters
    ----------
    wanted
        Of `COLUMNS`.
    """
    columns: list[ColumnLayout] = []
    for name in COLUMNS:
        if name not in wanted:
            continue
        if name in _TYPES:
            columns.append(ColumnLayout(name, _TYPES[name]))
        elif name == "embedding":
            found = shape.columns.get("embedding")
            size = found.most if found and found.least == found.most and found.most else None
            columns.append(ColumnLayout(name, "float", is_list=True, size=size))
        else:
            for field, found in shape.columns.items():
                if field == "embedding":
                    continue
                is_list = found.kind == "floats"
                columns.append(
                    ColumnLayout(
                        field,
                        "int64" if found.kind == "integer" else "float",
                        is_list=is_list,
                        size=found.most if is_list and found.least == found.most else None,
                        is_optional=found.least == 0,
                    )
                )
    return Layout(tuple(columns), "embedding" in wanted, "opt" in wanted)
