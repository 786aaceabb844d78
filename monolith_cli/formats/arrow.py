"""Arrow's format for files and messages: schemas, batches of records, the footer of a file."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.formats.flatbuffer import Scalar, Structs, Table, Tables, Text, write_root

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "ALIGNMENT",
    "MAGIC",
    "Block",
    "Buffers",
    "Field",
    "batch_header",
    "file_footer",
    "schema_message",
]

MAGIC = b"ARROW1"
"""Ends a file, and with two zeros begins it."""

ALIGNMENT = 64
"""Of buffers in a file, so that what is mapped into memory is aligned for any processor."""

_VERSION = Scalar("h", 4)
_SCHEMA, _BATCH = 1, 3
_INT, _FLOAT, _LIST, _FIXED_LIST = 2, 3, 12, 16
_CONTINUATION = b"\xff\xff\xff\xff"


class Field(NamedTuple):
    """A column.

    Attributes
    ----------
    name
        What it is called.
    type
        `int16`, `int64` or `float`, of values; or `list`, of floats.
    size
        How many values each list has; None if they differ. Of a `list` alone.
    nullable
        Whether a row may have none.
    """

    name: str
    type: str
    size: int | None = None
    nullable: bool = False

    def table(self) -> Table:
        """The same as a message has it."""
        if self.type == "list":
            children = [Field("element", "float").table()]
            kind = _LIST if self.size is None else _FIXED_LIST
            of = Table([] if self.size is None else [Scalar("i", self.size)])
        else:
            children = []
            kind = _FLOAT if self.type == "float" else _INT
            bits = Scalar("i", 16 if self.type == "int16" else 64)
            of = Table([Scalar("h", 1)] if self.type == "float" else [bits, Scalar("?", True)])
        return Table(
            [
                Text(self.name.encode()),
                Scalar("?", self.nullable),
                Scalar("B", kind),
                of,
                None,
                Tables(children),
            ]
        )


class Buffers(NamedTuple):
    """The data of some rows.

    Attributes
    ----------
    nodes
        Of each column, and of the values of each list behind it: how many, how many of them null.
    buffers
        What they consist of, in order.
    """

    nodes: Sequence[tuple[int, int]]
    buffers: Sequence[bytes]


class Block(NamedTuple):
    """Where a batch of records is in a file: offset, bytes of its header, and of its data."""

    offset: int
    header_bytes: int
    body_bytes: int


def _schema(fields: Sequence[Field], metadata: Mapping[str, bytes]) -> Table:
    pairs = [Table([Text(key.encode()), Text(value)]) for key, value in metadata.items()]
    tables = Tables([field.table() for field in fields])
    return Table([Scalar("h", 0), tables, Tables(pairs) if pairs else None])


def _message(kind: int, header: Table, body_bytes: int) -> bytes:
    data = write_root(Table([_VERSION, Scalar("B", kind), header, Scalar("q", body_bytes)]))
    return _CONTINUATION + struct.pack("<i", len(data)) + data


def schema_message(fields: Sequence[Field], metadata: Mapping[str, bytes]) -> bytes:
    """The message that says what a stream or a file holds."""
    return _message(_SCHEMA, _schema(fields, metadata), 0)


def batch_header(rows: int, data: Buffers, *, compressed: bool) -> tuple[bytes, list[int], int]:
    """What stands before the buffers of a batch, padded to `ALIGNMENT`.

    Returns it, where behind it each buffer belongs, and how many bytes all of them take.
    """
    places, at = [], 0
    for buffer in data.buffers:
        places.append(at)
        at += len(buffer) + -len(buffer) % ALIGNMENT
    sizes = [(place, len(each)) for place, each in zip(places, data.buffers, strict=True)]
    # Zstandard, each buffer on its own.
    compression = Table([Scalar("b", 1), Scalar("b", 0)]) if compressed else None
    header = Table(
        [
            Scalar("q", rows),
            Structs("qq", 8, data.nodes),
            Structs("qq", 8, sizes),
            compression,
        ]
    )
    message = bytearray(_message(_BATCH, header, at))
    padding = -len(message) % ALIGNMENT
    message += bytes(padding)
    struct.pack_into("<i", message, 4, len(message) - 8)
    return bytes(message), places, at


def file_footer(
    fields: Sequence[Field], metadata: Mapping[str, bytes], blocks: Sequence[Block]
) -> bytes:
    """What stands behind the last batch, to the end of the file."""
    rows = [(block.offset, block.header_bytes, block.body_bytes) for block in blocks]
    data = write_root(
        Table(
            [
                _VERSION,
                _schema(fields, metadata),
                Structs("qi4xq", 8, []),
                Structs("qi4xq", 8, rows),
            ]
        )
    )
    end = _CONTINUATION + bytes(4)  # of the stream that is in the file
    return end + data + struct.pack("<i", len(data)) + MAGIC
