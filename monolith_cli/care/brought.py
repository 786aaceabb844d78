"""`.monolith-copied.json`: the indexes that a copy has brought, so that none is taken for a save.

JSON: `version`, and `indexes`: by name when each was written here, in nanoseconds since 1970. What
a job saves is written at another time, so the file says nothing of it, and may stay for ever.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

from monolith_cli.checkpoint.names import COPIED
from monolith_cli.errors import MonolithError
from monolith_cli.storage.location import join
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from monolith_cli.storage.store import Item

__all__ = ["brought", "note_brought"]

_VERSION = 1
_MALFORMED = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


def brought(directory: str, items: Mapping[str, Item]) -> set[str]:
    """The names of indexes in a directory that are as a copy has left them.

    Parameters
    ----------
    items
        What is in the directory, by name.
    """
    if COPIED not in items:
        return set()
    said = _read(directory)
    return {name for name in said if name in items and _written(items[name]) == said[name]}


def note_brought(directory: str, names: Iterable[str]) -> None:
    """Note that a copy has brought indexes; those of other copies stay noted while they are there.

    Raises
    ------
    PathNotFoundError
        One is gone already.
    WriteError
        The store refused.
    """
    store = store_of(directory)
    items = {item.name: item for item in store.items(directory)}
    known = sorted({*brought(directory, items), *names} & items.keys())
    indexes = {name: items[name].status().modified_ns for name in known}
    document = {"version": _VERSION, "indexes": indexes}
    store.put(join(directory, COPIED), (json.dumps(document) + "\n").encode("ascii"))


def _read(directory: str) -> dict[str, int]:
    """What the file says; nothing where it cannot be read."""
    path = join(directory, COPIED)
    with suppress(MonolithError, *_MALFORMED):
        said = json.loads(store_of(path).read(path))
        if said["version"] == _VERSION:
            return {str(name): int(at) for name, at in said["indexes"].items()}
    return {}


def _written(item: Item) -> int | None:
    try:
        return item.status().modified_ns
    except MonolithError:
        return None
