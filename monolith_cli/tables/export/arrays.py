"""Entries as columns of PyArrow, which is imported only where it is used, and its writers."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from monolith_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from monolith_cli import _native
    from monolith_cli.storage.protocols import Writer
    from monolith_cli.tables.layout import ColumnLayout, Layout

__all__ = ["Column", "columns_of", "record_batch", "require_pyarrow", "schema", "writing"]


def require_pyarrow(format: str) -> None:
    """Make sure that PyArrow is there.

    Raises
    ------
    UsageError
        It is not installed.
    """
    try:
        import pyarrow
        import pyarrow.ipc
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"{format} needs PyArrow, which is not installed",
            hint="pip install 'monolith-cli[arrow]'",
        ) from error


def schema(layout: Layout, metadata: Mapping[str, bytes]) -> Any:
    """The `pyarrow.Schema` of a layout."""
    import pyarrow as pa

    fields = [
        pa.field(each.name, _type(each), nullable=_is_nullable(each)) for each in layout.columns
    ]
    return pa.schema(fields, dict(metadata))


def _is_nullable(column: ColumnLayout) -> bool:
    """Whether rows without a value are null; an embedding is empty there."""
    return column.is_optional and column.name != "embedding"


def _type(column: ColumnLayout) -> Any:
    import pyarrow as pa

    if not column.is_list:
        return {"int16": pa.int16(), "int64": pa.int64(), "float": pa.float32()}[column.type]
    element = pa.field("element", pa.float32(), nullable=False)
    return pa.list_(element, -1 if column.size is None else column.size)


class Column(NamedTuple):
    """The rows of a column as buffers of PyArrow; unlike its arrays they survive being pickled.

    Attributes
    ----------
    values
        End to end; None if there are none.
    validity, offsets
        None where nothing is null, or all lists are of the same size.
    absent
        How many rows are null.
    """

    values: Any
    validity: Any = None
    offsets: Any = None
    absent: int = 0

    def array(self, layout: ColumnLayout, rows: int) -> Any:
        """The `pyarrow.Array`; nothing is copied."""
        import pyarrow as pa

        kind = _type(layout)
        if self.values is None:
            return pa.nulls(rows, kind)
        if not layout.is_list:
            return pa.Array.from_buffers(kind, rows, [self.validity, self.values], self.absent)
        elements = pa.Array.from_buffers(
            pa.float32(), self.values.size // 4, [None, self.values], 0
        )
        buffers = [self.validity] if layout.size is not None else [self.validity, self.offsets]
        return pa.Array.from_buffers(kind, rows, buffers, self.absent, children=[elements])


def columns_of(batch: _native.Batch, layout: Layout) -> list[Column]:
    """All columns of a batch; values stay in its memory."""
    names = {name for name, *_ in batch.columns()}
    return [_column(batch, column, names) for column in layout.columns]


def _column(batch: _native.Batch, column: ColumnLayout, names: set[str]) -> Column:
    import numpy as np
    import pyarrow as pa

    if column.name in ("fid", "slot", "last_update_ts_sec"):
        return Column(pa.py_buffer(batch.values(column.name)))
    if column.name not in names:
        return Column(None)
    rows = batch.rows
    values = pa.py_buffer(batch.values(column.name))
    lengths = np.frombuffer(batch.lengths(column.name), "<u4")
    absent, validity, offsets = 0, None, None
    if _is_nullable(column):
        present = lengths > 0
        absent = int(rows - np.count_nonzero(present))
        if absent:
            validity = pa.py_buffer(np.packbits(present, bitorder="little"))
            if not column.is_list:
                spread = np.zeros(rows, "<i8" if column.type == "int64" else "<f4")
                spread[present] = np.frombuffer(values, spread.dtype)
                values = pa.py_buffer(spread)
    if column.is_list and column.size is None:
        ends = np.zeros(rows + 1, "<i4")
        np.cumsum(lengths, out=ends[1:])
        offsets = pa.py_buffer(ends)
    return Column(values, validity, offsets, absent)


def record_batch(layout: Layout, fields: Any, rows: int, columns: list[Column]) -> Any:
    """The `pyarrow.RecordBatch` of a schema."""
    import pyarrow as pa

    made = [data.array(each, rows) for each, data in zip(layout.columns, columns, strict=True)]
    return pa.RecordBatch.from_arrays(made, schema=fields)


@contextmanager
def writing(out: Writer, begin: Callable[[Any], Any]) -> Iterator[Any]:
    """Have a writer of PyArrow write a file of ours; it is ended when the block ends well.

    Such a writer ends its file also when something has failed, be it when it is forgotten: what it
    writes then goes nowhere, so that nothing takes the file for a shorter one.

    Parameters
    ----------
    begin
        Makes the writer of what it is to write to.
    """
    sink, writer = _Sink(out), None
    try:
        writer = begin(sink)
        yield writer
        writer.close()
    except BaseException:
        sink.give_up()
        if writer is not None:
            with suppress(Exception):
                writer.close()
        raise


class _Sink:
    """A file as PyArrow wants it.

    Attributes
    ----------
    closed
        Never: it is ended by whoever began it.
    """

    closed = False

    def __init__(self, out: Writer) -> None:
        self._out: Writer | None = out
        self._offset = 0

    def give_up(self) -> None:
        """Let all that is written from now on go nowhere."""
        self._out = None

    def write(self, data: bytes) -> int:
        """Append bytes, all of them; raises `WriteError`."""
        if self._out is not None:
            self._out.write(memoryview(data))
        self._offset += len(data)
        return len(data)

    def tell(self) -> int:
        return self._offset

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """See `closed`."""
