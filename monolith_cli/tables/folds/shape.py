"""Which columns entries have, and how many values in each."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monolith_cli import _native
from monolith_cli.errors import UsageError
from monolith_cli.fid import version_number

if TYPE_CHECKING:
    from monolith_cli.tables.stream import EntryFilter, Extent

__all__ = ["ColumnShape", "Shape", "ShapeFold", "read_batch", "shape_of"]

_AT_ONCE = 10_000


class ColumnShape(NamedTuple):
    """What the entries have in a column.

    Attributes
    ----------
    order
        A number that tells where it belongs among others.
    kind
        `floats`, `scalar` or `integer`; of the latter two an entry has one at most.
    rows_with
        How many entries have a value.
    least, most
        The fewest and the most that an entry has.
    values
        How many there are.
    """

    order: int
    kind: str
    rows_with: int
    least: int
    most: int
    values: int


class Shape:
    """The columns of some entries.

    Attributes
    ----------
    rows
        How many entries there are.
    columns
        The embedding and optimizers' fields in order, by name; of the latter those that have a
        value in any entry.
    """

    __slots__ = ("columns", "rows")

    def __init__(self, rows: int = 0, columns: dict[str, ColumnShape] | None = None) -> None:
        self.rows = rows
        self.columns = columns or {}

    def merge(self, other: Shape, /) -> None:
        """Add what follows."""
        if self.rows == 0 or other.rows == 0:
            if other.rows or not self.columns:
                self.rows, self.columns = other.rows, other.columns
            return
        merged = {}
        for name in {**self.columns, **other.columns}:
            one, two = self.columns.get(name), other.columns.get(name)
            if one is not None and two is not None:
                merged[name] = ColumnShape(
                    one.order,
                    one.kind,
                    one.rows_with + two.rows_with,
                    min(one.least, two.least),
                    max(one.most, two.most),
                    one.values + two.values,
                )
            else:
                found = one or two
                assert found is not None
                merged[name] = found._replace(least=0)
        self.rows += other.rows
        self.columns = dict(sorted(merged.items(), key=lambda item: item[1].order))


def shape_of(batch: _native.Batch) -> Shape:
    """The columns of a batch."""
    return Shape(batch.rows, {column[0]: ColumnShape(*column[1:]) for column in batch.columns()})


def read_batch(
    reader: _native.Reader,
    extent: Extent,
    limit: int,
    chosen: _native.Filter | None,
    fid_version: int,
    embedding: bool,
    optimizers: bool,
) -> _native.Batch:
    """So many entries as columns.

    Raises
    ------
    UsageError
        One has more than 64 optimizers.
    """
    try:
        return reader.batch(
            limit,
            chosen,
            fid_version=fid_version,
            with_embedding=embedding,
            with_optimizers=optimizers,
        )
    except ValueError as error:
        raise UsageError(str(error), path=extent.file.path) from error


class ShapeFold:
    """The columns of chosen entries; their values are not kept.

    Parameters
    ----------
    embedding, optimizers
        Whether their columns are looked at.
    chosen
        Which entries.

    Raises
    ------
    UsageError
        No such version of feature ids, or a slot that it has not.
    """

    def __init__(
        self, embedding: bool = True, optimizers: bool = True, chosen: EntryFilter | None = None
    ) -> None:
        self.embedding = embedding
        self.optimizers = optimizers
        self.chosen = chosen
        self._filter = chosen.native() if chosen else None
        self._version = version_number(chosen.fid_version) if chosen else 2

    def __reduce__(self) -> tuple[object, ...]:
        return (ShapeFold, (self.embedding, self.optimizers, self.chosen))

    def run(self, reader: _native.Reader, extent: Extent, /) -> Shape:
        """Those of all that the reader gives. Raises as `read_batch`."""
        found = Shape()
        while True:
            batch = read_batch(
                reader,
                extent,
                _AT_ONCE,
                self._filter,
                self._version,
                self.embedding,
                self.optimizers,
            )
            found.merge(shape_of(batch))
            if batch.rows < _AT_ONCE:
                return found
