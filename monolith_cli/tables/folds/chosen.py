"""Whole entries of some fids, to be held against those of another table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monolith_cli.tables.folds.digest import PartsList
from monolith_cli.tables.stream import EntryFilter

if TYPE_CHECKING:
    from monolith_cli import _native
    from monolith_cli.tables.stream import Extent

__all__ = ["ChosenFold"]


class ChosenFold:
    """The entries whose fids are among some bits, as they are stored.

    Others come with them, whose fids share a bit with one of those.

    Parameters
    ----------
    bits
        What a join has noted.
    chosen
        Which entries are wanted at all.

    Raises
    ------
    UsageError
        As `EntryFilter.native`.
    """

    __slots__ = ("_filter", "bits", "chosen")

    def __init__(self, bits: _native.FidBits, chosen: EntryFilter | None = None) -> None:
        self.bits = bits
        self.chosen = chosen or EntryFilter()
        self._filter = self.chosen.native()

    def __reduce__(self) -> tuple[object, ...]:
        return (ChosenFold, (self.bits, self.chosen))

    def run(self, reader: _native.Reader, extent: Extent, /) -> PartsList:
        """Collect them from all that the reader gives."""
        return PartsList([reader.chosen(self.bits, self._filter)])
