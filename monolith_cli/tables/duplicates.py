"""Feature ids that a table has more than once, within a file or in several."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.errors import UsageError
from monolith_cli.execution.workers import Workers
from monolith_cli.fid import version_number
from monolith_cli.storage.scratch import Scratch
from monolith_cli.tables.diff.compare import LEAST_MEMORY_BYTES
from monolith_cli.tables.diff.held import HeldParts
from monolith_cli.tables.diff.joining import JoinOptions, join_table, total
from monolith_cli.tables.folds.digest import DigestFold
from monolith_cli.tables.ranges import read_ranges
from monolith_cli.tables.stream import EntryFilter
from monolith_cli.tables.table import entry_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Executor

    from monolith_cli.tables.stream import ReadOptions
    from monolith_cli.tables.table import Table

__all__ = ["TableDuplicates", "find_duplicates"]

EXAMPLES = 10
"""So many feature ids of a table are named."""

_SHARE = 2
"""What part of the memory is for what waits; the rest is for reading and joining."""

_CHANGE = [("fid", "<i8"), ("times", "<i8", 2), ("fate", "u1"), ("again", "u1"), ("", "V6")]
"""What `_native.Join.changes` packs."""


class TableDuplicates(NamedTuple):
    """What a table has more than once.

    Attributes
    ----------
    table
        Its name.
    fids
        How many feature ids there are several entries of.
    entries
        How many of these entries are too many.
    examples
        Some of these feature ids, ascending: the first ones in order of a hash.
    """

    table: str
    fids: int
    entries: int
    examples: list[int]


class _Again:
    """Takes what a join calls different, and keeps the feature ids that come again."""

    def __init__(self) -> None:
        self.count = 0
        self.examples: list[int] = []

    def take(self, changes: bytes) -> None:
        import numpy as np

        rows = np.frombuffer(changes, np.dtype(_CHANGE))
        again = rows["fid"][rows["again"] != 0]
        if len(again):
            fids, first = np.unique(again, return_index=True)
            self.count += len(fids)
            in_order = again[np.sort(first)]
            self.examples += in_order[: EXAMPLES - len(self.examples)].tolist()


def find_duplicates(
    tables: Sequence[Table],
    reading: ReadOptions,
    *,
    chosen: EntryFilter | None = None,
    names: Mapping[str, str] | None = None,
    memory_bytes: int = 1 << 30,
    tmp: str | None = None,
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    executor: Executor | None = None,
) -> list[TableDuplicates]:
    """Find feature ids that a table has more than once.

    Costs one read of the tables. Of each entry 32 bytes are kept, in parts by a hash of the feature
    id, and what does not fit into the memory that is given waits in a file. Damage that is skipped
    is not listed: whoever makes statistics meets it as well.

    Parameters
    ----------
    names
        Another name for a table, by its own: tables of one name are one.
    memory_bytes
        How much memory that may take; not counted is what reading itself takes.
    tmp
        Where on this machine that file is; None for the system's temporary directory.
    jobs, executor, progress
        As of `table_stats`.

    Raises
    ------
    UsageError, CorruptionError, PathNotFoundError, NotReadableError, ChangedWhileReadError
        As `table_stats`; or there is too little memory.
    WriteError
        There is no room for that file.
    """
    if memory_bytes < LEAST_MEMORY_BYTES:
        raise UsageError(f"{memory_bytes} bytes of memory: at least 16 MiB are needed")
    chosen = chosen or EntryFilter()
    name_of = {table.name: (names or {}).get(table.name, table.name) for table in tables}
    with Scratch(tmp) as scratch, Workers(jobs, executor) as workers:
        held = HeldParts(memory_bytes // _SHARE, scratch)
        stream = entry_stream(tables, jobs=jobs, executor=executor)
        pieces = read_ranges(stream, reading, DigestFold(chosen), workers=workers)
        done = 0
        with closing(pieces):
            for piece in pieces:
                if piece.extent.table is not None:
                    held.add(name_of[piece.extent.table], piece.value.parts)
                done += piece.size
                if progress:
                    progress(done, stream.size)
        found = []
        with Workers(jobs) as joiners:
            for name in dict.fromkeys(name_of.values()):
                again = _Again()
                options = JoinOptions(version_number(chosen.fid_version), changes=again.take)
                join = join_table(held.take(name), [], options, joiners, memory_bytes // 4)
                entries = total(join.slots.values()).again_a
                found.append(TableDuplicates(name, again.count, entries, sorted(again.examples)))
    return found
