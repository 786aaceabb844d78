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

import math
from typing import NamedTuple

from monolith_cli.formats import wire
from monolith_cli.formats.dtypes import DTYPE_BYTES, dtype_name, parse_shape

__all__ = ["MAX_VALUES_BYTES", "StatePart", "StateValue", "VariantElement", "parse_state_part"]

MAX_VALUES_BYTES = 2**31 - 1
"""More bytes of values in one part are taken for damage; protobuf ends there, too."""

_DELIMITER = b"@@"
_INTEGERS = {7, 10, 11, 16, 17}
"""Fields of a TensorProto: int_val, int64_val, bool_val, uint32_val, uint64_val."""

_COMPRESSED = "tensorflow.data.CompressedElement"


class VariantElement:
    """One element of a variant tensor.

    Attributes
    ----------
    type_name
        Such as `tensorflow::Iterator`.
    metadata
        What the type makes of it; views of the given bytes, as all that follows.
    tensors
        Serialized TensorProtos.

    Raises
    ------
    ValueError
        The bytes are no VariantTensorDataProto.
    """

    __slots__ = ("metadata", "tensors", "type_name")

    def __init__(self, data: bytes | memoryview) -> None:
        self.type_name, self.metadata = "", memoryview(b"")
        self.tensors: list[memoryview] = []
        for number, wire_type, value in wire.fields(memoryview(data)):
            if wire_type == 2 and isinstance(value, memoryview):
                if number == 1:
                    self.type_name = _text(value)
                elif number == 2:
                    self.metadata = value
                elif number == 3:
                    self.tensors.append(value)


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

    Values are uncompressed when the first one is asked for; what is known of them is there before.

    Attributes
    ----------
    name
        Such as `Iterator::Root::Prefetch::BatchV2`.
    values
        In the order in which they were written.
    """

    __slots__ = ("_compressed", "_content", "_stored", "name", "values")

    def __init__(
        self,
        name: str,
        values: tuple[StateValue, ...],
        *,
        compressed: memoryview | None = None,
        stored: list[bytes] | None = None,
    ) -> None:
        self.name = name
        self.values = values
        self._compressed = compressed
        self._stored = stored
        self._content: bytes | None = None

    @property
    def size_bytes(self) -> int:
        """The size of all values in memory, uncompressed."""
        return sum(value.size_bytes for value in self.values)

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
        if value.dtype in ("int64", "int32", "uint64", "uint32", "bool"):
            return int.from_bytes(self.content(i), "little", signed=value.dtype[0] == "i")
        return None

    def content(self, i: int) -> bytes:
        """The bytes of the i-th value: in C order, strings end to end.

        Raises
        ------
        ValueError
            The values do not decompress.
        """
        if self._stored is not None:
            return self._stored[i]
        if self._content is None:
            self._content = self._decompressed()
        start = sum(value.size_bytes for value in self.values[:i])
        return self._content[start : start + self.values[i].size_bytes]

    def _decompressed(self) -> bytes:
        from monolith_cli._native import snappy_decompress

        if self._compressed is None:
            return b""
        # What it says of its length is checked before that much is allocated.
        length, _ = wire.read_varint(self._compressed, 0)
        if length != self.size_bytes:
            raise ValueError(f"{length} bytes of values that take {self.size_bytes}")
        return snappy_decompress(bytes(self._compressed))


def parse_state_part(element: VariantElement) -> StatePart:
    """A part of an iterator's state.

    Raises
    ------
    ValueError
        The element is something else, or its values and keys do not agree.
    """
    name, *keys = (_text(part) for part in bytes(element.metadata).split(_DELIMITER))
    keys = [key.rpartition("|")[2].removeprefix(name) for key in keys]
    compressed = _compressed_element(element.tensors[0]) if len(element.tensors) == 1 else None
    stored: list[bytes] | None = None
    if compressed is not None:
        data, components = compressed
    else:
        data, stored, components = None, [], []
        for tensor in element.tensors:
            component, content = _parse_tensor(tensor)
            components.append(component)
            stored.append(content)
    if len(components) != len(keys):
        raise ValueError(f"{len(keys)} keys and {len(components)} values")
    values = tuple(
        StateValue(key, dtype, shape, sizes)
        for key, (dtype, shape, sizes) in zip(keys, components, strict=True)
    )
    if sum(value.size_bytes for value in values) > MAX_VALUES_BYTES:
        raise ValueError(f"{sum(value.size_bytes for value in values)} bytes of values")
    return StatePart(name, values, compressed=data, stored=stored)


_Component = tuple[str, tuple[int, ...], tuple[int, ...]]


def _compressed_element(tensor: memoryview) -> tuple[memoryview, list[_Component]] | None:
    """The compressed values of a tensor that is a CompressedElement, else None."""
    for number, wire_type, value in wire.fields(tensor):
        if number == 15 and wire_type == 2 and isinstance(value, memoryview):  # variant_val
            inner = VariantElement(value)
            if inner.type_name != _COMPRESSED:
                return None
            data = memoryview(b"")
            components = []
            for inner_number, _, content in wire.fields(inner.metadata):
                if isinstance(content, memoryview):
                    if inner_number == 1:
                        data = content
                    elif inner_number == 2:
                        components.append(_parse_component(content))
            return data, components
    return None


def _parse_component(data: memoryview) -> _Component:
    """A CompressedComponentMetadata."""
    dtype = 0
    shape: tuple[int, ...] = ()
    sizes: list[int] = []
    for number, wire_type, value in wire.fields(data):
        if isinstance(value, int):
            if number == 1:
                dtype = value
            elif number == 4:
                sizes.append(value)
        elif wire_type == 2 and number == 2:
            shape = parse_shape(value)
        elif wire_type == 2 and number == 4:  # packed
            sizes += _varints(value)
    return dtype_name(dtype), shape, tuple(sizes)


def _parse_tensor(data: memoryview) -> tuple[_Component, bytes]:
    """A TensorProto of a number or of strings, and its bytes; of others the bytes as stored."""
    dtype = ""
    shape: tuple[int, ...] = ()
    strings: list[bytes] = []
    numbers: list[int] = []
    content = b""
    for number, wire_type, value in wire.fields(data):
        if isinstance(value, int):
            if number == 1:
                dtype = dtype_name(value)
            elif number in _INTEGERS:
                numbers.append(value)
        elif wire_type != 2:
            continue
        elif number == 2:
            shape = parse_shape(value)
        elif number == 4:
            content = bytes(value)
        elif number == 8:
            strings.append(bytes(value))
        elif number in _INTEGERS:
            numbers += _varints(value)
    if dtype == "string":
        return (dtype, shape, tuple(map(len, strings))), b"".join(strings)
    size = DTYPE_BYTES.get(dtype)
    if size is None:
        return (dtype, shape, (len(data),)), bytes(data)
    if not content and numbers:
        mask = (1 << 8 * size) - 1
        content = b"".join((n & mask).to_bytes(size, "little") for n in numbers)
    return (dtype, shape, (len(content),)), content


def _varints(data: memoryview) -> list[int]:
    found, position = [], 0
    while position < len(data):
        value, position = wire.read_varint(data, position)
        found.append(value)
    return found


def _text(data: bytes | memoryview) -> str:
    return bytes(data).decode("utf-8", "surrogateescape")
