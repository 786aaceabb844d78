"""Which rule spreads the entries of a table over servers, and what feature ids become."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monolith_cli.tables.folds.digest import PartsList
from monolith_cli.tables.stream import EntryFilter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from monolith_cli import _native
    from monolith_cli.tables.stream import Extent

__all__ = ["ConvertedFold", "ServersFold", "SpreadCounts"]


class SpreadCounts:
    """How entries keep to the two rules: of the signed number, floored, and of the unsigned one.

    Attributes
    ----------
    entries
        How many.
    high
        Those whose feature ids have the top bit, for which the rules differ.
    wrong
        By rule, those that are on another server than it says.
    examples
        Of each rule the first of these: its feature id, None where it is not known, and its file;
        None without any.
    """

    __slots__ = ("entries", "examples", "high", "wrong")

    def __init__(
        self,
        entries: int = 0,
        high: int = 0,
        wrong: Sequence[int] = (0, 0),
        examples: Sequence[tuple[int | None, str] | None] = (None, None),
    ) -> None:
        self.entries = entries
        self.high = high
        self.wrong = list(wrong)
        self.examples = list(examples)

    def merge(self, other: SpreadCounts, /) -> None:
        """Add what follows."""
        self.entries += other.entries
        self.high += other.high
        self.wrong = [one + another for one, another in zip(self.wrong, other.wrong, strict=True)]
        self.examples = [
            one or another for one, another in zip(self.examples, other.examples, strict=True)
        ]


class ServersFold:
    """Look whether entries are on the server that each of the two rules says.

    Parameters
    ----------
    servers
        By the path of a file: the server that its entries are on, and how many servers there are.
    """

    __slots__ = ("servers",)

    def __init__(self, servers: Mapping[str, tuple[int, int]]) -> None:
        self.servers = servers

    def run(self, reader: _native.Reader, extent: Extent, /) -> SpreadCounts:
        """Look at all that the reader gives."""
        path = extent.file.path
        counts = reader.servers(*self.servers[path])
        examples = [
            (fid, path) if wrong else None
            for fid, wrong in zip(counts.examples, counts.wrong, strict=True)
        ]
        return SpreadCounts(counts.entries, counts.high, counts.wrong, examples)


class ConvertedFold:
    """The v1 feature ids of chosen entries, in parts by a hash of what they become; 8 bytes each.

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
        return (ConvertedFold, (self.chosen,))

    def run(self, reader: _native.Reader, extent: Extent, /) -> PartsList:
        """Collect those of all that the reader gives."""
        return PartsList([reader.fids_to_convert(self._filter)])
