"""Digests of entries: what a comparison of two tables needs to know of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monolith_cli.tables.stream import EntryFilter

if TYPE_CHECKING:
    from monolith_cli import _native
    from monolith_cli.tables.stream import Extent

__all__ = ["DigestFold", "PartsList"]


class PartsList:
    """What ranges have left for a join, in their order.

    Attributes
    ----------
    parts
        Of one range each.
    """

    __slots__ = ("parts",)

    def __init__(self, parts: list[_native.Parts]) -> None:
        self.parts = parts

    def merge(self, other: PartsList, /) -> None:
        """Add what follows."""
        self.parts += other.parts


class DigestFold:
    """Of each chosen entry its fid, digests of its embedding and optimizer state, and its time.

    They take 32 bytes an entry. Entries that say the same have the same digests, whoever wrote
    them; see `native/digest.h`.

    Raises
    ------
    UsageError
        As `EntryFilter.native`.
    """

    __slots__ = ("_filter", "chosen")

    def __init__(self, chosen: EntryFilter | None = None) -> None:
        self.chosen = chosen or EntryFilter()
        self._filter = self.chosen.native()

    def __reduce__(self) -> tuple[object, ...]:
        return (DigestFold, (self.chosen,))

    def run(self, reader: _native.Reader, extent: Extent, /) -> PartsList:
        """Digest all that the reader gives."""
        return PartsList([reader.digests(self._filter)])
