"""A store that is no file system: keys in a dictionary, as a bucket has them.

There are no directories, but what the names of keys make of them; nothing can be renamed; a file
has a version and no path. So what works on this one does not rely on a file system.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from monolith_cli.errors import (
    AlreadyExistsError,
    ChangedWhileReadError,
    PathNotFoundError,
    StateFileError,
    WriteError,
)
from monolith_cli.storage.location import join
from monolith_cli.storage.protocols import Abilities, OpenFile, Writer
from monolith_cli.storage.store import MAX_SMALL_BYTES, Item, ReadSizes, Status

SCHEME = "memory"


class Kept(NamedTuple):
    data: bytes
    version: int


class MemoryStore:
    """See `Store`. `reads` counts the requests for ranges, `bytes_read` what they gave.

    `read_sizes` is how its files, opened from then on, want to be read.
    """

    def __init__(self, *, cheap_seeks: bool = False) -> None:
        self.kept: dict[str, Kept] = {}
        self._cheap_seeks = cheap_seeks
        self.reads = 0
        self.bytes_read = 0
        self.read_sizes = ReadSizes()
        self._versions = 0

    @property
    def abilities(self) -> Abilities:
        return Abilities(
            rename=False,
            cheap_seeks=self._cheap_seeks,
        )

    def take(self, directory: Path, location: str) -> None:
        """Keep all files below a directory."""
        for path in directory.rglob("*"):
            if path.is_file():
                self.put(f"{location}/{path.relative_to(directory)}", path.read_bytes())

    def names(self, directory: str) -> list[str]:
        if directory in self.kept:
            raise PathNotFoundError("a file in place of a directory", path=directory)
        start = join(directory, "")
        names = {key[len(start) :].partition("/")[0] for key in self.kept if key.startswith(start)}
        if not names:
            raise PathNotFoundError("no such directory", path=directory)
        return sorted(names)

    def items(self, directory: str) -> list[Item]:
        return [Item(self, join(directory, name), name) for name in self.names(directory)]

    def sizes(self, directory: str) -> dict[str, int | None]:
        found = {name: self.kept.get(join(directory, name)) for name in self.names(directory)}
        return {name: None if kept is None else len(kept.data) for name, kept in found.items()}

    def status(self, location: str, *, follow: bool = True) -> Status:
        if location in self.kept:
            data, version = self.kept[location]
            return Status("file", len(data), version * 1_000_000_000, version)
        if self.is_directory(location):
            return Status("directory", 0, 0, 0)
        raise PathNotFoundError("no such file", path=location)

    def exists(self, location: str) -> bool:
        return self.is_file(location) or self.is_directory(location)

    def is_file(self, location: str) -> bool:
        return location in self.kept

    def is_directory(self, location: str) -> bool:
        start = join(location, "")
        return any(key.startswith(start) for key in self.kept)

    def is_same(self, one: str, other: str) -> bool:
        return one == other and self.exists(one)

    def open(self, location: str) -> OpenFile:
        if location not in self.kept:
            raise PathNotFoundError("no such file", path=location)
        return MemoryFile(self, location)

    def read(self, location: str, max_bytes: int = MAX_SMALL_BYTES) -> bytes:
        return self.read_with_status(location, max_bytes)[0]

    def read_with_status(
        self, location: str, max_bytes: int = MAX_SMALL_BYTES
    ) -> tuple[bytes, Status]:
        status = self.status(location)
        if status.kind == "directory":
            raise PathNotFoundError("a directory in place of a file", path=location)
        if status.size > max_bytes:
            raise StateFileError("too large for such a file", path=location, offset=max_bytes)
        return self.kept[location].data, status

    def put(self, location: str, data: bytes, *, mode: int = 0o666) -> None:
        self._versions += 1
        self.kept[location] = Kept(bytes(data), self._versions)

    def put_if_absent(self, location: str, data: bytes, *, mode: int = 0o666) -> None:
        if location in self.kept:
            raise AlreadyExistsError("exists already", path=location)
        self.put(location, data)

    def create(
        self, location: str, *, overwrite: bool = True, mode: int = 0o666, sync: bool = True
    ) -> Writer:
        return MemoryWriter(self, location, overwrite)

    def sync(self, directory: str) -> None:
        """Nothing survives the process anyway."""

    def replace(self, source: str, target: str) -> None:
        raise WriteError("a bucket renames nothing", path=target)

    def rename_if_absent(self, source: str, target: str) -> None:
        raise WriteError("a bucket renames nothing", path=target)

    def link(self, source: str, target: str) -> None:
        raise WriteError("a bucket links nothing", path=target, kind="not_linked")

    def make_directory(self, location: str) -> None:
        """There is nothing to make."""

    def delete(self, location: str) -> bool:
        start = join(location, "")
        gone = [key for key in self.kept if key == location or key.startswith(start)]
        for key in gone:
            del self.kept[key]
        return bool(gone)


class MemoryFile:
    """See `OpenFile`: pinned to the version that it was opened at."""

    local_path = None

    def __init__(self, store: MemoryStore, location: str) -> None:
        self._store = store
        self._location = location
        self.read_sizes = store.read_sizes
        data, self.version = store.kept[location]
        self.size = len(data)

    def read(self, offset: int, size: int) -> bytes:
        self._store.reads += 1
        self.check_unchanged()
        data = self._store.kept[self._location].data[offset : offset + size]
        self._store.bytes_read += len(data)
        return data

    def check_unchanged(self) -> None:
        if self._store.status(self._location).version != self.version:
            raise ChangedWhileReadError("changed while it was read", path=self._location)

    def read_into(self, offset: int, buffer: bytearray | memoryview) -> int:
        data = self.read(offset, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Nothing is open."""

    def __enter__(self) -> MemoryFile:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class MemoryWriter:
    """See `Writer`."""

    def __init__(self, store: MemoryStore, location: str, overwrite: bool) -> None:
        self._store = store
        self._location = location
        self._overwrite = overwrite
        self._data = bytearray()

    def write(self, data: bytes | memoryview, /) -> None:
        self._data += data

    def __enter__(self) -> MemoryWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            put = self._store.put if self._overwrite else self._store.put_if_absent
            put(self._location, bytes(self._data))
