"""What a fold is. For types alone: no command imports it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from monolith_cli.execution.protocols import Merges

if TYPE_CHECKING:
    from monolith_cli import _native
    from monolith_cli.tables.stream import Extent

__all__ = ["Fold"]

V_co = TypeVar("V_co", bound=Merges, covariant=True)


class Fold(Protocol[V_co]):
    """What is done to the records of a range."""

    def run(self, reader: _native.Reader, extent: Extent, /) -> V_co:
        """Read all that the reader gives; `extent` is what the range is a part of."""
