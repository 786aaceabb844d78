"""Parquet: pages are made where entries are read, and written as they come."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.formats.arrow import schema_message
from monolith_cli.formats.parquet import (
    DELTA,
    MAGIC,
    PLAIN,
    SPLIT,
    Chunk,
    Column,
    RowGroup,
    footer,
    page_header,
)
from monolith_cli.storage.location import join
from monolith_cli.storage.store import store_of
from monolith_cli.tables.export.arrow import arrow_field
from monolith_cli.tables.export.files import TOOL, Part

if TYPE_CHECKING:
    from monolith_cli import _native
    from monolith_cli.storage.protocols import Writer
    from monolith_cli.tables.folds.shape import Shape
    from monolith_cli.tables.layout import ColumnLayout, Layout

__all__ = ["ParquetFormat"]

_PAGE_BYTES = 1 << 20
_ROW_GROUP_BYTES = 32 << 20
"""Before compression. Of one row group the pages are held in memory."""

_BOUNDED = ("fid", "slot", "last_update_ts_sec")


def _column(layout: ColumnLayout) -> Column:
    encoding = SPLIT if layout.type == "float" else PLAIN if layout.name == "fid" else DELTA
    is_optional = layout.is_optional and layout.name != "embedding"
    return Column(layout.name, layout.type, encoding, layout.is_list, is_optional)


def _levels(column: Column) -> str:
    if column.is_list:
        return "lists" if column.is_optional else "list"
    return "optional" if column.is_optional else "none"


class _Pages(NamedTuple):
    """Pages of a column with their headers, and what `Chunk` wants to know of them."""

    data: list[bytes]
    bytes: int
    stored_bytes: int
    values: int
    bounds: tuple[int, int] | None


class ParquetFormat(NamedTuple):
    """Parquet files.

    Attributes
    ----------
    compress
        Whether pages are compressed with Zstandard.
    """

    compress: bool = True

    def encode(self, batch: _native.Batch, layout: Layout) -> list[_Pages]:
        """Pages of each column, with headers."""
        encoded = []
        for each in layout.columns:
            column = _column(each)
            if column.is_optional and each.name not in _names(batch):
                encoded.append(_absent(column, batch.rows, self.compress))
                continue
            data: list[bytes] = []
            total = stored = values = 0
            for page, size, count in batch.pages(
                each.name, _levels(column), _PAGE_BYTES, self.compress
            ):
                header = page_header(column, size, len(page), count)
                data += (header, page)
                total += len(header) + size
                stored += len(header) + len(page)
                values += count
            bounds = batch.bounds(each.name) if each.name in _BOUNDED else None
            encoded.append(_Pages(data, total, stored, values, bounds))
        return encoded

    @property
    def counts_first(self) -> bool:
        """What is in a file stands at its end."""
        return False

    @contextmanager
    def writer(
        self, part: Part, layout: Layout, shape: Shape, metadata: Mapping[str, bytes]
    ) -> Iterator[_ParquetFile]:
        """A file of its own."""
        location = join(part.folder, part.name(".parquet"))
        with store_of(location).create(location) as out:
            file = _ParquetFile(out, layout)
            yield file
            schema = schema_message([arrow_field(each) for each in layout.columns], metadata)
            # From this, readers that know Arrow have lists of fixed size, and int16.
            metadata = {**metadata, "ARROW:schema": base64.b64encode(schema)}
            file.finish(metadata, self.compress)


def _names(batch: _native.Batch) -> set[str]:
    return {name for name, *_ in batch.columns()}


def _absent(column: Column, rows: int, compress: bool) -> _Pages:
    """A page of rows without a value."""
    from monolith_cli import _native

    run = bytearray()
    count = rows << 1
    while count >= 0x80:
        run.append(count & 0x7F | 0x80)
        count >>= 7
    run += bytes((count, 0))
    levels = len(run).to_bytes(4, "little") + bytes(run)
    raw = levels * 2 if column.is_list else levels
    if column.encoding == DELTA:
        raw += b"\x80\x01\x04\x00\x00"  # of no values
    page = _native.zstd_compress(raw) if compress else raw
    header = page_header(column, len(raw), len(page), rows)
    size = len(header)
    return _Pages([header, page], size + len(raw), size + len(page), rows, None)


class _ParquetFile:
    """Row groups one after another; of the last one the pages are still held."""

    def __init__(self, out: Writer, layout: Layout) -> None:
        self._out = out
        self._columns = [_column(each) for each in layout.columns]
        self._groups: list[RowGroup] = []
        self._offset = len(MAGIC)
        self._rows = self._bytes = 0
        self._held: list[list[_Pages]] = [[] for _ in self._columns]
        out.write(MAGIC)

    def add(self, rows: int, columns: list[_Pages]) -> None:
        for held, pages in zip(self._held, columns, strict=True):
            held.append(pages)
            self._bytes += pages.bytes
        self._rows += rows
        if self._bytes >= _ROW_GROUP_BYTES:
            self._write_group()

    def _write_group(self) -> None:
        chunks = []
        for pieces in self._held:
            offset = self._offset
            for pages in pieces:
                for data in pages.data:
                    self._out.write(data)
                self._offset += pages.stored_bytes
            bounds = [pages.bounds for pages in pieces if pages.bounds is not None]
            chunks.append(
                Chunk(
                    offset,
                    sum(pages.bytes for pages in pieces),
                    sum(pages.stored_bytes for pages in pieces),
                    sum(pages.values for pages in pieces),
                    (min(low for low, _ in bounds), max(high for _, high in bounds))
                    if bounds
                    else None,
                    0 if bounds else None,
                )
            )
            pieces.clear()
        self._groups.append(RowGroup(self._rows, chunks))
        self._rows = self._bytes = 0

    def finish(self, metadata: Mapping[str, bytes], compress: bool) -> None:
        """Write what is held, and the end of the file."""
        if self._rows:
            self._write_group()
        self._out.write(
            footer(self._columns, self._groups, metadata, compressed=compress, created_by=TOOL)
        )
