"""Files of TFRecords, plain or SNAPPY: opening, reading, writing, and what their damage is called.

The framing is that of tensorflow/core/lib/io/record_writer.h: length, masked CRC-32C of the length,
data, masked CRC-32C of the data. With SNAPPY the framed stream is cut into blocks, each the length
of its compressed bytes (big-endian) and one raw snappy block. Files have no magic: which of the two
a file is follows from its first bytes.
"""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli import _native
from monolith_cli.errors import (
    ChangedWhileReadError,
    CorruptionError,
    MonolithError,
    NotReadableError,
    PathNotFoundError,
    UsageError,
)
from monolith_cli.execution.workers import to_ask_elsewhere
from monolith_cli.storage.location import as_location
from monolith_cli.storage.store import ReadSizes, store_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence
    from types import TracebackType

    from monolith_cli.storage.location import AnyPath
    from monolith_cli.storage.protocols import OpenFile

__all__ = [
    "MAX_RECORD_BYTES",
    "DumpFile",
    "RecordWriter",
    "Skipped",
    "read_first_record",
    "read_records",
]

MAX_RECORD_BYTES = 64 << 20
"""Longer records are taken for damage by default; nothing in the format limits them."""

_LONGEST_BYTES = 2**31 - 1
"""Nobody means a longer record: protobuf has no larger messages."""

_BLOCK_KINDS = ("truncated_block", "bad_block_length", "bad_block")

_AT_THE_START = {
    # Where even the first bytes are bad, it may be another kind of file.
    "truncated_header": "not a TFRecord file, or cut short: it ends inside the first header",
    "bad_length_crc": "not a TFRecord file, or damaged: the first length fails its checksum",
    "truncated_block": "not a SNAPPY TFRecord file, or cut short: it ends inside the first block",
    "bad_block_length": "not a SNAPPY TFRecord file, or damaged: the lengths of the first block"
    " make no sense",
}

_OPEN_FILES = 64
"""How many files stay open for the next use. One that was closed is opened again when needed."""

_DAMAGE_HINT = "restore the file"
_TOO_LONG_HINT = "allow longer ones if records are meant to be so long"
_CHANGED_HINT = "try again when nobody writes it"


class Skipped(NamedTuple):
    """Damage: where it is, and what was left out because of it.

    `position` and `end` are in uncompressed bytes, `offset` is in the file as stored.
    `one_record` is False where nobody can know how many records were lost. `hint` is what to do
    about it.
    """

    path: str
    kind: str
    what: str
    offset: int
    position: int
    end: int
    one_record: bool
    hint: str = _DAMAGE_HINT

    @property
    def place(self) -> tuple[str, bool, int]:
        """The same for the same damage, whoever met it, from wherever it was come upon."""
        in_block = self.kind in _BLOCK_KINDS
        return (self.path, in_block, self.offset if in_block else self.position)

    def error(self) -> CorruptionError:
        """The error to raise where damage is not to be skipped."""
        # Of another kind of file, no byte is wrong.
        offset = None if self.kind == "not_records" else self.offset
        return CorruptionError(
            self.what, path=self.path, offset=offset, hint=self.hint, kind=self.kind
        )


class DumpFile:
    """A file of records by its path. It is opened when it is read, and can be pickled.

    What was found out when it was opened first stays with it, in another process too: that it is
    this very file, and where a SNAPPY file's blocks lie, so that nobody looks for them twice.

    Parameters
    ----------
    path
        The file.
    expected
        `plain` or `snappy`: the compression where the file does not tell, being empty or damaged.
    max_record_bytes
        Records that claim to be longer are damage. Nothing larger is ever allocated for one.

    Attributes
    ----------
    read_sizes
        How its store wants it to be read; known once it was opened.

    Raises
    ------
    UsageError
        `max_record_bytes` is negative, or does not fit into 64 bits.
    """

    __slots__ = (
        "_block_map",
        "_stored_bytes",
        "_stream_bytes",
        "_version",
        "expected",
        "max_record_bytes",
        "path",
        "read_sizes",
    )

    def __init__(
        self, path: str, expected: str = "plain", max_record_bytes: int = MAX_RECORD_BYTES
    ) -> None:
        if not 0 <= max_record_bytes < 1 << 64:
            raise UsageError(f"no record can be {max_record_bytes} bytes long")
        self.path = path
        self.expected = expected
        self.max_record_bytes = max_record_bytes
        self._stored_bytes: int | None = None
        self._stream_bytes: int | None = None
        self._version: Hashable = None
        self._block_map: bytes | None = None
        self.read_sizes = ReadSizes()

    def __repr__(self) -> str:
        return f"DumpFile({self.path!r})"

    def open(self) -> _native.File:
        """The open file. Cheap when it is open already.

        SNAPPY takes a walk over its blocks, once; where seeking is not cheap, not before somebody
        asks for what the walk is for.

        Raises
        ------
        PathNotFoundError, NotReadableError
            It is gone, not a regular file, or the operating system refuses.
        ChangedWhileReadError
            It is another file, or has another size or time, than when it was opened first.
        """
        file = _open_files.get(self)
        if file is None:
            try:
                store = store_of(self.path)
                opened = store.open(self.path)
                how = (self.expected, self.max_record_bytes, self._block_map)
                source = None
                if opened.local_path is not None:
                    file = _native.File(opened.local_path, *how)
                else:
                    cheap = store.abilities.cheap_seeks
                    source = _Source(opened)
                    with source.given_up_with_this_thread():
                        file = _native.File.over(source, *how, seek_is_cheap=cheap)
            except (OSError, _native.ChangedError) as error:
                raise self.explain(error) from None
            if self._stored_bytes is None:
                self._stored_bytes = file.stored_bytes
                if file.mapped:
                    self._stream_bytes = file.stream_bytes
                self._version = opened.version
                self.read_sizes = opened.read_sizes
            elif self._stored_bytes != file.stored_bytes:
                raise self._changed(min(self._stored_bytes, file.stored_bytes))
            elif self._version != opened.version:
                raise self._changed(0)
            _open_files.put(self, file, source)
        return file

    @contextmanager
    def given_up_with_this_thread(self) -> Iterator[None]:
        """Within it reads of the file fail, in whatever thread, once this one is to give up.

        For a reader of all, which looks up from its work no sooner. One of a file that native code
        opens itself reads on. Raises as `open`.
        """
        self.open()
        source = _open_files.source_of(self)
        if source is None:
            yield
            return
        with source.given_up_with_this_thread():
            yield

    @property
    def stream_bytes(self) -> int:
        """The size of the records with their frames, uncompressed; `open` says what it costs."""
        if self._stream_bytes is None:
            file = self.open()
            try:
                self._stream_bytes = file.stream_bytes
            except (OSError, _native.ChangedError) as error:
                raise self.explain(error) from None
        return self._stream_bytes

    @property
    def is_mapped(self) -> bool:
        """Whether `stream_bytes` costs nothing. Else one reader of all finds it out on its way."""
        return self._stream_bytes is not None or self.open().mapped

    @property
    def stored_bytes(self) -> int:
        """The size on disk."""
        if self._stored_bytes is None:
            return self.open().stored_bytes
        return self._stored_bytes

    def check_unchanged(self) -> None:
        """Make sure that the file is the one that was opened, and as long as it was.

        Raises
        ------
        PathNotFoundError
            It was deleted meanwhile.
        ChangedWhileReadError
            It has another size or time of modification, or is another file.
        """
        try:
            self.open().check_unchanged()
        except (OSError, _native.ChangedError) as error:
            raise self.explain(error) from None

    def explain(self, error: Exception) -> MonolithError:
        """What an exception of the native module means for this file."""
        if isinstance(error, _native.ChangedError):
            return self._changed(error.args[0])
        if isinstance(error, PathNotFoundError) or (
            isinstance(error, OSError) and error.errno in (errno.ENOENT, errno.ENOTDIR)
        ):
            return PathNotFoundError("no such file, or it was deleted meanwhile", path=self.path)
        if isinstance(error, NotReadableError):
            return NotReadableError(error.what, path=self.path)
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return NotReadableError(f"not readable: {reason}", path=self.path)

    def skipped(self, damages: Sequence[_native.Damage]) -> list[Skipped]:
        """Damage that a reader of this file met, in words; costs one look at the file.

        Raises
        ------
        PathNotFoundError, ChangedWhileReadError
            The file went away, or was written to meanwhile: what was met then is no damage.
        """
        if damages:
            self.check_unchanged()
        return [self._skipped(damage) for damage in damages]

    def _skipped(self, damage: _native.Damage) -> Skipped:
        if damage.position == 0 and damage.kind in (*_AT_THE_START, "bad_block"):
            from monolith_cli.formats.magic import what_the_file_is

            known = what_the_file_is(self.path)
            if known is not None:
                return Skipped(
                    self.path,
                    kind="not_records",
                    what=f"this is {known.name}",
                    offset=0,
                    position=0,
                    end=damage.end,
                    one_record=False,
                    hint=known.remedy,
                )
        what = _describe(damage, self.max_record_bytes)
        if damage.kind not in _BLOCK_KINDS and self.open().compression == "snappy":
            what += f" (uncompressed byte {damage.position}), in the SNAPPY block"
        too_long = damage.kind == "record_too_long" and damage.length <= _LONGEST_BYTES
        return Skipped(
            self.path,
            damage.kind,
            what,
            damage.offset,
            damage.position,
            damage.end,
            damage.one_record,
            _TOO_LONG_HINT if too_long else _DAMAGE_HINT,
        )

    def _changed(self, offset: int) -> ChangedWhileReadError:
        return ChangedWhileReadError(
            "changed while it was read", path=self.path, offset=offset, hint=_CHANGED_HINT
        )

    def adopt(self, other: DumpFile) -> None:
        """Know what another one of the same path, maybe from another process, has found out.

        Raises
        ------
        ChangedWhileReadError
            The other one has met another file.
        """
        if self._stored_bytes is None:
            self.__setstate__(other.__getstate__())
        elif self._version != other._version:
            raise self._changed(0)
        elif self._stream_bytes is None:
            self._stream_bytes, self._block_map = other._stream_bytes, other._block_map

    def learn(self) -> None:
        """Note what a reader of the whole file has found out: how long it is, where blocks lie."""
        file = self.open()
        if file.mapped:
            self._stream_bytes = file.stream_bytes
            self.keep_map(file)

    def keep_map(self, file: _native.File) -> None:
        """Note where the blocks of the open file lie, before it is closed."""
        if self._block_map is None and file.mapped:
            self._block_map = file.block_map

    def __getstate__(self) -> tuple[object, ...]:
        file = _open_files.get(self)
        if file is not None:
            self.keep_map(file)
        return tuple(getattr(self, name) for name in self.__slots__)

    def __setstate__(self, state: tuple[object, ...]) -> None:
        for name, value in zip(self.__slots__, state, strict=True):
            setattr(self, name, value)


class _Source:
    """What native code reads of a file that it cannot open itself."""

    def __init__(self, opened: OpenFile) -> None:
        self.size = opened.size
        self.version = opened.version
        self.check_unchanged = opened.check_unchanged
        self._read_into = opened.read_into
        self._is_given_up: Callable[[], bool] | None = None

    @contextmanager
    def given_up_with_this_thread(self) -> Iterator[None]:
        self._is_given_up = to_ask_elsewhere()
        try:
            yield
        finally:
            self._is_given_up = None

    def read_into(self, offset: int, buffer: memoryview) -> int:
        is_given_up = self._is_given_up
        if is_given_up is not None and is_given_up():
            raise MonolithError("not read to the end")  # nobody hears it
        return self._read_into(offset, buffer)


def _describe(damage: _native.Damage, max_record_bytes: int) -> str:
    record = f"a record of {damage.length} byte{'' if damage.length == 1 else 's'}"
    if damage.position == 0 and damage.kind in _AT_THE_START:
        return _AT_THE_START[damage.kind]
    match damage.kind:
        case "truncated_header":
            return "cut short: the file ends inside the header of a record"
        case "bad_length_crc":
            return "damaged: the length of a record fails its checksum"
        case "record_too_long":
            return (
                f"a record that claims to be {damage.length} bytes long,"
                f" where {max_record_bytes} are allowed"
            )
        case "truncated_data":
            return f"cut short: the file ends inside {record}"
        case "bad_data_crc":
            return f"damaged: {record} fails its checksum"
        case "bad_message":
            return f"{record} that is not an EntryDump"
        case "truncated_block":
            return "cut short: the file ends inside a SNAPPY block"
        case "bad_block_length":
            return "damaged: the lengths of a SNAPPY block make no sense"
        case _:
            return "damaged: a SNAPPY block does not decompress"


class _OpenFiles:
    """The files used last, by DumpFile; safe to use from several threads."""

    def __init__(self) -> None:
        import atexit
        import threading

        self._lock = threading.Lock()
        self._files: dict[int, tuple[DumpFile, _native.File, _Source | None]] = {}
        # This module may outlive the interpreter's search for what is left, if anything holds it.
        atexit.register(self._files.clear)

    def get(self, dump: DumpFile) -> _native.File | None:
        with self._lock:
            found = self._files.pop(id(dump), None)
            if found is None:
                return None
            self._files[id(dump)] = found  # now the last
            return found[1]

    def source_of(self, dump: DumpFile) -> _Source | None:
        with self._lock:
            found = self._files.get(id(dump))
            return None if found is None else found[2]

    def put(self, dump: DumpFile, file: _native.File, source: _Source | None) -> None:
        with self._lock:
            self._files[id(dump)] = (dump, file, source)
            while len(self._files) > _OPEN_FILES:
                evicted, open_file, _ = self._files.pop(next(iter(self._files)))
                evicted.keep_map(open_file)


_open_files = _OpenFiles()


def read_records(
    path: AnyPath,
    *,
    compression: str = "plain",
    max_record_bytes: int = MAX_RECORD_BYTES,
) -> Iterator[bytes]:
    """The records of a file in order, whatever they hold, each verified.

    Parameters
    ----------
    compression
        `plain` or `snappy`: what to take the file for where it does not tell itself.

    Raises
    ------
    CorruptionError
        At the first damage, after the records before it.
    PathNotFoundError, NotReadableError, ChangedWhileReadError
        As `DumpFile.open`.
    """
    dump = DumpFile(as_location(path), compression, max_record_bytes)
    file = dump.open()
    try:
        reader = _native.Reader(file, 0, file.stream_bytes)
        while True:
            yield from reader.records(1000)
            if reader.failed:
                raise dump.skipped(reader.damages)[0].error()
            if reader.done:
                break
        file.check_unchanged()
    except (OSError, _native.ChangedError) as error:
        if isinstance(error, MonolithError):
            raise
        raise dump.explain(error) from None


def read_first_record(path: str, *, max_record_bytes: int = MAX_RECORD_BYTES) -> bytes | None:
    """The first record of a file, None where there is none. Raises as `read_records`."""
    dump = DumpFile(path, "plain", max_record_bytes)
    file = dump.open()
    try:
        reader = _native.Reader(file, 0, file.stream_bytes)
        records = reader.records(1)
    except (OSError, _native.ChangedError) as error:
        raise dump.explain(error) from None
    if not records and reader.failed:
        raise dump.skipped(reader.damages)[0].error()
    return records[0] if records else None


class RecordWriter:
    """Writes a file of records; a context manager.

    The file appears under its name only when it is complete: until then it is a dot file beside
    it, which goes when the block ends with an exception.

    Parameters
    ----------
    path
        The file to write.
    compression
        `plain` or `snappy`. SNAPPY blocks hold 262,144 bytes at most, TensorFlow's own limit.
    overwrite
        Whether a file that is there may be replaced.

    Raises
    ------
    AlreadyExistsError
        At the end: there is one.
    WriteError
        From any method: no space, no permission.
    """

    def __init__(
        self, path: AnyPath, compression: str = "plain", *, overwrite: bool = True
    ) -> None:
        path = as_location(path)
        self._file = store_of(path).create(path, overwrite=overwrite)
        self._compression = compression
        self._pending = bytearray()

    def write(self, record: bytes) -> None:
        """Append one record."""
        self.write_framed(_native.frame_records([record]))

    def write_framed(self, frames: bytes) -> None:
        """Append records that are framed already, whole frames only."""
        self._pending += frames
        if len(self._pending) >= 4 << 20:
            self._flush()

    def _flush(self, last: bool = False) -> None:
        # Whole blocks only, as the last one alone may be short.
        size = len(self._pending)
        if self._compression == "snappy" and not last:
            size -= size % 262144
        data = bytes(self._pending[:size])
        del self._pending[:size]
        self._file.write(
            data if self._compression == "plain" else _native.encode_snappy_blocks(data)
        )

    def __enter__(self) -> RecordWriter:
        self._file.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._flush(last=True)
        except BaseException as failure:
            self._file.__exit__(type(failure), failure, failure.__traceback__)
            raise
        self._file.__exit__(kind, error, trace)
