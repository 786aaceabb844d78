"""What an export has to hold, from entries as protobuf parses them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import dump_support as ds
import numpy as np
import tf_support
from table_support import parse


def rows_of(records: Iterable[bytes], fid_version: str = "v2") -> list[dict[str, Any]]:
    """A row for each entry; a column that an entry has no value in is left out."""
    rows = []
    for entry in parse(list(records)):
        bits = entry.id & 2**64 - 1
        row: dict[str, Any] = {
            "fid": entry.id,
            "slot": bits >> 54 if fid_version == "v1" else bits >> 48 & 0x7FFF,
            "embedding": list(entry.num),
            "last_update_ts_sec": entry.last_update_ts_sec,
        }
        for index, single in enumerate(entry.opt.dump):
            kind = single.WhichOneof("type")
            if kind is None:
                continue
            dump = getattr(single, kind)
            arrays, floats, integers = ds.OPTIMIZERS[kind]
            for name in arrays:
                if values := list(getattr(dump, name)):
                    row[f"opt_{index}_{kind}_{name}"] = values
            for name in (*floats, *integers):
                if dump.HasField(name):
                    row[f"opt_{index}_{kind}_{name}"] = getattr(dump, name)
        rows.append(row)
    return rows


def told(rows: Iterable[dict[str, Any]]) -> list[dict[str, str]]:
    """Rows that can be compared: -0.0 is not 0.0, NaN is NaN, null is not there."""
    return [
        {name: repr(_plain(value)) for name, value in sorted(row.items()) if value is not None}
        for row in rows
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value


def records_by_tensorflow(assets: Path, base: str, *, snappy: bool = False) -> list[bytes]:
    """The records of a dump, as TensorFlow reads them."""
    return [
        record
        for path in sorted(assets.glob(f"{base}-*-of-*"))
        for record in tf_support.read_records(path, snappy=snappy)
    ]


def arrays_as_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of an export to arrays, which are mapped into memory."""
    import json

    document = json.loads((folder / "table.json").read_text())
    rows: list[dict[str, Any]] = [{} for _ in range(document["entries"])]
    for column in document["columns"]:
        values = np.load(folder / column["file"], mmap_mode="r" if rows else None)
        assert (values.dtype.str, list(values.shape)) == (column["dtype"], column["shape"])
        offsets = np.load(folder / column["offsets"]) if column["offsets"] else None
        valid = np.load(folder / column["valid"]) if column["valid"] else None
        for i, row in enumerate(rows):
            if valid is None or valid[i]:
                row[column["name"]] = (
                    values[i] if offsets is None else values[offsets[i] : offsets[i + 1]]
                )
    return rows
