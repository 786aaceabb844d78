"""TensorFlow's tensor bundle: `<prefix>.index` and `<prefix>.data-00000-of-00001`.

The data file is the tensors' bytes one after another. The index is a LevelDB table: blocks of
sorted keys and values, each block followed by a type byte and a masked CRC32C, and a footer of 48
bytes at the end that leads to them. Key "" holds a BundleHeaderProto; every other key is a
tensor's name and holds a BundleEntryProto with dtype, shape, offset, size and checksum.

Source: tensorflow/core/protobuf/tensor_bundle.proto, LevelDB's doc/table_format.md.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, TypeAlias

from monolith_cli.formats import wire
from monolith_cli.formats.atomic import atomic_write

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    import numpy as np

    Tensor: TypeAlias = np.ndarray[Any, Any] | tuple[str, Sequence[int], bytes]

__all__ = ["write_tensor_bundle"]

_TABLE_MAGIC = bytes.fromhex("57fb808b247547db")
_FOOTER_BYTES = 48

# tensorflow.DataType
_DTYPES = {
    "float32": 1,
    "float64": 2,
    "int32": 3,
    "uint8": 4,
    "int16": 5,
    "int8": 6,
    "complex64": 8,
    "int64": 9,
    "bool": 10,
    "bfloat16": 14,
    "uint16": 17,
    "complex128": 18,
    "float16": 19,
    "uint32": 22,
    "uint64": 23,
}


def write_tensor_bundle(prefix: str | os.PathLike[str], tensors: Mapping[str, Tensor]) -> None:
    """Write dense tensors so that `tf.train.load_checkpoint` and Saver read them by name.

    Meant for what fits in memory: all bytes are joined before they are written. Each of the two
    files is written whole or not at all; the index comes last, and makes the checkpoint be there.

    Parameters
    ----------
    prefix
        Path without suffix, such as `model/model.ckpt-10`.
    tensors
        By name: a NumPy array, or `(dtype name, shape, bytes)` with the bytes in C order and
        little-endian. Strings, resources and variants are not supported.

    Raises
    ------
    KeyError
        The dtype is not a fixed-size number.
    AlreadyExistsError, WriteError
        As `atomic_write`.
    """
    from monolith_cli._native import masked_crc32c

    prefix = os.fspath(prefix)
    # num_shards 1, little-endian (0, left out), version {producer 1}
    header = wire.varint_field(1, 1) + wire.bytes_field(3, wire.varint_field(1, 1))
    entries = [(b"", header)]
    data = bytearray()
    for key, tensor in sorted((name.encode(), tensor) for name, tensor in tensors.items()):
        dtype, shape, content = tensor if isinstance(tensor, tuple) else _from_array(tensor)
        dims = b"".join(wire.bytes_field(2, wire.varint_field(1, size)) for size in shape)
        entry = (
            wire.varint_field(1, _DTYPES[dtype])
            + wire.bytes_field(2, dims)
            + wire.varint_field(4, len(data))
            + wire.varint_field(5, len(content))
            + wire.fixed32_field(6, masked_crc32c(content))
        )
        entries.append((key, entry))
        data += content
    atomic_write(f"{prefix}.data-00000-of-00001", bytes(data))
    atomic_write(f"{prefix}.index", _table(entries))


def _from_array(array: np.ndarray[Any, Any]) -> tuple[str, Sequence[int], bytes]:
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return array.dtype.name, array.shape, little.tobytes("C")


def _table(entries: Sequence[tuple[bytes, bytes]]) -> bytes:
    """A LevelDB table of one data block; keys are sorted and differ."""
    table = bytearray()
    data_handle = _append_block(table, entries)
    meta_index_handle = _append_block(table, [])
    index_handle = _append_block(table, [(entries[-1][0], data_handle)])
    footer = (meta_index_handle + index_handle).ljust(_FOOTER_BYTES - len(_TABLE_MAGIC), b"\0")
    return bytes(table + footer + _TABLE_MAGIC)


def _append_block(table: bytearray, entries: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Append a block and return its handle: varints of offset and size.

    Every entry is a restart point: keys share no prefix, which small tables can afford.
    """
    from monolith_cli._native import masked_crc32c

    block = bytearray()
    restarts = [] if entries else [0]
    for key, value in entries:
        restarts.append(len(block))
        block += b"\0" + wire.encode_varint(len(key)) + wire.encode_varint(len(value)) + key + value
    block += struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))
    handle = wire.encode_varint(len(table)) + wire.encode_varint(len(block))
    block.append(0)  # not compressed
    table += block + struct.pack("<I", masked_crc32c(bytes(block)))
    return handle
