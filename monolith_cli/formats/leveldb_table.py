"""LevelDB's table files, which TensorFlow's tensor bundles have as their index.

Blocks of sorted keys and values, each followed by a type byte (0 as it is, 1 snappy) and a masked
CRC32C over both, and at the end a footer of 48 bytes that leads to the block of blocks. In a block
a key is stored as what it has in common with the one before, and the rest.

Source: LevelDB's doc/table_format.md.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.errors import CorruptionError
from monolith_cli.formats import wire
from monolith_cli.storage.location import as_location
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from monolith_cli.storage.location import AnyPath
    from monolith_cli.storage.protocols import OpenFile

__all__ = ["MAX_BLOCK_BYTES", "TABLE_END", "TableEntry", "format_table", "read_table"]

TABLE_END = bytes.fromhex("57fb808b247547db")
_FOOTER_BYTES = 48
_TRAILER_BYTES = 5
_PLAIN, _SNAPPY = 0, 1

MAX_BLOCK_BYTES = 64 << 20
"""A longer block, as stored or uncompressed, is taken for damage. Writers end one at 256 KiB."""


MAX_KEYS_BYTES = 256 << 20
"""More bytes of keys are taken for damage: a few bytes can stand for a key as long as the last."""


class TableEntry(NamedTuple):
    """A key and its value, and the offset in the file of the block that they are in."""

    key: bytes
    value: bytes
    offset: int


def read_table(path: AnyPath, *, strict: bool = False) -> Iterator[TableEntry]:
    """What is in a table in order, a block at a time; all checksums are verified.

    Parameters
    ----------
    strict
        Bytes that no reader needs, which pad the footer, must be as writers leave them.

    Raises
    ------
    PathNotFoundError, NotReadableError, ChangedWhileReadError
        As `Store.open` and `OpenFile.read`.
    CorruptionError
        The bytes are not what the format demands: kinds `not_a_table`, `truncated_block`,
        `bad_block_crc` and `bad_block`. What came before is right.
    """
    path = as_location(path)
    with store_of(path).open(path) as file:
        yield from _read(file, path, strict)


def format_table(entries: Sequence[tuple[bytes, bytes]]) -> bytes:
    """A table of one data block; keys are sorted and differ."""
    table = bytearray()
    data_handle = _append_block(table, entries)
    meta_index_handle = _append_block(table, [])
    index_handle = _append_block(table, [(entries[-1][0], data_handle)])
    footer = (meta_index_handle + index_handle).ljust(_FOOTER_BYTES - len(TABLE_END), b"\0")
    return bytes(table + footer + TABLE_END)


def _read(file: OpenFile, path: str, strict: bool) -> Iterator[TableEntry]:
    end = file.size - _FOOTER_BYTES
    footer = file.read(max(0, end), _FOOTER_BYTES)
    if len(footer) < _FOOTER_BYTES or not footer.endswith(TABLE_END):
        from monolith_cli.formats.magic import HEAD_BYTES, what_it_is

        known = what_it_is(file.read(0, HEAD_BYTES))
        if known is not None:
            what = f"this is {known.name}"
            raise CorruptionError(what, path=path, hint=known.remedy, kind="not_a_table")
        what = "not the index of a tensor bundle, or cut off"
        raise CorruptionError(what, path=path, offset=max(0, end), kind="not_a_table")
    try:
        meta_index, position = _read_handle(footer, 0)
        index, position = _read_handle(footer, position)
    except ValueError as error:
        raise CorruptionError(str(error), path=path, offset=end, kind="not_a_table") from error
    if strict and any(footer[position : -len(TABLE_END)]):
        what = "the footer is not padded with zeros"
        raise CorruptionError(what, path=path, offset=end + position, kind="not_a_table")
    last: bytes | None = None
    keys_bytes = done = 0
    for _, value in _entries(_read_block(file, path, index, end, end), path, index[0]):
        try:
            handle, _ = _read_handle(value, 0)
        except ValueError as error:
            raise _bad_block(path, index[0], str(error)) from error
        if handle[0] < done:
            raise _bad_block(path, index[0], "blocks out of order")
        done = sum(handle)
        block = _read_block(file, path, handle, end, index[0])
        for key, content in _entries(block, path, handle[0]):
            keys_bytes += len(key)
            if (last is not None and key <= last) or keys_bytes > MAX_KEYS_BYTES:
                raise _bad_block(path, handle[0], "keys out of order, or too long")
            last = key
            yield TableEntry(key, content, handle[0])
    _read_block(file, path, meta_index, end, end)  # not used, but damage is damage


def _read_handle(data: bytes, position: int) -> tuple[tuple[int, int], int]:
    """Offset and size of a block, as two varints; and where they end."""
    offset, position = wire.read_varint(data, position)
    size, position = wire.read_varint(data, position)
    return (offset, size), position


def _read_block(
    file: OpenFile, path: str, handle: tuple[int, int], end: int, named_at: int
) -> bytes:
    """A block's content; blocks end at `end` in the file, and this one is named at `named_at`."""
    from monolith_cli._native import masked_crc32c, snappy_decompress

    offset, size = handle
    if offset + size + _TRAILER_BYTES > end or size > MAX_BLOCK_BYTES:
        what = f"names a block of {size} bytes from byte {offset} on, which is not there"
        raise CorruptionError(what, path=path, offset=named_at, kind="truncated_block")
    stored = file.read(offset, size + _TRAILER_BYTES)
    if len(stored) < size + _TRAILER_BYTES:
        raise CorruptionError(
            "the file has shrunk", path=path, offset=offset, kind="truncated_block"
        )
    content, kind = stored[:size], stored[size]
    if masked_crc32c(memoryview(stored)[: size + 1]) != int.from_bytes(stored[-4:], "little"):
        raise CorruptionError(
            "a block's checksum is wrong", path=path, offset=offset, kind="bad_block_crc"
        )
    if kind == _PLAIN:
        return content
    if kind != _SNAPPY:
        raise _bad_block(path, offset, f"a block of the unknown type {kind}")
    try:
        length, _ = wire.read_varint(content, 0)
        if length > MAX_BLOCK_BYTES:
            raise ValueError(f"a block of {length} bytes")
        return snappy_decompress(content)
    except ValueError as error:
        raise _bad_block(path, offset, str(error)) from error


def _entries(block: bytes, path: str, offset: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a block whose restart points, an array at its end, are not needed."""
    if len(block) < 4:
        raise _bad_block(path, offset, "a block without restart points")
    end = len(block) - 4 - 4 * struct.unpack_from("<I", block, len(block) - 4)[0]
    if end < 0:
        raise _bad_block(path, offset, "more restart points than the block can hold")
    key, position = b"", 0
    while position < end:
        try:
            shared, position = wire.read_varint(block, position)
            unshared, position = wire.read_varint(block, position)
            size, position = wire.read_varint(block, position)
        except ValueError as error:
            raise _bad_block(path, offset, str(error)) from error
        if shared > len(key) or unshared + size > end - position:
            raise _bad_block(path, offset, "an entry reaches beyond the end of its block")
        key = key[:shared] + block[position : position + unshared]
        position += unshared
        yield key, block[position : position + size]
        position += size


def _bad_block(path: str, offset: int, what: str) -> CorruptionError:
    return CorruptionError(what, path=path, offset=offset, kind="bad_block")


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
    block.append(_PLAIN)
    table += block + struct.pack("<I", masked_crc32c(bytes(block)))
    return handle
