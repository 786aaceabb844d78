"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from typing import TYPE_CHECKING

from monolith_cli.errors import AlreadyExistsError, WriteError
from monolith_cli.storage.location import TEMPORARY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType

__all__ = [
    "AtomicFile",
    "atomic_write",
    "left_behind",
    "leftovers",
    "make_directory",
    "rename_to_free_name",
    "sync",
    "sync_file_system",
    "temporary_path",
    "write_error",
]

_TEMPORARY = re.compile(TEMPORARY, re.DOTALL)

_OURS = os.urandom(3).hex()
"""What the random part of this process's temporaries begins with: others have had its number."""

_KINDS = {
    errno.EACCES: "read_only",
    errno.EPERM: "read_only",
    errno.EROFS: "read_only",
    errno.ENOSPC: "no_space",
    errno.EDQUOT: "no_space",
    errno.EFBIG: "file_too_large",
}


class AtomicFile:
    """A file that gets its name when the `with` block ends well, and vanishes when it does not.

    The bytes go to `.<name>.<pid>.<random>.tmp` beside the target, are synced to disk, and get
    their name last. Whatever fails or interrupts that, the old file stays as it was and the
    temporary one is removed. The mode is `mode` less the umask, whatever the old file's was. A
    symbolic link at `path` is itself replaced; the file it points to is not touched.

    Parameters
    ----------
    path
        The file to create or to replace.
    overwrite
        Whether an existing file may be replaced.
    mode
        Less the umask, from the first byte on.
    sync
        Whether it is synced to disk before it gets its name; else `sync_file_system` has to follow.

    Raises
    ------
    AlreadyExistsError
        At the end: `overwrite` is false and the name is taken, be it only since a moment ago.
    WriteError
        At any time: the operating system refused. `errno` is its number, and `kind` is
        `read_only`, `no_space`, `file_too_large` or `not_written`.
    """

    __slots__ = ("_file", "_mode", "_overwrite", "_sync", "_temporary", "path")

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        overwrite: bool = True,
        mode: int = 0o666,
        sync: bool = True,
    ) -> None:
        self.path = os.fspath(path)
        self._mode = mode
        self._sync = sync
        self._overwrite = overwrite
        self._temporary = temporary_path(self.path)

    def __enter__(self) -> AtomicFile:
        try:
            self._file = open(self._temporary, "xb", buffering=0, opener=self._open)
        except BaseException as error:
            self._abandon()
            if isinstance(error, OSError | ValueError):
                raise write_error(self.path, error) from error
            raise
        return self

    def _open(self, path: str, flags: int) -> int:
        return os.open(path, flags, self._mode)

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes, all of them."""
        view = memoryview(data)
        try:
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            raise write_error(self.path, error) from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            with self._file:
                if kind is not None:
                    return
                if self._sync:
                    os.fsync(self._file.fileno())
            if self._overwrite:
                os.replace(self._temporary, self.path)
            else:
                rename_to_free_name(self._temporary, self.path)
        except FileExistsError as failure:
            raise AlreadyExistsError("exists already", path=self.path) from failure
        except OSError as failure:
            raise write_error(self.path, failure) from failure
        finally:
            self._abandon()

    def _abandon(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            os.unlink(self._temporary)


def temporary_path(path: str) -> str:
    """A new hidden name beside a path: `.<name>.<pid>.<random>.tmp`."""
    directory, name = os.path.split(path)
    return os.path.join(directory, f".{name}.{os.getpid()}.{_OURS}{os.urandom(5).hex()}.tmp")


def left_behind(directory: str | os.PathLike[str]) -> Iterator[tuple[str, str]]:
    """What processes that are gone have left of files and directories that they were writing.

    Pairs of a path of `temporary_path`, and the name that was to become of it. A process on
    another machine cannot be seen, and counts as gone.
    """
    for name, target in leftovers(os.listdir(directory)):
        yield os.path.join(directory, name), target


def leftovers(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The same of names in a directory: pairs of a name, and that which was to become of it."""
    for name in names:
        match = _TEMPORARY.fullmatch(name)
        if match is not None and not _runs(int(match[2]), match[3]):
            yield name, match[1]


def _runs(pid: int, random: str) -> bool:
    """Whether its writer may still write. Numbers come again, in containers the same ones."""
    if pid == os.getpid():
        return random.startswith(_OURS)
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True


def atomic_write(
    path: str | os.PathLike[str], data: bytes, *, overwrite: bool = True, mode: int = 0o666
) -> None:
    """Write `data` to `path` so that no reader and no crash ever sees a part of it.

    Parameters and errors are those of `AtomicFile`.
    """
    with AtomicFile(path, overwrite=overwrite, mode=mode) as file:
        file.write(data)


def make_directory(path: str | os.PathLike[str]) -> None:
    """Make a directory and those above it, if it is not there.

    Raises
    ------
    WriteError
        The operating system refused.
    """
    try:
        os.makedirs(path, exist_ok=True)
    except (OSError, ValueError) as error:
        raise write_error(os.fspath(path), error, "directory not made") from error


def sync(path: str | os.PathLike[str]) -> None:
    """Wait until a file that somebody else has written, or a directory's names, are on disk.

    Raises
    ------
    WriteError
        The operating system refused.
    """
    try:
        file = os.open(path, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)
    except (OSError, ValueError) as error:
        raise write_error(os.fspath(path), error, "not synced") from error


def sync_file_system(directory: str | os.PathLike[str]) -> None:
    """Wait until all that was written in the file system of a directory is on disk.

    Of systems that cannot sync a single one all are synced.

    Raises
    ------
    WriteError
        The operating system refused, or could not write something.
    """
    import ctypes

    try:
        number = os.open(directory, os.O_RDONLY)
        try:
            call = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
            if call is None:
                os.sync()
            elif call(number):
                code = ctypes.get_errno()
                raise OSError(code, os.strerror(code))
        finally:
            os.close(number)
    except (OSError, ValueError) as error:
        raise write_error(os.fspath(directory), error, "not synced") from error


def write_error(path: str, error: OSError | ValueError, what: str = "not written") -> WriteError:
    """The error of this library for one of the operating system's, or of a name it cannot have."""
    if isinstance(error, ValueError):
        return WriteError(f"{what}: no file can have that name", path=path)
    failure = WriteError(
        f"{what}: {error.strerror or error}", path=path, kind=_KINDS.get(error.errno or 0)
    )
    failure.errno = error.errno
    return failure


def rename_to_free_name(temporary: str, target: str) -> None:
    """Give a file its name unless that is taken; leaves removing the old name to the caller.

    Raises
    ------
    OSError
        FileExistsError: it is taken.
    """
    try:
        os.link(temporary, target)
    except OSError as error:
        # Many network and FUSE file systems have no hard links. There the best is to look first.
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
            raise
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target) from error
        os.replace(temporary, target)
