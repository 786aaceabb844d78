"""The content of input files that may be compressed, and how it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from monolith_cli.storage.protocols import OpenFile

__all__ = ["Content", "OddEnd"]

_READ_BYTES = 1 << 20


class OddEnd(NamedTuple):
    """An end of a file that TensorFlow takes for a proper one, and that is none.

    Attributes
    ----------
    path
        The file's, as the job had it.
    kind
        `cut_header`: it ends inside the header of a record. `cut_stream`: it ends inside a
        compressed stream, between two records. `unread_rest`: more follows than is ever read.
    content_bytes
        Where TensorFlow finds the end, in the content.
    rest_bytes
        What is left after that: of a header in the content, else of the file; None of a cut stream.
    compression
        Empty if there is none.
    """

    path: str
    kind: str
    content_bytes: int
    rest_bytes: int | None
    compression: str

    def __str__(self) -> str:
        if self.kind == "unread_rest":
            return (
                "TensorFlow reads the first ZLIB stream of a file only: the"
                f" {self.rest_bytes:,} bytes after it are never read"
            )
        what = "the header of a record"
        if self.kind == "cut_stream":
            what = f"a {self.compression} stream"
        at = f"byte {self.content_bytes:,}" + (" of its content" if self.compression else "")
        return f"the file is cut inside {what}, at {at}: TensorFlow takes that for its end"


class Content:
    """The content of a file that may be compressed, as far as TensorFlow is given it.

    It reads all members of a GZIP file, and of a ZLIB file the first stream only.

    Parameters
    ----------
    file
        It is read from its start on.
    compression
        `GZIP`, `ZLIB`, or empty.
    progress
        Called with the bytes read, and those to be read in the file.

    Raises
    ------
    ValueError
        Another compression; and when it is read, damage.
    """

    def __init__(
        self, file: OpenFile, compression: str, progress: Callable[[int, int], object]
    ) -> None:
        self._file = file
        self._progress = progress
        self._offset = 0  # in the file
        self._bits = {"": None, "GZIP": 31, "ZLIB": 15}.get(compression, 0)
        if self._bits == 0:
            raise ValueError(f"compression {compression}")
        self._stream: Any = self._new_stream()
        self._pending = b""
        self._at = 0  # in what is pending
        self._is_single = compression == "ZLIB"

    @property
    def unread_bytes(self) -> int:
        """Of the file after the end of the content; known when that has been read to its end."""
        if self._stream is None or not self._is_single or not self._stream.eof:
            return 0
        return self._file.size - self._offset + len(self._stream.unused_data)

    @property
    def is_cut(self) -> bool:
        """Whether the file ends within a compressed stream; known as `unread_bytes` is."""
        return self._stream is not None and not self._stream.eof and self._file.size > 0

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
            return self._stored(_READ_BYTES)
        while True:
            ended = self._stream.eof
            if ended and self._is_single:
                return b""
            rest = self._stream.unused_data if ended else self._stream.unconsumed_tail
            data = rest or self._stored(_READ_BYTES // 4)
            if not data:
                return b""
            if ended:  # a file may be several, one after the other
                self._stream = self._new_stream()
            found: bytes = self._stream.decompress(data, _READ_BYTES)
            if found:
                return found

    def _stored(self, size: int) -> bytes:
        """The next bytes of the file as it is stored."""
        data = self._file.read(self._offset, size)
        self._offset += len(data)
        self._progress(self._offset, self._file.size)
        return data

    def _new_stream(self) -> Any:
        import zlib

        return None if self._bits is None else zlib.decompressobj(self._bits)
