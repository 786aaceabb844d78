"""Dtypes and shapes as TensorFlow's messages have them.

Source: tensorflow/core/framework/types.proto and tensor_shape.proto.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from monolith_cli.formats import wire

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["DTYPE_BYTES", "dtype_name", "dtype_number", "format_shape", "parse_shape"]

_Bytes = TypeVar("_Bytes", bytes, memoryview)
_MAX_RANK = 254

_FIXED = {
    1: ("float32", 4),
    2: ("float64", 8),
    3: ("int32", 4),
    4: ("uint8", 1),
    5: ("int16", 2),
    6: ("int8", 1),
    8: ("complex64", 8),
    9: ("int64", 8),
    10: ("bool", 1),
    11: ("qint8", 1),
    12: ("quint8", 1),
    13: ("qint32", 4),
    14: ("bfloat16", 2),
    15: ("qint16", 2),
    16: ("quint16", 2),
    17: ("uint16", 2),
    18: ("complex128", 16),
    19: ("float16", 2),
    22: ("uint32", 4),
    23: ("uint64", 8),
    24: ("float8_e5m2", 1),
    25: ("float8_e4m3fn", 1),
    26: ("float8_e4m3fnuz", 1),
    27: ("float8_e4m3b11fnuz", 1),
    28: ("float8_e5m2fnuz", 1),
    29: ("int4", 1),
    30: ("uint4", 1),
    31: ("int2", 1),
    32: ("uint2", 1),
    33: ("float4_e2m1fn", 1),
}
_NAMES = {number: name for number, (name, _) in _FIXED.items()}
_NAMES |= {7: "string", 20: "resource", 21: "variant"}
_NUMBERS = {name: number for number, name in _NAMES.items()}

DTYPE_BYTES = dict(_FIXED.values())
"""Bytes of an element, by name, of the dtypes whose elements have a fixed size."""


def dtype_name(number: int) -> str:
    """Such as `float32`, `string` or `variant`; `dtype 99` for a number that is not known."""
    return _NAMES.get(number, f"dtype {number}")


def dtype_number(name: str) -> int:
    """The number of a dtype that has a name.

    Raises
    ------
    KeyError
        There is none of that name.
    """
    return _NUMBERS[name]


def parse_shape(data: _Bytes) -> tuple[int, ...]:
    """A TensorShapeProto.

    Raises
    ------
    ValueError
        It is no message, its rank is unknown, or a size is negative.
    """
    shape: list[int] = []
    for number, wire_type, value in wire.fields(data):
        if number == 2 and not isinstance(value, int) and wire_type == 2:
            size = 0
            for inner_number, _, inner in wire.fields(value):
                if inner_number == 1 and isinstance(inner, int):
                    size = inner
            if size >= 1 << 63:
                raise ValueError("a dimension of unknown size")
            shape.append(size)
        elif number == 3 and value:
            raise ValueError("a shape of unknown rank")
    if len(shape) > _MAX_RANK:
        raise ValueError(f"a shape of {len(shape)} dimensions")
    return tuple(shape)


def format_shape(shape: Sequence[int]) -> bytes:
    """A TensorShapeProto, as protobuf writes it."""
    return b"".join(wire.bytes_field(2, wire.varint_field(1, size)) for size in shape)
