"""Writing tensor bundles: see `tensor_bundle`."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from monolith_cli.formats import wire
from monolith_cli.formats.bundle_files import mask_crc32c
from monolith_cli.formats.dtypes import dtype_number, format_shape
from monolith_cli.formats.leveldb_table import format_table
from monolith_cli.storage.location import as_location
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    import numpy as np

    from monolith_cli.storage.location import AnyPath

    Tensor: TypeAlias = np.ndarray[Any, Any] | tuple[str, Sequence[int], bytes] | "VariantTensor"

__all__ = ["VariantTensor", "write_tensor_bundle"]


class VariantTensor(NamedTuple):
    """A tensor of variants: its shape, and a serialized VariantTensorDataProto for each element."""

    shape: Sequence[int]
    elements: Sequence[bytes]


def write_tensor_bundle(prefix: AnyPath, tensors: Mapping[str, Tensor]) -> None:
    """Write dense tensors so that `tf.train.load_checkpoint` and Saver read them by name.

    Meant for what fits in memory: all bytes are joined before they are written. Each of the two
    files is written whole or not at all; the index comes last, and makes the checkpoint be there.

    Parameters
    ----------
    prefix
        Path without suffix, such as `model/model.ckpt-10`.
    tensors
        By name: a NumPy array, a `VariantTensor`, or `(dtype name, shape, bytes)` with the bytes in
        C order and little-endian. Strings and resources are not supported.

    Raises
    ------
    KeyError
        The dtype is not a fixed-size number.
    WriteError
        The store refused.
    """
    from monolith_cli._native import masked_crc32c

    prefix = as_location(prefix)
    # num_shards 1, little-endian (0, left out), version {producer 1}
    header = wire.varint_field(1, 1) + wire.bytes_field(3, wire.varint_field(1, 1))
    entries = [(b"", header)]
    data = bytearray()
    for key, tensor in sorted((name.encode(), tensor) for name, tensor in tensors.items()):
        if isinstance(tensor, VariantTensor):
            dtype, shape = "variant", tensor.shape
            content, checksum = _from_variants(tensor.elements)
        else:
            dtype, shape, content = tensor if isinstance(tensor, tuple) else _from_array(tensor)
            checksum = masked_crc32c(content)
        entry = (
            wire.varint_field(1, dtype_number(dtype))
            + wire.bytes_field(2, format_shape(shape))
            + wire.varint_field(4, len(data))
            + wire.varint_field(5, len(content))
            + wire.fixed32_field(6, checksum)
        )
        entries.append((key, entry))
        data += content
    store = store_of(prefix)
    store.put(f"{prefix}.data-00000-of-00001", bytes(data))
    store.put(f"{prefix}.index", format_table(entries))


def _from_array(array: np.ndarray[Any, Any]) -> tuple[str, Sequence[int], bytes]:
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return array.dtype.name, array.shape, little.tobytes("C")


def _from_variants(elements: Sequence[bytes]) -> tuple[bytes, int]:
    """The bytes of variants, and their checksum, which is not one of these bytes alone.

    Each is preceded by its length and followed by a masked CRC32C of all before it; that CRC, and
    the one in the index, take each length as 64 bits, whatever its varint is.
    """
    from monolith_cli._native import crc32c

    content, value = b"", 0
    for element in elements:
        value = crc32c(element, crc32c(struct.pack("<Q", len(element)), value))
        stored = struct.pack("<I", mask_crc32c(value))
        content += wire.encode_varint(len(element)) + element + stored
        value = crc32c(stored, value)
    return content, mask_crc32c(value)
