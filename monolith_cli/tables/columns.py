"""Entries as NumPy arrays, a column a field."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.errors import UsageError
from monolith_cli.execution.workers import Workers
from monolith_cli.tables.folds.columns import ColumnsFold, RawColumns
from monolith_cli.tables.ranges import read_ranges
from monolith_cli.tables.stream import EntryStream

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Executor
    from typing import Any

    import numpy as np

    from monolith_cli.tables.stream import EntryFilter
    from monolith_cli.tables.table import Table

    Array = np.ndarray[Any, np.dtype[Any]]
    Columns = dict[str, "Array | Ragged"]

__all__ = ["Ragged", "read_columns"]

_FIXED = {"fid": "i8", "slot": "u4", "last_update_ts_sec": "i8"}
_RANGE_BYTES = 8 << 20


class Ragged(NamedTuple):
    """A column whose entries have different numbers of values.

    `values` holds them end to end, `lengths` (uint32) how many each entry has.
    """

    values: Array
    lengths: Array


def read_columns(
    table: Table,
    columns: Iterable[str] | None = None,
    shard: int = 0,
    nshards: int = 1,
    chosen: EntryFilter | None = None,
    jobs: int | None = 1,
    executor: Executor | None = None,
) -> Columns:
    """Read a table, or a partition of it, into arrays.

    Parameters
    ----------
    columns
        Of `fid` (int64, shape n), `slot` (uint32, n), `last_update_ts_sec` (int64, n, seconds),
        `embedding` (float32, n x dim) and `opt`. None: all of them. `opt` stands for all values of
        optimizers, each a column of its own, `opt.<index>.<type>.<field>` (float32 or int64,
        n x k; k is 1 for a field that is no list).
    shard, nshards
        Which of how many partitions. Memory: that of the arrays, and a few ranges of 8 MiB.
    chosen
        Which entries.
    jobs, executor
        Who reads: so many threads (None: as many as there are processors), or an executor that is
        handed in, as in `Dump`.

    Returns
    -------
    dict
        Arrays by column name, rows in the order of the files. A column in which entries differ in
        their number of values is a `Ragged`.

    Raises
    ------
    UsageError
        No such column, partition or version of feature ids, or `jobs` < 1.
    CorruptionError
        Damage, unless the table is read with `skip`.
    """
    import numpy as np

    known = {*_FIXED, "embedding", "opt"}
    wanted = known if columns is None else {columns} if isinstance(columns, str) else set(columns)
    if not wanted <= known:
        raise UsageError(
            f"no column {', '.join(sorted(wanted - known))}", hint=f"there are {sorted(known)}"
        )
    fold = ColumnsFold("embedding" in wanted, "opt" in wanted, chosen)
    parts = RawColumns()
    # With a pass over files that the stream would leave to one thread.
    stream = EntryStream(table.extents(jobs, executor))
    with Workers(jobs, executor) as workers:
        pieces = read_ranges(
            stream,
            table.options,
            fold,
            shard=shard,
            nshards=nshards,
            workers=workers,
            range_bytes=_RANGE_BYTES,
        )
        with closing(pieces):
            for piece in pieces:
                parts.merge(piece.value)
    rows = [len(part["fid"]) // 8 for part in parts]
    result: Columns = {}
    for name, dtype in _FIXED.items():
        if name in wanted:
            arrays = [np.frombuffer(part[name], dtype) for part in parts]
            result[name] = np.concatenate(arrays) if arrays else np.empty(0, dtype)
    names = {name: None for part in parts for name in part if name not in _FIXED}
    if "embedding" in wanted:
        names.setdefault("embedding", None)
    for name in names:
        result[name] = _join(name, parts, rows)
    return result


def _join(name: str, parts: list[dict[str, Any]], rows: list[int]) -> Array | Ragged:
    import numpy as np

    dtype = next((part[name][0] for part in parts if name in part), "f4")
    values, lengths = [np.empty(0, dtype)], [np.empty(0, "u4")]
    for part, n in zip(parts, rows, strict=True):
        if name in part:
            values.append(np.frombuffer(part[name][1], dtype))
            lengths.append(np.frombuffer(part[name][2], "u4"))
        else:
            lengths.append(np.zeros(n, "u4"))
    flat, each = np.concatenate(values), np.concatenate(lengths)
    if len(each) == 0 or (each == each[0]).all():
        return flat.reshape(len(each), -1) if len(flat) else flat.reshape(len(each), 0)
    return Ragged(flat, each)
