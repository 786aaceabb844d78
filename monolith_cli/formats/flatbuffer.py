"""FlatBuffers, as far as messages of Arrow need them: writing."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Scalar", "Structs", "Table", "Tables", "Text", "write_root"]


class Scalar(NamedTuple):
    """A number in a table: how `struct` packs it, and its value."""

    form: str
    value: int


class Text(NamedTuple):
    """A string, as bytes."""

    data: bytes


class Structs(NamedTuple):
    """A vector of structs of fixed layout: how `struct` packs one, how it is aligned, and each."""

    form: str
    alignment: int
    rows: Sequence[tuple[int, ...]]


class Table(NamedTuple):
    """A table: its fields by their number; None is left out."""

    fields: Sequence[Scalar | Text | Structs | Table | Tables | None]


class Tables(NamedTuple):
    """A vector of tables."""

    tables: Sequence[Table]


def write_root(table: Table) -> bytes:
    """A buffer with that table as its root; its length is a multiple of 8."""
    out = bytearray(4)
    struct.pack_into("<I", out, 0, _table(table, out))
    _pad(out, 8)
    return bytes(out)


def _pad(out: bytearray, alignment: int, ahead: int = 0) -> None:
    """Zeros up to where what comes `ahead` bytes later is aligned."""
    out += bytes(-(len(out) + ahead) % alignment)


def _table(table: Table, out: bytearray) -> int:
    # The vector of places comes first, then the table, then what it refers to.
    places = [0] * len(table.fields)
    size = 4
    for number, field in enumerate(table.fields):
        if field is None:
            continue
        width = struct.calcsize("<" + field.form) if isinstance(field, Scalar) else 4
        size += -size % width
        places[number] = size
        size += width
    vector = struct.pack(f"<HH{len(places)}H", 4 + 2 * len(places), size, *places)
    _pad(out, 8, len(vector))
    at = len(out)
    out += vector
    start = len(out)
    out += bytes(size)
    struct.pack_into("<i", out, start, start - at)
    for place, field in zip(places, table.fields, strict=True):
        if isinstance(field, Scalar):
            struct.pack_into("<" + field.form, out, start + place, field.value)
        elif field is not None:
            _refer(start + place, _object(field, out), out)
    return start


def _refer(place: int, target: int, out: bytearray) -> None:
    struct.pack_into("<I", out, place, target - place)


def _object(field: Text | Structs | Table | Tables, out: bytearray) -> int:
    if isinstance(field, Table):
        return _table(field, out)
    if isinstance(field, Text):
        _pad(out, 4)
        start = len(out)
        out += struct.pack("<I", len(field.data)) + field.data + b"\0"
        return start
    if isinstance(field, Structs):
        _pad(out, max(field.alignment, 4), 4)
        start = len(out)
        out += struct.pack("<I", len(field.rows))
        for row in field.rows:
            out += struct.pack("<" + field.form, *row)
        return start
    _pad(out, 4)
    start = len(out)
    out += struct.pack("<I", len(field.tables)) + bytes(4 * len(field.tables))
    for i, table in enumerate(field.tables):
        _refer(start + 4 + 4 * i, _table(table, out), out)
    return start
