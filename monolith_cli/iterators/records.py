"""How many records of an input file lie before an offset: counted in the file, if it is there.

Offsets are those of TensorFlow's readers: where the next record begins, in compressed files in the
uncompressed content. Files are known by the paths that the job had; they may have moved since.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from monolith_cli.errors import MonolithError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

__all__ = ["FILE_READERS", "Count", "FileKind", "RecordCounter"]

FILE_READERS = {
    "TFRecord": "records",
    "TextLine": "lines",
    "FixedLengthRecord": "records",
}
"""Readers of files, without version, and what they read."""

_READ_BYTES = 1 << 20
_LONGEST_RECORD = 2**31 - 1
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
        has the same.
    sizes
        Of files, in bytes, as they were when the state was saved.
    progress
        Called with the bytes read, and those to be read in the file.
    """

    def __init__(
        self,
        directory: str | None = None,
        known: Iterable[str] = (),
        sizes: dict[str, int] | None = None,
        progress: Callable[[int, int], object] = lambda done, total: None,
    ) -> None:
        self._directory = directory
        self._known = sorted(set(known))
        self._sizes = sizes or {}
        self._progress = progress
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
            if os.path.isfile(place):
                return place
        return None

    def _places(self, path: str) -> list[str]:
        path = path.removeprefix("file://")
        if self._directory is None:
            return [path]
        below = os.path.commonpath([os.path.dirname(name) for name in self._known] or ["/"])
        places = [os.path.join(self._directory, os.path.relpath(path, below))]
        name = os.path.basename(path)
        if [os.path.basename(other) for other in self._known].count(name) <= 1:
            places.append(os.path.join(self._directory, name))
        return places

    def _count(self, path: str, kind: FileKind, offset: int | None) -> Count:
        if offset is not None and offset < 0:
            return Count(None, "the offset is no place in a file")
        place = self.place(path)
        if place is None:
            return Count(None, "the file is not there", is_absent=True)
        try:
            size = os.stat(place).st_size
            if self._sizes.get(path, size) != size:
                return Count(None, f"the file had {self._sizes[path]} bytes, and has {size}")
            if offset is None and size == 0:
                return Count(0)
            return self._count_in(place, kind, offset)
        except OSError as error:
            return Count(None, f"the file cannot be read: {error.strerror}")
        except MonolithError as error:
            return Count(None, f"the file cannot be read: {error.what}")
        except (ValueError, EOFError) as error:
            return Count(None, f"the file is damaged: {error}")

    def _count_in(self, place: str, kind: FileKind, offset: int | None) -> Count:
        compression = _sniffed(place) if kind.compression is None else kind.compression
        if kind.reader == "TFRecord":
            if compression in ("GZIP", "ZLIB"):
                return self._count_inflated(place, compression, offset)
            return self._count_framed(place, compression, offset)
        if kind.reader == "FixedLengthRecord":
            return self._count_fixed(place, kind, compression, offset)
        with open(place, "rb") as file:
            return self._count_lines(_Inflated(file, compression, self._progress), offset)

    def _count_framed(self, place: str, compression: str, offset: int | None) -> Count:
        from monolith_cli._native import Reader
        from monolith_cli.formats.tfrecord import DumpFile

        file = DumpFile(place, compression.lower() or "plain", _LONGEST_RECORD).open()
        end = file.stream_bytes if offset is None else offset
        if end > file.stream_bytes:
            return Count(None, f"the file ends at byte {file.stream_bytes}, before that offset")
        reader, records = Reader(file, 0, end, verify=False), 0
        while True:
            found = reader.skip(100_000)
            records += found
            self._progress(reader.position, end)
            if reader.failed:
                return Count(None, f"the file is damaged at byte {reader.position}")
            if reader.done or not found:
                break
        if reader.position != end:
            return Count(None, "no record of the file begins at that offset: it is another file")
        return Count(records)

    def _count_inflated(self, place: str, compression: str, offset: int | None) -> Count:
        records, position = 0, 0
        with open(place, "rb") as file:
            content = _Inflated(file, compression, self._progress)
            while offset is None or position < offset:
                head = content.read(12)
                if not head and offset is None:
                    return Count(records)
                if len(head) < 12:
                    raise EOFError("it ends inside a record")
                size = struct.unpack_from("<Q", head)[0] + 4
                if size > _LONGEST_RECORD or content.skip(size) < size:
                    raise EOFError("it ends inside a record")
                position += 12 + size
                records += 1
        if position != offset:
            return Count(None, "no record of the file begins at that offset: it is another file")
        return Count(records)

    def _count_lines(self, content: _Inflated, offset: int | None) -> Count:
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
        if last != b"\n":  # the last line of a file may have no end
            if offset is not None and content.read(1):
                return Count(None, "no line of the file begins at that offset: it is another file")
            lines += 1
        return Count(lines)

    def _count_fixed(
        self, place: str, kind: FileKind, compression: str, offset: int | None
    ) -> Count:
        size, header, footer = kind.record_bytes, kind.header_bytes, kind.footer_bytes
        if not size or header is None or footer is None:
            return Count(None, "the length of its records is not known")
        if offset is None:
            if compression:
                with open(place, "rb") as file:
                    length = _Inflated(file, compression, self._progress).skip(None)
            else:
                length = os.stat(place).st_size
            length -= header + footer
        else:
            # In a compressed file the reader is ahead by the footer, which it must not return.
            length = max(0, offset - header - (footer if compression else 0))
        if length % size:
            return Count(None, "its records are not of the length that they had")
        return Count(length // size)


class _Inflated:
    """The content of a file that may be compressed."""

    def __init__(
        self, file: BinaryIO, compression: str, progress: Callable[[int, int], object]
    ) -> None:
        self._file = file
        self._progress = progress
        self._size = os.fstat(file.fileno()).st_size
        self._bits = {"": None, "GZIP": 31, "ZLIB": 15}.get(compression, 0)
        if self._bits == 0:
            raise ValueError(f"compression {compression}")
        self._stream: Any = self._new_stream()
        self._pending = b""
        self._at = 0  # in what is pending

    def read(self, size: int) -> bytes:
        """As much as that, less at the end."""
        import zlib

        parts, left = [], size
        while left > 0:
            if self._at == len(self._pending):
                try:
                    self._pending, self._at = self._more(), 0
                except zlib.error as error:
                    raise ValueError(str(error)) from error
                if not self._pending:
                    break
            part = self._pending[self._at : self._at + left]
            parts.append(part)
            self._at += len(part)
            left -= len(part)
        return b"".join(parts)

    def skip(self, size: int | None) -> int:
        """Pass over as much as that, or all; return how much it was."""
        skipped = 0
        while size is None or skipped < size:
            left = _READ_BYTES if size is None else min(_READ_BYTES, size - skipped)
            found = len(self.read(left))
            if not found:
                break
            skipped += found
        return skipped

    def _more(self) -> bytes:
        if self._stream is None:
            data = self._file.read(_READ_BYTES)
            self._progress(self._file.tell(), self._size)
            return data
        while True:
            if self._stream.eof:  # a file may be several, one after the other
                rest = self._stream.unused_data
                self._stream = self._new_stream()
            else:
                rest = self._stream.unconsumed_tail
            data = rest or self._file.read(_READ_BYTES // 4)
            self._progress(self._file.tell(), self._size)
            if not data:
                return b""
            found: bytes = self._stream.decompress(data, _READ_BYTES)
            if found:
                return found

    def _new_stream(self) -> Any:
        import zlib

        return None if self._bits is None else zlib.decompressobj(self._bits)


def _sniffed(place: str) -> str:
    """What a file looks like; SNAPPY is told from none by whoever reads records.

    A record of 35,615 bytes begins as GZIP does, and is then found not to be.
    """
    with open(place, "rb") as file:
        return _MAGIC.get(file.read(2), "")
