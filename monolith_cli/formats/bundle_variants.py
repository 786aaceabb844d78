"""Tensors of variants in a bundle: length, message and checksum of each element.

Source: WriteVariantTensor in tensorflow/core/util/tensor_bundle/tensor_bundle.cc.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from monolith_cli.errors import UsageError
from monolith_cli.formats.bundle_files import mask_crc32c
from monolith_cli.formats.variant import VariantElement

if TYPE_CHECKING:
    from collections.abc import Iterator

    from monolith_cli.formats.bundle_files import BundleFiles
    from monolith_cli.formats.bundle_index import TensorEntry

__all__ = ["read_variants"]

_READ_BYTES = 1 << 20


def read_variants(files: BundleFiles, entry: TensorEntry) -> Iterator[VariantElement]:
    """What `TensorBundle.variants` says."""
    from monolith_cli._native import scan_variants

    if entry.dtype != "variant" or entry.slices:
        raise UsageError(f"{entry.name} is not a tensor of variants")
    left, crc, wanted = math.prod(entry.shape), 0, 0
    with files.opened(entry) as file:
        position, end = entry.offset, entry.offset + entry.size_bytes
        while left:
            size = min(max(wanted, _READ_BYTES), end - position)
            is_rest = size == end - position
            chunk = files.read_exactly(file, entry, position, size)
            places, consumed, crc, stop, wanted = scan_variants(chunk, left, crc)
            view = memoryview(chunk)
            del chunk  # or two large elements would be in memory
            for start, stop_at in places:
                try:
                    element = VariantElement(view[start:stop_at])
                except ValueError as error:
                    where = position + start
                    raise files.bad_data(entry, str(error), "bad_data", where) from error
                yield element
                del element
            del view
            position += consumed
            left -= len(places)
            if stop == "bad_crc":
                what = "an element's checksum is wrong"
                raise files.bad_data(entry, what, offset=position)
            if stop == "bad_length":
                what = "an element's length is no number"
                raise files.bad_data(entry, what, "bad_data", position)
            if stop == "cut" and (is_rest or wanted > end - position):
                what = "an element reaches beyond the end of its tensor"
                raise files.bad_data(entry, what, "truncated_data", position)
    if position != end or mask_crc32c(crc) != entry.masked_crc32c:
        raise files.bad_data(entry)
