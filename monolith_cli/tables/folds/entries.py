"""Entries one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.tables.folds.output import ALL, JsonShape

if TYPE_CHECKING:
    from typing import Any

    from monolith_cli import _native
    from monolith_cli.tables.stream import Extent

__all__ = ["Entries", "EntriesFold", "Entry"]


class Entry(NamedTuple):
    """One entry.

    Attributes
    ----------
    fid
        Its feature id, signed, as stored.
    json
        What is shown of it, which may leave its feature id out: a JSON object, a line without its
        end.
    """

    fid: int
    json: bytes

    def values(self) -> dict[str, Any]:
        """What is shown of it, by key, in the order of output."""
        from json import loads

        values: dict[str, Any] = loads(self.json)
        return values


class Entries:
    """The entries of a range, and how many of their floats are not finite."""

    __slots__ = ("found", "non_finite")

    def __init__(self, found: list[Entry], non_finite: int) -> None:
        self.found = found
        self.non_finite = non_finite

    def merge(self, other: Entries, /) -> None:
        """Add what follows."""
        self.found += other.found
        self.non_finite += other.non_finite


class EntriesFold(JsonShape):
    """Chosen entries, each by itself."""

    def run(self, reader: _native.Reader, extent: Extent, /) -> Entries:
        """All that the reader gives."""
        found, non_finite = reader.json_entries(ALL, self._filter, **self.shape(extent.table))
        return Entries([Entry(*each) for each in found], non_finite)
