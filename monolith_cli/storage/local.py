"""The store of this machine's file systems."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from monolith_cli.errors import (
    AlreadyExistsError,
    ChangedWhileReadError,
    MonolithError,
    NotReadableError,
    PathNotFoundError,
    StateFileError,
)
from monolith_cli.storage.store import MAX_SMALL_BYTES, Item, ReadSizes, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from monolith_cli.storage.atomic import AtomicFile
    from monolith_cli.storage.protocols import Abilities
    from monolith_cli.storage.store import Kind

__all__ = ["LOCAL", "LocalStore", "open_regular", "read_regular"]

# Not to be kept waiting by a pipe that nobody writes to.
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC

# A name with a zero, or one that cannot be encoded (UnicodeEncodeError), is one that no file has.
_NO_FILE = (FileNotFoundError, NotADirectoryError, ValueError)

_NO_LINKS = {errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}
"""Why a file cannot have a second name: another file system, one without links, or another owner's
file, which many systems let nobody else link."""


def open_regular(path: str, flags: int) -> int:
    """What `open` takes as its opener, for files that are read line by line or without a limit.

    What is not a regular file is refused: of a pipe one might wait for ever.

    Raises
    ------
    OSError
        The operating system refused, or it is not a regular file.
    """
    number = os.open(path, flags | _FLAGS)
    mode = os.fstat(number).st_mode
    if stat.S_ISREG(mode):
        return number
    os.close(number)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    raise OSError(errno.EINVAL, "not a regular file", path)


def read_regular(path: str, size: int = -1) -> bytes:
    """What is in a file, or the first `size` bytes of it. Raises as `open_regular`.

    For files in which more than is expected does no harm, or of which nobody knows how long they
    may be; else `LocalStore.read`.
    """
    with open(path, "rb", opener=open_regular) as file:
        return file.read(size)


class LocalStore:
    """Files by their paths; see `Store`."""

    __slots__ = ()

    @property
    def abilities(self) -> Abilities:
        """All that there are."""
        from monolith_cli.storage.protocols import Abilities

        return Abilities(rename=True, cheap_seeks=True, hard_links=True)

    def names(self, directory: str) -> list[str]:
        try:
            return sorted(os.listdir(directory))
        except (FileNotFoundError, ValueError) as error:
            raise PathNotFoundError("no such directory", path=directory) from error
        except NotADirectoryError as error:
            raise PathNotFoundError("a file in place of a directory", path=directory) from error
        except OSError as error:
            raise NotReadableError.because(error, directory) from error

    def items(self, directory: str) -> list[Item]:
        names = self.names(directory)
        return [Item(self, os.path.join(directory, name), name) for name in names]

    def sizes(self, directory: str) -> dict[str, int | None]:
        sizes: dict[str, int | None] = {}
        beginning = os.path.join(directory, "")
        look, is_regular = os.stat, stat.S_ISREG
        for name in self.names(directory):
            try:
                found = look(beginning + name)
            except (OSError, ValueError):
                sizes[name] = None
            else:
                sizes[name] = found.st_size if is_regular(found.st_mode) else None
        return sizes

    def status(self, location: str, *, follow: bool = True) -> Status:
        try:
            found = os.stat(location) if follow else os.lstat(location)
        except _NO_FILE as error:
            raise PathNotFoundError("no such file", path=location) from error
        except OSError as error:
            raise NotReadableError.because(error, location) from error
        return _status(found)

    def exists(self, location: str) -> bool:
        return os.path.lexists(location)

    def is_file(self, location: str) -> bool:
        return os.path.isfile(location)

    def is_directory(self, location: str) -> bool:
        return os.path.isdir(location)

    def is_same(self, one: str, other: str) -> bool:
        try:
            return os.path.samefile(one, other)
        except (OSError, ValueError):
            return False

    def open(self, location: str) -> LocalFile:
        return LocalFile(location, self.status(location))

    def read(self, location: str, max_bytes: int = MAX_SMALL_BYTES) -> bytes:
        return self.read_with_status(location, max_bytes)[0]

    def read_with_status(
        self, location: str, max_bytes: int = MAX_SMALL_BYTES
    ) -> tuple[bytes, Status]:
        try:
            number = os.open(location, _FLAGS)
            found = os.fstat(number)
            if stat.S_ISDIR(found.st_mode):
                os.close(number)
                raise PathNotFoundError("a directory in place of a file", path=location)
            with open(number, "rb") as file:
                if not stat.S_ISREG(found.st_mode):
                    hint = "put a file in its place"
                    raise NotReadableError("not a regular file", path=location, hint=hint)
                # Room is made for all that is asked for, and debug builds of malloc fill it.
                data = file.read(min(found.st_size, max_bytes) + 1)
                if len(data) > found.st_size:  # it grows, or has no size, as in /proc
                    data += file.read(max_bytes + 1 - len(data))
        except MonolithError:
            raise
        except _NO_FILE as error:
            raise PathNotFoundError("no such file", path=location) from error
        except OSError as error:
            raise NotReadableError.because(error, location) from error
        if len(data) > max_bytes:
            raise StateFileError("too large for such a file", path=location, offset=max_bytes)
        return data, _status(found)

    def put(self, location: str, data: bytes, *, mode: int = 0o666) -> None:
        from monolith_cli.storage.atomic import atomic_write

        atomic_write(location, data, mode=mode)

    def put_if_absent(self, location: str, data: bytes, *, mode: int = 0o666) -> None:
        from monolith_cli.storage.atomic import atomic_write

        atomic_write(location, data, overwrite=False, mode=mode)

    def create(
        self, location: str, *, overwrite: bool = True, mode: int = 0o666, sync: bool = True
    ) -> AtomicFile:
        from monolith_cli.storage.atomic import AtomicFile

        return AtomicFile(location, overwrite=overwrite, mode=mode, sync=sync)

    def sync(self, directory: str) -> None:
        from monolith_cli.storage.atomic import sync_file_system

        sync_file_system(directory)

    def replace(self, source: str, target: str) -> None:
        try:
            os.replace(source, target)
        except FileNotFoundError as error:
            raise PathNotFoundError("no such file", path=source) from error
        except (OSError, ValueError) as error:
            from monolith_cli.storage.atomic import write_error

            raise write_error(target, error) from error

    def rename_if_absent(self, source: str, target: str) -> None:
        from monolith_cli.storage.atomic import rename_to_free_name, write_error

        try:
            rename_to_free_name(source, target)
            if os.path.lexists(source):
                os.unlink(source)
        except FileExistsError as error:
            raise AlreadyExistsError("exists already", path=target) from error
        except FileNotFoundError as error:
            raise PathNotFoundError("no such file", path=source) from error
        except OSError as error:
            raise write_error(target, error) from error

    def link(self, source: str, target: str) -> None:
        try:
            if stat.S_ISLNK(os.lstat(source).st_mode):
                source = os.path.realpath(source)
            os.link(source, target)
        except FileExistsError as error:
            raise AlreadyExistsError("exists already", path=target) from error
        except FileNotFoundError as error:
            raise PathNotFoundError("no such file", path=source) from error
        except OSError as error:
            from monolith_cli.storage.atomic import write_error

            failure = write_error(target, error, "not linked")
            if error.errno in _NO_LINKS:
                failure.kind = "not_linked"
            raise failure from error

    def make_directory(self, location: str) -> None:
        from monolith_cli.storage.atomic import make_directory

        make_directory(location)

    def delete(self, location: str) -> bool:
        try:
            if os.path.isdir(location) and not os.path.islink(location):
                import shutil

                shutil.rmtree(location)
            else:
                os.unlink(location)
        except (FileNotFoundError, ValueError):
            return False
        except OSError as error:
            from monolith_cli.storage.atomic import write_error

            raise write_error(location, error, "not removed") from error
        return True

    def overwrite_in_place(
        self, location: str, data: bytes, is_expected: Callable[[bytes], bool]
    ) -> bool:
        """Write over the beginning of a file; False if it is gone, or holds another thing.

        A network shows such a change to others all at once if it is of one block. Everybody else
        wants `put`.

        Parameters
        ----------
        is_expected
            Called with the beginning of the file, twice as long as `data`; says whether it is the
            one that is meant.

        Raises
        ------
        OSError
            The operating system refused.
        """
        try:
            file = os.open(location, os.O_RDWR | os.O_CLOEXEC)
        except (FileNotFoundError, ValueError):
            return False
        try:
            # What is open stays this very file, even if another one takes its name meanwhile.
            if not is_expected(os.pread(file, 2 * len(data), 0)):
                return False
            os.pwrite(file, data, 0)
        finally:
            os.close(file)
        return True


class LocalFile:
    """A regular file; see `OpenFile`. The operating system opens it when it is first read.

    It stays pinned from the look at it until then: native code, which opens it by its path, pins it
    by itself.
    """

    __slots__ = ("_number", "path", "size", "version")

    read_sizes = ReadSizes()

    def __init__(self, path: str, status: Status) -> None:
        if status.kind != "file":  # opening a pipe would hang
            raise NotReadableError("not readable: not a regular file", path=path)
        self.path = path
        self.size = status.size
        self.version: Hashable = status.version
        self._number: int | None = None

    @property
    def local_path(self) -> bytes:
        return os.fsencode(self.path)

    def read(self, offset: int, size: int) -> bytes:
        data = self._pread(size, offset)
        if len(data) == size or not data:
            return data
        parts = [data]  # the system gives 2 GiB at most in one
        while data and size > len(data):
            offset, size = offset + len(data), size - len(data)
            data = self._pread(size, offset)
            parts.append(data)
        return b"".join(parts)

    def read_into(self, offset: int, buffer: bytearray | memoryview) -> int:
        number = self._opened()
        view, done = memoryview(buffer), 0
        try:
            while done < len(view):
                count = os.preadv(number, [view[done:]], offset + done)
                if not count:
                    break
                done += count
        except OSError as error:
            raise NotReadableError.because(error, self.path) from error
        return done

    def check_unchanged(self) -> None:
        if LOCAL.status(self.path).version != self.version:
            raise ChangedWhileReadError("changed while it was read", path=self.path)

    def close(self) -> None:
        number, self._number = self._number, None
        if number is not None:
            os.close(number)

    def __enter__(self) -> LocalFile:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _pread(self, size: int, offset: int) -> bytes:
        number = self._opened()
        try:
            return os.pread(number, size, offset)
        except OSError as error:
            raise NotReadableError.because(error, self.path) from error

    def _opened(self) -> int:
        number = self._number
        if number is None:
            number = self._open()
            if self._number is not None:  # another thread was faster
                os.close(number)
                return self._number
            self._number = number
        return number

    def _open(self) -> int:
        try:
            number = os.open(self.path, _FLAGS)
        except _NO_FILE as error:
            raise PathNotFoundError("no such file", path=self.path) from error
        except OSError as error:
            raise NotReadableError.because(error, self.path) from error
        if _status(os.fstat(number)).version != self.version:
            os.close(number)
            raise ChangedWhileReadError(
                "changed while it was read", path=self.path, hint="try again when nobody writes it"
            )
        return number


def _status(found: os.stat_result) -> Status:
    size, modified_ns = found.st_size, found.st_mtime_ns
    return Status(_kind(found.st_mode), size, modified_ns, (found.st_ino, size, modified_ns))


def _kind(mode: int) -> Kind:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "directory"
    return "link" if stat.S_ISLNK(mode) else "other"


LOCAL = LocalStore()
