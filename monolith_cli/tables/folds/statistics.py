"""Statistics of what is in entries: of each field's floats, of norms, of ages."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monolith_cli import _native
from monolith_cli.fid import version_number
from monolith_cli.tables.stream import EntryFilter

if TYPE_CHECKING:
    from monolith_cli.tables.stream import Extent

__all__ = ["Example", "FoundStatistics", "StatisticsFold"]

_SEVERITY = {"nan": 3, "inf": 2, "huge": 1, "norm": 0}


class Example(NamedTuple):
    """An entry that is odd.

    Attributes
    ----------
    what
        `nan`, `inf`, `huge`, or `norm`: nothing but the length of its embedding.
    value
        How many values are `nan` or `inf`; the size of the largest that is `huge`; the `norm`.
    field
        Which values: `embedding`, `opt.<index>.<type>.<field>`; the first that has such.
    fid
        As stored, signed.
    table
        None where damage hides it.
    path, offset
        The file, and where in it as stored the entry's record begins; in a compressed one, the
        block that holds its beginning.
    """

    what: str
    value: float
    field: str
    fid: int
    table: str | None
    path: str
    offset: int

    @property
    def rank(self) -> tuple[int, float]:
        """What is worse has a larger one."""
        return _SEVERITY[self.what], self.value


class FoundStatistics:
    """What was found in some entries.

    Attributes
    ----------
    summary
        Numbers, by slot or in all together.
    examples
        The worst entries, worst first; of those that are as bad the first ones.
    most
        How many of them are kept.
    """

    __slots__ = ("examples", "most", "summary")

    def __init__(
        self,
        summary: _native.Summary | None = None,
        examples: list[Example] | None = None,
        most: int = 0,
    ) -> None:
        self.summary = summary or _native.Summary()
        self.examples = examples or []
        self.most = most

    def __reduce__(self) -> tuple[object, ...]:
        return (_unpacked, (self.summary.pack(), self.examples, self.most))

    def merge(self, other: FoundStatistics, /) -> None:
        """Add what follows."""
        self.summary.merge(other.summary)
        if other.examples:
            # Sorting keeps the order of equals.
            both = [*self.examples, *other.examples]
            both.sort(key=lambda example: example.rank, reverse=True)
            self.most = max(self.most, other.most)
            self.examples = both[: self.most]


def _unpacked(packed: bytes, examples: list[Example], most: int) -> FoundStatistics:
    return FoundStatistics(_native.Summary.unpack(packed), examples, most)


class StatisticsFold:
    """Statistics of the entries that are chosen.

    Parameters
    ----------
    chosen
        Which entries.
    by_slot
        Apart for each slot, by the version of feature ids of `chosen`.
    examples
        How many of the worst entries to keep.

    Raises
    ------
    UsageError
        No such version of feature ids, or a slot that it has not.
    """

    __slots__ = ("_filter", "_version", "by_slot", "chosen", "examples")

    def __init__(
        self, chosen: EntryFilter | None = None, by_slot: bool = False, examples: int = 0
    ) -> None:
        self.chosen = chosen or EntryFilter()
        self.by_slot = by_slot
        self.examples = examples
        self._filter = self.chosen.native()
        self._version = version_number(self.chosen.fid_version)

    def __reduce__(self) -> tuple[object, ...]:
        return (StatisticsFold, (self.chosen, self.by_slot, self.examples))

    def run(self, reader: _native.Reader, extent: Extent, /) -> FoundStatistics:
        """Statistics of all that the reader gives."""
        statistics = _native.Statistics(self._version, self.by_slot, self.examples)
        reader.statistics(statistics, self._filter)
        examples = [
            Example(what, value, field, fid, extent.table, extent.file.path, offset)
            for what, value, field, fid, offset in statistics.examples(reader)
        ]
        return FoundStatistics(statistics.summary(), examples, self.examples)
