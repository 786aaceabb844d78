"""Whole partitions, read in ranges by several workers, with results in order.

A range that starts inside an extent has to look for its first record, which is a guess: a payload
may hold bytes that look like records. So ranges are stitched: each must start exactly where the one
before it ended, else it is sent out again from there. That makes the results those of one thread.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from monolith_cli import _native
from monolith_cli.execution.task import Partial
from monolith_cli.execution.workers import ALONE, Workers
from monolith_cli.tables.stream import (
    SMALL_BYTES,
    EntryStream,
    Extent,
    ReadOptions,
    open_reader,
    open_reader_of_all,
    skipped_by,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from monolith_cli.execution.protocols import Merges
    from monolith_cli.formats.tfrecord import DumpFile, Skipped
    from monolith_cli.tables.folds.protocol import Fold

__all__ = [
    "RANGE_BYTES",
    "FileTask",
    "Piece",
    "RangeTask",
    "read_files",
    "read_ranges",
    "read_tasks",
]

V = TypeVar("V", bound="Merges")

RANGE_BYTES = 32 << 20
"""The size of a range, uncompressed, where nothing is held of it but counts."""


class RangeTask(Generic[V]):
    """A fold over a part of an extent: the records that start in [start, end) of its file.

    Attributes
    ----------
    extent, options, fold
        What is read, how, and what is done to it.
    start, end
        Positions in the file's stream.
    how
        `exact`, `walk` or `search`, as in `_native.Reader`: only a `search` may go wrong.
    check_stop
        Whether the header of the record that the range stops at is checked as well.
    """

    __slots__ = ("check_stop", "end", "extent", "fold", "how", "options", "start")

    def __init__(
        self,
        extent: Extent,
        options: ReadOptions,
        fold: Fold[V],
        start: int,
        end: int,
        how: str = "exact",
        check_stop: bool = False,
    ) -> None:
        self.extent = extent
        self.options = options
        self.fold = fold
        self.start = start
        self.end = end
        self.how = how
        self.check_stop = check_stop

    @property
    def is_last(self) -> bool:
        """Whether no other range of the partition follows in this extent."""
        return self.check_stop or self.end == self.extent.end

    def exactly(self, start: int) -> RangeTask[V]:
        """The same from another start, which is a record's."""
        end = max(start, self.end)
        return RangeTask(self.extent, self.options, self.fold, start, end, "exact", self.check_stop)

    def run(self) -> Partial[V, Skipped]:
        """Read the range.

        Raises
        ------
        PathNotFoundError, NotReadableError, ChangedWhileReadError
            The file went away, or changed. Damage is in the result.
        """
        extent = self.extent
        reader = open_reader(
            extent, self.options, self.start, self.end, how=self.how, check_stop=self.check_stop
        )
        try:
            value = self.fold.run(reader, extent)
        except (OSError, _native.ChangedError) as error:
            raise extent.file.explain(error) from None
        damage = skipped_by(reader, extent.file)  # looks at the file if there is any
        if not damage:
            extent.file.check_unchanged()
        return Partial(value, reader.first, reader.position, damage, reader.failed)


class FileTask(Generic[V]):
    """A fold over all records of a file, read in one pass: how long it is is found out on its way.

    Attributes
    ----------
    file, options, fold
        What is read, how, and what is done to it.
    """

    __slots__ = ("file", "fold", "options")

    def __init__(self, file: DumpFile, options: ReadOptions, fold: Fold[V]) -> None:
        self.file = file
        self.options = options
        self.fold = fold

    def run(self) -> tuple[Partial[V, Skipped], DumpFile]:
        """Read the file; it comes back knowing its length. Raises as `RangeTask.run`."""
        with self.file.given_up_with_this_thread():
            reader = open_reader_of_all(self.file, self.options)
            try:
                value = self.fold.run(reader, Extent(self.file, 0, 0, None))
            except (OSError, _native.ChangedError) as error:
                raise self.file.explain(error) from None
        damage = skipped_by(reader, self.file)
        if not damage:
            self.file.check_unchanged()
        self.file.learn()
        partial = Partial(value, reader.first, reader.position, damage, reader.failed)
        return partial, self.file


class Piece(Generic[V]):
    """What one range gave, in order.

    Attributes
    ----------
    extent
        Where the range lies.
    value
        What the fold returned for it.
    skipped
        Damage in it.
    size
        Of the range, in uncompressed bytes; of a whole file that `read_files` has read, in stored
        ones.
    stop
        Where the first record behind the range starts: in the stream; in the file, of a whole one.
    """

    __slots__ = ("extent", "size", "skipped", "stop", "value")

    def __init__(
        self, extent: Extent, value: V, skipped: list[Skipped], size: int, stop: int
    ) -> None:
        self.extent = extent
        self.value = value
        self.skipped = skipped
        self.size = size
        self.stop = stop


def read_ranges(
    stream: EntryStream,
    options: ReadOptions,
    fold: Fold[V],
    *,
    shard: int = 0,
    nshards: int = 1,
    start: int | None = None,
    workers: Workers = ALONE,
    range_bytes: int | None = None,
) -> Generator[Piece[V], None, None]:
    """Run a fold over every range of a partition; its values come in order.

    Close what it returns (`contextlib.closing`): what is under way must not be left to the garbage
    collector, which may run where the interpreter holds locks that ending a thread takes.

    Parameters
    ----------
    fold
        Reads all that a reader gives; done twice for a range whose first guess was wrong.
    start
        Where in the partition to start, the position of a record; None for its start.
    workers
        Who reads. What is little is read by the caller's own thread.
    range_bytes
        The size of a range, uncompressed; `RANGE_BYTES` by default. What is held at a time is
        `2 * workers.jobs` values.

    Raises
    ------
    CorruptionError
        After the values before it: damage, unless it is to be skipped.
    PathNotFoundError, NotReadableError, ChangedWhileReadError
        A file went away, or changed.
    """
    low, high = stream.shard(shard, nshards)
    begin = low if start is None else start
    if high - begin < SMALL_BYTES:
        workers = ALONE
    tasks = _split(
        stream, options, fold, begin, high, range_bytes or RANGE_BYTES, start is not None
    )
    bases = [base for base, _ in reversed(stream.pieces(begin, high))]
    with closing(read_tasks(tasks, workers)) as done:
        for task, partial in done:
            skipped = [] if partial.failed else list(partial.damage)
            base = bases.pop() if task.is_last else bases[-1]
            stop = base + max(partial.stop - task.extent.start, 0)
            yield Piece(task.extent, partial.value, skipped, task.end - task.start, stop)
            if partial.failed:
                raise partial.damage[0].error()


def read_files(
    files: Sequence[DumpFile], options: ReadOptions, fold: Fold[V], workers: Workers
) -> Generator[Piece[V], None, None]:
    """The same of whole files that are read in one pass each, one by one in every worker.

    Close it, and expect errors, as of `read_ranges`.
    """
    tasks = (FileTask(file, options, fold) for file in files)
    with closing(workers.in_order(tasks)) as done:
        for task, (partial, read) in done:
            task.file.adopt(read)
            skipped = [] if partial.failed else list(partial.damage)
            extent = Extent(task.file, 0, partial.stop, None)
            yield Piece(extent, partial.value, skipped, task.file.stored_bytes, partial.stop)
            if partial.failed:
                raise partial.damage[0].error()


def _split(
    stream: EntryStream,
    options: ReadOptions,
    fold: Fold[V],
    low: int,
    high: int,
    range_bytes: int,
    aligned: bool,
) -> Iterator[RangeTask[V]]:
    for base, extent in stream.pieces(low, high):
        start = extent.start + max(low - base, 0)
        end = min(extent.end, extent.start + high - base)
        how = "exact" if aligned or start == extent.start else "walk"
        while True:
            stop = min(start + range_bytes, end)
            last = stop == end
            yield RangeTask(extent, options, fold, start, stop, how, last and end < extent.end)
            if last:
                break
            start, how = stop, "search"


def read_tasks(
    tasks: Iterator[RangeTask[V]], workers: Workers
) -> Generator[tuple[RangeTask[V], Partial[V, Skipped]], None, None]:
    """Run tasks over ranges that lie end to end, and stitch them: tasks as they were cut, results
    as one thread has them.

    A task comes without a result, and is left out, where a record covers its whole range. After a
    result that `failed` nothing comes.
    """
    expected = 0
    pairs: Generator[tuple[RangeTask[V], Any], None, None]
    # Alone nobody has to guess: the range before it is read already.
    pairs = ((task, None) for task in tasks) if workers.alone else workers.in_order(tasks)
    with closing(pairs):
        for task, done in pairs:
            partial: Partial[V, Skipped] | None = done
            if task.how == "search":
                if expected >= task.end and not task.is_last:
                    continue  # nothing starts in it; a last one looks at where the record ends
                if partial is None or partial.first != expected or expected >= task.end:
                    partial = workers.run(task.exactly(expected))
            elif partial is None:
                partial = task.run()
            expected = partial.stop
            yield task, partial
            if partial.failed:
                return
