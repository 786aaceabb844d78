"""Many tables in one file: whose entries lie where.

Shard k's `.meta` file names the tables of shard k's data file in order, with their numbers of
entries. Nothing in the data says where a table ends, so finding out takes a pass over the file; it
is made once for each object, when entries are asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monolith_cli import _native
from monolith_cli.errors import CorruptionError, MonolithError, RecordCountError
from monolith_cli.formats.tfrecord import DumpFile, Skipped, read_records
from monolith_cli.formats.wire import TableMeta, parse_table_meta
from monolith_cli.tables.stream import (
    SMALL_BYTES,
    Extent,
    ReadOptions,
    open_reader,
    skipped_by,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from monolith_cli.checkpoint.shard_set import ShardSet

    Stop = Callable[[], bool]
    """Whether nobody waits for the answer any more."""

__all__ = [
    "MultiDump",
    "ShardExtents",
    "extra_records",
    "find_extents",
    "read_contents",
    "too_few_records",
]

_CONTENTS_HINT = "restore it: without it nobody knows which entries belong to which table"

_MOST_ENTRIES = 2**63 - 1
"""What ckpt.info has room for (an int64)."""

_LEAST = 16 * 3 / 64
"""Bytes of a record on disk: its frame has 16 bytes, and 3 bytes of Snappy stand for 64 at most."""

_STEP = 1 << 14
"""Records between two looks at whether to stop."""


class ShardExtents(NamedTuple):
    """Where the tables of one shard lie.

    Attributes
    ----------
    extents
        One for each line of the table of contents, and more where damage cuts a table; those
        between two damaged places, of which nobody knows the table, have None for it.
    skipped
        The damage.
    extra
        Records behind the last table, which belong to none.
    """

    extents: list[Extent]
    skipped: list[Skipped]
    extra: int


class MultiDump:
    """A multi table dump: its files, and their tables of contents.

    Parameters
    ----------
    data, meta
        The two sharded files, of equally many shards.

    Raises
    ------
    CorruptionError
        A table of contents is damaged, empty where it cannot be, or names fewer tables than others.
    PathNotFoundError, NotReadableError, ChangedWhileReadError
        As `read_records`.
    """

    def __init__(self, data: ShardSet, meta: ShardSet, options: ReadOptions) -> None:
        self.base = data.base
        self.copies = [*data.copies, *meta.copies]
        self.options = options
        self.files = [DumpFile(path, "snappy", options.max_record_bytes) for path in data.paths]
        self.contents = [read_contents(path, options) for path in meta.paths]
        self._meta_paths = meta.paths
        self._sizes = data.sizes()
        self._check_contents()
        self._too_small = [
            shard for shard, size in enumerate(self._sizes) if size < self.expected(shard) * _LEAST
        ]
        self._found: dict[int, ShardExtents] = {}

    def _check_contents(self) -> None:
        """Whether every table of contents names all tables, as each does that is whole."""
        if any(self._sizes) or any(self.contents):
            for path, contents, size in zip(
                self._meta_paths, self.contents, self._sizes, strict=True
            ):
                if not contents:
                    raise CorruptionError(
                        f"an empty table of contents, beside {size} bytes of entries"
                        if size
                        else "an empty table of contents, while others of the dump name tables",
                        path=path,
                        hint=_CONTENTS_HINT,
                        kind="empty_contents",
                    )
        names = [{table.table_name for table in contents} for contents in self.contents]
        every = set().union(*names)
        for path, here in zip(self._meta_paths, names, strict=True):
            if len(here) < len(every):
                raise CorruptionError(
                    f"names {len(here)} of the {len(every)} tables that the tables of contents of"
                    f" '{self.base}' name together: it may be cut short",
                    path=path,
                    hint=_CONTENTS_HINT,
                    kind="short_contents",
                )

    def shortfall(self) -> RecordCountError | None:
        """The error of data files that are too small for what is promised, by their size alone.

        None means nothing: only reading the files tells.
        """
        if not self._too_small:
            return None
        error = self._shortfall(self._too_small[0])
        others = len(self._too_small) - 1
        if others:
            error.hint = f"restore it, like {others} more of its dump"
        return error

    def too_small(self) -> list[Skipped]:
        """The same as damage, a place a file; `entries` leaves out what was in them."""
        errors = map(self._shortfall, self._too_small)
        return [
            Skipped(error.path or "", error.kind, error.what, error.offset or 0, 0, 0, False)
            for error in errors
        ]

    def _shortfall(self, shard: int) -> RecordCountError:
        promised, size = self.expected(shard), self._sizes[shard]
        from monolith_cli.formats.magic import what_the_file_is

        known = what_the_file_is(self.files[shard].path) if size else None
        if known is not None:
            return RecordCountError(
                f"this is {known.name}",
                path=self.files[shard].path,
                hint=known.remedy,
                kind="not_records",
            )
        nothing = f"no bytes, where its table of contents promises {promised} records"
        few = f"too small for the {promised} records that its table of contents promises"
        return RecordCountError(
            few if size else nothing,
            path=self.files[shard].path,
            offset=size,
            hint="restore it",
            kind=None if size else "empty_shard",
        )

    def entries(self) -> dict[str, int]:
        """Entries by table, as the tables of contents have them, in order of first mention.

        Those of files that are too small for them are left out.
        """
        counts: dict[str, int] = {}
        for shard, contents in enumerate(self.contents):
            for table in contents:
                entries = 0 if shard in self._too_small else table.num_entries
                counts[table.table_name] = counts.get(table.table_name, 0) + entries
        return counts

    def expected(self, shard: int) -> int:
        """How many entries a shard's table of contents promises."""
        return sum(table.num_entries for table in self.contents[shard])

    def shard_extents(self, shard: int, stop: Stop | None = None) -> ShardExtents:
        """Where the tables of a shard lie; a pass over its file the first time.

        Raises
        ------
        RecordCountError
            The file has fewer records than promised, and damage is not to be skipped.
        CorruptionError
            Damage, likewise.
        """
        found = self._found.get(shard)
        if found is None:
            found = _locate(self.files[shard], self.contents[shard], self.options, stop)
            self._found[shard] = found
        return found

    def all_extents(self, jobs: int = 1) -> list[ShardExtents]:
        """Those of all shards, found by `jobs` threads. Raises as `shard_extents`."""
        find_extents([self], jobs)
        return [self.shard_extents(shard) for shard in range(len(self.files))]

    def unknown_shards(self) -> list[int]:
        """The shards that a pass over their files is still to be made for."""
        return [shard for shard in range(len(self.files)) if shard not in self._found]


def find_extents(dumps: Sequence[MultiDump], jobs: int) -> None:
    """Make the passes over the files of some dumps that are still to be made, by `jobs` threads.

    What is asked of the dumps later costs nothing. Raises as `MultiDump.shard_extents`, for the
    first file that has something wrong.
    """
    unknown = [(dump, shard) for dump in dumps for shard in dump.unknown_shards()]
    size = sum(dump.files[shard].stored_bytes for dump, shard in unknown)
    if jobs == 1 or len(unknown) < 2 or size < SMALL_BYTES:
        for dump, shard in unknown:
            dump.shard_extents(shard)
        return
    from concurrent.futures import ThreadPoolExecutor
    from threading import Event

    stopped = Event()
    pool = ThreadPoolExecutor(min(jobs, len(unknown)))
    try:
        passes = [pool.submit(dump.shard_extents, shard, stopped.is_set) for dump, shard in unknown]
        for each in passes:
            each.result()
    finally:
        stopped.set()  # an interrupt must not wait for files that are read in vain
        pool.shutdown(wait=True, cancel_futures=True)


def too_few_records(file: DumpFile, found: int, promised: int) -> RecordCountError:
    """The error of a data file with fewer records than its table of contents promises."""
    return RecordCountError(
        f"ends after {found} of the {promised} records that its table of contents promises",
        path=file.path,
        offset=file.stored_bytes,
        hint="restore it",
    )


def extra_records(file: DumpFile, extra: int) -> str | None:
    """The warning about records that belong to no table; None where there are none."""
    if not extra:
        return None
    return (
        f"{file.path}: {extra} record{'' if extra == 1 else 's'} more than its table of contents"
        " promises; left out"
    )


def read_contents(path: str, options: ReadOptions) -> list[TableMeta]:
    """What one table of contents says. Raises as `MultiDump`."""
    contents = []
    try:
        records = read_records(path, max_record_bytes=options.max_record_bytes)
        for record, data in enumerate(records):
            try:
                table = parse_table_meta(data)
                if table.num_entries > _MOST_ENTRIES:
                    raise ValueError(f"it promises {table.num_entries} entries")
                contents.append(table)
            except ValueError as error:
                raise CorruptionError(
                    f"no table of contents: {error}", path=path, record=record, kind="bad_message"
                ) from None
    except CorruptionError as error:
        if error.kind != "not_records":
            error.hint = _CONTENTS_HINT
        raise
    return contents


def _locate(
    file: DumpFile, contents: list[TableMeta], options: ReadOptions, stop: Stop | None
) -> ShardExtents:
    whole = _locate_whole(file, contents, options, stop)
    return whole or _locate_damaged(file, contents, options, stop)


def _locate_whole(
    file: DumpFile, contents: list[TableMeta], options: ReadOptions, stop: Stop | None
) -> ShardExtents | None:
    """One pass over a file without damage; None for another one."""
    reader = _reader_of_all(file, options._replace(skip=True))
    extents: list[Extent] = []
    skipped: list[Skipped] = []
    found = 0
    for table in contents:
        start = reader.position
        count = _skip_records(reader, table.num_entries, file, stop)
        if reader.damages:
            return None
        found += count
        if count > 0:
            extents.append(Extent(file, start, reader.position, table.table_name))
    extra = _skip_records(reader, None, file, stop)
    file.check_unchanged()
    if reader.damages:
        return None
    promised = sum(table.num_entries for table in contents)
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
    file: DumpFile, contents: list[TableMeta], options: ReadOptions, stop: Stop | None
) -> ShardExtents:
    runs, skipped = _find_runs(file, options, stop)
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


def _find_runs(
    file: DumpFile, options: ReadOptions, stop: Stop | None
) -> tuple[list[_Run], list[Skipped]]:
    """The undamaged runs of a file, and the damage between them."""
    reader = _reader_of_all(file, options._replace(skip=True))
    runs: list[_Run] = []
    seen = 0
    lost: int | None = 0
    start, count = reader.position, 0
    while True:
        count += _skip(reader, _STEP, file, stop)
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


def _skip_records(
    reader: _native.Reader, records: int | None, file: DumpFile, stop: Stop | None = None
) -> int:
    """Pass over so many records (None: all), or those that are there; the number passed."""
    passed = 0
    while records is None or passed < records:
        left = _STEP if records is None else min(records - passed, _STEP)
        passed += _skip(reader, left, file, stop)
        if reader.done or reader.failed:
            break
    return passed


def _skip(reader: _native.Reader, records: int, file: DumpFile, stop: Stop | None) -> int:
    if stop is not None and stop():
        raise MonolithError("not looked for to the end", path=file.path)  # nobody hears it
    try:
        return reader.skip(records)
    except (OSError, _native.ChangedError) as error:
        raise file.explain(error) from None


def _reader_of_all(file: DumpFile, options: ReadOptions) -> _native.Reader:
    size = file.stream_bytes
    return open_reader(Extent(file, 0, size, None), options, 0, size)
