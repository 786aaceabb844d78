"""The values of tensors in a bundle: of elements that have a fixed size, and as arrays."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from monolith_cli.errors import UsageError
from monolith_cli.formats.bundle_files import mask_crc32c
from monolith_cli.formats.bundle_index import key_of
from monolith_cli.formats.bundle_strings import read_strings
from monolith_cli.formats.dtypes import DTYPE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    import numpy as np

    from monolith_cli.formats.bundle_files import BundleFiles
    from monolith_cli.formats.bundle_index import TensorEntry

__all__ = ["read_array", "read_bytes", "read_pieces"]

# What NumPy does not know, as what it is stored as.
_STORED_AS = {
    "qint8": "int8",
    "quint8": "uint8",
    "qint32": "int32",
    "qint16": "int16",
    "quint16": "uint16",
    "bfloat16": "uint16",
    "float8_e5m2": "uint8",
    "float8_e4m3fn": "uint8",
    "float8_e4m3fnuz": "uint8",
    "float8_e4m3b11fnuz": "uint8",
    "float8_e5m2fnuz": "uint8",
    "int4": "uint8",
    "uint4": "uint8",
    "int2": "uint8",
    "uint2": "uint8",
    "float4_e2m1fn": "uint8",
}
_READ_BYTES = 1 << 20


def read_bytes(files: BundleFiles, entry: TensorEntry) -> bytes:
    """What `TensorBundle.read` says."""
    from monolith_cli._native import masked_crc32c

    _element_bytes(files, entry)
    with files.opened(entry) as file:
        data = files.read_exactly(file, entry, entry.offset, entry.size_bytes)
    if masked_crc32c(data) != entry.masked_crc32c:
        raise files.bad_data(entry)
    return data


def read_pieces(files: BundleFiles, entry: TensorEntry) -> Iterator[np.ndarray[Any, Any]]:
    """What `TensorBundle.pieces` says."""
    from monolith_cli._native import crc32c

    size = _element_bytes(files, entry)
    step = _READ_BYTES // size * size
    crc = 0
    with files.opened(entry) as file:
        for start in range(0, entry.size_bytes, step):
            wanted = min(step, entry.size_bytes - start)
            data = files.read_exactly(file, entry, entry.offset + start, wanted)
            crc = crc32c(data, crc)
            yield _values(entry, data)
    if mask_crc32c(crc) != entry.masked_crc32c:
        raise files.bad_data(entry)


def read_array(files: BundleFiles, entry: TensorEntry) -> np.ndarray[Any, Any]:
    """What `TensorBundle.array` says."""
    import numpy as np

    if entry.dtype == "string" and not entry.slices:
        strings = read_strings(files, entry)
        found = np.empty(len(strings), object)
        found[:] = strings
        return _shaped(found, entry)
    if entry.dtype not in DTYPE_BYTES and entry.dtype != "string":
        raise UsageError(f"{entry.name} is a {entry.dtype}, which is not an array")
    if entry.slices:
        return _joined(files, entry)
    return _shaped(_values(entry, read_bytes(files, entry)), entry)


def _element_bytes(files: BundleFiles, entry: TensorEntry) -> int:
    """The size of an element, of a tensor that is stored in one; raises as `read`."""
    if entry.slices or entry.dtype not in DTYPE_BYTES:
        raise UsageError(f"{entry.name} has no bytes that could be read in one")
    count, size = math.prod(entry.shape), DTYPE_BYTES[entry.dtype]
    if count * size != entry.size_bytes:
        what = f"{entry.size_bytes} bytes are no {count} {entry.dtype}"
        raise files.bad_entry(key_of(entry), what)
    return size


def _values(entry: TensorEntry, data: bytes) -> np.ndarray[Any, Any]:
    """Some of a tensor's bytes as what `array` says, flat."""
    import numpy as np

    stored = np.dtype(_STORED_AS.get(entry.dtype, entry.dtype)).newbyteorder("<")
    values = np.frombuffer(data, stored)
    if entry.dtype == "bfloat16":
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return values


def _joined(files: BundleFiles, entry: TensorEntry) -> np.ndarray[Any, Any]:
    """The slices of a tensor, each where it belongs."""
    import numpy as np

    # As many elements as all slices have, so no more memory than they take.
    if math.prod(entry.shape) != sum(math.prod(part.shape) for _, part in entry.slices):
        raise files.bad_entry(key_of(entry), "its slices are not the whole of it")
    whole: np.ndarray[Any, Any] | None = None
    for place, part in entry.slices:
        array = read_array(files, part)
        if whole is None:
            whole = _shaped(np.empty(math.prod(entry.shape), array.dtype), entry)
            is_there = np.zeros(entry.shape, bool)
        extents = tuple(
            slice(start, None if length is None else start + length)
            for start, length in zip(*place, strict=True)
        )
        if (
            part.dtype != entry.dtype
            or len(extents) != len(entry.shape)
            or whole[extents].shape != array.shape
            or is_there[extents].any()
        ):
            raise files.bad_entry(key_of(entry), "a slice does not fit")
        whole[extents] = array
        is_there[extents] = True
    assert whole is not None
    return whole


def _shaped(array: np.ndarray[Any, Any], entry: TensorEntry) -> np.ndarray[Any, Any]:
    try:
        return array.reshape(entry.shape)
    except ValueError as error:  # more dimensions than NumPy has, or longer ones
        raise UsageError(f"{entry.name} is not an array: {error}") from error
