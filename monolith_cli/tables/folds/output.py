"""Entries as bytes to write out: lines of JSON, or the records with their frames."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.errors import UsageError
from monolith_cli.fid import version_number

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from monolith_cli import _native
    from monolith_cli.tables.stream import EntryFilter, Extent

__all__ = [
    "ALL",
    "COLUMNS",
    "Chunk",
    "Chunks",
    "FramesFold",
    "JsonFold",
    "JsonShape",
    "check_columns",
]

COLUMNS = ("fid", "slot", "table", "embedding", "opt", "last_update_ts_sec")
"""The keys of an entry in jsonl, in order of output."""

ALL = 2**63 - 1

CHUNK_BYTES = 1 << 20
"""About how much output is made at a time."""


class Chunk(NamedTuple):
    """Some output, with how many entries and how many floats that are not finite are in it."""

    data: bytes
    entries: int
    non_finite: int


class Chunks(list[Chunk]):
    """The output of a range."""

    def merge(self, other: Chunks, /) -> None:
        """Add what follows."""
        self += other


class _OutputFold(ABC):
    """What both have in common: reading to the end, a chunk at a time."""

    def run(self, reader: _native.Reader, extent: Extent, /) -> Chunks:
        """The output of all that the reader gives."""
        chunks = Chunks()
        while True:
            chunks.append(self.read(reader, extent.table, ALL))
            if reader.done:
                return chunks

    @abstractmethod
    def read(self, reader: _native.Reader, table: str | None, limit: int) -> Chunk:
        """One chunk, of at most so many entries of a table; None where its name is unknown."""


class FramesFold(_OutputFold):
    """Records of chosen entries with their frames, as they are stored."""

    def __init__(self, chosen: EntryFilter | None = None) -> None:
        self.chosen = chosen
        self._filter = chosen.native() if chosen else None

    def __reduce__(self) -> tuple[object, ...]:
        return (FramesFold, (self.chosen,))

    def read(self, reader: _native.Reader, table: str | None, limit: int) -> Chunk:
        """One chunk, of at most so many entries."""
        data, entries = reader.frames(limit, CHUNK_BYTES, self._filter)
        return Chunk(data, entries, 0)


class JsonShape:
    """Which entries are wanted, and what their objects hold.

    Parameters
    ----------
    columns
        Of `COLUMNS`: which keys they have.
    number_ids
        Fids as numbers; else they are strings, which no reader rounds.
    name_non_finite
        Floats that are not finite as NaN, Infinity and -Infinity, which is not JSON but what
        Python's reader takes; else null.
    chosen
        Which entries are wanted.

    Raises
    ------
    UsageError
        No such column or version of feature ids, or a slot that it has not.
    """

    def __init__(
        self,
        columns: Sequence[str] = COLUMNS,
        number_ids: bool = False,
        name_non_finite: bool = False,
        chosen: EntryFilter | None = None,
    ) -> None:
        self.columns = check_columns(columns)
        self.number_ids = number_ids
        self.name_non_finite = name_non_finite
        self.chosen = chosen
        self._filter = chosen.native() if chosen else None
        self._shape: dict[str, Any] = {
            "columns": sum(1 << i for i, name in enumerate(COLUMNS) if name in self.columns),
            "fid_version": version_number(chosen.fid_version) if chosen else 2,
            "number_ids": number_ids,
            "name_non_finite": name_non_finite,
        }
        self._names: dict[str | None, str] = {}

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.columns, self.number_ids, self.name_non_finite, self.chosen))

    def shape(self, table: str | None) -> dict[str, Any]:
        """How the native reader is to write entries of a table; None where its name is unknown."""
        name = self._names.get(table)
        if name is None:
            import json

            # Names may hold bytes that are no UTF-8, as surrogates; JSON has no way to say those.
            text = None if table is None else table.encode("utf-8", "surrogateescape")
            name = json.dumps(None if text is None else text.decode("utf-8", "replace"))
            self._names[table] = name
        return {**self._shape, "table": name}


class JsonFold(JsonShape, _OutputFold):
    """One JSON object, on a line of its own, for each chosen entry."""

    def read(self, reader: _native.Reader, table: str | None, limit: int) -> Chunk:
        """One chunk, of at most so many entries of a table; None where its name is unknown."""
        return Chunk(*reader.json_lines(limit, CHUNK_BYTES, self._filter, **self.shape(table)))


def check_columns(columns: Sequence[str]) -> tuple[str, ...]:
    """Those columns, of which a text is one; makes sure that there are such.

    Raises
    ------
    UsageError
        One is not in `COLUMNS`.
    """
    columns = (columns,) if isinstance(columns, str) else tuple(columns)
    unknown = set(columns) - set(COLUMNS)
    if unknown:
        raise UsageError(f"no column {', '.join(sorted(unknown))}")
    return columns
