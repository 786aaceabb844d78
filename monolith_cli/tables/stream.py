"""Entries as one stream: pieces of files, end to end, addressed by position."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli import _native
from monolith_cli.errors import UsageError
from monolith_cli.fid import MAX_V1_SLOT, MAX_V2_SLOT, version_number
from monolith_cli.formats.tfrecord import MAX_RECORD_BYTES, DumpFile, Skipped
from monolith_cli.storage.store import ReadSizes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "SMALL_BYTES",
    "EntryFilter",
    "EntryStream",
    "Extent",
    "ReadOptions",
    "open_reader",
    "open_reader_of_all",
    "skipped_by",
]

_MOST_READ_BYTES = 1 << 30
_MOST_READ_AHEAD = 64

SMALL_BYTES = 8 << 20
"""Less than this is read faster than threads are started."""


class ReadOptions(NamedTuple):
    """How data is read.

    `verify` checks the checksums of records (those of their lengths are always checked), `skip`
    reads on behind damage and notes it, instead of raising, and longer records than
    `max_record_bytes` are damage. `read_bytes` (to 1 GiB) is the most that is asked for at once,
    `read_ahead` (to 64) how many reads are begun before they are needed; None for what the store of
    the file wants.
    """

    verify: bool = True
    skip: bool = False
    max_record_bytes: int = MAX_RECORD_BYTES
    read_bytes: int | None = None
    read_ahead: int | None = None

    def check(self) -> None:
        """Make sure that the sizes of reads are possible.

        Raises
        ------
        UsageError
            One is not.
        """
        if self.read_bytes is not None and not 0 < self.read_bytes <= _MOST_READ_BYTES:
            raise UsageError(f"read_bytes {self.read_bytes} is not in 1..{_MOST_READ_BYTES}")
        if self.read_ahead is not None and not 0 <= self.read_ahead <= _MOST_READ_AHEAD:
            raise UsageError(f"read_ahead {self.read_ahead} is not in 0..{_MOST_READ_AHEAD}")

    def sizes(self, file: DumpFile) -> ReadSizes:
        """The sizes of reads of an open file: what is asked for here, else what its store wants."""
        wanted = file.read_sizes
        return ReadSizes(
            wanted.read_bytes if self.read_bytes is None else self.read_bytes,
            wanted.read_ahead if self.read_ahead is None else self.read_ahead,
        )


class EntryFilter(NamedTuple):
    """Which entries are wanted: those in one of the slot ranges (both ends included) and with one
    of the fids (signed, as stored). An empty selection takes all."""

    slots: Sequence[tuple[int, int]] = ()
    fids: Sequence[int] = ()
    fid_version: str = "v2"

    def native(self) -> _native.Filter | None:
        """The same for the native module; None if everything is wanted.

        Raises
        ------
        UsageError
            No such version of feature ids, a slot that it has not, or a feature id that does not
            fit into 64 bits with its sign.
        """
        version = version_number(self.fid_version)
        if not self.slots and not self.fids:
            return None
        largest = MAX_V1_SLOT if version == 1 else MAX_V2_SLOT
        chosen = _native.Filter(version)
        for first, last in self.slots:
            if first < 0 or last < 0:
                raise UsageError(f"slot {min(first, last)}: slots begin at 0")
            if last > largest:
                raise UsageError(
                    f"slot {last}: those of {self.fid_version} feature ids end at {largest}"
                )
            chosen.add_slots(min(first, largest + 1), last)
        for fid in (min(self.fids), max(self.fids)) if self.fids else ():
            if not -(2**63) <= fid < 2**63:
                raise UsageError(f"feature id {fid} does not fit into 64 bits with its sign")
        chosen.set_fids(list(self.fids))
        return chosen


class Extent(NamedTuple):
    """Records end to end in one file: uncompressed bytes [start, end), all of one table.

    `table` is None where damage hides which table they belong to.
    """

    file: DumpFile
    start: int
    end: int
    table: str | None

    @property
    def size(self) -> int:
        """In uncompressed bytes."""
        return self.end - self.start


class EntryStream:
    """Extents as one stream of uncompressed bytes.

    Attributes
    ----------
    extents
        In order.
    starts
        Where each extent starts in the stream.
    size
        Of the whole stream, in bytes.
    """

    __slots__ = ("extents", "size", "starts")

    def __init__(self, extents: Iterable[Extent]) -> None:
        self.extents = list(extents)
        self.starts: list[int] = []
        self.size = 0
        for extent in self.extents:
            self.starts.append(self.size)
            self.size += extent.size

    def shard(self, shard: int, nshards: int) -> tuple[int, int]:
        """The positions [low, high) in which the records of a partition start.

        Raises
        ------
        UsageError
            Not 0 <= shard < nshards.
        """
        if not 0 <= shard < nshards:
            raise UsageError(f"no partition {shard} of {nshards}")
        return self.size * shard // nshards, self.size * (shard + 1) // nshards

    def pieces(self, low: int, high: int) -> list[tuple[int, Extent]]:
        """The extents that hold positions in [low, high), each with its start in the stream.

        An extent without size counts where it lies: its file may hold damage, and nothing else.
        """
        first = max(bisect_right(self.starts, low) - 1, 0)
        while first > 0 and self.extents[first - 1].size == 0 and self.starts[first - 1] == low:
            first -= 1
        found = []
        for base, extent in zip(self.starts[first:], self.extents[first:], strict=True):
            if base > high or (base == high and high < self.size):
                break
            if base + extent.size > low or extent.size == 0:
                found.append((base, extent))
        return found


def open_reader(
    extent: Extent,
    options: ReadOptions,
    start: int,
    end: int,
    *,
    how: str = "exact",
    check_stop: bool = False,
) -> _native.Reader:
    """A reader of the records that start in [start, end) of an extent's file.

    Raises
    ------
    UsageError
        As `ReadOptions.check`.
    PathNotFoundError, NotReadableError, ChangedWhileReadError
        As `DumpFile.open`.
    """
    options.check()
    file = extent.file.open()
    sizes = options.sizes(extent.file)
    try:
        return _native.Reader(
            file,
            start,
            end,
            floor=extent.start,
            ceiling=extent.end,
            how=how,
            verify=options.verify,
            skip=options.skip,
            check_stop=check_stop,
            read_bytes=sizes.read_bytes,
            read_ahead=sizes.read_ahead,
        )
    except (OSError, _native.ChangedError) as error:
        raise extent.file.explain(error) from None


def open_reader_of_all(file: DumpFile, options: ReadOptions) -> _native.Reader:
    """A reader of all records of a file, in one pass: nothing is read of it before.

    Raises
    ------
    UsageError
        As `ReadOptions.check`.
    PathNotFoundError, NotReadableError, ChangedWhileReadError
        As `DumpFile.open`.
    """
    options.check()
    opened = file.open()
    sizes = options.sizes(file)
    try:
        return _native.Reader(
            opened,
            0,
            None,
            verify=options.verify,
            skip=options.skip,
            read_bytes=sizes.read_bytes,
            read_ahead=sizes.read_ahead,
        )
    except (OSError, _native.ChangedError) as error:
        raise file.explain(error) from None


def skipped_by(reader: _native.Reader, file: DumpFile) -> list[Skipped]:
    """What a reader has met of damage so far."""
    return file.skipped(reader.damages)
