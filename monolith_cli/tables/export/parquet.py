"""Parquet files: what is read is held until it is enough for a row group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from monolith_cli.storage.location import join
from monolith_cli.storage.store import store_of
from monolith_cli.tables.export.arrays import Column, columns_of, record_batch, schema, writing

if TYPE_CHECKING:
    from monolith_cli import _native
    from monolith_cli.tables.export.files import Part
    from monolith_cli.tables.folds.shape import Shape
    from monolith_cli.tables.layout import ColumnLayout, Layout

__all__ = ["ParquetFormat"]

_ROW_GROUP_BYTES = 16 << 20
"""Before compression, at least. So much is held in memory."""

_BOUNDED = ("fid", "slot", "last_update_ts_sec")
"""Columns with statistics. Those of floats leave NaN out, and readers that look for NaN would pass
over what holds them."""


class ParquetFormat(NamedTuple):
    """Parquet files.

    Attributes
    ----------
    compress
        Whether pages are compressed with Zstandard.
    """

    compress: bool = True

    def encode(self, batch: _native.Batch, layout: Layout) -> list[Column]:
        """The buffers of each column."""
        return columns_of(batch, layout)

    @property
    def counts_first(self) -> bool:
        """What is in a file stands at its end."""
        return False

    @contextmanager
    def writer(
        self, part: Part, layout: Layout, shape: Shape, metadata: Mapping[str, bytes]
    ) -> Iterator[_ParquetFile]:
        """A file of its own."""
        import pyarrow.parquet as pq

        fields = schema(layout, metadata)

        def begin(to: Any) -> Any:
            return pq.ParquetWriter(
                to,
                fields,
                compression="zstd" if self.compress else "none",
                use_dictionary=False,
                write_statistics=[each.name for each in layout.columns if each.name in _BOUNDED],
                column_encoding={_leaf(each): _encoding(each) for each in layout.columns},
            )

        location = join(part.folder, part.name(".parquet"))
        with store_of(location).create(location) as out, writing(out, begin) as writer:
            file = _ParquetFile(writer, layout, fields)
            yield file
            file.flush()


def _leaf(column: ColumnLayout) -> str:
    """The path of what holds the values."""
    return f"{column.name}.list.element" if column.is_list else column.name


def _encoding(column: ColumnLayout) -> str:
    if column.type == "float":
        return "BYTE_STREAM_SPLIT"
    return "PLAIN" if column.name == "fid" else "DELTA_BINARY_PACKED"


class _ParquetFile:
    """Row groups one after another; of the last one the rows are still held."""

    def __init__(self, writer: Any, layout: Layout, fields: Any) -> None:
        self._layout = layout
        self._writer = writer
        self._fields = fields
        self._held: list[Any] = []
        self._bytes = 0

    def add(self, rows: int, columns: list[Column]) -> None:
        batch = record_batch(self._layout, self._fields, rows, columns)
        self._held.append(batch)
        self._bytes += batch.nbytes
        if self._bytes >= _ROW_GROUP_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is held as a row group."""
        import pyarrow as pa

        if self._held:
            table = pa.Table.from_batches(self._held, self._fields)
            self._held, self._bytes = [], 0
            self._writer.write_table(table, row_group_size=max(1, table.num_rows))
