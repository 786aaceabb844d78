"""Pages of entries: any partition of any number of them, from the start or from a cursor.

A cursor is 0 at the start of a partition, else 1 + the position of a record in the stream. It must
point at a record or at the end; it never searches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

from monolith_cli import _native
from monolith_cli.errors import CursorError, MonolithError, UsageError
from monolith_cli.tables.skipped import distinct
from monolith_cli.tables.stream import (
    EntryFilter,
    EntryStream,
    Extent,
    ReadOptions,
    open_reader,
    skipped_by,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from monolith_cli.formats.tfrecord import Skipped

__all__ = ["Page", "Pager", "ShardReader"]

T = TypeVar("T")

_PARKED_READERS = 16
_MOST = 2**63 - 1


class Page(NamedTuple):
    """Serialized EntryDump records, the cursor to go on from, and whether no page follows."""

    entries: list[bytes]
    next_offset: int
    done: bool


class ShardReader:
    """Reads one partition of a stream, piece by piece; not for several threads at once.

    Parameters
    ----------
    stream, options
        What to read, and how.
    low, high
        The partition: records that start at positions in [low, high).
    cursor
        0, or the cursor to go on from.
    check_stop
        Whether the header of the record that the partition stops at is checked as well: by who
        does not go on there.

    Attributes
    ----------
    position
        Where the next record starts in the stream, or where the partition ended.
    done
        Whether the partition is finished.
    skipped
        Damage met so far, when `options.skip` is set.

    Raises
    ------
    CursorError
        The cursor points at no record of the partition.
    """

    def __init__(
        self,
        stream: EntryStream,
        options: ReadOptions,
        low: int,
        high: int,
        cursor: int = 0,
        *,
        check_stop: bool = True,
    ) -> None:
        self.stream = stream
        self.options = options
        self.high = high
        self._check_stop = check_stop
        self.skipped: list[Skipped] = []
        self._noted = 0  # how much of the native reader's damage is in `skipped`
        self.done = False
        self._failure: MonolithError | None = None
        self._reader: _native.Reader | None = None
        self._base = 0
        self._extent: Extent | None = None
        self.position = low
        if cursor:
            self.position = cursor - 1
            if not low <= self.position <= stream.size:
                raise _bad_cursor(cursor)
        at_end = bool(cursor) and (self.position >= high or self.position == stream.size)
        self._pieces = [] if at_end else stream.pieces(self.position, high)
        if self._pieces:
            base, extent = self._pieces[0]
            aligned = bool(cursor) or self.position <= base
            self._next_piece("exact" if aligned else "walk")
            if cursor and not self._at_record():
                raise _bad_cursor(cursor, extent.file.path)
        else:
            self.done = True

    @property
    def table(self) -> str | None:
        """The table of what `read` is called for; None where that is unknown."""
        return self._extent.table if self._extent else None

    def read(self, read: Callable[[_native.Reader], tuple[T, int]]) -> tuple[T, int] | None:
        """Call `read(native reader)` until it gives an entry or the partition is finished.

        `read` answers with something and the number of entries in it, all of one `table`. Damage
        is raised at once if nothing was read before it, else by the next call.

        Raises
        ------
        CorruptionError
            Damage, unless it is to be skipped.
        PathNotFoundError, NotReadableError, ChangedWhileReadError
            The file went away, or changed.
        """
        self.check()
        while self._reader is not None and self._extent is not None:
            try:
                value, n = read(self._reader)
            except (OSError, _native.ChangedError) as error:
                raise self._extent.file.explain(error) from None
            self._advance(self._reader)
            if n > 0:
                return value, n
            self.check()
        return None

    def check(self) -> None:
        """Raise what the last `read()` held back.

        Raises
        ------
        CorruptionError
            Damage behind what was read.
        """
        if self._failure is not None:
            raise self._failure

    def go_to(self, position: int, high: int) -> None:
        """Go on with [position, high), from a place that is known to be a record's or the end.

        Raises as `read`; `skipped` starts anew.
        """
        self.position, self.high = position, high
        self.skipped = []
        self.done = False
        self._check_stop = True
        self._reader = None
        is_left = position < high or high == self.stream.size
        self._pieces = self.stream.pieces(position, high) if is_left else []
        self._next_piece("exact")

    def _advance(self, reader: _native.Reader) -> None:
        """Note where the reader is, and go to the next extent when this one is finished."""
        assert self._extent is not None
        self.position = self._base + max(reader.position - self._extent.start, 0)
        if reader.failed:
            self._failure = skipped_by(reader, self._extent.file)[0].error()
            self._reader = None
            return
        damages = skipped_by(reader, self._extent.file)
        self.skipped += damages[self._noted :]
        self._noted = len(damages)
        if reader.done:
            self._extent.file.check_unchanged()
            self._reader = None
            self._next_piece("exact")

    def _next_piece(self, how: str) -> None:
        if not self._pieces:
            self.done = True
            return
        self._base, extent = self._pieces.pop(0)
        self._extent = extent
        self._noted = 0
        start = extent.start + max(self.position - self._base, 0)
        end = min(extent.end, extent.start + self.high - self._base)
        check_stop = self._check_stop and end < extent.end
        self._reader = open_reader(extent, self.options, start, end, how=how, check_stop=check_stop)
        self.position = self._base + self._reader.first - extent.start

    def _at_record(self) -> bool:
        """Does the reader start at a record, if maybe at a damaged one?

        A page ends in front of damage too. So without a good header the records before the place
        decide: do they lead to it?
        """
        assert self._reader is not None
        assert self._extent is not None
        extent, start = self._extent, self._reader.first
        try:
            if self._reader.starts_well():
                return True
        except (OSError, _native.ChangedError) as error:
            raise extent.file.explain(error) from None
        return open_reader(extent, self.options, start, extent.end, how="walk").first == start


def _bad_cursor(cursor: int, path: str | None = None) -> CursorError:
    return CursorError(
        f"cursor {cursor} points at no record of this partition",
        path=path,
        hint="use one that a page of the same step, table and partition ended with, or 0",
    )


class Pager:
    """Pages of a stream. Readers wait where pages ended, so that the next page costs no seek.

    Attributes
    ----------
    skipped
        Damage in the pages so far, where it is to be skipped.
    """

    def __init__(self, stream: EntryStream, options: ReadOptions) -> None:
        import threading

        self.stream = stream
        self.options = options
        self.skipped: list[Skipped] = []
        self._lock = threading.Lock()
        self._parked: dict[tuple[int, int, int], ShardReader] = {}

    def page(
        self,
        offset: int,
        limit: int,
        shard: int,
        nshards: int,
        chosen: EntryFilter | None,
    ) -> Page:
        """At most `limit` entries of a partition; fewer only if it is finished by them.

        Raises
        ------
        UsageError
            `limit` < 1, or no such partition.
        CursorError
            `offset` is no cursor of the partition. One behind the end is an empty page.
        CorruptionError
            Damage, unless it is to be skipped.
        """
        if limit < 1:
            raise UsageError(f"limit {limit}: a page has at least one entry")
        limit = min(limit, _MOST)
        low, high = self.stream.shard(shard, nshards)
        if offset > self.stream.size:
            return Page([], offset, True)
        key = (offset, low, high)
        with self._lock:
            reader = self._parked.pop(key, None)
        if reader is None:
            reader = ShardReader(self.stream, self.options, low, high, offset)
        wanted = chosen.native() if chosen else None

        entries: list[bytes] = []

        def read(native: _native.Reader) -> tuple[list[bytes], int]:
            found = native.entries(limit - len(entries), wanted)
            return found, len(found)

        while len(entries) < limit and (part := reader.read(read)) is not None:
            entries += part[0]
        reader.check()
        page = Page(entries, 1 + reader.position, reader.done)
        with self._lock:
            self.skipped = distinct([*self.skipped, *reader.skipped])
        reader.skipped = []
        if not reader.done:
            with self._lock:
                self._parked[(page.next_offset, low, high)] = reader
                while len(self._parked) > _PARKED_READERS:
                    del self._parked[next(iter(self._parked))]
        return page
