"""Where records lie, whatever they hold: how many there are, and the places of some."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from monolith_cli import _native
    from monolith_cli.tables.stream import Extent

__all__ = ["Records", "RecordsFold"]

_STEP = 1 << 12
"""Records between two whose places are noted."""


class Records:
    """The records of a range without damage.

    Attributes
    ----------
    count
        How many.
    numbers, positions
        Some of them, the first one too: their numbers, counted from 0, ascending, and where they
        start.
    damaged
        Whether damage was met, behind which nothing was read.
    """

    __slots__ = ("count", "damaged", "numbers", "positions")

    def __init__(self) -> None:
        self.count = 0
        self.numbers: list[int] = []
        self.positions: list[int] = []
        self.damaged = False

    def merge(self, other: Records, /) -> None:
        """Add what follows."""
        self.numbers += [self.count + number for number in other.numbers]
        self.positions += other.positions
        self.count += other.count
        self.damaged = self.damaged or other.damaged

    def before(self, record: int) -> tuple[int, int]:
        """The last noted record that is not behind a given one: its number and its position."""
        index = bisect_right(self.numbers, record) - 1
        return self.numbers[index], self.positions[index]


class RecordsFold:
    """Note where records are, up to the first damage."""

    __slots__ = ()

    def run(self, reader: _native.Reader, extent: Extent, /) -> Records:
        """Pass over all that the reader gives."""
        found = Records()
        while True:  # once at least: where no block can be decoded there is no stream, but damage
            number, position = found.count, reader.position
            passed = reader.skip(_STEP)
            if passed:
                found.numbers.append(number)
                found.positions.append(position)
                found.count += passed
            found.damaged = bool(reader.damages)
            if reader.done or found.damaged:
                break
        return found
