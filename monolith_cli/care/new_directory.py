"""A directory that is made whole, or not at all."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from monolith_cli.errors import AlreadyExistsError, UsageError
from monolith_cli.storage.atomic import leftovers, temporary_path
from monolith_cli.storage.location import HERE, absolute, join, name_of, parent_of, scheme_of
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["check_new_directory", "new_directory"]


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
    if any(store.is_same(above, model_dir) for above in _above(target)):
        raise UsageError(f"lies in {model_dir}", path=target, hint="name a directory elsewhere")


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
        The store refused.
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
    finally:
        if store.exists(stage):
            store.delete(stage)
