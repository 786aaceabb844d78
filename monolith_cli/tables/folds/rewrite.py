"""Entries as they are to be in another table, and what is known of those that are there."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monolith_cli import _native
from monolith_cli.fid import version_number
from monolith_cli.tables.stream import EntryFilter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monolith_cli.tables.stream import Extent

__all__ = [
    "Ages",
    "AgesFold",
    "DeltaSums",
    "Newest",
    "NewestFold",
    "Passages",
    "RecordSums",
    "RecordSumsFold",
    "RewriteFold",
    "RewrittenRange",
    "Transforms",
    "add_passages",
]

_ALL_64 = (1 << 64) - 1
_EXPECTED_BYTES = (4 << 20) + (64 << 10)
"""What a range of entries that are written makes, with the record that reaches beyond it."""
_V2 = 2


class Passages(NamedTuple):
    """How many entries had which fate on their way.

    Attributes
    ----------
    same, changed
        Those that were there and arrive: bit by bit as they were, or with other values, or another
        feature id.
    brought
        Those that a delta has brought, and that arrive too.
    slot, where, expired
        Those that were there and do not arrive: by their slot, by what is in them, by their age.
    gone
        Those that a delta has removed, or replaced.
    brought_changed
        Those of `brought` that arrive with other values.
    brought_slot, brought_where
        Those that a delta has brought, and that do not arrive: by their slot, by what is in them.
    """

    same: int = 0
    changed: int = 0
    brought: int = 0
    slot: int = 0
    where: int = 0
    expired: int = 0
    gone: int = 0
    brought_changed: int = 0
    brought_slot: int = 0
    brought_where: int = 0

    @property
    def kept(self) -> int:
        """Those that arrive."""
        return self.same + self.changed + self.brought

    @property
    def dropped(self) -> int:
        """Those that were there and do not."""
        return self.slot + self.where + self.expired + self.gone

    @property
    def brought_dropped(self) -> int:
        """Those that a delta has brought, and that do not arrive."""
        return self.brought_slot + self.brought_where

    @property
    def entries(self) -> int:
        """All that were there."""
        return self.same + self.changed + self.dropped

    def plus(self, other: Passages) -> Passages:
        """Both together."""
        return Passages(*(one + another for one, another in zip(self, other, strict=True)))


class Transforms(NamedTuple):
    """What is done to the entries of a table, in this order.

    Attributes
    ----------
    sieved
        Make `DeltaSums`: a delta is applied.
    gone
        Entries with these feature ids go.
    brought
        The entries are those that the range of a delta brings.
    only
        Of these, which one of how many servers they are for, and whether by the unsigned rule; None
        for all.
    drop_all
        None arrives.
    slots
        Those of other slots go: ranges with both ends; None for all slots.
    fid_version
        `v1` or `v2`: which bits of a fid are its slot.
    oldest
        Entries of this time, in seconds since 1970, or before it go; None for none.
    where
        What something is done about: `nan`, `nonfinite` (values of the embedding or of optimizer
        state), `zero` (embeddings with but zeros), `norm-above` (embeddings); empty for nothing.
    norm
        Of `norm-above`.
    set_zero
        Values that are it become 0, with `norm-above` the whole embedding. Else the entries go.
    convert
        Feature ids of version 1 become those of version 2.
    servers
        Over how many target tables the entries are spread.
    is_unsigned
        By which of the two rules: the unsigned one, or the signed floored one.
    """

    sieved: bool = False
    gone: _native.FidIndex | None = None
    brought: bool = False
    only: tuple[int, int, bool] | None = None
    drop_all: bool = False
    slots: Sequence[tuple[int, int]] | None = None
    fid_version: str = "v2"
    oldest: int | None = None
    where: str = ""
    norm: float = 0.0
    set_zero: bool = False
    convert: bool = False
    servers: int = 1
    is_unsigned: bool = False


class DeltaSums:
    """What tells whether a delta fits the entries that it was applied to.

    Attributes
    ----------
    entries, total
        How many there were, and their digest: the sum of digests of entries, modulo 2^64.
    gone_entries, gone_total
        The same of those that have made room.
    """

    __slots__ = ("entries", "gone_entries", "gone_total", "total")

    def __init__(
        self, entries: int = 0, total: int = 0, gone_entries: int = 0, gone_total: int = 0
    ) -> None:
        self.entries = entries
        self.total = total
        self.gone_entries = gone_entries
        self.gone_total = gone_total

    def merge(self, other: DeltaSums, /) -> None:
        """Add those of other entries."""
        self.entries += other.entries
        self.total = (self.total + other.total) & _ALL_64
        self.gone_entries += other.gone_entries
        self.gone_total = (self.gone_total + other.gone_total) & _ALL_64


class RewrittenRange:
    """What came of some entries.

    Attributes
    ----------
    outputs
        What goes into each target table: pieces, in order.
    slots
        What became of the entries, by slot.
    delta
        Whether a delta fits them; None where none is applied.
    """

    __slots__ = ("delta", "outputs", "slots")

    def __init__(
        self,
        outputs: list[list[_native.Output]],
        slots: dict[int, Passages],
        delta: DeltaSums | None = None,
    ) -> None:
        self.outputs = outputs
        self.slots = slots
        self.delta = delta

    def merge(self, other: RewrittenRange, /) -> None:
        """Add what follows."""
        for mine, others in zip(self.outputs, other.outputs, strict=True):
            mine += others
        add_passages(self.slots, other.slots)
        if self.delta is not None and other.delta is not None:
            self.delta.merge(other.delta)


def add_passages(slots: dict[int, Passages], others: dict[int, Passages]) -> None:
    """Add what became of other entries, by slot."""
    for slot, passages in others.items():
        slots[slot] = slots[slot].plus(passages) if slot in slots else passages


class RewriteFold:
    """Do what is to be done to the entries of a range.

    Parameters
    ----------
    transforms
        What that is.
    snappy
        Make SNAPPY blocks of at most 262,144 bytes.
    discard
        Make nothing: what would become of the entries is all that is asked.

    Raises
    ------
    UsageError
        No such version of feature ids, or a slot that it has not.
    """

    __slots__ = ("_filter", "_version", "discard", "snappy", "transforms")

    def __init__(
        self, transforms: Transforms | None = None, snappy: bool = False, discard: bool = False
    ) -> None:
        self.transforms = transforms or Transforms()
        self.snappy = snappy
        self.discard = discard
        version = self.transforms.fid_version
        self._version = version_number(version)
        self._filter = EntryFilter(self.transforms.slots or (), (), version).native()

    def __reduce__(self) -> tuple[object, ...]:
        return (RewriteFold, (self.transforms, self.snappy, self.discard))

    def run(self, reader: _native.Reader, extent: Extent, /) -> RewrittenRange:
        """Do it to all that the reader gives."""
        wanted = self.transforms
        nothing = wanted.slots is not None and not wanted.slots
        sieve = _native.DeltaSieve(wanted.gone) if wanted.sieved else None
        outputs, slots = reader.rewrite(
            min(extent.size, _EXPECTED_BYTES),
            self._filter,
            wanted.drop_all or nothing,
            self._version,
            wanted.where,
            wanted.norm,
            wanted.set_zero,
            wanted.oldest,
            self.snappy,
            self.discard,
            sieve,
            wanted.brought,
            wanted.only,
            wanted.convert,
            wanted.servers,
            wanted.is_unsigned,
        )
        delta = None
        if sieve is not None:
            delta = DeltaSums(sieve.entries, sieve.sum, sieve.gone_entries, sieve.gone_sum)
        return RewrittenRange(
            [[output] for output in outputs],
            {slot: Passages(*counts) for slot, counts in slots},
            delta,
        )


class RecordSums:
    """What is known of some entries, whatever their order.

    Attributes
    ----------
    entries
        How many.
    total
        The sum, modulo 2^64, of a number of each record, which has its feature id, its length and
        its checksum in it.
    slots
        Entries by slot, of v2 feature ids.
    """

    __slots__ = ("entries", "slots", "total")

    def __init__(
        self, entries: int = 0, total: int = 0, slots: dict[int, int] | None = None
    ) -> None:
        self.entries = entries
        self.total = total
        self.slots = {} if slots is None else slots

    def merge(self, other: RecordSums, /) -> None:
        """Add others."""
        self.entries += other.entries
        self.total = (self.total + other.total) & _ALL_64
        for slot, entries in other.slots.items():
            self.slots[slot] = self.slots.get(slot, 0) + entries


class RecordSumsFold:
    """Make `RecordSums` of what is there."""

    __slots__ = ()

    def run(self, reader: _native.Reader, extent: Extent, /) -> RecordSums:
        """Of all that the reader gives."""
        counter = _native.Counter(_V2)
        entries, total = reader.sums(counter)
        return RecordSums(entries, total, counter.slot_counts())


class Newest:
    """The newest time of some entries, in seconds since 1970; None without any."""

    __slots__ = ("time",)

    def __init__(self, time: int | None = None) -> None:
        self.time = time

    def merge(self, other: Newest, /) -> None:
        """Add others."""
        if other.time is not None:
            self.time = other.time if self.time is None else max(self.time, other.time)


class NewestFold:
    """Find the newest time."""

    __slots__ = ()

    def run(self, reader: _native.Reader, extent: Extent, /) -> Newest:
        """Of all that the reader gives."""
        return Newest(reader.newest())


class Ages:
    """How many entries have the age of so many whole days, in `by_day`."""

    __slots__ = ("by_day",)

    def __init__(self, by_day: dict[int, int] | None = None) -> None:
        self.by_day = {} if by_day is None else by_day

    def merge(self, other: Ages, /) -> None:
        """Add others."""
        for day, entries in other.by_day.items():
            self.by_day[day] = self.by_day.get(day, 0) + entries


class AgesFold:
    """Count entries by their age.

    Parameters
    ----------
    now
        From when ages are counted back, in seconds since 1970.
    chosen
        Which entries.

    Raises
    ------
    UsageError
        As `EntryFilter.native`.
    """

    __slots__ = ("_filter", "chosen", "now")

    def __init__(self, now: int, chosen: EntryFilter | None = None) -> None:
        self.now = now
        self.chosen = chosen or EntryFilter()
        self._filter = self.chosen.native()

    def __reduce__(self) -> tuple[object, ...]:
        return (AgesFold, (self.now, self.chosen))

    def run(self, reader: _native.Reader, extent: Extent, /) -> Ages:
        """Of all that the reader gives."""
        return Ages(dict(reader.ages(self.now, self._filter)))
