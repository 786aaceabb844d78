"""Single entries by their feature ids."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.errors import EntryNotFoundError
from monolith_cli.execution.workers import Workers
from monolith_cli.tables.folds.entries import Entries, EntriesFold
from monolith_cli.tables.folds.output import COLUMNS
from monolith_cli.tables.ranges import read_ranges
from monolith_cli.tables.stream import EntryFilter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from monolith_cli.formats.tfrecord import Skipped
    from monolith_cli.tables.folds.entries import Entry
    from monolith_cli.tables.stream import EntryStream, ReadOptions

__all__ = ["Found", "absent_error", "find_entries"]


class Found(NamedTuple):
    """What a look-up found.

    `entries` are in the order of the tables; `absent` the feature ids that no table has;
    `non_finite` how many floats are not finite; `skipped` damage, in which more entries may have
    been.
    """

    entries: list[Entry]
    absent: list[int]
    non_finite: int
    skipped: list[Skipped]


def find_entries(
    stream: EntryStream,
    options: ReadOptions,
    fids: Sequence[int],
    *,
    columns: Sequence[str] = COLUMNS,
    fid_version: str = "v2",
    number_ids: bool = False,
    name_non_finite: bool = False,
    jobs: int | None = 1,
    executor: Executor | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Found:
    """Look for entries in a whole stream, as there is no index: costs one read of it.

    Parameters
    ----------
    stream
        The tables to look in, from `entry_stream`.
    fids
        Signed, as stored. One may be in several tables.
    columns, number_ids, name_non_finite
        What is shown of entries, as in `Dump`.
    jobs, executor
        Who reads, as in `Dump`.
    progress
        Called with the uncompressed bytes read so far, and those to read.

    Raises
    ------
    UsageError
        No such column or version of feature ids, one that does not fit into 64 bits, or `jobs` < 1.
    CorruptionError
        Damage, unless it is to be skipped.
    """
    fold = EntriesFold(columns, number_ids, name_non_finite, EntryFilter((), fids, fid_version))
    found = Entries([], 0)
    skipped: list[Skipped] = []
    done = 0
    with (
        Workers(jobs, executor) as workers,
        closing(read_ranges(stream, options, fold, workers=workers)) as pieces,
    ):
        for piece in pieces:
            found.merge(piece.value)
            skipped += piece.skipped
            done += piece.size
            if progress is not None:
                progress(done, stream.size)
    there = {entry.fid for entry in found.found}
    absent = [fid for fid in dict.fromkeys(fids) if fid not in there]
    return Found(found.found, absent, found.non_finite, skipped)


def absent_error(
    absent: Sequence[int],
    tables: int,
    path: str,
    *,
    most: int | None = None,
    partial: bool = False,
) -> EntryNotFoundError | None:
    """The error for feature ids that are in none of so many tables; None where none is absent.

    It names all of them, or `most` and the number of the others. `partial` means that tables were
    left out, in which they may be.
    """
    if not absent:
        return None
    shown = absent[:most]
    ids = ", ".join(map(str, shown))
    if len(shown) < len(absent):
        ids += f" (and {len(absent) - len(shown)} more)"
    subject = f"feature id {ids} is" if len(shown) == 1 else f"feature ids {ids} are"
    where = "the table" if tables == 1 else f"any of the {tables} tables"
    if partial:
        where = "any table that is whole"
    return EntryNotFoundError(f"{subject} not in {where}", path=path)
