"""A directory that is made whole, or not at all."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from monolith_cli.errors import AlreadyExistsError, MonolithError, UsageError, WriteError
from monolith_cli.storage.atomic import leftovers, temporary_path
from monolith_cli.storage.location import HERE, absolute, join, name_of, parent_of, scheme_of
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["check_can_be_made", "check_new_directory", "lies_in", "new_directory"]

_HINT = "nothing is made; make room there, or name another directory"


def check_new_directory(target: str, model_dir: str) -> None:
    """Make sure that a directory can be made there.

    Parameters
    ----------
    model_dir
        The one that it is made from, in which nothing is written.

    Raises
    ------
    AlreadyExistsError
        Something is there.
    UsageError
        It would lie in `model_dir`, be it by a link.
    """
    store = store_of(target)
    if not name_of(target) or store.exists(target):
        hint = "name a directory that is not there yet"
        raise AlreadyExistsError("exists already", path=target, hint=hint)
    if lies_in(target, model_dir):
        raise UsageError(f"lies in {model_dir}", path=target, hint="name a directory elsewhere")


def lies_in(target: str, directory: str) -> bool:
    """Whether what is there, or is to be there, is in a directory, be it by a link."""
    return any(store_of(directory).is_same(above, directory) for above in _above(target))


def _above(target: str) -> Iterator[str]:
    """The directories that one is in, from the innermost on, whatever links lead to."""
    store, above, last = store_of(target), parent_of(absolute(target)), ""
    while above != last:
        if store.exists(above) and not scheme_of(above):
            break
        yield above
        above, last = parent_of(above), above
    # What a link leads to has another parent than the link.
    while above != last and store.exists(above):
        yield above
        up = join(above, "..")
        last = up if store.is_same(up, above) else above
        above = up


def check_can_be_made(target: str) -> None:
    """Make sure that the store lets a directory be made there, without making any that stays.

    Nothing else tells: one is made in the nearest directory that is there, and removed.

    Raises
    ------
    WriteError
        It does not.
    """
    store, path = store_of(target), absolute(target)
    while (above := parent_of(path)) != path and not store.exists(above):
        path = above
    stage = temporary_path(path)
    try:
        store.make_directory(stage)
    except MonolithError as error:
        _name_target(error, stage, target)
        raise
    finally:
        if store.exists(stage):
            store.delete(stage)


def _name_target(error: MonolithError, stage: str, target: str) -> None:
    """Let an error about what has a hidden name be one about what was to be there in the end."""
    if error.path is not None and (error.path == stage or error.path.startswith(join(stage, ""))):
        error.path = target + error.path[len(stage) :]
        if isinstance(error, WriteError) and error.hint is None:
            error.hint = _HINT


@contextmanager
def new_directory(target: str) -> Iterator[str]:
    """Make a directory; within the block it has a hidden name, which is its value.

    It gets its own when the block ends well, and vanishes when it does not. What processes that are
    gone have left of the same is removed.

    Raises
    ------
    AlreadyExistsError
        At the end: something is there.
    WriteError
        The store refused. Errors about a file in the directory name it as it would have been.
    """
    store, parent = store_of(target), parent_of(target) or HERE
    if store.is_directory(parent):
        for name, left in leftovers(store.names(parent)):
            if left == name_of(target):
                store.delete(join(parent, name))
    stage = temporary_path(target)
    try:
        store.make_directory(stage)
        yield stage
        store.rename_if_absent(stage, target)
    except MonolithError as error:
        _name_target(error, stage, target)
        raise
    finally:
        if store.exists(stage):
            store.delete(stage)
