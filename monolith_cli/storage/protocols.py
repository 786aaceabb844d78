"""What a store is, for types alone: nothing imports it when a command runs.

A store takes whole locations. Its errors are the library's, with the location: `PathNotFoundError`
where nothing is, or something else than was asked for; `NotReadableError` and `WriteError` where
the store refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from monolith_cli.storage.store import MAX_SMALL_BYTES

if TYPE_CHECKING:
    from collections.abc import Hashable
    from types import TracebackType

    from monolith_cli.storage.store import Item, ReadSizes, Status

__all__ = ["Abilities", "OpenFile", "Store", "Writer"]


class Abilities(NamedTuple):
    """What a store can do, for those who have a second way.

    Attributes
    ----------
    rename
        A file or a whole directory gets another name in one step: `Store.replace`, and
        `Store.rename_if_absent`.
    cheap_seeks
        To read a few bytes here and a few there costs little, as on a disk. Else a compressed file
        is read in one pass, and no walk over its blocks is made before.
    hard_links
        A file can have two names: `Store.link`.
    """

    rename: bool
    cheap_seeks: bool
    hard_links: bool = False


class OpenFile(Protocol):
    """A file that is open for ranges; a context manager. Threads may share it.

    Attributes
    ----------
    size
        In bytes.
    version
        As in `Status`.
    local_path
        Under which native code can open it, as the operating system has it; None where it cannot.
    read_sizes
        How the store wants it to be read; whoever reads may ask for something else.
    """

    @property
    def size(self) -> int: ...

    @property
    def version(self) -> Hashable: ...

    @property
    def local_path(self) -> bytes | None: ...

    @property
    def read_sizes(self) -> ReadSizes: ...

    def read(self, offset: int, size: int) -> bytes:
        """As many bytes from there on; fewer at the end of the file, or behind it.

        Raises
        ------
        ChangedWhileReadError
            It is not the file that was opened.
        PathNotFoundError, NotReadableError
            It is gone, or the store refused.
        """

    def read_into(self, offset: int, buffer: bytearray | memoryview) -> int:
        """Fill a buffer, and return how many bytes that was. Else as `read`."""

    def check_unchanged(self) -> None:
        """Make sure that it is still what was opened. Raises as `read`."""

    def close(self) -> None:
        """Nothing can be read any more."""

    def __enter__(self) -> OpenFile: ...

    def __exit__(self, *exc: object) -> None: ...


class Writer(Protocol):
    """A file that is being written: a context manager, in whose block `write` is called."""

    def write(self, data: bytes | memoryview, /) -> None:
        """Append bytes, all of them; raises `WriteError`."""

    def __enter__(self) -> Writer: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class Store(Protocol):
    """Where files are kept: a local file system, a bucket."""

    @property
    def abilities(self) -> Abilities: ...

    def names(self, directory: str) -> list[str]:
        """The names in a directory, sorted.

        Raises
        ------
        PathNotFoundError
            It does not exist, or is no directory.
        NotReadableError
            The store refused to list it.
        """

    def items(self, directory: str) -> list[Item]:
        """The same with more than their names."""

    def sizes(self, directory: str) -> dict[str, int | None]:
        """By the names in a directory, sorted, the sizes of regular files, in bytes.

        None for what is no regular file, or cannot be looked at. Raises as `names`. For those who
        want the sizes of thousands of files it is faster than `items`.
        """

    def status(self, location: str, *, follow: bool = True) -> Status:
        """What is there.

        Parameters
        ----------
        follow
            Whether what a link points to is meant, not the link.

        Raises
        ------
        PathNotFoundError
            There is nothing.
        NotReadableError
            The store refused.
        """

    def exists(self, location: str) -> bool:
        """Whether something of that name is seen, were it a link to nothing. Raises nothing."""

    def is_file(self, location: str) -> bool:
        """Whether a regular file is seen there. Raises nothing."""

    def is_directory(self, location: str) -> bool:
        """Whether a directory is seen there. Raises nothing."""

    def is_same(self, one: str, other: str) -> bool:
        """Whether two locations are one place, by whatever links. Raises nothing."""

    def open(self, location: str) -> OpenFile:
        """Open a file for ranges.

        Raises
        ------
        PathNotFoundError
            There is no such file.
        NotReadableError
            It is a directory, or something that may never end or have nobody at its other end, as
            a pipe; or the store refused.
        """

    def read(self, location: str, max_bytes: int = MAX_SMALL_BYTES) -> bytes:
        """A small file, whole. Raises as `read_with_status`."""

    def read_with_status(
        self, location: str, max_bytes: int = MAX_SMALL_BYTES
    ) -> tuple[bytes, Status]:
        """A small file, whole, and the status of that very file.

        Raises
        ------
        PathNotFoundError
            There is no such file, or a directory in its place.
        NotReadableError
            The store refused to read it; or it is a pipe, a socket or a device.
        StateFileError
            It is larger than `max_bytes`.
        """

    def put(self, location: str, data: bytes, *, mode: int = 0o666) -> None:
        """Write a file so that no reader and no crash ever sees a part of it; replaces another.

        Parameters
        ----------
        mode
            Where files have one: less the umask.

        Raises
        ------
        WriteError
            The store refused.
        """

    def put_if_absent(self, location: str, data: bytes, *, mode: int = 0o666) -> None:
        """The same, unless the name is taken.

        Raises
        ------
        AlreadyExistsError
            It is, be it only since a moment ago.
        WriteError
            The store refused.
        """

    def create(
        self, location: str, *, overwrite: bool = True, mode: int = 0o666, sync: bool = True
    ) -> Writer:
        """The same for what is written bit by bit: it appears when the block ends well.

        Parameters
        ----------
        sync
            Whether it survives a crash of the machine as soon as it has its name. Who writes many
            files calls `sync` behind the last one, which is faster.
        """

    def sync(self, directory: str) -> None:
        """Wait until what was written below a directory survives a crash of the machine.

        Raises
        ------
        WriteError
            The store refused, or could not write something.
        """

    def replace(self, source: str, target: str) -> None:
        """Give a file or a directory another name, in one step; a file there is replaced.

        Only where the store can `rename`.

        Raises
        ------
        PathNotFoundError
            There is nothing at `source`.
        WriteError
            The store refused: a directory that is not empty is in the way, for example.
        """

    def rename_if_absent(self, source: str, target: str) -> None:
        """Give a file another name, unless that is taken. Only where the store can `rename`.

        Raises
        ------
        AlreadyExistsError
            It is, be it only since a moment ago.
        PathNotFoundError
            There is nothing at `source`.
        WriteError
            The store refused. An interrupt may leave the file with both names.
        """

    def link(self, source: str, target: str) -> None:
        """Give a file a second name, unless that is taken. Only where it has `hard_links`.

        Where `source` is a symbolic link, it is the file that it points to that gets the name.

        Raises
        ------
        AlreadyExistsError
            It is taken.
        PathNotFoundError
            There is nothing at `source`.
        WriteError
            The store refused; with the kind `not_linked` if the two are on different file systems,
            say, or the file system has no hard links.
        """

    def make_directory(self, location: str) -> None:
        """Make a directory and those above it, if it is not there; raises `WriteError`."""

    def delete(self, location: str) -> bool:
        """Remove a file, a link or a whole directory; False if there was none.

        Raises
        ------
        WriteError
            The store refused; `errno` is its number.
        """
