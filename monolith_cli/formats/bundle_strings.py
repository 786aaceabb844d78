"""Tensors of strings in a bundle: lengths, their checksum, then the strings themselves.

Source: WriteStringTensor in tensorflow/core/util/tensor_bundle/tensor_bundle.cc.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING

from monolith_cli.errors import UsageError
from monolith_cli.formats import wire
from monolith_cli.formats.bundle_files import mask_crc32c

if TYPE_CHECKING:
    from monolith_cli.formats.bundle_files import BundleFiles
    from monolith_cli.formats.bundle_index import TensorEntry

__all__ = ["read_strings"]


def read_strings(files: BundleFiles, entry: TensorEntry) -> list[bytes]:
    """What `TensorBundle.strings` says."""
    from monolith_cli._native import crc32c

    if entry.dtype != "string" or entry.slices:
        raise UsageError(f"{entry.name} is not a tensor of strings in one part")
    count = math.prod(entry.shape)
    if count > entry.size_bytes:  # each has a length, of a byte at least
        raise files.bad_data(entry, f"{count} strings in {entry.size_bytes} bytes", "bad_data")
    with files.opened(entry) as file:
        data = files.read_exactly(file, entry, entry.offset, entry.size_bytes)
    lengths, position = [], 0
    try:
        for _ in range(count):
            length, position = wire.read_varint(data, position)
            lengths.append(length)
    except ValueError as error:
        raise files.bad_data(entry, str(error), "bad_data") from error
    # Its checksums cover the lengths as numbers of four bytes, or of eight where needed.
    crc = crc32c(b"".join(n.to_bytes(4 if n < 1 << 32 else 8, "little") for n in lengths))
    stored = data[position : position + 4]
    position += 4
    if stored != struct.pack("<I", mask_crc32c(crc)):
        raise files.bad_data(entry, "the checksum of its lengths is wrong")
    if sum(lengths) != len(data) - position:
        raise files.bad_data(entry, "its strings do not fill its bytes", "bad_data")
    crc = crc32c(stored, crc)
    if mask_crc32c(crc32c(memoryview(data)[position:], crc)) != entry.masked_crc32c:
        raise files.bad_data(entry)
    found = []
    for length in lengths:
        found.append(data[position : position + length])
        position += length
    return found
