"""Counting records, whatever they hold: their frames and checksums are checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from monolith_cli import _native
    from monolith_cli.tables.stream import Extent

__all__ = ["RecordCount", "RecordCountFold"]

_STEP = 1 << 14


class RecordCount:
    """How many records there are, in `records`."""

    __slots__ = ("records",)

    def __init__(self) -> None:
        self.records = 0

    def merge(self, other: RecordCount, /) -> None:
        """Add others."""
        self.records += other.records


class RecordCountFold:
    """Count records, and check nothing but that they are whole."""

    __slots__ = ()

    def run(self, reader: _native.Reader, extent: Extent, /) -> RecordCount:
        """Count all that the reader gives."""
        found = RecordCount()
        while True:
            found.records += reader.skip(_STEP)
            if reader.done or reader.failed:
                return found
