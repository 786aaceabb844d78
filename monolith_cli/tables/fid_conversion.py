"""Feature ids of version 1 made those of version 2: which ones become the same."""

from __future__ import annotations

from contextlib import closing
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli import _native
from monolith_cli.tables.diff.held import HeldParts, load_all, shared_out
from monolith_cli.tables.folds.servers import ConvertedFold
from monolith_cli.tables.ranges import read_ranges
from monolith_cli.tables.stream import EntryStream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from monolith_cli.execution.workers import Workers
    from monolith_cli.storage.scratch import Scratch
    from monolith_cli.tables.diff.held import Held
    from monolith_cli.tables.stream import EntryFilter, Extent, ReadOptions

__all__ = ["Collision", "TableCollisions", "find_collisions"]

EXAMPLES = 20
"""So many of a table are listed."""


class Collision(NamedTuple):
    """Two v1 feature ids that become one of v2; there may be more that do."""

    fid: int
    one: int
    other: int


class TableCollisions(NamedTuple):
    """Feature ids of a table that become the same.

    Attributes
    ----------
    table
        Its name.
    fids
        How many v2 feature ids several become.
    examples
        The first of them, in order of a hash.
    """

    table: str
    fids: int
    examples: list[Collision]


def find_collisions(
    tables: Mapping[str, Sequence[Extent]],
    options: ReadOptions,
    scratch: Scratch,
    *,
    chosen: EntryFilter | None = None,
    memory_bytes: int = 128 << 20,
    workers: Workers,
    progress: Callable[[int, int], None] | None = None,
) -> list[TableCollisions]:
    """Find v1 feature ids of a table that become the same in v2, where 6 bits have no place.

    Costs one read of the tables. 8 bytes an entry are kept of a table at a time; what does not fit
    into half of the memory waits in the file. A feature id that is there several times is no
    collision.

    Parameters
    ----------
    tables
        Where the entries of each table lie, on all servers together.
    chosen
        Which entries count.
    workers
        Threads of this process, or an executor; the parts are gone through in this thread.
    progress
        Called with the uncompressed bytes read so far, and those to read.

    Raises
    ------
    CorruptionError, PathNotFoundError, NotReadableError, ChangedWhileReadError
        As `read_ranges`.
    WriteError
        There is no room for the file.
    """
    found = []
    size = sum(extent.size for extents in tables.values() for extent in extents)
    done = 0
    for name, extents in tables.items():
        scratch.clear()
        held = HeldParts(memory_bytes // 2, scratch)
        stream = EntryStream(extents)
        with closing(
            read_ranges(stream, options, ConvertedFold(chosen), workers=workers)
        ) as pieces:
            for piece in pieces:
                held.add(name, piece.value.parts)
                done += piece.size
                if progress:
                    progress(done, size)
        collisions = _collide(name, held.take(name), memory_bytes // 2)
        if collisions.fids:
            found.append(collisions)
    return found


def _collide(name: str, held: list[Held], memory_bytes: int) -> TableCollisions:
    count = 0
    examples: list[Collision] = []
    for first, last in _pieces(held, memory_bytes):
        parts = load_all(held, first, last)
        fids, found = _native.find_collisions(parts, first, last, EXAMPLES - len(examples))
        count += fids
        examples += (Collision(*each) for each in found)
    return TableCollisions(name, count, examples)


def _pieces(held: list[Held], memory_bytes: int) -> Iterator[tuple[int, int]]:
    return pairwise(shared_out(held, 1, memory_bytes))
