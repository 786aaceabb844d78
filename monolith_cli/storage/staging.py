"""Sets of files that others write, here or on other machines: staged, synced, moved into place.

Whoever writes them is given a hidden directory beside the place where they belong. From there they
are moved, each by a rename; a process that dies leaves nothing but that directory, which its
successor removes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING

from monolith_cli.storage.atomic import make_directory, sync, write_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["move_files", "staging_directory", "sweep", "sync_files"]


@contextlib.contextmanager
def staging_directory(path: str) -> Iterator[str]:
    """Make a directory to write files in, and remove it with what is left in it at the end.

    Raises
    ------
    WriteError
        It cannot be made.
    """
    make_directory(path)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def sync_files(directory: str, names: Iterable[str]) -> None:
    """Wait until these files are on disk; raises `WriteError`."""
    for name in names:
        sync(os.path.join(directory, name))


def move_files(source: str, target: str, names: Iterable[str]) -> None:
    """Move synced files from one directory to another, in that order.

    What is there of these names is replaced. If one cannot be moved, those that were are removed.

    Raises
    ------
    WriteError
        The operating system refused.
    """
    moved: list[str] = []
    try:
        for name in names:
            path = os.path.join(target, name)
            os.replace(os.path.join(source, name), path)
            moved.append(path)
    except BaseException as error:
        for path in moved:
            with contextlib.suppress(OSError):
                os.unlink(path)
        if isinstance(error, OSError) and error.errno is not None:
            raise write_error(target, error) from error
        raise


def sweep(directory: str, start: str, end: str) -> None:
    """Remove staging directories that are left of processes which were killed, by their names.

    What cannot be removed, or is not there, is left.
    """
    with contextlib.suppress(OSError):
        for name in os.listdir(directory):
            if name.startswith(start) and name.endswith(end):
                shutil.rmtree(os.path.join(directory, name), ignore_errors=True)
