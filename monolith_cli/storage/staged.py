"""Files below a directory that nobody looks into yet: written piece by piece, synced later.

Such a directory gets its name when all is written, and is removed if that fails, so its files need
no names of their own until then. Elsewhere files are made by `Store.create`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from monolith_cli.storage.atomic import sync, write_error

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["append", "sync"]


def append(path: str, write: Callable[[int], None] | None = None) -> None:
    """Have something written at the end of a file, which is made where it is not there.

    Parameters
    ----------
    write
        Called with the number of the open file; None makes an empty one, or leaves it.

    Raises
    ------
    WriteError
        The operating system refused.
    """
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        try:
            if write is not None:
                write(file)
        finally:
            os.close(file)
    except (OSError, ValueError) as error:
        raise write_error(path, error) from error
