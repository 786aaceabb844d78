"""How long the data files of a tensor bundle must be: what its index says of that, and no more.

Whoever looks at a hundred bundles only to see whether they are whole need not know their tensors.
"""

from __future__ import annotations

from monolith_cli.errors import MonolithError
from monolith_cli.formats import wire
from monolith_cli.formats.bundle_index import parse_header
from monolith_cli.formats.leveldb_table import read_table

__all__ = ["data_ends"]

# Of a BundleEntryProto: number and wire type of its fields, in a byte.
_DTYPE, _SHAPE, _SHARD, _OFFSET, _SIZE, _CRC = 0x08, 0x12, 0x18, 0x20, 0x28, 0x35


def data_ends(prefix: str) -> list[int] | None:
    """By data file, in bytes, where its last tensor ends; 0 for one that holds nothing.

    The index is read, and its blocks are verified. None where a look at the tensors themselves is
    needed, as `TensorBundle` takes it: the index is damaged or gone, some were saved in slices, or
    an entry is not as TensorFlow writes it.
    """
    ends: list[int] = []
    try:
        for key, value, _ in read_table(f"{prefix}.index"):
            if not ends:
                ends = [0] * parse_header(key, value)
                continue
            found = _end(value)
            if found is None:
                return None
            shard, end = found
            if end > ends[shard]:
                ends[shard] = end
    except (MonolithError, ValueError, IndexError):
        return None
    return ends or None


def _end(entry: bytes) -> tuple[int, int] | None:
    """The data file of an entry, and where its bytes end there."""
    shard = offset = size = position = 0
    length = len(entry)
    while position < length:
        tag = entry[position]
        if tag == _CRC:
            position += 5
            continue
        value = entry[position + 1]
        position += 2
        if value > 0x7F:
            value, position = wire.read_varint(entry, position - 1)
        if tag == _SHARD:
            shard = value
        elif tag == _OFFSET:
            offset = value
        elif tag == _SIZE:
            size = value
        elif tag == _SHAPE:
            position += value
        elif tag != _DTYPE:
            return None
    return (shard, offset + size) if position == length else None
