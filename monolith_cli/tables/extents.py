"""Where the tables of a multi dump's files lie.

Nothing in the data says where a table ends, so finding out takes a pass over each file. It is made
once for each object, when entries are asked for.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli import _native
from monolith_cli.errors import MonolithError, RecordCountError
from monolith_cli.execution.workers import ALONE, Workers, is_given_up
from monolith_cli.formats.tfrecord import DumpFile, Skipped
from monolith_cli.tables.stream import (
    SMALL_BYTES,
    Extent,
    ReadOptions,
    open_reader,
    open_reader_of_all,
    skipped_by,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from monolith_cli.formats.wire import TableMeta
    from monolith_cli.tables.multi_dump import MultiDump

__all__ = [
    "LocateTask",
    "MapTask",
    "ShardExtents",
    "extra_records",
    "find_extents",
    "map_files",
    "too_few_records",
    "whole_extents",
]

_STEP = 1 << 14
"""Records between two looks at whether to stop."""


class ShardExtents(NamedTuple):
    """Where the tables of one shard lie.

    Attributes
    ----------
    extents
        One for each line of the contents file, and more where damage cuts a table; those
        between two damaged places, of which nobody knows the table, have None for it.
    skipped
        The damage.
    extra
        Records behind the last table, which belong to none.
    """

    extents: list[Extent]
    skipped: list[Skipped]
    extra: int

    def of(self, file: DumpFile) -> ShardExtents:
        """The same of that very file, which has been elsewhere to be looked at."""
        if self.extents:
            file.adopt(self.extents[0].file)
        return self._replace(extents=[extent._replace(file=file) for extent in self.extents])


def find_extents(
    dumps: Sequence[MultiDump], workers: Workers = ALONE, *, only: int | None = None
) -> None:
    """Make the passes over the files of some dumps that are still to be made.

    What is asked of the dumps later costs nothing.

    Parameters
    ----------
    only
        The number of the one shard that is asked for.

    Raises
    ------
    RecordCountError, CorruptionError
        As `MultiDump.shard_extents`, for the first file that has something wrong.
    """
    unknown = [
        (dump, shard)
        for dump in dumps
        for shard in dump.unknown_shards()
        if only is None or shard == only
    ]
    if workers.alone or sum(dump.sizes[shard] for dump, shard in unknown) < SMALL_BYTES:
        workers = ALONE
    if not workers.alone and len(unknown) < workers.jobs:
        from monolith_cli.tables.cutting import locate_in_ranges

        files = [dump.files[shard] for dump, shard in unknown]
        map_files(files, workers)
        if all(file.is_mapped for file in files):  # else one pass over each does everything
            for (dump, shard), file in zip(unknown, files, strict=True):
                contents = dump.contents[shard]
                dump.keep(shard, locate_in_ranges(file, contents, dump.options, workers))
            return
    tasks = (LocateTask(d.files[shard], d.contents[shard], d.options) for d, shard in unknown)
    with closing(workers.in_order(tasks)) as done:
        for (dump, shard), (task, found) in zip(unknown, done, strict=True):
            dump.keep(shard, found.of(task.file))


def map_files(files: Iterable[DumpFile], workers: Workers) -> None:
    """Find out how long files are uncompressed, and where their blocks lie, all at once.

    Raises
    ------
    PathNotFoundError, NotReadableError, ChangedWhileReadError
        As `DumpFile.open`, for the first file that has something wrong.
    """
    with closing(workers.in_order(MapTask(file) for file in files)) as done:
        for task, file in done:
            task.file.adopt(file)


class MapTask(NamedTuple):
    """A walk over the blocks of a file."""

    file: DumpFile

    def run(self) -> DumpFile:
        """The file, which then knows. Raises as `DumpFile.open`."""
        self.file.open()
        return self.file


class LocateTask(NamedTuple):
    """A pass over one file, which finds where its tables lie."""

    file: DumpFile
    contents: list[TableMeta]
    options: ReadOptions

    def run(self) -> ShardExtents:
        """Make it. Raises as `MultiDump.shard_extents`."""
        return _locate(self.file, self.contents, self.options)


def too_few_records(file: DumpFile, found: int, promised: int) -> RecordCountError:
    """The error of a data file with fewer records than its contents file promises."""
    return RecordCountError(
        f"ends after {found} of the {promised} records that its contents file promises",
        path=file.path,
        offset=file.stored_bytes,
        hint="restore it",
    )


def extra_records(file: DumpFile, extra: int) -> str | None:
    """The warning about records that belong to no table; None where there are none."""
    if not extra:
        return None
    return (
        f"{file.path}: {extra} record{'' if extra == 1 else 's'} more than its contents file"
        " promises; left out"
    )


def _locate(file: DumpFile, contents: list[TableMeta], options: ReadOptions) -> ShardExtents:
    whole = _locate_whole(file, contents, options)
    return whole or _locate_damaged(file, contents, options)


def _locate_whole(
    file: DumpFile, contents: list[TableMeta], options: ReadOptions
) -> ShardExtents | None:
    """One pass over a file without damage; None for another one."""
    reader = open_reader_of_all(file, options._replace(skip=True))
    extents: list[Extent] = []
    found = 0
    for table in contents:
        start = reader.position
        count = _skip_records(reader, table.num_entries, file)
        if reader.damages:
            return None
        found += count
        if count > 0:
            extents.append(Extent(file, start, reader.position, table.table_name))
    extra = _skip_records(reader, None, file)
    file.check_unchanged()
    if reader.damages:
        return None
    return whole_extents(file, contents, options, extents, found, extra)


def whole_extents(
    file: DumpFile,
    contents: list[TableMeta],
    options: ReadOptions,
    extents: list[Extent],
    found: int,
    extra: int,
) -> ShardExtents:
    """What there is to say of a file without damage, which may be too short.

    Raises
    ------
    RecordCountError
        It has fewer records than promised, and damage is not to be skipped.
    """
    promised = sum(table.num_entries for table in contents)
    skipped = []
    if found < promised:
        error = too_few_records(file, found, promised)
        if not options.skip:
            raise error
        skipped.append(_missing_at_end(file, error))
    return ShardExtents(extents, skipped, extra)


class _Run(NamedTuple):
    """Records end to end with nothing lost between them: bytes [start, end), `records` of them.

    `lost` is how many records were lost right before them; None if nobody knows.
    """

    start: int
    end: int
    records: int
    lost: int | None


def _locate_damaged(
    file: DumpFile, contents: list[TableMeta], options: ReadOptions
) -> ShardExtents:
    runs, skipped = _find_runs(file, options)
    if not options.skip:
        raise skipped[0].error()
    promised = sum(table.num_entries for table in contents)
    extents: list[Extent] = []
    extra = 0
    for run, index in zip(runs, _indices(runs, promised), strict=True):
        if index is None:
            extents.append(Extent(file, run.start, run.end, None))
        else:
            extents += _cut(file, contents, run, index)
            extra += min(max(index + run.records - promised, 0), run.records)
    return ShardExtents(extents, skipped, extra)


def _find_runs(file: DumpFile, options: ReadOptions) -> tuple[list[_Run], list[Skipped]]:
    """The undamaged runs of a file, and the damage between them."""
    reader = open_reader_of_all(file, options._replace(skip=True))
    runs: list[_Run] = []
    seen = 0
    lost: int | None = 0
    start, count = reader.position, 0
    while True:
        count += _skip(reader, _STEP, file)
        new = reader.damages[seen:]
        if new:
            runs.append(_Run(start, new[0].position, count, lost))
            seen += len(new)
            lost = len(new) if all(damage.one_record for damage in new) else None
            start, count = reader.position, 0
        elif reader.done:
            runs.append(_Run(start, reader.position, count, lost))
            return runs, skipped_by(reader, file)


def _indices(runs: list[_Run], promised: int) -> list[int | None]:
    """How many records of the file come before each run, where that is known.

    It is known from the start up to the first loss of unknown extent, and from the end back to the
    last one.
    """
    indices: list[int | None] = []
    index: int | None = 0
    for run in runs:
        index = None if index is None or run.lost is None else index + run.lost
        indices.append(index)
        index = None if index is None else index + run.records
    behind = promised
    for i in reversed(range(len(runs))):
        behind -= runs[i].records
        if indices[i] is not None or behind < 0:
            break
        indices[i] = behind
        lost = runs[i].lost
        if lost is None:
            break
        behind -= lost
    return indices


def _missing_at_end(file: DumpFile, error: RecordCountError) -> Skipped:
    end = file.stream_bytes
    return Skipped(file.path, error.kind, error.what, file.stored_bytes, end, end, False)


def _cut(file: DumpFile, contents: list[TableMeta], run: _Run, index: int) -> Iterator[Extent]:
    """The parts of a run that belong to one table each; `index` records come before it."""
    extent = Extent(file, run.start, run.end, None)
    # A broken block may lie right before the run: it takes up no bytes of the stream.
    reader = open_reader(extent, ReadOptions(verify=False, skip=True), run.start, run.end)
    left = run.records
    for table in contents:
        wanted = min(max(table.num_entries - index, 0), left)
        index = max(index - table.num_entries, 0)
        if wanted > 0:
            start = reader.position
            _skip_records(reader, wanted, file)
            yield Extent(file, start, reader.position, table.table_name)
            left -= wanted


def _skip_records(reader: _native.Reader, records: int | None, file: DumpFile) -> int:
    """Pass over so many records (None: all), or those that are there; the number passed."""
    passed = 0
    while records is None or passed < records:
        left = _STEP if records is None else min(records - passed, _STEP)
        passed += _skip(reader, left, file)
        if reader.done or reader.failed:
            break
    return passed


def _skip(reader: _native.Reader, records: int, file: DumpFile) -> int:
    if is_given_up():
        raise MonolithError("not looked for to the end", path=file.path)  # nobody hears it
    try:
        return reader.skip(records)
    except (OSError, _native.ChangedError) as error:
        raise file.explain(error) from None
