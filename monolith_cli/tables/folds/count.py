"""Counting entries: by slot, with dims and optimizers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monolith_cli import _native
from monolith_cli.fid import version_number
from monolith_cli.tables.stream import EntryFilter

if TYPE_CHECKING:
    from monolith_cli.tables.stream import Extent

__all__ = ["CountFold", "Tally"]

MOST_RUNS = 1 << 16
"""As many as a native counter keeps; a file has no more tables."""


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
    runs
        Entries one after another that are alike: how many come before them, how many floats each
        has, and its types as in `types`. A table has one.
    runs_cut
        Whether there are more runs than are kept.
    """

    __slots__ = ("dims", "entries", "runs", "runs_cut", "slots", "types")

    def __init__(self) -> None:
        self.entries = 0
        self.dims: tuple[int, int] | None = None
        self.types = 0
        self.slots: dict[int, int] = {}
        self.runs: list[tuple[int, int, int]] = []
        self.runs_cut = False

    def merge(self, other: Tally, /) -> None:
        """Add other entries, which come behind these."""
        self._append_runs(other)
        self.entries += other.entries
        self.types |= other.types
        if self.dims and other.dims:
            self.dims = (min(self.dims[0], other.dims[0]), max(self.dims[1], other.dims[1]))
        else:
            self.dims = self.dims or other.dims
        for slot, count in other.slots.items():
            self.slots[slot] = self.slots.get(slot, 0) + count

    def _append_runs(self, other: Tally) -> None:
        goes_on = self.runs and other.runs and self.runs[-1][1:] == other.runs[0][1:]
        for first, dim, types in other.runs[1:] if goes_on else other.runs:
            self.runs.append((self.entries + first, dim, types))
        self.runs_cut = self.runs_cut or other.runs_cut or len(self.runs) > MOST_RUNS
        del self.runs[MOST_RUNS:]


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
            tally.runs = counter.runs
            tally.runs_cut = counter.runs_cut
        return tally
