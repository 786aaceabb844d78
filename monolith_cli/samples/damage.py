"""Damage on request: a bit that flips in a record of a sample, as bad memory or a disk has it."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from monolith_cli.errors import UsageError
from monolith_cli.samples.entries import generator

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FlippedBit", "flip_a_bit"]

_RECORDS = 1000
"""The record is one of the first so many."""

_HEADER = struct.Struct("<QI")
_BLOCK_HEADER = struct.Struct(">I")
_FOOTER_BYTES = 4


class FlippedBit(NamedTuple):
    """A bit that is not what it was: of which file, in the byte at which offset, its number.

    The file's name is relative to the model directory; bit 0 is the lowest.
    """

    file: str
    offset: int
    bit: int


def flip_a_bit(directory: Path, name: str, seed: int, *, snappy: bool = False) -> FlippedBit:
    """Flip a bit in the data of a record, or with `snappy` of the first block, in place.

    Raises
    ------
    UsageError
        The file holds no record.
    """
    rng = generator(seed, 2)
    with (directory / name).open("r+b") as file:
        places = _blocks(file) if snappy else _records(file)
        if not places:
            raise UsageError("no entry is there whose bit could flip", path=directory / name)
        start, size = places[int(rng.integers(len(places)))]
        offset, bit = start + int(rng.integers(size)), int(rng.integers(8))
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 1 << bit]))
    return FlippedBit(name, offset, bit)


def _records(file: BinaryIO) -> list[tuple[int, int]]:
    """Where the data of the first records is, and how many bytes."""
    places: list[tuple[int, int]] = []
    offset = 0
    while len(places) < _RECORDS and len(header := file.read(_HEADER.size)) == _HEADER.size:
        length, _ = _HEADER.unpack(header)
        places.append((offset + _HEADER.size, length))
        offset += _HEADER.size + length + _FOOTER_BYTES
        file.seek(offset)
    return places


def _blocks(file: BinaryIO) -> list[tuple[int, int]]:
    """Where the data of the first block is, and how many bytes."""
    header = file.read(_BLOCK_HEADER.size)
    return [(_BLOCK_HEADER.size, _BLOCK_HEADER.unpack(header)[0])] if header else []
