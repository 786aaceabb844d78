"""How many records of an input file lie before an offset: counted in the file, if it is there.

Offsets are those of TensorFlow's readers: where the next record begins, in compressed files in the
uncompressed content. Files are known by the paths that the job had; they may have moved since.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.errors import MonolithError, UsageError
from monolith_cli.iterators.content import Content, OddEnd
from monolith_cli.storage.location import (
    common_parent,
    is_absolute_path,
    join,
    name_of,
    parent_of,
    relative,
    scheme_of,
)
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from monolith_cli._native import Damage, Reader

__all__ = ["FILE_READERS", "Count", "FileKind", "RecordCounter"]

FILE_READERS = {
    "TFRecord": "records",
    "TextLine": "lines",
    "FixedLengthRecord": "records",
}
"""Readers of files, without version, and what they read."""

_READ_BYTES = 1 << 20
_LONGEST_RECORD = 2**31 - 1

_HEAD_BYTES = 12
"""Of a record: its length, and the checksum of that."""

_BLOCK_HEAD_BYTES = 4
"""Of a SNAPPY block: if less than that is left, TensorFlow takes it for the end."""

_LOOK_AHEAD_BYTES = 64 << 20
"""How far behind an offset the end of the file is looked for: about a third of a second."""

_MAGIC = {b"\x1f\x8b": "GZIP", b"\x78\x01": "ZLIB", b"\x78\x9c": "ZLIB", b"\x78\xda": "ZLIB"}


class FileKind(NamedTuple):
    """How a file is read.

    Attributes
    ----------
    reader
        One of `FILE_READERS`.
    compression
        `GZIP`, `ZLIB`, `SNAPPY` or none; None if that is not known, and told from the file.
    record_bytes, header_bytes, footer_bytes
        Of a reader of records of a fixed length; None if they are not known.
    """

    reader: str
    compression: str | None = None
    record_bytes: int | None = None
    header_bytes: int | None = None
    footer_bytes: int | None = None


class Count(NamedTuple):
    """How many records, or why that is not known."""

    records: int | None
    why: str | None = None
    is_absent: bool = False  # as the file is not there


class RecordCounter:
    """Counts records, each file once for each offset.

    Parameters
    ----------
    directory
        Where the files are now; None if they are where they were.
    known
        The paths of all files that the job had: a file that has moved is looked for in `directory`
        under its path below the directory that held all of them, or by its name if no other file
        has the same. Relative paths, absolute ones and URLs have no directory in common.
    sizes
        Of files, in bytes, as they were when the state was saved.
    progress
        Called with the bytes read, and those to be read in the file.

    Attributes
    ----------
    odd_ends
        Those of the files that were read to their ends, by the files' paths.
    """

    def __init__(
        self,
        directory: str | None = None,
        known: Iterable[str] = (),
        sizes: dict[str, int] | None = None,
        progress: Callable[[int, int], object] = lambda done, total: None,
    ) -> None:
        self._directory = directory
        self._known = sorted({path.removeprefix("file://") for path in known} - {""})
        self._sizes = sizes or {}
        self._progress = progress
        self.odd_ends: dict[str, OddEnd] = {}
        self._counts: dict[tuple[str, FileKind, int | None], Count] = {}

    def count(self, path: str, kind: FileKind, offset: int | None = None) -> Count:
        """The records before an offset, by default of the whole file."""
        key = (path, kind, offset)
        if key not in self._counts:
            self._counts[key] = self._count(path, kind, offset)
        return self._counts[key]

    def place(self, path: str) -> str | None:
        """Where a file is now; None if it is not there."""
        for place in self._places(path):
            if _is_there(place):
                return place
        return None

    def _places(self, path: str) -> list[str]:
        path = path.removeprefix("file://")
        if self._directory is None:
            return [path]
        name = name_of(path)
        if not name:
            return []
        alike = [parent_of(other) for other in self._known if _sort_of(other) == _sort_of(path)]
        places = []
        if alike or not self._known:
            places.append(join(self._directory, relative(path, common_parent(alike or ["/"]))))
        if [name_of(other) for other in self._known].count(name) <= 1:
            places.append(join(self._directory, name))
        return places

    def compression(self, path: str, kind: FileKind) -> str | None:
        """How a file is compressed; None if that is not known."""
        if kind.compression is not None:
            return kind.compression
        place = self.place(path)
        try:
            return None if place is None else _sniffed(place)
        except MonolithError:
            return None

    def _count(self, path: str, kind: FileKind, offset: int | None) -> Count:
        if offset is not None and offset < 0:
            return Count(None, "the offset is not a position in a file")
        place = self.place(path)
        if place is None:
            return Count(None, "the file is not there", is_absent=True)
        try:
            size = store_of(place).status(place).size
            if self._sizes.get(path, size) != size:
                return Count(None, f"the file had {self._sizes[path]} bytes, and has {size}")
            if offset is None and size == 0:
                return Count(0)
            return self._count_in(_File(path, place, kind), offset)
        except MonolithError as error:
            return Count(None, f"the file cannot be read: {error.reason}")
        except OSError as error:
            return Count(None, f"the file cannot be read: {error.strerror}")
        except (ValueError, EOFError) as error:
            return Count(None, f"the file is damaged: {error}")

    def _count_in(self, file: _File, offset: int | None) -> Count:
        kind = file.kind
        compression = _sniffed(file.place) if kind.compression is None else kind.compression
        if kind.reader == "TFRecord" and compression not in ("GZIP", "ZLIB"):
            return self._count_framed(file, compression, offset)
        if kind.reader == "FixedLengthRecord" and (offset is not None or not compression):
            size = store_of(file.place).status(file.place).size
            return _fixed(size, kind, compression, offset)
        with store_of(file.place).open(file.place) as stream:
            content = Content(stream, compression, self._progress)
            if kind.reader == "TFRecord":
                return self._count_inflated(file, content, compression, offset)
            if kind.reader == "TextLine":
                return self._count_lines(file, content, compression, offset)
            length = content.skip(None)
            self._note_end(file, content, length, compression)
        return _fixed(length, kind, compression, None)

    def _count_framed(self, file: _File, compression: str, offset: int | None) -> Count:
        from monolith_cli._native import Reader
        from monolith_cli.formats.tfrecord import DumpFile

        opened = DumpFile(file.place, compression.lower() or "plain", _LONGEST_RECORD).open()
        length = opened.stream_bytes
        end = length if offset is None else offset
        if end > length:
            return Count(None, f"the file ends at byte {length}, before that offset")
        reader = Reader(opened, 0, end, verify=False)
        records = self._skip_all(reader, end)
        if reader.failed:
            damage = reader.damages[0]
            if offset is not None or not self._note_cut(file, damage, compression):
                return Count(None, f"the file is damaged at byte {damage.position}")
        elif reader.position != end:
            return Count(None, "no record of the file begins at that offset: it is another file")
        if offset is not None and length - offset <= _LOOK_AHEAD_BYTES:
            ahead = Reader(opened, offset, length, verify=False)
            self._skip_all(ahead, length)
            if ahead.failed:
                self._note_cut(file, ahead.damages[0], compression)
        return Count(records)

    def _skip_all(self, reader: Reader, end: int) -> int:
        records = 0
        while True:
            found = reader.skip(100_000)
            records += found
            self._progress(reader.position, end)
            if reader.failed or reader.done or not found:
                return records

    def _note_cut(self, file: _File, damage: Damage, compression: str) -> bool:
        """Whether the end of a file is one that TensorFlow takes for a proper one."""
        snappy = compression or ("SNAPPY" if damage.kind == "truncated_block" else "")
        if damage.kind == "truncated_header":
            kind, rest = "cut_header", damage.end - damage.position
        elif damage.kind == "truncated_block" and damage.length < _BLOCK_HEAD_BYTES:
            kind, rest = "cut_stream", None
        else:
            return False
        self.odd_ends[file.path] = OddEnd(file.path, kind, damage.position, rest, snappy)
        return True

    def _count_inflated(
        self, file: _File, content: Content, compression: str, offset: int | None
    ) -> Count:
        records, position = 0, 0
        while offset is None or position < offset:
            size = _skip_record(content)
            if size < _HEAD_BYTES:
                if offset is not None:
                    raise EOFError("it ends inside a record")
                self._note_end(file, content, position, compression, size)
                return Count(records)
            position += size
            records += 1
        if position != offset:
            return Count(None, "no record of the file begins at that offset: it is another file")
        try:
            while position - offset <= _LOOK_AHEAD_BYTES:
                size = _skip_record(content)
                if size < _HEAD_BYTES:
                    self._note_end(file, content, position, compression, size)
                    break
                position += size
        except (ValueError, EOFError):
            pass  # TensorFlow will say so
        return Count(records)

    def _note_end(
        self, file: _File, content: Content, position: int, compression: str, left: int = 0
    ) -> None:
        """Note how a file ends whose content has been read to its end."""
        kind, rest = "", None
        if content.unread_bytes:
            kind, rest = "unread_rest", content.unread_bytes
        elif left:
            kind, rest = "cut_header", left
        elif content.is_cut:
            kind = "cut_stream"
        if kind:
            self.odd_ends[file.path] = OddEnd(file.path, kind, position, rest, compression)

    def _count_lines(
        self, file: _File, content: Content, compression: str, offset: int | None
    ) -> Count:
        lines, position, last = 0, 0, b"\n"
        while offset is None or position < offset:
            left = _READ_BYTES if offset is None else min(_READ_BYTES, offset - position)
            data = content.read(left)
            if not data:
                break
            position += len(data)
            lines += data.count(b"\n")
            last = data[-1:]
        if offset is not None and position < offset:
            return Count(None, f"the file ends at byte {position}, before that offset")
        if offset is None:
            self._note_end(file, content, position, compression)
        if last != b"\n":  # the last line of a file may have no end
            if offset is not None and content.read(1):
                return Count(None, "no line of the file begins at that offset: it is another file")
            lines += 1
        if offset is not None and compression:
            self._look_ahead(file, content, position, compression)
        return Count(lines)

    def _look_ahead(self, file: _File, content: Content, position: int, compression: str) -> None:
        """See how a file ends, if that is not far behind what was read."""
        try:
            ahead = content.skip(_LOOK_AHEAD_BYTES)
        except ValueError:
            return  # TensorFlow will say so
        if ahead < _LOOK_AHEAD_BYTES:
            self._note_end(file, content, position + ahead, compression)


class _File(NamedTuple):
    """A file as the job had it, where it is now, and how it is read."""

    path: str
    place: str
    kind: FileKind


def _skip_record(content: Content) -> int:
    """Pass over a record; return its bytes with its frame, or those of a header that is cut."""
    head = content.read(_HEAD_BYTES)
    if len(head) < _HEAD_BYTES:
        return len(head)
    size: int = struct.unpack_from("<Q", head)[0] + 4
    if size > _LONGEST_RECORD or content.skip(size) < size:
        raise EOFError("it ends inside a record")
    return _HEAD_BYTES + size


def _fixed(length: int, kind: FileKind, compression: str, offset: int | None) -> Count:
    """Records of a fixed length in a content of so many bytes, or before an offset."""
    size, header, footer = kind.record_bytes, kind.header_bytes, kind.footer_bytes
    if not size or header is None or footer is None:
        return Count(None, "the length of its records is not known")
    if offset is None:
        length -= header + footer
    else:
        # In a compressed file the reader is ahead by the footer, which it must not return.
        length = max(0, offset - header - (footer if compression else 0))
    if length % size:
        return Count(None, "its records are not of the length that they had")
    return Count(length // size)


def _sniffed(place: str) -> str:
    """What a file looks like; SNAPPY is told from none by whoever reads records.

    A record of 35,615 bytes begins as GZIP does, and is then found not to be.
    """
    with store_of(place).open(place) as file:
        return _MAGIC.get(file.read(0, 2), "")


def _sort_of(path: str) -> str:
    """Files of one sort may have been below one directory: absolute, relative, or of a scheme."""
    return scheme_of(path) or ("/" if is_absolute_path(path) else "")


def _is_there(place: str) -> bool:
    try:
        return store_of(place).is_file(place)
    except UsageError:
        return False  # in a store that is not known here
