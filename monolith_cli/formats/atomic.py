"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os

from monolith_cli.errors import AlreadyExistsError, WriteError

__all__ = ["atomic_write"]

_KINDS = {
    errno.EACCES: "read_only",
    errno.EPERM: "read_only",
    errno.EROFS: "read_only",
    errno.ENOSPC: "no_space",
    errno.EDQUOT: "no_space",
    errno.EFBIG: "file_too_large",
}


def atomic_write(path: str | os.PathLike[str], data: bytes, *, overwrite: bool = True) -> None:
    """Write `data` to `path` so that no reader and no crash ever sees a part of it.

    The bytes go to `.<name>.<pid>.<random>.tmp` beside the target, are synced to disk, and get
    their name last. Whatever fails or interrupts that, the old file stays as it was and the
    temporary one is removed. The mode is 0666 less the umask, whatever the old file's was. A
    symbolic link at `path` is itself replaced; the file it points to is not touched.

    Parameters
    ----------
    path
        The file to create or to replace.
    data
        All of its contents.
    overwrite
        Whether an existing file may be replaced.

    Raises
    ------
    AlreadyExistsError
        `overwrite` is false and the name is taken, be it only since a moment ago.
    WriteError
        The operating system refused. `errno` is its number, and `kind` is `read_only`,
        `no_space`, `file_too_large` or `not_written`.
    """
    target = os.fspath(path)
    directory, name = os.path.split(target)
    temporary = os.path.join(directory, f".{name}.{os.getpid()}.{os.urandom(8).hex()}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            os.replace(temporary, target)
        else:
            _rename_to_free_name(temporary, target)
    except FileExistsError as error:
        raise AlreadyExistsError("exists already", path=target) from error
    except OSError as error:
        raise _write_error(target, error) from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def _rename_to_free_name(temporary: str, target: str) -> None:
    """Give the file its name unless that is taken; leaves removing the old name to the caller."""
    try:
        os.link(temporary, target)
    except OSError as error:
        # Many network and FUSE file systems have no hard links. There the best is to look first.
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
            raise
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target) from error
        os.replace(temporary, target)


def _write_error(path: str, error: OSError) -> WriteError:
    reason = error.strerror or str(error)
    failure = WriteError(f"not written: {reason}", path=path, kind=_KINDS.get(error.errno or 0))
    failure.errno = error.errno
    return failure
