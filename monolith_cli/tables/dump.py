"""Entries as text or as records, streamed: what `table dump` and `table get` print."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from monolith_cli.errors import UsageError
from monolith_cli.execution.workers import Workers
from monolith_cli.tables.folds.output import COLUMNS, FramesFold, JsonFold, check_columns
from monolith_cli.tables.pages import ShardReader
from monolith_cli.tables.ranges import RANGE_BYTES, read_ranges
from monolith_cli.tables.skipped import distinct
from monolith_cli.tables.stream import SMALL_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from concurrent.futures import Executor

    from monolith_cli import _native
    from monolith_cli.formats.tfrecord import Skipped
    from monolith_cli.tables.folds.output import Chunk, Chunks
    from monolith_cli.tables.ranges import Piece
    from monolith_cli.tables.stream import EntryFilter, EntryStream, ReadOptions

__all__ = ["COLUMNS", "FORMATS", "Dump"]

FORMATS = ("jsonl", "tfrecord")

_RANGE_BYTES = 1 << 20
"""Of a range its output is held, which is longer than what is read."""

_NEAR_BYTES = SMALL_BYTES
"""How far a page of chosen entries is read by one thread."""


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
        Who reads: so many threads (None: as many as there are processors), or an executor that is
        handed in, which has twice as many tasks at a time, with one job as many as with None. The
        order does not depend on it. With a limit the caller's own thread reads, until entries that
        are chosen turn out to be rare.
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
        self._start = offset - 1 if offset else None
        self._low, self._high = max(low, self._start or 0), high
        # Most pages end soon, and threads would read ahead of them in vain. So they help to look
        # for chosen entries only behind this.
        near = high
        if limit is not None and chosen and chosen.native() and not self._workers.alone:
            near = min(self._low + _NEAR_BYTES, high)
        # Checks the cursor; without a limit, threads read in its place.
        self._reader = ShardReader(stream, options, low, near, offset, check_stop=near == high)

    def __iter__(self) -> Iterator[bytes]:
        chunks = self._all() if self._limit is None else self._some(self._limit)
        for data, entries, non_finite in chunks:
            self.entries += entries
            self.non_finite += non_finite
            yield data

    def _all(self) -> Iterator[Chunk]:
        if self._reader.done:
            return
        done = 0
        with self._workers, closing(self._ranges(self._start)) as pieces:
            for piece in pieces:
                self.skipped += piece.skipped
                yield from piece.value
                done += piece.size
                self._tell(done)

    def _ranges(self, start: int | None) -> Generator[Piece[Chunks], None, None]:
        shard, nshards = self._shard
        return read_ranges(
            self._stream,
            self._options,
            self._fold,
            shard=shard,
            nshards=nshards,
            start=start,
            workers=self._workers,
            range_bytes=self._range_bytes,
        )

    def _some(self, limit: int) -> Iterator[Chunk]:
        reader = self._reader
        left = yield from self._read_on(limit)
        if reader.done and reader.high < self._high:
            position = reader.position
            if left > 0 and position < self._high:
                position, left = yield from self._far(position, left)
            reader.go_to(position, self._high)
            left = yield from self._read_on(left)
        self.next_offset = None if reader.done else 1 + reader.position

    def _read_on(self, left: int) -> Generator[Chunk, None, int]:
        """So many entries, by this thread; returns how many are missing where there are no more."""
        reader = self._reader

        def read(native: _native.Reader) -> tuple[Chunk, int]:
            chunk = self._fold.read(native, reader.table, left)
            return chunk, chunk.entries

        while left > 0 and (found := reader.read(read)) is not None:
            left -= found[0].entries
            yield found[0]
            self._tell(reader.position - self._low)
        reader.check()
        self.skipped = distinct([*self.skipped, *reader.skipped])
        return left

    def _far(self, position: int, left: int) -> Generator[Chunk, None, tuple[int, int]]:
        """Ranges from a record on, as long as not all that is left to find is in one.

        In that one it is for a single thread to find the place where the page ends. Returns where
        it starts, and how many entries are left to find.
        """
        with self._workers, closing(self._ranges(position)) as pieces:
            for piece in pieces:
                entries = sum(chunk.entries for chunk in piece.value)
                if entries >= left:
                    break
                self.skipped = distinct([*self.skipped, *piece.skipped])
                left -= entries
                yield from piece.value
                position = piece.stop
                self._tell(position - self._low)
        return position, left

    def _tell(self, done: int) -> None:
        if self._progress is not None:
            self._progress(done, self._high - self._low)
