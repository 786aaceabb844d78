"""Arrays of NumPy, each in a file that can be mapped into memory, with a JSON that names them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.errors import ChangedWhileReadError
from monolith_cli.storage.location import join
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from monolith_cli import _native
    from monolith_cli.storage.protocols import Writer
    from monolith_cli.tables.export.files import Part
    from monolith_cli.tables.folds.shape import Shape
    from monolith_cli.tables.layout import ColumnLayout, Layout

__all__ = ["TABLE_JSON", "NpyFormat"]

TABLE_JSON = "table.json"

_ALIGNMENT = 64
_MAGIC = b"\x93NUMPY\x01\x00"
_DTYPES = {"int16": "<i2", "int64": "<i8", "float": "<f4"}


class _Values(NamedTuple):
    """Of some rows: what goes behind what is in a column's files; None where there is no such."""

    values: bytes
    offsets: bytes | None
    valid: bytes | None


class NpyFormat(NamedTuple):
    """A file for each column: `<name>.npy`, of shape (entries,) or (entries, size).

    Of a column whose lists differ in size, `<name>.values.npy` has the values end to end, and
    `<name>.offsets.npy` (int64, entries + 1) where those of each entry begin. `<name>.valid.npy`
    (bool) says which entries have a value, where not all do; others are 0, or NaN.
    """

    def encode(self, batch: _native.Batch, layout: Layout) -> list[_Values]:
        """What goes into the files of each column; offsets are lengths yet."""
        return [_values(batch, column) for column in layout.columns]

    @property
    def counts_first(self) -> bool:
        """The header of an array has its shape."""
        return True

    @contextmanager
    def writer(
        self, part: Part, layout: Layout, shape: Shape, metadata: Mapping[str, bytes]
    ) -> Iterator[_NpyFiles]:
        """All files of a table."""
        with ExitStack() as stack:
            files = _NpyFiles(part.folder, layout, shape, stack)
            yield files
            files.check()
        document = {
            **{key.rpartition(".")[2]: value.decode() for key, value in metadata.items()},
            "entries": files.rows,
            "columns": files.columns(),
        }
        location = join(part.folder, TABLE_JSON)
        text = json.dumps(document, indent=2) + "\n"
        store_of(location).put(location, text.encode())


def _values(batch: _native.Batch, column: ColumnLayout) -> _Values:
    import numpy as np

    rows = batch.rows
    if column.name in ("fid", "slot", "last_update_ts_sec"):
        return _Values(bytes(batch.values(column.name)), None, None)
    if all(name != column.name for name, *_ in batch.columns()):
        lengths, values = np.zeros(rows, "<u4"), b""
    else:
        lengths = np.frombuffer(batch.lengths(column.name), "<u4")
        values = bytes(batch.values(column.name))
    present = lengths > 0
    valid = None
    if column.is_optional and column.name != "embedding":
        valid = present.tobytes()
    if column.is_list:
        ragged = None if column.size is not None else lengths.astype("<i8").tobytes()
        return _Values(values, ragged, valid)
    if valid is not None:
        dtype = _DTYPES[column.type]
        spread = np.full(rows, 0 if column.type == "int64" else np.nan, dtype)
        spread[present] = np.frombuffer(values, dtype)
        values = spread.tobytes()
    return _Values(values, None, valid)


class _Array:
    """A file that is being written, of a shape that is known."""

    def __init__(
        self, folder: str, name: str, dtype: str, shape: tuple[int, ...], stack: ExitStack
    ) -> None:
        self.name = name
        self.dtype = dtype
        self.shape = shape
        self._location = join(folder, name)
        self._left = math.prod(shape) * int(dtype[2])
        self._out: Writer = stack.enter_context(store_of(self._location).create(self._location))
        text = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode()
        size = len(text) + 1
        size += -(len(_MAGIC) + 2 + size) % _ALIGNMENT
        self._out.write(_MAGIC + size.to_bytes(2, "little") + text.ljust(size - 1) + b"\n")

    def write(self, data: bytes) -> None:
        self._out.write(data)
        self._left -= len(data)

    def check(self) -> None:
        if self._left:
            raise ChangedWhileReadError(
                "other entries than a moment ago", path=self._location, hint="try again"
            )


class _Column(NamedTuple):
    layout: ColumnLayout
    values: _Array
    offsets: _Array | None
    valid: _Array | None


class _NpyFiles:
    """The files of all columns.

    Attributes
    ----------
    rows
        How many entries are in them.
    """

    def __init__(self, folder: str, layout: Layout, shape: Shape, stack: ExitStack) -> None:
        self.rows = 0
        self._columns: list[_Column] = []
        self._ends: list[int] = []
        rows = shape.rows

        def array(name: str, dtype: str, *dims: int) -> _Array:
            return _Array(folder, f"{name}.npy", dtype, dims, stack)

        for each in layout.columns:
            dtype = _DTYPES[each.type]
            offsets = valid = None
            if not each.is_list:
                values = array(each.name, dtype, rows)
            elif each.size is not None:
                values = array(each.name, dtype, rows, each.size)
            else:
                found = shape.columns.get(each.name)
                values = array(f"{each.name}.values", dtype, found.values if found else 0)
                offsets = array(f"{each.name}.offsets", "<i8", rows + 1)
                offsets.write(bytes(8))
            if each.is_optional and each.name != "embedding":
                valid = array(f"{each.name}.valid", "|b1", rows)
            self._columns.append(_Column(each, values, offsets, valid))
            self._ends.append(0)

    def add(self, rows: int, columns: list[_Values]) -> None:
        import numpy as np

        self.rows += rows
        for i, (column, data) in enumerate(zip(self._columns, columns, strict=True)):
            column.values.write(data.values)
            if column.offsets is not None and data.offsets is not None:
                ends = np.cumsum(np.frombuffer(data.offsets, "<i8")) + self._ends[i]
                self._ends[i] = int(ends[-1])
                column.offsets.write(ends.astype("<i8").tobytes())
            if column.valid is not None and data.valid is not None:
                column.valid.write(data.valid)

    def check(self) -> None:
        """Make sure that all arrays are as long as their headers say.

        Raises
        ------
        ChangedWhileReadError
            One is not: the entries have been counted in a pass before.
        """
        for column in self._columns:
            for array in (column.values, column.offsets, column.valid):
                if array is not None:
                    array.check()

    def columns(self) -> list[dict[str, object]]:
        """What the JSON says of them."""
        return [
            {
                "name": column.layout.name,
                "file": column.values.name,
                "dtype": column.values.dtype,
                "shape": column.values.shape,
                "offsets": column.offsets and column.offsets.name,
                "valid": column.valid and column.valid.name,
            }
            for column in self._columns
        ]
