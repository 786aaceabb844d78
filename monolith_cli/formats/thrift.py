"""Thrift's compact protocol, as far as footers and page headers of Parquet need it: writing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["BINARY", "BOOL", "BYTE", "I16", "I32", "I64", "STRUCT", "Field", "Many", "write_struct"]

BOOL, BYTE, I16, I32, I64, BINARY, STRUCT = 1, 3, 4, 5, 6, 8, 12
"""The types of values, as the protocol numbers them; `BOOL` is true."""
_FALSE, _LIST = 2, 9


class Many(NamedTuple):
    """The type of a list: that of its values, one of the constants above but `BOOL`."""

    type: int


class Field(NamedTuple):
    """A field of a struct; one whose value is None is left out.

    Attributes
    ----------
    number
        They ascend within a struct.
    type
        One of the constants above, or `Many` of one.
    value
        A bool, an int, bytes, or the fields of a struct; a sequence of those of a list.
    """

    number: int
    type: int | Many
    value: Any


def write_struct(fields: Sequence[Field]) -> bytes:
    """The bytes of a struct."""
    out = bytearray()
    _struct(fields, out)
    return bytes(out)


def _struct(fields: Sequence[Field], out: bytearray) -> None:
    last = 0
    for number, kind, value in fields:
        if value is None:
            continue
        code = _LIST if isinstance(kind, Many) else kind
        if kind == BOOL and not value:
            code = _FALSE
        step = number - last
        if 1 <= step <= 15:
            out.append(step << 4 | code)
        else:
            out.append(code)
            _varint(_zigzag(number), out)
        last = number
        _value(kind, value, out)
    out.append(0)


def _value(kind: int | Many, value: Any, out: bytearray) -> None:
    if isinstance(kind, Many):
        if len(value) < 15:
            out.append(len(value) << 4 | kind.type)
        else:
            out.append(15 << 4 | kind.type)
            _varint(len(value), out)
        for each in value:
            _value(kind.type, each, out)
    elif kind == STRUCT:
        _struct(value, out)
    elif kind == BINARY:
        _varint(len(value), out)
        out += value
    elif kind == BYTE:
        out.append(value & 0xFF)
    elif kind != BOOL:
        _varint(_zigzag(value), out)


def _zigzag(value: int) -> int:
    return value << 1 if value >= 0 else (-value << 1) - 1


def _varint(value: int, out: bytearray) -> None:
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
