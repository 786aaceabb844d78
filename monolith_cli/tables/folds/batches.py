"""Entries in a format that analysts read, range by range."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from monolith_cli import _native
from monolith_cli.fid import version_number
from monolith_cli.tables.folds.shape import Shape, read_batch, shape_of

if TYPE_CHECKING:
    from monolith_cli.tables.layout import Layout
    from monolith_cli.tables.stream import EntryFilter, Extent

__all__ = ["Batches", "BatchesFold", "EncodedBatch", "Encodes"]

_ALL = 2**63 - 1


class Encodes(Protocol):
    """What makes a batch of entries bytes; it can be pickled."""

    def encode(self, batch: _native.Batch, layout: Layout) -> list[Any]:
        """What each column of the layout becomes."""


class EncodedBatch(NamedTuple):
    """Entries of a range.

    Attributes
    ----------
    shape
        The columns that they have.
    columns
        What those of the layout have become, in its order; None if the entries are not so.
    """

    shape: Shape
    columns: list[Any] | None


class Batches(list[EncodedBatch]):
    """Entries of ranges, in order."""

    def merge(self, other: Batches, /) -> None:
        """Add what follows."""
        self += other


class BatchesFold:
    """Chosen entries, encoded.

    Parameters
    ----------
    encoder
        What makes them bytes.
    layout
        The columns that are wanted.
    chosen
        Which entries.

    Raises
    ------
    UsageError
        No such version of feature ids, or a slot that it has not.
    """

    def __init__(self, encoder: Encodes, layout: Layout, chosen: EntryFilter | None = None) -> None:
        self.encoder = encoder
        self.layout = layout
        self.chosen = chosen
        self._filter = chosen.native() if chosen else None
        self._version = version_number(chosen.fid_version) if chosen else 2

    def __reduce__(self) -> tuple[object, ...]:
        return (BatchesFold, (self.encoder, self.layout, self.chosen))

    def run(self, reader: _native.Reader, extent: Extent, /) -> Batches:
        """All that the reader gives. Raises as `read_batch`."""
        layout = self.layout
        batch = read_batch(
            reader,
            extent,
            _ALL,
            self._filter,
            self._version,
            layout.has_embedding,
            layout.has_optimizers,
        )
        shape = shape_of(batch)
        if not batch.rows:
            return Batches()
        holds = layout.holds(shape)
        return Batches([EncodedBatch(shape, self.encoder.encode(batch, layout) if holds else None)])
