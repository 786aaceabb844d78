"""Entries as text or as records, streamed: what `table dump` and `table get` print."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from monolith_cli import _native
from monolith_cli.errors import UsageError
from monolith_cli.fid import version_number
from monolith_cli.tables.pages import ShardReader
from monolith_cli.tables.ranges import read_ranges
from monolith_cli.tables.stream import EntryFilter, EntryStream, Extent, ReadOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from monolith_cli.formats.tfrecord import Skipped

    Chunk = tuple[bytes, int, int]
    """Some output, with how many entries and how many non-finite floats are in it."""

__all__ = ["COLUMNS", "FORMATS", "Dump"]

COLUMNS = ("fid", "slot", "table", "embedding", "opt", "last_update_ts_sec")
"""The keys of an entry in jsonl, in order of output."""

FORMATS = ("jsonl", "tfrecord")

_CHUNK_BYTES = 1 << 20
_LOOKUP_BYTES = 32 << 20
_ALL = 2**63 - 1


class Dump:
    """Entries of a stream in order, as bytes to write out. Iterate over it once.

    Parameters
    ----------
    stream, options
        What to read, and how.
    format
        `jsonl`, an object a line, or `tfrecord`, the records with their frames as they are stored.
    columns
        Of `COLUMNS`: which keys jsonl has.
    number_ids
        In jsonl, fids as numbers; else they are strings, which no reader rounds.
    name_non_finite
        In jsonl, floats that are not finite as NaN, Infinity and -Infinity, which is not JSON but
        what Python's reader takes; else null.
    chosen
        Which entries are wanted.
    shard, nshards
        Any number of shards: together they are every entry once.
    offset
        0, or the cursor to go on from.
    limit
        At most so many entries; None for all.
    jobs
        Threads, where there is no limit. The order does not depend on them.
    progress
        Called with the uncompressed bytes read so far, and those to read.

    Attributes
    ----------
    entries
        How many came so far.
    next_offset
        At the end: the cursor to go on from, None if the shard is finished.
    non_finite
        How many floats were not finite, in jsonl.
    skipped
        Damage that was skipped.

    Raises
    ------
    UsageError
        No such format, column, shard or version of feature ids, or `limit` < 1.
    CursorError
        `offset` points at no record of the shard.
    CorruptionError
        While iterating, after all entries before it: damage, unless it is to be skipped.
    """

    def __init__(
        self,
        stream: EntryStream,
        options: ReadOptions,
        *,
        format: str = "jsonl",
        columns: Sequence[str] = COLUMNS,
        number_ids: bool = False,
        name_non_finite: bool = False,
        chosen: EntryFilter | None = None,
        shard: int = 0,
        nshards: int = 1,
        offset: int = 0,
        limit: int | None = None,
        jobs: int = 1,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        if format not in FORMATS:
            raise UsageError(f"no format {format!r}")
        if limit is not None and limit < 1:
            raise UsageError(f"limit {limit}: at least one entry")
        unknown = set(columns) - set(COLUMNS)
        if unknown:
            raise UsageError(f"no column {', '.join(sorted(unknown))}")
        self.entries = 0
        self.next_offset: int | None = None
        self.non_finite = 0
        self.skipped: list[Skipped] = []
        self._stream = stream
        self._options = options
        self._format = format
        self._columns = sum(1 << i for i, name in enumerate(COLUMNS) if name in columns)
        self._number_ids = number_ids
        self._name_non_finite = name_non_finite
        self._chosen = chosen
        self._filter = chosen.native() if chosen else None
        self._version = version_number(chosen.fid_version) if chosen else 2
        self._shard = (shard, nshards)
        self._limit = limit
        self._jobs = jobs
        self._progress = progress
        low, high = stream.shard(shard, nshards)
        # Checks the cursor; without a limit, threads read in its place.
        self._reader = ShardReader(stream, options, low, high, offset)
        self._start = offset - 1 if offset else None
        self._low, self._high = max(low, self._start or 0), high
        self._names: dict[str | None, str] = {}

    def __iter__(self) -> Iterator[bytes]:
        chunks = self._all() if self._limit is None else self._some(self._limit)
        for data, entries, non_finite in chunks:
            self.entries += entries
            self.non_finite += non_finite
            yield data

    def _all(self) -> Iterator[Chunk]:
        if self._reader.done:
            return
        shard, nshards = self._shard
        pieces = read_ranges(
            self._stream,
            self._options,
            self._read_range,
            shard=shard,
            nshards=nshards,
            start=self._start,
            jobs=self._jobs,
            # Of a range nothing is held but its output, which is short where fids are looked up.
            range_bytes=_LOOKUP_BYTES if self._chosen and self._chosen.fids else _CHUNK_BYTES,
        )
        done = 0
        with closing(pieces):
            for piece in pieces:
                self.skipped += piece.skipped
                yield from piece.value
                done += piece.size
                self._tell(done)

    def _some(self, limit: int) -> Iterator[Chunk]:
        reader = self._reader
        left = limit

        def read(native: _native.Reader) -> tuple[Chunk, int]:
            chunk = self._read(native, reader.table, left)
            return chunk, chunk[1]

        while left > 0 and (found := reader.read(read)) is not None:
            left -= found[1]
            yield found[0]
            self._tell(reader.position - self._low)
        reader.check()
        self.skipped += reader.skipped
        self.next_offset = None if reader.done else 1 + reader.position

    def _tell(self, done: int) -> None:
        if self._progress is not None:
            self._progress(done, self._high - self._low)

    def _read_range(self, reader: _native.Reader, extent: Extent) -> list[Chunk]:
        chunks = []
        while True:
            chunks.append(self._read(reader, extent.table, _ALL))
            if reader.done:
                return chunks

    def _read(self, reader: _native.Reader, table: str | None, limit: int) -> Chunk:
        if self._format == "tfrecord":
            data, entries = reader.frames(limit, _CHUNK_BYTES, self._filter)
            return data, entries, 0
        return reader.json_lines(
            limit,
            _CHUNK_BYTES,
            self._filter,
            columns=self._columns,
            fid_version=self._version,
            number_ids=self._number_ids,
            table=self._json_name(table),
            name_non_finite=self._name_non_finite,
        )

    def _json_name(self, table: str | None) -> str:
        name = self._names.get(table)
        if name is None:
            import json

            # Names may hold bytes that are no UTF-8, as surrogates; JSON has no way to say those.
            text = None if table is None else table.encode("utf-8", "surrogateescape")
            name = json.dumps(None if text is None else text.decode("utf-8", "replace"))
            self._names[table] = name
        return name
