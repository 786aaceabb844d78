"""When entries of a table expire: as many days before its newest one as are asked for, or more."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.tables.folds.rewrite import Ages, AgesFold, Newest, NewestFold
from monolith_cli.tables.ranges import read_ranges
from monolith_cli.tables.stream import EntryFilter, EntryStream

if TYPE_CHECKING:
    from collections.abc import Callable

    from monolith_cli.execution.workers import Workers
    from monolith_cli.tables.rewrite.plan import RewriteOptions, TablePlan
    from monolith_cli.tables.stream import ReadOptions

__all__ = ["Expiry", "find_expiry"]

_DAY = 86400
_LOWEST = -(2**63)


class Expiry(NamedTuple):
    """When entries of a table expire.

    Attributes
    ----------
    newest
        The time of the newest entry, in seconds since 1970.
    days
        Entries that are so many days older, or more, go: those that were asked for, or more where
        too few would stay.
    """

    newest: int
    days: int

    @property
    def oldest(self) -> int | None:
        """Entries of this time or before it go; None if there can be none."""
        oldest = self.newest - self.days * _DAY
        return oldest if oldest > _LOWEST else None


def find_expiry(
    table: TablePlan,
    options: RewriteOptions,
    reading: ReadOptions,
    workers: Workers,
    on_read: Callable[[int], None],
) -> Expiry | None:
    """Read a table for the times of its entries; twice, if some have to stay. None without entries.

    Parameters
    ----------
    on_read
        Called with how many more bytes were read, uncompressed.

    Raises
    ------
    CorruptionError, PathNotFoundError, NotReadableError, ChangedWhileReadError
        As `read_ranges`.
    """
    stream = EntryStream(extent for _, extent in table.extents)
    newest = Newest()
    with closing(read_ranges(stream, reading, NewestFold(), workers=workers)) as pieces:
        for piece in pieces:
            newest.merge(piece.value)
            on_read(piece.size)
    if newest.time is None:
        return None
    days = options.expire_days or 1
    if options.min_keep:
        chosen = EntryFilter(table.transforms.slots or (), (), table.transforms.fid_version)
        fold = AgesFold(newest.time, chosen)
        days = _days_for(_ages(stream, reading, fold, workers, on_read), days, options.min_keep)
    return Expiry(newest.time, days)


def _ages(
    stream: EntryStream,
    reading: ReadOptions,
    fold: AgesFold,
    workers: Workers,
    on_read: Callable[[int], None],
) -> Ages:
    ages = Ages()
    with closing(read_ranges(stream, reading, fold, workers=workers)) as pieces:
        for piece in pieces:
            ages.merge(piece.value)
            on_read(piece.size)
    return ages


def _days_for(ages: Ages, days: int, min_keep: int) -> int:
    """The fewest days, and not fewer than that, that leave so many entries, or all."""
    kept = sum(entries for day, entries in ages.by_day.items() if day < days)
    for day, entries in sorted(ages.by_day.items()):
        if kept >= min_keep:
            break
        if day >= days:
            kept += entries
            days = day + 1
    return days
