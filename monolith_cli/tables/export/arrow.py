"""Arrow files: each range that is read becomes a batch of records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.formats.arrow import (
    ALIGNMENT,
    MAGIC,
    Block,
    Buffers,
    Field,
    batch_header,
    file_footer,
    schema_message,
)
from monolith_cli.storage.location import join
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from monolith_cli import _native
    from monolith_cli.storage.protocols import Writer
    from monolith_cli.tables.export.files import Part
    from monolith_cli.tables.folds.shape import Shape
    from monolith_cli.tables.layout import ColumnLayout, Layout

__all__ = ["ArrowFormat", "arrow_field"]


def arrow_field(layout: ColumnLayout) -> Field:
    """The field that a column is in a schema."""
    is_optional = layout.is_optional and layout.name != "embedding"
    return Field(layout.name, "list" if layout.is_list else layout.type, layout.size, is_optional)


class ArrowFormat(NamedTuple):
    """Files of Arrow's IPC format.

    Attributes
    ----------
    compress
        Whether buffers are compressed with Zstandard; else a file can be mapped into memory.
    """

    compress: bool = False

    def encode(self, batch: _native.Batch, layout: Layout) -> list[Buffers]:
        """The buffers of each column."""
        encoded = [_buffers(batch, column) for column in layout.columns]
        if not self.compress:
            return encoded
        return [
            each._replace(buffers=[_compressed(buffer) for buffer in each.buffers])
            for each in encoded
        ]

    @property
    def counts_first(self) -> bool:
        """What is in a file stands at its end."""
        return False

    @contextmanager
    def writer(
        self, part: Part, layout: Layout, shape: Shape, metadata: Mapping[str, bytes]
    ) -> Iterator[_ArrowFile]:
        """A file of its own."""
        fields = [arrow_field(each) for each in layout.columns]
        location = join(part.folder, part.name(".arrow"))
        with store_of(location).create(location) as out:
            file = _ArrowFile(out, schema_message(fields, metadata), self.compress)
            yield file
            out.write(file_footer(fields, metadata, file.blocks))


def _buffers(batch: _native.Batch, column: ColumnLayout) -> Buffers:
    import numpy as np

    rows = batch.rows
    if column.name == "slot":
        slots = np.frombuffer(batch.values("slot"), "<i4").astype("<i2")
        return Buffers([(rows, 0)], [b"", slots.tobytes()])
    if column.name in ("fid", "last_update_ts_sec"):
        return Buffers([(rows, 0)], [b"", batch.values(column.name)])
    if all(name != column.name for name, *_ in batch.columns()):
        lengths, values = np.zeros(rows, "<u4"), b""
    else:
        lengths = np.frombuffer(batch.lengths(column.name), "<u4")
        values = batch.values(column.name)
    present = lengths > 0
    absent = 0
    validity = b""
    if column.is_optional and column.name != "embedding":
        absent = int(rows - np.count_nonzero(present))
        if absent:
            validity = np.packbits(present, bitorder="little").tobytes()
    if not column.is_list:
        dtype = "<i8" if column.type == "int64" else "<f4"
        if absent:
            spread = np.zeros(rows, dtype)
            spread[present] = np.frombuffer(values, dtype)
            values = spread.tobytes()
        return Buffers([(rows, absent)], [validity, values])
    nodes = [(rows, absent), (len(values) // 4, 0)]
    if column.size is not None:
        return Buffers(nodes, [validity, b"", values])
    offsets = np.zeros(rows + 1, "<i4")
    np.cumsum(lengths, out=offsets[1:])
    return Buffers(nodes, [validity, offsets.tobytes(), b"", values])


def _compressed(buffer: bytes) -> bytes:
    """Behind its length; or as it is, behind -1, where that is no longer."""
    if not buffer:
        return buffer
    from monolith_cli import _native

    smaller = _native.zstd_compress(buffer)
    if len(smaller) >= len(buffer):
        return (-1).to_bytes(8, "little", signed=True) + buffer
    return len(buffer).to_bytes(8, "little") + smaller


class _ArrowFile:
    """Batches one after another.

    Attributes
    ----------
    blocks
        Where they are.
    """

    def __init__(self, out: Writer, schema: bytes, compress: bool) -> None:
        self.blocks: list[Block] = []
        self._out = out
        self._compress = compress
        begin = MAGIC + b"\0\0"
        schema = _padded(schema, len(begin))
        out.write(begin + schema)
        self._offset = len(begin) + len(schema)

    def add(self, rows: int, columns: list[Buffers]) -> None:
        data = Buffers(
            [node for column in columns for node in column.nodes],
            [buffer for column in columns for buffer in column.buffers],
        )
        header, places, size = batch_header(rows, data, compressed=self._compress)
        self._out.write(header)
        at = 0
        for place, buffer in zip(places, data.buffers, strict=True):
            self._out.write(bytes(place - at))
            self._out.write(buffer)
            at = place + len(buffer)
        self._out.write(bytes(size - at))
        self.blocks.append(Block(self._offset, len(header), size))
        self._offset += len(header) + size


def _padded(message: bytes, offset: int) -> bytes:
    """A message with zeros behind it, so that what follows is aligned."""
    padding = -(offset + len(message)) % ALIGNMENT
    length = len(message) + padding - 8
    return message[:4] + length.to_bytes(4, "little") + message[8:] + bytes(padding)
