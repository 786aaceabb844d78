"""One pass over every byte of files of records: what is in them, and all their damage."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Generic, TypeVar

from monolith_cli.errors import NotReadableError
from monolith_cli.formats.tfrecord import DumpFile
from monolith_cli.storage.machine import forget_cached
from monolith_cli.tables.extents import map_files
from monolith_cli.tables.ranges import FileTask, read_files, read_ranges
from monolith_cli.tables.stream import SMALL_BYTES, EntryStream, Extent, ReadOptions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from monolith_cli.care.fsck.reading import Reading
    from monolith_cli.execution.protocols import Merges
    from monolith_cli.formats.tfrecord import Skipped
    from monolith_cli.tables.folds.protocol import Fold
    from monolith_cli.tables.ranges import Piece

__all__ = ["Scan", "Scanned", "scan_files"]

V = TypeVar("V", bound="Merges")

OPTIONS = ReadOptions(skip=True)


class Scanned(Generic[V]):
    """What is in a file.

    Attributes
    ----------
    value
        What the fold gave for all of it.
    damage
        What was met both times that the file was read.
    unstable
        What was met only once.
    """

    __slots__ = ("damage", "unstable", "value")

    def __init__(self, value: V) -> None:
        self.value = value
        self.damage: list[Skipped] = []
        self.unstable: list[Skipped] = []


class Scan(Generic[V]):
    """What is in some files, by path; and what could not be read."""

    __slots__ = ("files", "unread")

    def __init__(self) -> None:
        self.files: dict[str, Scanned[V]] = {}
        self.unread: list[NotReadableError] = []


def scan_files(paths: Iterable[tuple[str, str]], fold: Fold[V], reading: Reading) -> Scan[V]:
    """Read files, each once; where damage is met, once more, past the cache of this machine.

    Parameters
    ----------
    paths
        With each what it is taken for where it does not tell, `plain` or `snappy`.

    Raises
    ------
    PathNotFoundError, ChangedWhileReadError
        A file went away, or is being written to.
    """
    scan: Scan[V] = Scan()
    compressions = dict(paths)
    files = [DumpFile(path, compression) for path, compression in compressions.items()]
    while files:
        try:
            _read(files, fold, reading, scan)
        except NotReadableError as error:
            scan.unread.append(error)
            scan.files.pop(error.path or "", None)
            at = next((i for i, file in enumerate(files) if file.path == error.path), len(files))
            files = files[at + 1 :]
        else:
            break
    for path, found in scan.files.items():
        if found.damage:
            _look_again(DumpFile(path, compressions[path]), found, fold)
    return scan


def _read(files: Sequence[DumpFile], fold: Fold[V], reading: Reading, scan: Scan[V]) -> None:
    workers = reading.workers
    snappy = [file for file in files if file.expected == "snappy"]
    if not workers.alone and sum(file.stored_bytes for file in snappy) >= SMALL_BYTES:
        map_files(snappy, workers)
    extents, unmapped = [], []
    for file in files:
        if file.is_mapped:
            extents.append(Extent(file, 0, file.stream_bytes, None))
        else:
            unmapped.append(file)
    stream = EntryStream(extents)
    ranges = read_ranges(stream, OPTIONS, fold, workers=workers, range_bytes=reading.range_bytes)
    _keep(ranges, reading, scan)
    _keep(read_files(unmapped, OPTIONS, fold, workers), reading, scan)


def _keep(pieces: Iterator[Piece[V]], reading: Reading, scan: Scan[V]) -> None:
    with closing(pieces):  # type: ignore[type-var]
        for piece in pieces:
            file = piece.extent.file
            found = scan.files.get(file.path)
            if found is None:
                found = scan.files[file.path] = Scanned(piece.value)
            else:
                found.value.merge(piece.value)
            found.damage += piece.skipped
            reading.took(_stored(piece))


def _stored(piece: Piece[V]) -> int:
    """About how many bytes of the file a range is."""
    extent = piece.extent
    if not extent.size or piece.size >= extent.size:
        return extent.file.stored_bytes
    return extent.file.stored_bytes * piece.size // extent.size


def _look_again(file: DumpFile, found: Scanned[V], fold: Fold[V]) -> None:
    """Read a damaged file once more; what is not the same both times is of this machine."""
    forget_cached(file.path)
    partial, _ = FileTask(file, OPTIONS, fold).run()
    first = {damage.place: damage for damage in found.damage}
    second = {damage.place: damage for damage in partial.damage}
    found.damage = [first[place] for place in first if place in second]
    found.unstable = [first[place] for place in first if place not in second]
    found.unstable += [second[place] for place in second if place not in first]
    if found.unstable and len(second) < len(first):
        found.value = partial.value
