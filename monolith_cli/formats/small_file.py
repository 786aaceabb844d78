"""Small files read whole: state files, counts, JSON of ours; pipes are not waited for."""

from __future__ import annotations

import os
import stat

from monolith_cli.errors import (
    MonolithError,
    NotReadableError,
    PathNotFoundError,
    StateFileError,
)

__all__ = ["malformed", "read_whole_file", "read_with_status"]

_MAX_BYTES = 64 << 20


def read_whole_file(path: str, max_bytes: int = _MAX_BYTES) -> bytes:
    """The contents of a small regular file. Raises as `read_with_status`."""
    return read_with_status(path, max_bytes)[0]


def read_with_status(path: str, max_bytes: int = _MAX_BYTES) -> tuple[bytes, os.stat_result]:
    """The contents of a small regular file, and the status of that very file.

    Raises
    ------
    PathNotFoundError
        There is no such file, or a directory in its place.
    NotReadableError
        The operating system refused to read it; or it is a pipe, a socket or a device, which may
        never end, or have nobody at its other end.
    StateFileError
        It is larger than `max_bytes`.
    """
    try:
        # Not to be kept waiting by a pipe that nobody writes to.
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        status = os.fstat(number)
        if stat.S_ISDIR(status.st_mode):
            os.close(number)
            raise PathNotFoundError("a directory in place of a file", path=path)
        with open(number, "rb") as file:
            if not stat.S_ISREG(status.st_mode):
                raise NotReadableError("no regular file", path=path, hint="put a file in its place")
            data = file.read(max_bytes + 1)
    except MonolithError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        raise PathNotFoundError("no such file", path=path) from error
    except OSError as error:
        raise NotReadableError.because(error, path) from error
    if len(data) > max_bytes:
        raise StateFileError("too large for such a file", path=path, offset=max_bytes)
    return data, status


def malformed(
    what: str,
    data: bytes,
    path: str | None,
    offset: int | None = None,
    hint: str | None = None,
) -> StateFileError:
    """The error for a small file that does not parse; it says which other format this is, if any.

    Parameters
    ----------
    what, path, offset, hint
        As in `MonolithError`.
    data
        What the file holds.
    """
    from monolith_cli.formats.magic import HEAD_BYTES, what_it_is

    known = what_it_is(data[:HEAD_BYTES])
    if known is not None:
        return StateFileError(f"this is {known.name}", path=path, hint=known.remedy)
    return StateFileError(what, path=path, offset=offset, hint=hint)
