"""Entries that are not the same, a row each: as JSON lines, or as Parquet."""

from __future__ import annotations

import abc
import json
import struct
from typing import TYPE_CHECKING, Any

from monolith_cli.fid import slot
from monolith_cli.reports.text import name_json
from monolith_cli.tables.export.arrays import require_pyarrow

if TYPE_CHECKING:
    from types import TracebackType
    from typing import BinaryIO

__all__ = ["FATES", "JsonRows", "ParquetRows", "Rows", "row_writer"]

FATES = ("same", "touched", "embedding", "optimizer", "both", "added", "removed")
"""The words for what became of an entry, as `_native.Join.changes` numbers them."""

_CHANGE = "<qqqBB6x"
_ADDED, _REMOVED = FATES.index("added"), FATES.index("removed")
_ROWS_AT_ONCE = 10_000


class Rows(abc.ABC):
    """Writes rows; a context manager."""

    @abc.abstractmethod
    def write(self, table: str, changes: bytes) -> None:
        """Write what is not the same in a table, packed as `_native.Join.changes`."""

    @abc.abstractmethod
    def close(self) -> None:
        """Write what belongs behind the last row."""

    def __enter__(self) -> Rows:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()


class JsonRows(Rows):
    """An object a line.

    Parameters
    ----------
    number_ids
        Whether fids are numbers; else they are strings.
    """

    def __init__(self, out: BinaryIO, *, number_ids: bool, fid_version: str) -> None:
        self._out = out
        self._number_ids = number_ids
        self._fid_version = fid_version

    def write(self, table: str, changes: bytes) -> None:
        name = json.dumps(name_json(table))
        lines = []
        for fid, time_a, time_b, fate, again in struct.iter_unpack(_CHANGE, changes):
            shown = f"{fid}" if self._number_ids else f'"{fid}"'
            before = "null" if fate == _ADDED else time_a
            after = "null" if fate == _REMOVED else time_b
            lines.append(
                f'{{"fid":{shown},"slot":{slot(fid, self._fid_version)},"table":{name},'
                f'"change":"{FATES[fate]}","last_update_ts_sec_a":{before},'
                f'"last_update_ts_sec_b":{after},"again":{"true" if again else "false"}}}\n'
            )
            if len(lines) == _ROWS_AT_ONCE:
                self._out.write("".join(lines).encode())
                lines.clear()
        self._out.write("".join(lines).encode())

    def close(self) -> None:
        pass


class ParquetRows(Rows):
    """A Parquet file, with the same columns.

    Raises
    ------
    UsageError
        PyArrow is not installed.
    """

    def __init__(self, out: BinaryIO, *, fid_version: str) -> None:
        require_pyarrow("Parquet")
        import pyarrow
        import pyarrow.parquet

        self._arrow = pyarrow
        self._fid_version = fid_version
        words = pyarrow.dictionary(pyarrow.int8(), pyarrow.string())
        self._schema = pyarrow.schema(
            [
                pyarrow.field("fid", pyarrow.int64(), nullable=False),
                pyarrow.field("slot", pyarrow.int32(), nullable=False),
                pyarrow.field("table", pyarrow.string(), nullable=False),
                pyarrow.field("change", words, nullable=False),
                pyarrow.field("last_update_ts_sec_a", pyarrow.int64()),
                pyarrow.field("last_update_ts_sec_b", pyarrow.int64()),
                pyarrow.field("again", pyarrow.bool_(), nullable=False),
            ]
        )
        self._file: Any = pyarrow.parquet.ParquetWriter(out, self._schema, compression="zstd")

    def write(self, table: str, changes: bytes) -> None:
        import numpy as np

        arrow = self._arrow
        fields = [("fid", "<i8"), ("a", "<i8"), ("b", "<i8"), ("fate", "i1"), ("again", "?")]
        rows = np.frombuffer(changes, np.dtype([*fields, ("unused", "V6")]))
        bits = rows["fid"].astype(np.uint64)
        slots = bits >> 54 if self._fid_version == "v1" else (bits >> 48) & 0x7FFF
        words = arrow.array(FATES)
        columns = [
            arrow.array(rows["fid"]),
            arrow.array(slots.astype(np.int32)),
            arrow.array([name_json(table)], arrow.string()).take(
                arrow.array(np.zeros(len(rows), np.int32))
            ),
            arrow.DictionaryArray.from_arrays(arrow.array(rows["fate"]), words),
            arrow.array(rows["a"], mask=rows["fate"] == _ADDED),
            arrow.array(rows["b"], mask=rows["fate"] == _REMOVED),
            arrow.array(rows["again"]),
        ]
        self._file.write_batch(arrow.RecordBatch.from_arrays(columns, schema=self._schema))

    def close(self) -> None:
        self._file.close()


def row_writer(
    format: str, out: BinaryIO, *, number_ids: bool = False, fid_version: str = "v2"
) -> Rows:
    """What writes rows as `jsonl` or `parquet`. Raises as `ParquetRows`."""
    if format == "parquet":
        return ParquetRows(out, fid_version=fid_version)
    return JsonRows(out, number_ids=number_ids, fid_version=fid_version)
