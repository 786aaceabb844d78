"""Removing what is no longer needed of a checkpoint."""

from __future__ import annotations

import errno
import os

from monolith_cli.errors import WriteError

__all__ = ["remove"]

_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)


def remove(path: str) -> bool:
    """Remove a file, a link or a whole directory; False if there was none.

    Raises
    ------
    WriteError
        The operating system refused; `errno` is its number.
    """
    try:
        if os.path.isdir(path) and not os.path.islink(path):
            import shutil

            shutil.rmtree(path)
        else:
            os.unlink(path)
    except FileNotFoundError:
        return False
    except OSError as error:
        kind = "read_only" if error.errno in _READ_ONLY else None
        failure = WriteError(f"not removed: {error.strerror}", path=path, kind=kind)
        failure.errno = error.errno
        raise failure from error
    return True
