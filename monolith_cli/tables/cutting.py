"""Where the tables of one large file lie, found by several workers.

The records of ranges are counted, and the places of some of them noted, all over the file at once.
From the last noted one before it, the place where a table begins is a short way.
"""

from __future__ import annotations

from contextlib import closing
from itertools import accumulate, groupby
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli import _native
from monolith_cli.tables.extents import LocateTask, ShardExtents, whole_extents
from monolith_cli.tables.folds.records import Records, RecordsFold
from monolith_cli.tables.ranges import read_ranges
from monolith_cli.tables.stream import EntryStream, Extent, ReadOptions, open_reader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monolith_cli.execution.workers import Workers
    from monolith_cli.formats.tfrecord import DumpFile
    from monolith_cli.formats.wire import TableMeta

__all__ = ["FindTask", "locate_in_ranges"]


def locate_in_ranges(
    file: DumpFile, contents: list[TableMeta], options: ReadOptions, workers: Workers
) -> ShardExtents:
    """Where the tables of a file lie, as `LocateTask` finds them. Raises as that."""
    whole = Extent(file, 0, file.stream_bytes, None)
    records = _count(whole, options, workers)
    if records is None:  # how many records damage hides is told by one reader of all
        return workers.run(LocateTask(file, contents, options)).of(file)
    ends = [min(end, records.count) for end in accumulate(table.num_entries for table in contents)]
    places = _positions(whole, options, records, ends, workers)
    extents = []
    start, number = 0, 0
    for table, end in zip(contents, ends, strict=True):
        stop = places[end]
        if end > number:
            extents.append(Extent(file, start, stop, table.table_name))
        start, number = stop, end
    return whole_extents(file, contents, options, extents, number, records.count - number)


def _count(whole: Extent, options: ReadOptions, workers: Workers) -> Records | None:
    """All records of a file; None of one with damage."""
    records = Records()
    pieces = read_ranges(
        EntryStream([whole]), options._replace(skip=True), RecordsFold(), workers=workers
    )
    with closing(pieces):
        for piece in pieces:
            if piece.value.damaged:
                return None
            records.merge(piece.value)
    return records


def _positions(
    whole: Extent,
    options: ReadOptions,
    records: Records,
    numbers: Sequence[int],
    workers: Workers,
) -> dict[int, int]:
    """Where records with these ascending numbers start; the file's end for one behind all."""
    found = {0: 0, records.count: whole.end}
    wanted = [number for number in dict.fromkeys(numbers) if number not in found]
    tasks = (
        FindTask(whole, options, position, [number - first for number in group], first)
        for (first, position), group in groupby(wanted, records.before)
    )
    with closing(workers.in_order(tasks)) as done:
        for task, positions in done:
            for number, position in zip(task.numbers, positions, strict=True):
                found[task.first + number] = position
    return found


class FindTask(NamedTuple):
    """A look for some records a few thousand behind one whose place is known.

    Attributes
    ----------
    extent, options
        What is read, and how.
    start
        Where record `first` of the extent starts.
    numbers
        Which records are looked for: how many come before each, from `start` on; ascending.
    """

    extent: Extent
    options: ReadOptions
    start: int
    numbers: list[int]
    first: int

    def run(self) -> list[int]:
        """Where they start. Raises as `open_reader`."""
        file = self.extent.file
        reader = open_reader(self.extent, self.options, self.start, self.extent.end)
        found = []
        passed = 0
        try:
            for number in self.numbers:
                reader.skip(number - passed)
                passed = number
                found.append(reader.position)
        except (OSError, _native.ChangedError) as error:
            raise file.explain(error) from None
        file.check_unchanged()
        return found
