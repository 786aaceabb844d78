"""Counting entries: by slot, with dims and optimizers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monolith_cli import _native
from monolith_cli.fid import version_number
from monolith_cli.tables.stream import EntryFilter

if TYPE_CHECKING:
    from monolith_cli.tables.stream import Extent

__all__ = ["CountFold", "Tally"]


class Tally:
    """Counts of some entries; small, where a native counter has room for every slot.

    Attributes
    ----------
    entries
        How many.
    dims
        The smallest and the largest number of floats; None without entries.
    types
        A bit for each optimizer type.
    slots
        Entries by slot.
    """

    __slots__ = ("dims", "entries", "slots", "types")

    def __init__(self) -> None:
        self.entries = 0
        self.dims: tuple[int, int] | None = None
        self.types = 0
        self.slots: dict[int, int] = {}

    def merge(self, other: Tally, /) -> None:
        """Add other entries."""
        self.entries += other.entries
        self.types |= other.types
        if self.dims and other.dims:
            self.dims = (min(self.dims[0], other.dims[0]), max(self.dims[1], other.dims[1]))
        else:
            self.dims = self.dims or other.dims
        for slot, count in other.slots.items():
            self.slots[slot] = self.slots.get(slot, 0) + count


class CountFold:
    """Count the entries that are chosen, into a `Tally`.

    Raises
    ------
    UsageError
        No such version of feature ids, or a slot that it has not.
    """

    __slots__ = ("_filter", "_version", "chosen")

    def __init__(self, chosen: EntryFilter) -> None:
        self.chosen = chosen
        self._filter = chosen.native()
        self._version = version_number(chosen.fid_version)

    def __reduce__(self) -> tuple[object, ...]:
        return (CountFold, (self.chosen,))

    def run(self, reader: _native.Reader, extent: Extent, /) -> Tally:
        """Count all that the reader gives."""
        counter = _native.Counter(self._version)
        reader.count(counter, self._filter)
        tally = Tally()
        tally.entries = counter.entries
        if counter.entries:
            tally.dims = (counter.dim_min, counter.dim_max)
            tally.types = counter.types
            tally.slots = counter.slot_counts()
        return tally
