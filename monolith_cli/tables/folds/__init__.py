"""What is done to a range of entries: each fold is a small object with its options.

A fold can be pickled and holds nothing that is open. What it makes of one range merges with what
it makes of the next, so that many of them give what one reader of all would.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from monolith_cli.execution.task import Merges

if TYPE_CHECKING:
    from monolith_cli import _native
    from monolith_cli.tables.stream import Extent

__all__ = ["Fold"]

V_co = TypeVar("V_co", bound=Merges, covariant=True)


class Fold(Protocol[V_co]):
    """What is done to the records of a range."""

    def run(self, reader: _native.Reader, extent: Extent, /) -> V_co:
        """Read all that the reader gives; `extent` is what the range is a part of."""
