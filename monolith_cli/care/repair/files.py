"""Single files of a step: copied with flipped bits put back, and cleared of what is damaged."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monolith_cli import _native
from monolith_cli.errors import CorruptionError, MonolithError
from monolith_cli.execution.workers import is_given_up
from monolith_cli.formats.flips import Flip, name_flips
from monolith_cli.formats.tfrecord import DumpFile, RecordWriter, Skipped
from monolith_cli.formats.wire import (
    encode_table_meta,
    fields,
    parse_hash_filter_meta,
    read_varint,
    varint_field,
)
from monolith_cli.storage.store import store_of
from monolith_cli.tables.folds.count import CountFold
from monolith_cli.tables.stream import (
    EntryFilter,
    Extent,
    ReadOptions,
    open_reader,
    open_reader_of_all,
    skipped_by,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from monolith_cli.formats.tensor_bundle import TensorBundle
    from monolith_cli.tables.multi_dump import MultiDump

__all__ = [
    "Copied",
    "CopyTask",
    "MendTask",
    "Mended",
    "ValuesTask",
    "is_filter_head",
    "keep_cells",
    "keep_entries",
    "keep_tables",
    "records_of_filter",
    "write_contents",
    "write_empty_cells",
]

_CHUNK_BYTES = 4 << 20
_STEP = 1 << 14
_ALL = 2**63 - 1
_CELLS_A_RECORD = 10_000
_MORE_CELLS = 64
"""A filter has so many cells more than it has room for."""


class Copied(NamedTuple):
    """A file that was written: its size in bytes, and its CRC-32C as 8 hex digits."""

    bytes: int
    crc32c: str


class CopyTask(NamedTuple):
    """A file to be copied as it is."""

    source: str
    target: str

    def run(self) -> Copied:
        """Copy it.

        Raises
        ------
        PathNotFoundError, NotReadableError, ChangedWhileReadError
            The file went away, changed, or cannot be read.
        WriteError
            The store refused to write.
        """
        return _copy(self.source, self.target, ())


class Mended(NamedTuple):
    """A file of records that was copied.

    Attributes
    ----------
    copied
        What was written.
    records
        How many undamaged ones are in it.
    flips
        The bits that were put back.
    damage
        What is still damaged in the copy.
    is_snappy
        Whether it is in SNAPPY blocks.
    """

    copied: Copied
    records: int
    flips: Sequence[Flip]
    damage: Sequence[Skipped]
    is_snappy: bool


class MendTask(NamedTuple):
    """A file of records to be copied, with flipped bits put back.

    Attributes
    ----------
    message
        What its records hold, as in `name_flips`; `entry` is parsed.
    expected
        `plain` or `snappy`: what it is taken for where it does not tell itself.
    """

    source: str
    target: str
    message: str | None
    expected: str
    max_record_bytes: int

    def run(self) -> Mended:
        """Read it, name what flipped, write it; and read what was written if that differs.

        Raises as `CopyTask.run`.
        """
        file = DumpFile(self.source, self.expected, self.max_record_bytes)
        records, damage = self._read(file)
        is_snappy = file.open().compression == "snappy"
        named = name_flips(file, damage, self.message) if damage else []
        flips = [flip for flip in named if flip is not None]
        copied = _copy(self.source, self.target, flips)
        if flips:
            records, damage = self._read(
                DumpFile(self.target, self.expected, self.max_record_bytes)
            )
        return Mended(copied, records, flips, damage, is_snappy)

    def _read(self, file: DumpFile) -> tuple[int, list[Skipped]]:
        with file.given_up_with_this_thread():
            reader = open_reader_of_all(file, _skipping(self.max_record_bytes))
            try:
                records = _read_all(reader, file, parse=self.message == "entry")
            except (OSError, _native.ChangedError) as error:
                raise file.explain(error) from None
        damage = skipped_by(reader, file)
        if not damage:
            file.check_unchanged()
        file.learn()
        return records, damage


class ValuesTask(NamedTuple):
    """The values of dense variables that lie in one data file, to be verified."""

    bundle: TensorBundle
    shard: int

    def run(self) -> None:
        """Read and check them. Raises as `TensorBundle.verify`."""
        for entry in self.bundle.entries.values():
            for part in [part for _, part in entry.slices] or [entry]:
                if part.shard == self.shard:
                    self.bundle.verify(part)


def keep_entries(path: str, max_record_bytes: int) -> tuple[int, int | None]:
    """Write a file of one table again without what is damaged in it.

    Returns how many entries were kept, and how many were lost, None if nobody knows.
    """
    file = DumpFile(path, "plain", max_record_bytes)
    reader = open_reader_of_all(file, _skipping(max_record_bytes))
    kept = 0
    with RecordWriter(path, file.open().compression) as writer:
        for frames, entries in _frames(reader, file):
            writer.write_framed(frames)
            kept += entries
    damage = reader.damages
    return kept, len(damage) if all(each.one_record for each in damage) else None


def keep_tables(dump: MultiDump, shard: int, contents_path: str) -> dict[str, int]:
    """Write a file that tables share again without what is damaged in it, and its contents file.

    An entry of which nobody knows the table is left out as well. Returns how many were kept of
    each table.
    """
    file = dump.files[shard]
    counts = {table.table_name: 0 for table in dump.contents[shard]}
    extents = dump.shard_extents(shard).extents
    with RecordWriter(file.path, file.open().compression) as writer:
        for extent in extents:
            if extent.table is None:
                continue
            options = _skipping(file.max_record_bytes)
            reader = open_reader(extent, options, extent.start, extent.end)
            for frames, entries in _frames(reader, file):
                writer.write_framed(frames)
                counts[extent.table] += entries
    write_contents(contents_path, counts)
    return counts


def write_contents(path: str, counts: dict[str, int]) -> None:
    """Write a contents file, tables in that order. Raises `WriteError`."""
    with RecordWriter(path) as writer:
        for table, entries in counts.items():
            writer.write(encode_table_meta(table, entries))


def keep_cells(path: str, head: bytes | None, max_record_bytes: int) -> int:
    """Write a split of a hash filter again, with empty cells in place of damaged ones.

    Parameters
    ----------
    head
        The first record to write: its own, or that of another split; None without any.

    Returns how many cells were emptied.

    Raises
    ------
    CorruptionError
        There is no first record.
    """
    if head is None:
        what = "its first record is damaged, without which a hash filter cannot be loaded"
        raise CorruptionError(what, path=path, offset=0, kind="bad_data_crc")
    cells = parse_hash_filter_meta(head).total_size + _MORE_CELLS
    reader = open_reader_of_all(
        DumpFile(path, "plain", max_record_bytes), _skipping(max_record_bytes)
    )
    first = reader.records(1)
    if not (reader.damages and reader.damages[0].position == 0):
        first = []  # that was the first one of all
    lost = position = 0
    with RecordWriter(path) as writer:
        writer.write(head)
        for record in _chained(first, reader):
            offset, count = _cells_of(record)
            if not position <= offset <= offset + count <= cells:
                continue  # none of its cells
            lost += _write_empty(writer, position, offset)
            writer.write(record)
            position = offset + count
        lost += _write_empty(writer, position, cells)
    return lost


def records_of_filter(head: bytes | None) -> int:
    """How many records a split has whose first one that is; more than any without one."""
    if head is None:
        return _ALL
    return 1 - (parse_hash_filter_meta(head).total_size + _MORE_CELLS) // -_CELLS_A_RECORD


def write_empty_cells(path: str, head: bytes) -> None:
    """Write a split of a hash filter with that first record, and nothing in it."""
    with RecordWriter(path) as writer:
        writer.write(head)
        _write_empty(writer, 0, parse_hash_filter_meta(head).total_size + _MORE_CELLS)


def _write_empty(writer: RecordWriter, start: int, end: int) -> int:
    for offset in range(start, end, _CELLS_A_RECORD):
        count = min(_CELLS_A_RECORD, end - offset)
        writer.write(varint_field(1, offset) + varint_field(2, 0) * count)
    return end - start


def is_filter_head(record: bytes) -> bool:
    """Whether it is the first record of a split of a hash filter, of a size that one can have."""
    try:
        return parse_hash_filter_meta(record).total_size < 1 << 32
    except ValueError:
        return False


def _cells_of(record: bytes) -> tuple[int, int]:
    """Where the cells of a HashFilterSplitDataDump begin, and how many they are; -1 of none."""
    try:
        return _count_cells(record)
    except ValueError:
        return -1, 0


def _count_cells(record: bytes) -> tuple[int, int]:
    offset = count = 0
    for field in fields(record):
        match field:
            case 1, 0, int(offset):
                pass
            case 2, 0, int():
                count += 1
            case 2, 2, bytes(packed):
                position = 0
                while position < len(packed):
                    _, position = read_varint(packed, position)
                    count += 1
    return offset, count


def _chained(first: Iterable[bytes], reader: _native.Reader) -> Iterator[bytes]:
    yield from first
    while not reader.done:
        yield from reader.records(64)


def _frames(reader: _native.Reader, file: DumpFile) -> Iterator[tuple[bytes, int]]:
    while not reader.done:
        try:
            yield reader.frames(_ALL, _CHUNK_BYTES)
        except (OSError, _native.ChangedError) as error:
            raise file.explain(error) from None


def _read_all(reader: _native.Reader, file: DumpFile, *, parse: bool) -> int:
    """How many undamaged records there are; those that are no entries are damaged, if parsed."""
    if parse:
        return CountFold(EntryFilter()).run(reader, Extent(file, 0, 0, None)).entries
    records = 0
    while not reader.done:
        records += reader.skip(_STEP)
        _go_on(file.path)
    return records


def _copy(source: str, target: str, flips: Iterable[Flip]) -> Copied:
    by_chunk: dict[int, list[Flip]] = {}
    for flip in flips:
        by_chunk.setdefault(flip.offset // _CHUNK_BYTES, []).append(flip)
    size = crc = 0
    with store_of(source).open(source) as file, store_of(target).create(target) as writer:
        while chunk := file.read(size, _CHUNK_BYTES):
            for flip in by_chunk.get(size // _CHUNK_BYTES, ()):
                chunk = flip.mend(chunk, size)
            crc = _native.crc32c(chunk, crc)
            writer.write(chunk)
            size += len(chunk)
            _go_on(source)
        file.check_unchanged()
    return Copied(size, f"{crc:08x}")


def _go_on(path: str) -> None:
    if is_given_up():
        raise MonolithError("not copied to the end", path=path)  # nobody hears it


def _skipping(max_record_bytes: int) -> ReadOptions:
    return ReadOptions(skip=True, max_record_bytes=max_record_bytes)
