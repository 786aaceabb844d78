"""Flipped bits in TFRecords: found by the checksums, and named.

A checksum that fails by one flipped bit says which one it was: CRC-32C is linear, so the difference
between what is stored and what the bytes give depends on the bit's distance to the end alone. It is
stepped back to the bit (see native/flips.cc), never guessed. That one bit explains a damage does
not prove that no more was damaged: `Flip.one_in` says how often chance would look the same.

Only plain files, and records of `MAX_FLIP_BYTES` at most: in longer ones chance explains too much,
and of SNAPPY blocks nobody checks what is stored.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple, Protocol

from monolith_cli import _native
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from monolith_cli.formats.tfrecord import DumpFile, Skipped

__all__ = ["CROWD_BYTES", "MAX_CROWD", "MAX_FLIP_BYTES", "Flip", "find_flip", "name_flips"]

MAX_FLIP_BYTES = 64 << 10
"""Flipped bits are looked for in records that hold no more than this."""

CROWD_BYTES = 4 << 10
MAX_CROWD = 3
"""Where more records than this are damaged in so many bytes of a file, no bit is named there: what
happened was no single bit."""

_HEADER_BYTES = 12
_FRAME_BYTES = 16
_KINDS = ("bad_data_crc", "bad_length_crc")

_UNDER_HEADER = 2**64 // (8 * _HEADER_BYTES)
"""Chance must hit one of a header's bits, and then the checksum of the data as well."""


class _File(Protocol):
    """What is read of a file: see `OpenFile`."""

    @property
    def size(self) -> int: ...

    def read(self, offset: int, size: int) -> bytes: ...


class Flip(NamedTuple):
    """A bit that makes all checks of a record hold if it is flipped; no other one does.

    Attributes
    ----------
    position
        Where the record's frame begins in the file.
    length
        How many bytes of data the record has, with the bit flipped.
    offset, bit
        The byte in the file, and the bit in that byte: 0 is the lowest, 7 the highest one.
    part
        Of the record: `length`, `length_crc`, `data` or `data_crc`.
    one_in
        If more than one bit was damaged, chance names a bit in one of so many records.
    field
        What the bit belongs to, such as `num[4]`, `fid` or `opt[0].adagrad.norm[3]`. Empty where
        nobody knows what the record holds.
    old, new
        Its value as it is read now, and with the bit flipped. Floats are in the shortest form
        that reads back as the same float32.
    """

    position: int
    length: int
    offset: int
    bit: int
    part: str
    one_in: int
    field: str = ""
    old: str = ""
    new: str = ""

    def mend(self, data: bytes, start: int) -> bytes:
        """Bytes of the file from `start` on, with the bit flipped if it is among them."""
        at = self.offset - start
        if not 0 <= at < len(data):
            return data
        return data[:at] + bytes([data[at] ^ 1 << self.bit]) + data[at + 1 :]

    @property
    def change(self) -> str:
        """What the bit changes, such as `num[4]: 0.0123 → -0.0123`: as read now, and mended."""
        return f"{self.field}: {self.old} → {self.new}" if self.field else "the record's data"

    @property
    def sentence(self) -> str:
        """All of it, for people."""
        one_in = f"{self.one_in:,}" if self.one_in < 10**12 else f"10^{len(str(self.one_in)) - 1}"
        what = "the checksum" if self.part.startswith("data") else "the record"
        return (
            f"flipping bit {self.bit} of byte {self.offset:,} makes {what} hold"
            f" (by chance once in {one_in} such records, if more was damaged);"
            f" it flipped after the record was framed; {self.change}"
        )


def find_flip(file: _File, position: int, message: str | None = None) -> Flip | None:
    """The one bit whose flip makes a record hold; None if there is none, or more than one.

    Of a header, the data and what comes behind must hold too then. Costs a look at the record, and
    a few instructions for each of its bytes.

    Parameters
    ----------
    file
        A plain file of TFRecords, open.
    position
        Where the record's frame begins.
    message
        What the record holds, so that the field can be named: `entry`, `contents`, `filter` or
        `filter_meta`; None if that is not known.
    """
    header = file.read(position, _HEADER_BYTES)
    if len(header) < _HEADER_BYTES:
        return None
    if not _holds(header):
        return _in_header(file, position, header)
    length = _length(header)
    if length > MAX_FLIP_BYTES:
        return None
    block = file.read(position + _HEADER_BYTES, length + 4)
    bits = _native.flips_that_mend(block) if len(block) == length + 4 else []
    if len(bits) != 1:
        return None
    offset, bit = position + _HEADER_BYTES + bits[0] // 8, bits[0] % 8
    odds = 2**32 // (8 * len(block))
    if bits[0] >= 8 * length:
        flip = Flip(position, length, offset, bit, "data_crc", odds)
        return _of_checksum(flip, block[-4:], bits[0] - 8 * length)
    flip = Flip(position, length, offset, bit, "data", odds)
    place = _native.place_of_bit(block[:-4], bits[0], message) if message else None
    if place is None:
        return flip
    field, old, new = (value.decode("utf-8", "backslashreplace") for value in place)
    return flip._replace(field=field, old=old, new=new)


def name_flips(
    file: DumpFile, damage: Sequence[Skipped], message: str | None = "entry"
) -> list[Flip | None]:
    """Which bit flipped, for each damage of a file; None where it was none, or not one alone.

    Parameters
    ----------
    file
        A file of records. Of a SNAPPY file nothing is named.
    damage
        All that was met in it: where it is crowded nothing is named.
    message
        As in `find_flip`. With `filter` the first record is one of `filter_meta`.

    Raises
    ------
    PathNotFoundError, NotReadableError, ChangedWhileReadError
        The file went away, or was written to.
    """
    flips: list[Flip | None] = [None] * len(damage)
    if not damage or file.open().compression != "plain":
        return flips
    crowded = _crowded(each.position for each in damage)
    with store_of(file.path).open(file.path) as opened:
        for number, each in enumerate(damage):
            if each.kind in _KINDS and each.position not in crowded:
                is_first = message == "filter" and each.position == 0
                holds = "filter_meta" if is_first else message
                flips[number] = find_flip(opened, each.position, holds)
    file.check_unchanged()
    return flips


def _crowded(positions: Iterable[int]) -> set[int]:
    """Those of which more than `MAX_CROWD` lie within `CROWD_BYTES`."""
    ordered = sorted(set(positions))
    crowded: set[int] = set()
    for first, position in enumerate(ordered):
        behind = bisect_left(ordered, position + CROWD_BYTES, first)
        if behind - first > MAX_CROWD:
            crowded.update(ordered[first:behind])
    return crowded


def _in_header(file: _File, position: int, header: bytes) -> Flip | None:
    found = []
    for number in _native.flips_that_mend(header):
        offset, bit = position + number // 8, number % 8
        flip = Flip(position, 0, offset, bit, "length_crc", _UNDER_HEADER)
        mended = flip.mend(header, position)
        length = _length(mended)
        if not _record_holds(file, position, length):
            continue
        flip = flip._replace(length=length)
        if number < 64:
            old, new = f"{_length(header):,}", f"{length:,}"
            found.append(flip._replace(part="length", field="the length", old=old, new=new))
        else:
            found.append(_of_checksum(flip, header[8:], number - 64))
    return found[0] if len(found) == 1 else None


def _record_holds(file: _File, position: int, length: int) -> bool:
    """Whether data of this length holds there, and a good header or the file's end is behind it."""
    behind = position + _FRAME_BYTES + length
    if length > MAX_FLIP_BYTES or behind > file.size:
        return False
    block = file.read(position + _HEADER_BYTES, length + 4)
    if len(block) < length + 4 or not _holds(block):
        return False
    if behind == file.size:
        return True
    header = file.read(behind, _HEADER_BYTES)
    return len(header) == _HEADER_BYTES and _holds(header)


def _holds(block: bytes) -> bool:
    """Whether bytes fit the masked checksum behind them."""
    (stored,) = struct.unpack("<I", block[-4:])
    return bool(_native.masked_crc32c(memoryview(block)[:-4]) == stored)


def _length(header: bytes) -> int:
    (length,) = struct.unpack("<Q", header[:8])
    return int(length)


def _of_checksum(flip: Flip, stored: bytes, number: int) -> Flip:
    """The same with what the checksum says, and what it said; `number` is that of its bit."""
    (old,) = struct.unpack("<I", stored)
    what = "the data" if flip.part == "data_crc" else "the length"
    field = f"the checksum of {what}"
    return flip._replace(field=field, old=f"{old:#010x}", new=f"{old ^ 1 << number:#010x}")
