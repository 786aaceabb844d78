"""Entries as text or as records, streamed: what `table dump` and `table get` print."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from monolith_cli.errors import UsageError
from monolith_cli.execution.workers import Workers
from monolith_cli.tables.folds.output import COLUMNS, FramesFold, JsonFold, check_columns
from monolith_cli.tables.pages import ShardReader
from monolith_cli.tables.ranges import RANGE_BYTES, read_ranges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Executor

    from monolith_cli import _native
    from monolith_cli.formats.tfrecord import Skipped
    from monolith_cli.tables.folds.output import Chunk
    from monolith_cli.tables.stream import EntryFilter, EntryStream, ReadOptions

__all__ = ["COLUMNS", "FORMATS", "Dump"]

FORMATS = ("jsonl", "tfrecord")

_RANGE_BYTES = 1 << 20
"""Of a range its output is held, which is longer than what is read."""


class Dump:
    """Entries of a stream in order, as bytes to write out. Iterate over it once.

    Parameters
    ----------
    stream, options
        What to read, and how.
    format
        `jsonl`, one object per line, or `tfrecord`, the records with their frames as stored.
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
        Which of how many partitions: together they are every entry once.
    offset
        0, or the cursor to go on from.
    limit
        At most so many entries; None for all.
    jobs, executor
        Who reads where there is no limit: so many threads (None: as many as there are processors),
        or an executor that is handed in, which has twice as many tasks at a time, with one job as
        many as with None. The order does not depend on it.
    progress
        Called with the uncompressed bytes read so far, and those to read.

    Attributes
    ----------
    entries
        How many came so far.
    next_offset
        At the end: the cursor to go on from, None if the partition is finished.
    non_finite
        How many floats were not finite, in jsonl.
    skipped
        Damage that was skipped.

    Raises
    ------
    UsageError
        No such format, column, partition or version of feature ids, or `limit` or `jobs` < 1.
    CursorError
        `offset` points at no record of the partition.
    BrokenExecutorError
        While iterating: the executor did not do its work.
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
        jobs: int | None = 1,
        executor: Executor | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        if format not in FORMATS:
            raise UsageError(f"no format {format!r}")
        if limit is not None and limit < 1:
            raise UsageError(f"limit {limit}: at least one entry")
        check_columns(columns)
        self.entries = 0
        self.next_offset: int | None = None
        self.non_finite = 0
        self.skipped: list[Skipped] = []
        self._stream = stream
        self._options = options
        self._fold: JsonFold | FramesFold
        if format == "tfrecord":
            self._fold = FramesFold(chosen)
        else:
            self._fold = JsonFold(columns, number_ids, name_non_finite, chosen)
        # Of a range nothing is held but its output, which is short where fids are looked up.
        self._range_bytes = RANGE_BYTES if chosen and chosen.fids else _RANGE_BYTES
        self._shard = (shard, nshards)
        self._limit = limit
        self._workers = Workers(jobs, executor)
        self._progress = progress
        low, high = stream.shard(shard, nshards)
        # Checks the cursor; without a limit, threads read in its place.
        self._reader = ShardReader(stream, options, low, high, offset)
        self._start = offset - 1 if offset else None
        self._low, self._high = max(low, self._start or 0), high

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
        done = 0
        with self._workers as workers:
            pieces = read_ranges(
                self._stream,
                self._options,
                self._fold,
                shard=shard,
                nshards=nshards,
                start=self._start,
                workers=workers,
                range_bytes=self._range_bytes,
            )
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
            chunk = self._fold.read(native, reader.table, left)
            return chunk, chunk.entries

        while left > 0 and (found := reader.read(read)) is not None:
            left -= found[0].entries
            yield found[0]
            self._tell(reader.position - self._low)
        reader.check()
        self.skipped += reader.skipped
        self.next_offset = None if reader.done else 1 + reader.position

    def _tell(self, done: int) -> None:
        if self._progress is not None:
            self._progress(done, self._high - self._low)
