"""What the formats of an export have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from monolith_cli import _native
    from monolith_cli.tables.folds.shape import Shape
    from monolith_cli.tables.layout import Layout

__all__ = ["TOOL", "FileWriter", "Format", "Part"]


def _tool() -> str:
    from monolith_cli import __version__

    return f"monolith-cli {__version__}"


TOOL = _tool()
"""What says in a file that it was made by this."""


class Part(NamedTuple):
    """A file, or what stands for one, of a table.

    Attributes
    ----------
    folder
        The table's, where it lies.
    number, of
        Which of how many.
    """

    folder: str
    number: int
    of: int

    def name(self, suffix: str) -> str:
        """Its name, such as `part-00000-of-00002.parquet`."""
        return f"part-{self.number:05d}-of-{self.of:05d}{suffix}"


class FileWriter(Protocol):
    """A file that is being written: rows go into it in order."""

    def add(self, rows: int, columns: list[Any]) -> None:
        """Append rows, as the format has encoded them; raises `WriteError`."""


class Format(Protocol):
    """A format of files. It can be pickled.

    Attributes
    ----------
    counts_first
        Whether a file begins with how much is in it: then the shape that `writer` is given is that
        of all entries.
    """

    @property
    def counts_first(self) -> bool: ...

    def encode(self, batch: _native.Batch, layout: Layout) -> list[Any]:
        """What each column of the layout becomes."""

    def writer(
        self, part: Part, layout: Layout, shape: Shape, metadata: Mapping[str, bytes]
    ) -> AbstractContextManager[FileWriter]:
        """Begin a part; it is whole when the block ends well, and vanishes when it does not."""
