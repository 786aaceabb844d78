"""What is around the pages of a Parquet file: headers of pages, and the footer.

Pages are of version 1, which every reader knows. Floats have no statistics: minimum and maximum
leave NaN out, and readers that look for NaN would pass over what holds them.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.formats.thrift import (
    BINARY,
    BOOL,
    BYTE,
    I16,
    I32,
    I64,
    STRUCT,
    Field,
    Many,
    write_struct,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "DELTA",
    "MAGIC",
    "PLAIN",
    "SPLIT",
    "Chunk",
    "Column",
    "RowGroup",
    "footer",
    "page_header",
]

MAGIC = b"PAR1"
"""Begins and ends a file."""

PLAIN, DELTA, SPLIT = 0, 5, 9
"""Encodings of values: as they are, DELTA_BINARY_PACKED, BYTE_STREAM_SPLIT."""

_RLE = 3
_UNCOMPRESSED, _ZSTD = 0, 6
_REQUIRED, _OPTIONAL, _REPEATED = 0, 1, 2
_LIST, _INT_16 = 3, 16
_TYPES = {"int16": 1, "int32": 1, "int64": 2, "float": 4}


class Column(NamedTuple):
    """A column.

    Attributes
    ----------
    name
        What it is called.
    type
        Of its values: `int16`, `int64` or `float`.
    encoding
        Of its values, one of the constants above.
    is_list
        Whether a row has a list of values.
    is_optional
        Whether a row may have none.
    """

    name: str
    type: str
    encoding: int
    is_list: bool = False
    is_optional: bool = False

    @property
    def path(self) -> list[bytes]:
        """The names that lead to its values."""
        name = self.name.encode()
        return [name, b"list", b"element"] if self.is_list else [name]

    def schema(self) -> list[list[Field]]:
        """Its nodes, each before those below it."""
        name = self.name.encode()
        repetition = Field(3, I32, _OPTIONAL if self.is_optional else _REQUIRED)
        if not self.is_list:
            return [self._leaf(name, repetition)]
        return [
            [
                repetition,
                Field(4, BINARY, name),
                Field(5, I32, 1),
                Field(6, I32, _LIST),
                Field(10, STRUCT, [Field(3, STRUCT, [])]),
            ],
            [Field(3, I32, _REPEATED), Field(4, BINARY, b"list"), Field(5, I32, 1)],
            self._leaf(b"element", Field(3, I32, _REQUIRED)),
        ]

    def _leaf(self, name: bytes, repetition: Field) -> list[Field]:
        fields = [Field(1, I32, _TYPES[self.type]), repetition, Field(4, BINARY, name)]
        if self.type == "int16":
            integer = [Field(1, BYTE, 16), Field(2, BOOL, True)]
            fields += [Field(6, I32, _INT_16), Field(10, STRUCT, [Field(10, STRUCT, integer)])]
        return fields


class Chunk(NamedTuple):
    """The pages of a column in a row group.

    Attributes
    ----------
    offset
        Where the first one's header is in the file.
    bytes, stored_bytes
        With headers, before and after compression.
    values
        How many there are, with those that are absent.
    bounds
        The least and the largest; None where that is not told.
    absent
        How many rows have no value; None where that is not told.
    """

    offset: int
    bytes: int
    stored_bytes: int
    values: int
    bounds: tuple[int, int] | None = None
    absent: int | None = None


class RowGroup(NamedTuple):
    """Rows, with the chunks of all columns in their order."""

    rows: int
    chunks: list[Chunk]


def page_header(column: Column, bytes_: int, stored_bytes: int, values: int) -> bytes:
    """What stands before a page."""
    data = [
        Field(1, I32, values),
        Field(2, I32, column.encoding),
        Field(3, I32, _RLE),
        Field(4, I32, _RLE),
    ]
    return write_struct(
        [
            Field(1, I32, 0),
            Field(2, I32, bytes_),
            Field(3, I32, stored_bytes),
            Field(5, STRUCT, data),
        ]
    )


def footer(
    columns: Sequence[Column],
    groups: Sequence[RowGroup],
    metadata: Mapping[str, bytes],
    *,
    compressed: bool,
    created_by: str,
) -> bytes:
    """What stands behind the last page, to the end of the file."""
    root = [Field(4, BINARY, b"schema"), Field(5, I32, len(columns))]
    schema = [root] + [node for column in columns for node in column.schema()]
    data = write_struct(
        [
            Field(1, I32, 2),
            Field(2, Many(STRUCT), schema),
            Field(3, I64, sum(group.rows for group in groups)),
            Field(
                4,
                Many(STRUCT),
                [_group(columns, group, number, compressed) for number, group in enumerate(groups)],
            ),
            Field(
                5,
                Many(STRUCT),
                [
                    [Field(1, BINARY, key.encode()), Field(2, BINARY, value)]
                    for key, value in metadata.items()
                ],
            ),
            Field(6, BINARY, created_by.encode()),
            # Bounds are compared as the types have it: signed.
            Field(7, Many(STRUCT), [[Field(1, STRUCT, [])] for _ in columns]),
        ]
    )
    return data + struct.pack("<I", len(data)) + MAGIC


def _group(
    columns: Sequence[Column], group: RowGroup, number: int, compressed: bool
) -> list[Field]:
    chunks = [
        _chunk(column, chunk, compressed)
        for column, chunk in zip(columns, group.chunks, strict=True)
    ]
    return [
        Field(1, Many(STRUCT), chunks),
        Field(2, I64, sum(chunk.bytes for chunk in group.chunks)),
        Field(3, I64, group.rows),
        Field(5, I64, group.chunks[0].offset),
        Field(6, I64, sum(chunk.stored_bytes for chunk in group.chunks)),
        Field(7, I16, number if number < 1 << 15 else None),
    ]


def _chunk(column: Column, chunk: Chunk, compressed: bool) -> list[Field]:
    data = [
        Field(1, I32, _TYPES[column.type]),
        Field(2, Many(I32), [column.encoding, _RLE]),
        Field(3, Many(BINARY), column.path),
        Field(4, I32, _ZSTD if compressed else _UNCOMPRESSED),
        Field(5, I64, chunk.values),
        Field(6, I64, chunk.bytes),
        Field(7, I64, chunk.stored_bytes),
        Field(9, I64, chunk.offset),
        Field(12, STRUCT, _statistics(column, chunk)),
    ]
    # Where this is said again in the file: nowhere.
    return [Field(2, I64, 0), Field(3, STRUCT, data)]


def _statistics(column: Column, chunk: Chunk) -> list[Field] | None:
    if chunk.bounds is None or chunk.absent is None:
        return None
    form = "<q" if column.type == "int64" else "<i"
    least, most = (struct.pack(form, bound) for bound in chunk.bounds)
    return [Field(3, I64, chunk.absent), Field(5, BINARY, most), Field(6, BINARY, least)]
