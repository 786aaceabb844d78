"""The names of a checkpoint's tables, by listing it: no entry is read, and no table is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monolith_cli.checkpoint.names import (
    HASH_FILTER_PREFIX,
    META_SUFFIX,
    natural_key,
    parse_shard_name,
)
from monolith_cli.errors import MonolithError
from monolith_cli.storage.location import join
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from monolith_cli.checkpoint.checkpoint import Checkpoint

__all__ = ["table_names"]

_FIRST = "-00000-of-"


def table_names(checkpoint: Checkpoint, beginning: str = "") -> list[str]:
    """The names of all tables whose first file is there, in natural order.

    Whether all files of a table are there is not looked at. Of multi tables one contents file
    a dump is read, as each names all of its tables; one that cannot be read names none. It takes
    about 5 µs a table.

    Parameters
    ----------
    beginning
        Only of names that begin with it.

    Raises
    ------
    PathNotFoundError, NotReadableError
        A directory is gone, or cannot be listed.
    """
    names: set[str] = set()
    for directory in checkpoint.assets:
        listed = store_of(directory).names(directory)
        first = [name.rpartition(_FIRST) for name in listed if _FIRST in name]
        # There are thousands of names, and few totals.
        found = {total for _, _, total in first}
        shards = {total: parse_shard_name(f"x{_FIRST}{total}") for total in found}
        valid = {total for total, shard in shards.items() if shard and shard.base == "x"}
        totals = {base: total for base, _, total in first if base and total in valid}
        for base, total in totals.items():
            if base.endswith(META_SUFFIX):
                names.update(_names_in(join(directory, f"{base}{_FIRST}{total}")))
            elif base + META_SUFFIX not in totals and not base.startswith(HASH_FILTER_PREFIX):
                names.add(base)
    return sorted((name for name in names if name.startswith(beginning)), key=natural_key)


def _names_in(path: str) -> Iterator[str]:
    from monolith_cli.tables.multi_dump import read_contents
    from monolith_cli.tables.stream import ReadOptions

    try:
        yield from (table.table_name for table in read_contents(path, ReadOptions()))
    except MonolithError:
        return
