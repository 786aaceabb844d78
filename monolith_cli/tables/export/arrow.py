"""Arrow files: each range that is read becomes a batch of records."""

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
    from monolith_cli.tables.layout import Layout

__all__ = ["ArrowFormat"]


class ArrowFormat(NamedTuple):
    """Files of Arrow's IPC format.

    Attributes
    ----------
    compress
        Whether buffers are compressed with Zstandard; else a file can be mapped into memory.
    """

    compress: bool = False

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
    ) -> Iterator[_ArrowFile]:
        """A file of its own."""
        import pyarrow as pa

        fields = schema(layout, metadata)
        options = pa.ipc.IpcWriteOptions(
            compression="zstd" if self.compress else None, use_threads=False
        )
        location = join(part.folder, part.name(".arrow"))
        with (
            store_of(location).create(location) as out,
            writing(out, lambda to: pa.ipc.new_file(to, fields, options=options)) as file,
        ):
            yield _ArrowFile(file, layout, fields)


class _ArrowFile:
    """Batches one after another."""

    def __init__(self, file: Any, layout: Layout, fields: Any) -> None:
        self._layout = layout
        self._file = file
        self._fields = fields

    def add(self, rows: int, columns: list[Column]) -> None:
        self._file.write_batch(record_batch(self._layout, self._fields, rows, columns))
