"""The files of target tables: written in order, below a directory that nobody looks into yet.

What is written is read back, and held against what was meant.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli import _native
from monolith_cli.checkpoint.manifests import file_crc32c
from monolith_cli.checkpoint.names import META_SUFFIX, shard_name
from monolith_cli.errors import CorruptionError, WriteError
from monolith_cli.execution.workers import Workers
from monolith_cli.formats.tfrecord import DumpFile, RecordWriter
from monolith_cli.formats.wire import encode_table_meta
from monolith_cli.storage.location import join, name_of
from monolith_cli.storage.staged import append, sync
from monolith_cli.tables.folds.rewrite import RecordSums, RecordSumsFold
from monolith_cli.tables.ranges import read_ranges
from monolith_cli.tables.rewrite.plan import Target
from monolith_cli.tables.stream import EntryStream, Extent, ReadOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future
    from types import TracebackType

    from monolith_cli.tables.rewrite.plan import TargetDump

__all__ = ["TargetFiles", "WrittenFile"]

_SYNC_BYTES = 128 << 20
"""How much of a file is written before the disk is asked to begin with it."""

_SYNCERS = 2


class WrittenFile(NamedTuple):
    """A file that was made: its size in bytes, and its CRC-32C as 8 hex digits."""

    bytes: int
    crc32c: str


class SyncTask(NamedTuple):
    """A file that is to be on disk, as far as it is written."""

    path: str

    def run(self) -> None:
        """Wait for it. Raises `WriteError`."""
        sync(self.path)


class _Part:
    """What a target table has in one file: where it begins in the stream, and what is known of it.

    Attributes
    ----------
    start, stream_bytes
        Uncompressed.
    sums
        Of what was made.
    """

    __slots__ = ("start", "stream_bytes", "sums")

    def __init__(self, start: int) -> None:
        self.start = start
        self.stream_bytes = 0
        self.sums = RecordSums()


class _File:
    """A file that is written.

    Attributes
    ----------
    opened
        The same for those who read it.
    stored_bytes, crc
        Of what was written.
    stream_bytes
        The same uncompressed.
    unsynced_bytes
        What the disk was not asked for yet.
    """

    __slots__ = ("crc", "opened", "path", "stored_bytes", "stream_bytes", "unsynced_bytes")

    def __init__(self, path: str, opened: DumpFile) -> None:
        self.path = path
        self.opened = opened
        self.stored_bytes = self.stream_bytes = self.unsynced_bytes = self.crc = 0
        append(path)

    def append(self, output: _native.Output) -> None:
        """Write what came of a range. Raises `WriteError`."""
        if not output.stored_bytes:
            return
        append(self.path, output.write_to)
        self.crc = _native.crc32c_combine(self.crc, output.crc, output.stored_bytes)
        self.stored_bytes += output.stored_bytes
        self.stream_bytes += output.stream_bytes
        self.unsynced_bytes += output.stored_bytes


class TargetFiles:
    """The files of target dumps; a context manager. When its block ends well, all are on disk.

    Parameters
    ----------
    dumps
        What is made.
    directory
        Where.
    max_record_bytes
        Longer records are damage.

    Attributes
    ----------
    written
        The files that are complete and were read back, by their names.

    Raises
    ------
    WriteError
        From any method: the operating system refused.
    """

    def __init__(self, dumps: Iterable[TargetDump], directory: str, max_record_bytes: int) -> None:
        self.written: dict[str, WrittenFile] = {}
        self._dumps = tuple(dumps)
        self._directory = directory
        self._max_record_bytes = max_record_bytes
        self._files: dict[tuple[str, int], _File] = {}
        self._parts: dict[tuple[Target, int], _Part] = {}
        self._syncers = Workers(_SYNCERS)
        self._syncs: list[Future[None]] = []

    def __enter__(self) -> TargetFiles:
        for dump in self._dumps:
            kind = "snappy" if dump.kind == "multi" else "plain"
            for shard in range(dump.shards):
                path = self._path(dump.base, shard, dump.shards)
                opened = DumpFile(path, kind, self._max_record_bytes)
                self._files[dump.base, shard] = _File(path, opened)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._syncers:
            if kind is None:
                for sync_of in self._syncs:
                    sync_of.result()

    def append(self, target: Target, shard: int, output: _native.Output) -> None:
        """Write what goes into a file of a table next."""
        file = self._files[target.base, shard]
        part = self._parts.setdefault((target, shard), _Part(file.stream_bytes))
        file.append(output)
        part.stream_bytes += output.stream_bytes
        part.sums.merge(RecordSums(output.entries, output.sum))
        if file.unsynced_bytes >= _SYNC_BYTES:
            self._sync(file)

    def complete(self) -> None:
        """Write the contents files, each of which names all tables of its dump."""
        for file in self._files.values():
            self._sync(file)
        for dump in self._dumps:
            for shard in range(dump.shards if dump.kind == "multi" else 0):
                path = self._path(dump.base + META_SUFFIX, shard, dump.shards)
                with RecordWriter(path) as writer:
                    for table in dump.tables:
                        part = self._parts.get((Target(dump.base, table), shard))
                        writer.write(encode_table_meta(table, part.sums.entries if part else 0))
                self.written[name_of(path)] = WrittenFile(*file_crc32c(path))

    def read_back(
        self, workers: Workers, progress: Callable[[int], None]
    ) -> dict[Target, RecordSums]:
        """Read what was written, and hold it against what was meant; what each table has.

        Raises
        ------
        WriteError
            It is something else.
        """
        try:
            return self._read_back(workers, progress)
        except CorruptionError as error:
            raise _differs(error.path, error.what) from error

    def _read_back(
        self, workers: Workers, progress: Callable[[int], None]
    ) -> dict[Target, RecordSums]:
        for file in self._files.values():
            sizes = (file.opened.stored_bytes, file.opened.stream_bytes)
            if sizes != (file.stored_bytes, file.stream_bytes):
                raise _differs(file.path, f"{sizes[0]} bytes where {file.stored_bytes} were meant")
            name = name_of(file.path)
            self.written[name] = WrittenFile(file.stored_bytes, f"{file.crc:08x}")
        parts: dict[tuple[str, int], tuple[Target, _Part]] = {}
        found: dict[tuple[str, int], RecordSums] = {}
        extents = []
        for (target, shard), part in self._parts.items():
            if part.stream_bytes:
                opened = self._files[target.base, shard].opened
                end = part.start + part.stream_bytes
                extents.append(Extent(opened, part.start, end, target.table))
                parts[opened.path, part.start] = target, part
        reading = ReadOptions(max_record_bytes=self._max_record_bytes)
        pieces = read_ranges(EntryStream(extents), reading, RecordSumsFold(), workers=workers)
        with closing(pieces):
            for piece in pieces:
                place = piece.extent.file.path, piece.extent.start
                found.setdefault(place, RecordSums()).merge(piece.value)
                progress(piece.size)
        by_target: dict[Target, RecordSums] = {}
        for place, (target, part) in parts.items():
            here = found.get(place, RecordSums())
            if (here.entries, here.total) != (part.sums.entries, part.sums.total):
                raise _differs(place[0], f"other entries of table '{target.table}'")
            by_target.setdefault(target, RecordSums()).merge(here)
        return by_target

    def _path(self, base: str, shard: int, shards: int) -> str:
        return join(self._directory, shard_name(base, shard, shards))

    def _sync(self, file: _File) -> None:
        waiting = []
        for sync_of in self._syncs:
            if sync_of.done():
                sync_of.result()
            else:
                waiting.append(sync_of)
        self._syncs = [*waiting, self._syncers.submit(SyncTask(file.path))]
        file.unsynced_bytes = 0


def _differs(path: str | None, what: str) -> WriteError:
    return WriteError(
        f"read back, it is not what was written: {what}",
        path=path,
        hint="this machine's memory or its disk may be at fault",
    )
