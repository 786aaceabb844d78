"""Whole shards, read in ranges by several threads, with results in order.

A range that starts inside an extent has to look for its first record, which is a guess: a payload
may hold bytes that look like records. So ranges are stitched: each must start exactly where the one
before it ended, else it is read again from there. That makes the results those of one thread.
"""

from __future__ import annotations

from collections import deque
from contextlib import closing
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from monolith_cli import _native
from monolith_cli.tables.stream import (
    SMALL_BYTES,
    EntryStream,
    Extent,
    ReadOptions,
    open_reader,
    skipped_by,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from concurrent.futures import Future

    from monolith_cli.formats.tfrecord import Skipped

__all__ = ["Piece", "read_ranges"]

T = TypeVar("T")


class _Range(NamedTuple):
    """A part of an extent: records that start in [start, end) of its file."""

    extent: Extent
    start: int
    end: int
    how: str
    check_stop: bool


class _Result(Generic[T]):
    """What reading a range gave; `first` and `stop` are its ends: where records start."""

    __slots__ = ("failed", "first", "skipped", "stop", "value")

    def __init__(self, reader: _native.Reader, extent: Extent, value: T) -> None:
        self.first = reader.first
        self.stop = reader.position
        self.failed = reader.failed
        self.skipped = skipped_by(reader, extent.file)
        self.value = value


class Piece(Generic[T]):
    """What one range gave, in order.

    Attributes
    ----------
    extent
        Where the range lies.
    value
        What `work` returned for it.
    skipped
        Damage in it.
    size
        Of the range, in uncompressed bytes.
    """

    __slots__ = ("extent", "size", "skipped", "value")

    def __init__(self, extent: Extent, value: T, skipped: list[Skipped], size: int) -> None:
        self.extent = extent
        self.value = value
        self.skipped = skipped
        self.size = size


def read_ranges(
    stream: EntryStream,
    options: ReadOptions,
    work: Callable[[_native.Reader, Extent], T],
    *,
    shard: int = 0,
    nshards: int = 1,
    start: int | None = None,
    jobs: int = 1,
    range_bytes: int = 32 << 20,
) -> Generator[Piece[T], None, None]:
    """Call `work(reader, extent)` for every range of a shard; its values come in order.

    Close what it returns (`contextlib.closing`): its threads must not be left to the garbage
    collector, which may run where the interpreter holds locks that ending a thread takes.

    Parameters
    ----------
    work
        Reads all that the reader gives; called in threads, and twice for a range whose first guess
        was wrong.
    start
        Where in the shard to start, the position of a record; None for its start.
    jobs
        How many threads; one reads in the caller's.
    range_bytes
        The size of a range, uncompressed. What is held at a time is `2 * jobs` values.

    Raises
    ------
    CorruptionError
        After the values before it: damage, unless it is to be skipped.
    PathNotFoundError, NotReadableError, ChangedWhileReadError
        A file went away, or changed.
    """
    low, high = stream.shard(shard, nshards)
    ranges = _split(stream, low if start is None else start, high, range_bytes, start is not None)
    if jobs == 1 or high - (start or low) < SMALL_BYTES:
        results: Generator[tuple[_Range, _Result[T] | None], None, None] = (
            (r, None) for r in ranges
        )
        return _stitch(results, options, work)
    return _stitch(_in_threads(ranges, options, work, jobs), options, work)


def _split(
    stream: EntryStream, low: int, high: int, range_bytes: int, aligned: bool
) -> Iterator[_Range]:
    for base, extent in stream.pieces(low, high):
        start = extent.start + max(low - base, 0)
        end = min(extent.end, extent.start + high - base)
        how = "exact" if aligned or start == extent.start else "walk"
        while True:
            stop = min(start + range_bytes, end)
            last = stop == end
            yield _Range(extent, start, stop, how, last and end < extent.end)
            if last:
                break
            start, how = stop, "search"


def _read(
    part: _Range, options: ReadOptions, work: Callable[[_native.Reader, Extent], T]
) -> _Result[T]:
    extent = part.extent
    reader = open_reader(
        extent, options, part.start, part.end, how=part.how, check_stop=part.check_stop
    )
    try:
        value = work(reader, extent)
    except (OSError, _native.ChangedError) as error:
        raise extent.file.explain(error) from None
    return _Result(reader, extent, value)


def _in_threads(
    ranges: Iterable[_Range],
    options: ReadOptions,
    work: Callable[[_native.Reader, Extent], T],
    jobs: int,
) -> Generator[tuple[_Range, _Result[T] | None], None, None]:
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(jobs)
    waiting: deque[tuple[_Range, Future[_Result[T]]]] = deque()
    try:
        for part in ranges:
            waiting.append((part, pool.submit(_read, part, options, work)))
            if len(waiting) == 2 * jobs:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _stitch(
    results: Generator[tuple[_Range, _Result[T] | None], None, None],
    options: ReadOptions,
    work: Callable[[_native.Reader, Extent], T],
) -> Generator[Piece[T], None, None]:
    """Make sure that each range starts where the one before it stopped; read it again if not."""
    expected = 0
    with closing(results):
        for part, result in results:
            extent = part.extent
            if part.how != "search":
                result = result or _read(part, options, work)
            elif expected >= part.end:
                # A record covers the whole range: nothing starts in it. What a shard's last range
                # has to look at lies where that record ends.
                last = part.check_stop or part.end == extent.end
                part = part._replace(start=expected, end=expected, how="exact")
                result = _read(part, options, work) if last else None
            elif result is None or result.first != expected:
                part = part._replace(start=expected, how="exact")
                result = _read(part, options, work)
            if result is not None:
                expected = result.stop
                skipped = [] if result.failed else result.skipped
                yield Piece(extent, result.value, skipped, part.end - part.start)
                if result.failed:
                    raise result.skipped[0].error()
            if part.end >= extent.end:
                extent.file.check_unchanged()
