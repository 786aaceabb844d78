"""The messages in the index of a tensor bundle, and the keys of slices.

Source: tensorflow/core/protobuf/tensor_bundle.proto, tensorflow/core/framework/tensor_slice.proto,
and how tensorflow/core/util/saved_tensor_slice_util makes keys.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

from monolith_cli.formats import wire
from monolith_cli.formats.dtypes import dtype_name, parse_shape

__all__ = ["Slice", "TensorEntry", "key_of", "parse_entry", "parse_header", "slice_key"]

_BIG_ENDIAN = 1
_VERSION = 1
_MAX_SHARDS = 100_000


class Slice(NamedTuple):
    """A part of a tensor: where it starts in each dimension, and how far it goes; None: all."""

    starts: tuple[int, ...]
    lengths: tuple[int | None, ...]


class TensorEntry(NamedTuple):
    """What the index says of a tensor.

    Attributes
    ----------
    name
        Bytes that are no UTF-8 become surrogates.
    dtype
        Such as `float32`, `string` or `variant`; `dtype 99` for one that is not known.
    shape
        Of the whole tensor.
    shard, offset, size_bytes
        The number of the data file, and where in it the bytes are; of a tensor in slices, the sum
        of their bytes.
    masked_crc32c
        As it is stored; what it covers depends on the dtype.
    slices
        Entries of its parts; empty if it is stored in one.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    shard: int
    offset: int
    size_bytes: int
    masked_crc32c: int
    slices: tuple[tuple[Slice, TensorEntry], ...] = ()


def parse_header(key: bytes, data: bytes) -> int:
    """How many data files there are, as a BundleHeaderProto says; the first value of an index.

    Raises
    ------
    ValueError
        It is none, or one of a version that is not known.
    """
    if key:
        raise ValueError("an index without a header")
    shards = 0
    for number, _, value in wire.fields(data):
        if number == 1 and isinstance(value, int):
            shards = value
        elif number == 2 and value == _BIG_ENDIAN:
            raise ValueError("written on a big-endian machine, which is not supported")
        elif number == 3 and isinstance(value, bytes):
            for inner_number, _, inner in wire.fields(value):
                if inner_number == 2 and isinstance(inner, int) and inner > _VERSION:
                    raise ValueError(f"a reader of version {inner} is needed")
    if not 0 < shards <= _MAX_SHARDS:
        raise ValueError(f"{shards} data files")
    return shards


def parse_entry(key: bytes, data: bytes) -> tuple[TensorEntry, list[Slice]]:
    """What a BundleEntryProto says, and of which slices the tensor is made, if it is.

    Raises
    ------
    ValueError
        It is none.
    """
    dtype, shard, offset, size, crc = 0, 0, 0, 0, 0
    shape: tuple[int, ...] = ()
    slices: list[Slice] = []
    for field in wire.fields(data):
        match field:
            case 1, 0, int(dtype):
                pass
            case 2, 2, bytes(value):
                shape = parse_shape(value)
            case 3, 0, int(shard):
                pass
            case 4, 0, int(offset):
                pass
            case 5, 0, int(size):
                pass
            case 6, 5, bytes(value):
                (crc,) = struct.unpack("<I", value)
            case 7, 2, bytes(value):
                slices.append(_parse_slice(value))
    if max(offset, size) >= 1 << 63:
        raise ValueError("a negative place")
    name = key.decode("utf-8", "surrogateescape")
    return TensorEntry(name, dtype_name(dtype), shape, shard, offset, size, crc), slices


def _parse_slice(data: bytes) -> Slice:
    """A TensorSliceProto."""
    starts: list[int] = []
    lengths: list[int | None] = []
    for number, _, extent in wire.fields(data):
        if number == 1 and isinstance(extent, bytes):
            start, length = 0, None
            for inner_number, _, value in wire.fields(extent):
                if isinstance(value, int) and value < 1 << 63:
                    if inner_number == 1:
                        start = value
                    elif inner_number == 2:
                        length = value
            starts.append(start)
            lengths.append(length)
    return Slice(tuple(starts), tuple(lengths))


def key_of(entry: TensorEntry) -> bytes:
    """The key of a tensor in the index."""
    return entry.name.encode("utf-8", "surrogateescape")


def slice_key(name: bytes, part: Slice) -> bytes:
    """The key of a slice: zero, name, rank, and start and length in each dimension.

    Numbers are coded so that their order is that of the bytes (tensorflow/core/lib/strings/
    ordered_code.h); a length of the whole dimension is -1.
    """
    key = b"\0" + re.sub(rb"[\0\xff]", _escaped, name) + b"\0\1"
    rank = len(part.starts)
    key += bytes([1, rank]) if rank else b"\0"
    for start, length in zip(part.starts, part.lengths, strict=True):
        key += _signed_code(start) + _signed_code(-1 if length is None else length)
    return key


def _escaped(found: re.Match[bytes]) -> bytes:
    return b"\0\xff" if found[0] == b"\0" else b"\xff\0"


def _signed_code(value: int) -> bytes:
    """As many bytes as the leading ones say: the code's own, flipped for numbers below 0."""
    bits = (~value if value < 0 else value).bit_length()
    size = bits // 7 + 1
    code = bytearray((value & (1 << 80) - 1).to_bytes(10, "big")[10 - size :])
    marks = ((1 << size) - 1) << (16 - size)
    code[0] ^= marks >> 8
    if size > 1:
        code[1] ^= marks & 0xFF
    return bytes(code)
