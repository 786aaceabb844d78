"""Writing tensor bundles: see `tensor_bundle`."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from monolith_cli.formats import wire
from monolith_cli.formats.dtypes import dtype_number, format_shape
from monolith_cli.formats.leveldb_table import format_table
from monolith_cli.storage.location import as_location
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    import numpy as np

    from monolith_cli.storage.location import AnyPath

    Tensor: TypeAlias = np.ndarray[Any, Any] | tuple[str, Sequence[int], bytes]

__all__ = ["write_tensor_bundle"]


def write_tensor_bundle(prefix: AnyPath, tensors: Mapping[str, Tensor]) -> None:
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
        dtype, shape, content = tensor if isinstance(tensor, tuple) else _from_array(tensor)
        entry = (
            wire.varint_field(1, dtype_number(dtype))
            + wire.bytes_field(2, format_shape(shape))
            + wire.varint_field(4, len(data))
            + wire.varint_field(5, len(content))
            + wire.fixed32_field(6, masked_crc32c(content))
        )
        entries.append((key, entry))
        data += content
    store = store_of(prefix)
    store.put(f"{prefix}.data-00000-of-00001", bytes(data))
    store.put(f"{prefix}.index", format_table(entries))


def _from_array(array: np.ndarray[Any, Any]) -> tuple[str, Sequence[int], bytes]:
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return array.dtype.name, array.shape, little.tobytes("C")
