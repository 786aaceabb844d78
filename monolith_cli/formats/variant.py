"""Variant tensors: TensorFlow's values of other kinds, of which iterator states are one.

An element is a VariantTensorDataProto: a type's name, metadata, and tensors. TensorFlow's iterators
make one for each of their parts. Its metadata is the part's name and the keys of its values with
`@@` between them; the values are tensors in the order of the keys, or, in newer versions, one
tensor that is itself a variant, a CompressedElement: all values' bytes end to end, snappy, with
dtype, shape and sizes of each.

Source: VariantTensorDataProto in tensorflow/core/framework/tensor.proto, tensorflow/core/framework/
dataset.proto, and how tensorflow/core/data/serialization_utils writes them.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli._native import (
    snappy_decompress_ranges,
    state_part_head,
    state_part_values,
    variant_places,
    variant_type,
)
from monolith_cli.formats import wire
from monolith_cli.formats.dtypes import DTYPE_BYTES, dtype_name, dtype_number

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "StatePart",
    "StateValue",
    "VariantElement",
    "encode_state_part",
    "parse_state_part",
]

_SMALL_BYTES = 4096
"""Values up to this size are uncompressed together, as whoever wants one wants most."""

_SIGNED = ("int64", "int32", "int16", "int8")
_UNSIGNED = ("uint64", "uint32", "uint16", "uint8", "bool")

# Fields of a TensorProto that hold numbers: those of a fixed size as they lie in memory, each of
# the others as a varint.
_FIXED_FIELDS = (5, 6, 9, 12, 18)
_VARINT_FIELDS = (7, 10, 11, 13, 16, 17)
_CONTENT_FIELD = 4
_STRING_FIELD = 8


class VariantElement:
    """One element of a variant tensor.

    Attributes
    ----------
    data
        The message; what follows are views of it.
    type_name
        Such as `tensorflow::Iterator`.

    Raises
    ------
    ValueError
        The bytes are no VariantTensorDataProto.
    """

    __slots__ = ("data", "type_name")

    def __init__(self, data: bytes | memoryview) -> None:
        self.data = memoryview(data)
        self.type_name = variant_type(data)

    @property
    def metadata(self) -> memoryview:
        """What the type makes of it."""
        place, _ = variant_places(self.data)
        return self.data[slice(*place)]

    @property
    def tensors(self) -> list[memoryview]:
        """Serialized TensorProtos."""
        _, places = variant_places(self.data)
        return [self.data[slice(*place)] for place in places]


class StateValue(NamedTuple):
    """A value in a part of an iterator's state.

    Attributes
    ----------
    key
        Without the part's name, which some have in it.
    dtype, shape
        Of the tensor that it is.
    sizes
        Bytes of what it is made of: of each string, else of the whole.
    """

    key: str
    dtype: str
    shape: tuple[int, ...]
    sizes: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """Its size in memory, uncompressed."""
        return sum(self.sizes)


class StatePart:
    """A part of an iterator's state: values under one name, such as that of a dataset's node.

    The values' bytes are uncompressed when they are asked for: small ones all together, and then
    kept; others alone, each time.

    Parameters
    ----------
    data
        Of the element; it is kept, and so is all that it is a view of.

    Attributes
    ----------
    name
        Such as `Iterator::Root::Prefetch::BatchV2`.

    Raises
    ------
    ValueError
        The element is something else, or its values and keys do not agree.
    """

    __slots__ = ("_content_bytes", "_data", "_places", "_small", "_starts", "_values", "name")

    def __init__(self, data: memoryview) -> None:
        self.name, self._content_bytes = state_part_head(data)  # no size: nothing is compressed
        self._data = data
        # Most parts are elements in buffers, of which nobody asks more than their size.
        self._values: tuple[StateValue, ...] | None = None
        self._starts: list[int] | None = None
        self._small: dict[int, bytes] | None = None

    @property
    def values(self) -> tuple[StateValue, ...]:
        """In the order in which they were written."""
        if self._values is None:
            values, self._places = state_part_values(self._data)
            if self._content_bytes is None:
                self._values = tuple(map(_stored_value, values, self._places))
            else:
                self._values = tuple(
                    [
                        StateValue(key, dtype_name(dtype), shape, sizes)
                        for key, dtype, shape, sizes in values
                    ]
                )
        return self._values

    @property
    def size_bytes(self) -> int:
        """Of all values in memory, uncompressed."""
        if self._content_bytes is None:
            return sum(value.size_bytes for value in self.values)
        return self._content_bytes

    def get(self, key: str) -> int | bytes | None:
        """The integer or string under a key; None for anything else, and without such a key.

        Raises
        ------
        ValueError
            The values do not decompress.
        """
        for i, value in enumerate(self.values):
            if value.key == key:
                return self.scalar(i)
        return None

    def scalar(self, i: int) -> int | bytes | None:
        """The i-th value if it is one integer or one string, else None.

        Raises
        ------
        ValueError
            The values do not decompress.
        """
        value = self.values[i]
        if math.prod(value.shape) != 1 or len(value.sizes) != 1:
            return None
        if value.dtype == "string":
            return self.content(i)
        if value.sizes[0] != DTYPE_BYTES.get(value.dtype):
            return None
        if value.dtype in _SIGNED or value.dtype in _UNSIGNED:
            return int.from_bytes(self.content(i), "little", signed=value.dtype in _SIGNED)
        return None

    def content(self, i: int) -> bytes:
        """The bytes of the i-th value: in C order, strings end to end.

        Of a variant, or another dtype without a size, a serialized TensorProto.

        Raises
        ------
        ValueError
            The values do not decompress.
        """
        value = self.values[i]
        if self._content_bytes is None:
            return _tensor_content(self._data[slice(*self._places[i])], value)
        if value.size_bytes > _SMALL_BYTES:
            return self._decompressed([i])[i]
        if self._small is None:
            self._small = self._decompressed(
                [j for j, other in enumerate(self.values) if other.size_bytes <= _SMALL_BYTES]
            )
        return self._small[i]

    def _decompressed(self, which: list[int]) -> dict[int, bytes]:
        block = self._data[slice(*self._places[0])]
        if not block:
            return dict.fromkeys(which, b"")
        if self._starts is None:
            sizes = (value.size_bytes for value in self.values)
            self._starts = list(itertools.accumulate(sizes, initial=0))
        ranges = [(self._starts[i], self._starts[i + 1]) for i in which]
        return dict(zip(which, snappy_decompress_ranges(block, ranges), strict=True))


def parse_state_part(element: VariantElement) -> StatePart:
    """A part of an iterator's state; raises as `StatePart`."""
    return StatePart(element.data)


def encode_state_part(name: str, values: Mapping[str, int]) -> bytes:
    """An element with a part of an iterator's state, of integers alone, uncompressed.

    Parameters
    ----------
    name
        Such as `Iterator::Root::Prefetch::BatchV2`.
    values
        By key; none is negative.
    """
    metadata = "@@".join([name, *values])
    element = wire.bytes_field(1, b"tensorflow::Iterator") + wire.bytes_field(2, metadata.encode())
    for value in values.values():
        scalar = wire.varint_field(1, dtype_number("int64")) + wire.bytes_field(2, b"")
        element += wire.bytes_field(3, scalar + wire.varint_field(10, value))
    return element


def _stored_value(
    value: tuple[str, int, tuple[int, ...], tuple[int, ...]], place: tuple[int, int]
) -> StateValue:
    """A value that is a TensorProto, whose strings' sizes alone are known."""
    key, dtype, shape, sizes = value
    name = dtype_name(dtype)
    if name in DTYPE_BYTES:
        sizes = (math.prod(shape) * DTYPE_BYTES[name],)
    elif name != "string":
        sizes = (place[1] - place[0],)
    return StateValue(key, name, shape, sizes)


def _tensor_content(tensor: memoryview, value: StateValue) -> bytes:
    """A TensorProto's values, as they would lie in memory."""
    if value.dtype not in DTYPE_BYTES and value.dtype != "string":
        return bytes(tensor)
    size = DTYPE_BYTES.get(value.dtype, 0)
    # Of a complex number both parts are written by themselves.
    found: list[bytes] = []
    for number, wire_type, field in wire.fields(tensor):
        if isinstance(field, int):
            if number in _VARINT_FIELDS:
                found.append(_little_endian(field, size))
        elif wire_type == 2 and number in _VARINT_FIELDS:
            position = 0
            while position < len(field):
                one, position = wire.read_varint(field, position)
                found.append(_little_endian(one, size))
        elif number in _FIXED_FIELDS or (
            wire_type == 2 and number in (_CONTENT_FIELD, _STRING_FIELD)
        ):
            found.append(bytes(field))
    content = b"".join(found)
    if len(content) != value.size_bytes:
        raise ValueError(f"{len(content)} bytes in a {value.dtype} of {value.size_bytes}")
    return content


def _little_endian(number: int, size: int) -> bytes:
    """The lowest bytes of a number."""
    return (number & (1 << 8 * size) - 1).to_bytes(size, "little")
