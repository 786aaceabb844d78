"""Paths that TensorFlow saves to and reads again: local ones that are not patterns.

TensorFlow saves to a path literally. But its readers (`latest_checkpoint`, a Saver's restore and
deletions, `RestoreV2`) look for files that match the path. In a directory such as `run[1]` they
find nothing: restarts fail, and old steps stay. In `run*` they find what others have saved in
`run2`, and a Saver deletes that.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator

from monolith_cli.checkpoint.names import INDEX_SUFFIX
from monolith_cli.errors import UsageError

__all__ = ["absolute_path", "check_save_path", "literal_prefix"]

_PATTERN = frozenset("*?[\\")


def absolute_path(path: str | os.PathLike[str]) -> str:
    """The same path, independent of the working directory; a URL as it is."""
    path = os.fspath(path)
    return path if "://" in path else os.path.abspath(path)


def check_save_path(path: str) -> None:
    """Make sure that a job can save to a path, and restore from it.

    Raises
    ------
    UsageError
        It is a URL, or TensorFlow reads it as a pattern. It is a ValueError.
    """
    if "://" in path:
        raise UsageError(
            f"{path} is a URL, and only local paths can be saved to", hint="mount it, say"
        )
    whole = os.path.abspath(path)  # because that is what the job's other processes get
    found = next((letter for letter in whole if letter in _PATTERN), None)
    if found is not None:
        raise UsageError(
            f"there is a {found} in it, and TensorFlow reads a path with that as a pattern when it"
            " restores and deletes",
            path=whole,
            hint="give the directory another name, or the path of a symbolic link to it",
        )


@contextlib.contextmanager
def literal_prefix(prefix: str) -> Iterator[str]:
    """A prefix by which TensorFlow can read a bundle: its own, or while this lasts a link to it.

    Raises
    ------
    OSError
        There is no directory for the links.
    """
    if _PATTERN.isdisjoint(prefix):
        yield prefix
        return
    directory, name = os.path.split(os.path.abspath(prefix))
    place = None if _PATTERN.isdisjoint(tempfile.gettempdir()) else "/tmp"
    with tempfile.TemporaryDirectory(prefix="monolith-", dir=place) as links:
        linked = os.path.join(links, "state")
        for each in os.listdir(directory):
            suffix = each.removeprefix(name)
            if each.startswith(name) and suffix.startswith((INDEX_SUFFIX, ".data-")):
                os.symlink(os.path.join(directory, each), linked + suffix)
        yield linked
