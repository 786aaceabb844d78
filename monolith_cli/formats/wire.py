"""Protobuf's wire format, for the few small messages about tables and hash filters.

Reading them takes no protobuf runtime, whose import costs more than counting a small directory.
Entries are parsed by the native core instead. As with protobuf, a reader takes any field order and
unknown fields, the last value of a field counts, and a field of another wire type is unknown.

The encoding is that of https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "HashFilterMeta",
    "SlidingHashFilterMeta",
    "TableMeta",
    "bytes_field",
    "encode_table_meta",
    "encode_varint",
    "fields",
    "fixed32_field",
    "parse_hash_filter_meta",
    "parse_table_meta",
    "read_varint",
    "varint_field",
]

_Bytes = TypeVar("_Bytes", bytes, memoryview)

_VARINT, _FIXED64, _BYTES, _GROUP, _GROUP_END, _FIXED32 = range(6)


class TableMeta(NamedTuple):
    """MultiHashTableMetadata: a table in one shard of a multi table dump."""

    table_name: str
    num_entries: int


class SlidingHashFilterMeta(NamedTuple):
    """The part of HashFilterMeta that belongs to a sliding filter."""

    split_num: int = 0
    max_forward_step: int = 0
    max_backward_step: int = 0
    max_step: int = 0
    head: int = 0
    head_increment: int = 0
    failure_count: int = 0


class HashFilterMeta(NamedTuple):
    """HashFilterSplitMetaDump: the first record of a hash filter's file."""

    failure_count: int = 0
    total_size: int = 0
    num_elements: int = 0
    fill_rate: float = 0.0
    sliding: SlidingHashFilterMeta = SlidingHashFilterMeta()


def fields(data: _Bytes) -> Iterator[tuple[int, int, int | _Bytes]]:
    """Number, wire type and value of every field in turn.

    The value of a varint (wire type 0) is an int in 0 .. 2**64 - 1; others are bytes, fixed ones
    (1 and 5) as stored. Groups are passed over with all that is in them. Of a memory view the
    values are views, so that nothing is copied.

    Raises
    ------
    ValueError
        The bytes are no message.
    """
    position = 0
    groups: list[int] = []
    while position < len(data):
        tag, position = read_varint(data, position)
        number, wire_type = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise ValueError(f"no field has the number {number}")
        value: int | _Bytes
        if wire_type == _GROUP:
            groups.append(number)
            continue
        if wire_type == _GROUP_END:
            if not groups or groups.pop() != number:
                raise ValueError("a group ends that did not begin")
            continue
        if wire_type == _VARINT:
            value, position = read_varint(data, position)
        else:
            if wire_type == _BYTES:
                size, position = read_varint(data, position)
            elif wire_type in (_FIXED64, _FIXED32):
                size = 8 if wire_type == _FIXED64 else 4
            else:
                raise ValueError(f"no such wire type: {wire_type}")
            if size > len(data) - position:
                raise ValueError("a field reaches beyond the end of the message")
            value = data[position : position + size]
            position += size
        if not groups:
            yield number, wire_type, value
    if groups:
        raise ValueError("a group does not end")


def read_varint(data: bytes | memoryview, position: int) -> tuple[int, int]:
    """A varint, in 0 .. 2**64 - 1, and the position behind it.

    Raises
    ------
    ValueError
        The bytes end before it does, or it is longer than any.
    """
    value = 0
    for shift in range(0, 70, 7):
        if position == len(data):
            raise ValueError("a number reaches beyond the end of the message")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, position
    raise ValueError("a number of more than ten bytes")


def parse_table_meta(data: bytes) -> TableMeta:
    """Parse a MultiHashTableMetadata; bytes of the name that are no UTF-8 become surrogates.

    Raises
    ------
    ValueError
        The bytes are no message.
    """
    name, num_entries = b"", 0
    for field in fields(data):
        match field:
            case 1, 2, bytes(value):
                name = value
            case 2, 0, int(value):
                num_entries = value
    return TableMeta(name.decode("utf-8", "surrogateescape"), num_entries)


def encode_table_meta(table_name: str, num_entries: int) -> bytes:
    """A MultiHashTableMetadata, as protobuf writes it."""
    name = table_name.encode("utf-8", "surrogateescape")
    return bytes_field(1, name) + varint_field(2, num_entries)


def parse_hash_filter_meta(data: bytes) -> HashFilterMeta:
    """Parse a HashFilterSplitMetaDump.

    Raises
    ------
    ValueError
        The bytes are no message.
    """
    numbers, fill_rate, sliding = [0, 0, 0], 0.0, b""
    for field in fields(data):
        match field:
            case 1 | 2 | 3 as number, 0, int(value):
                numbers[number - 1] = value
            case 4, 1, bytes(value):
                (fill_rate,) = struct.unpack("<d", value)
            case 5, 2, bytes(value):
                sliding += value  # messages merge by concatenation
    failure_count, total_size, num_elements = numbers
    return HashFilterMeta(
        failure_count, total_size, num_elements, fill_rate, _parse_sliding(sliding)
    )


def encode_varint(value: int) -> bytes:
    """`value` modulo 2**64, so that negative numbers come out as protobuf writes an int64."""
    value &= 0xFFFF_FFFF_FFFF_FFFF
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def varint_field(number: int, value: int) -> bytes:
    """A field of type int32, int64, uint32, uint64, bool or enum."""
    return _tag(number, _VARINT) + encode_varint(value)


def bytes_field(number: int, value: bytes) -> bytes:
    """A field of type string, bytes, or message (serialized)."""
    return _tag(number, _BYTES) + encode_varint(len(value)) + value


def fixed32_field(number: int, value: int) -> bytes:
    """A field of type fixed32, 0 .. 2**32 - 1."""
    return _tag(number, _FIXED32) + struct.pack("<I", value)


def _tag(number: int, wire_type: int) -> bytes:
    return encode_varint(number << 3 | wire_type)


def _parse_sliding(data: bytes) -> SlidingHashFilterMeta:
    values = [0] * 7
    for field in fields(data):
        match field:
            case 7, 0, int(value):
                values[6] = value
            case 1 | 2 | 3 | 4 | 5 | 6 as number, 0, int(value):
                values[number - 1] = value & 0xFFFF_FFFF  # uint32
    return SlidingHashFilterMeta(*values)
