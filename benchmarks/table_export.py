"""An export to Parquet, against PyArrow that writes the same arrays, which it has in memory. Run on
its own with a model directory and another one, it makes PyArrow's side and prints seconds.

Both write as many files as there are processors, with the same encodings, compression and row
groups, and wait until the files are on disk. PyArrow's clock runs while it writes, not while arrays
are made; ours is that of a whole process, which reads and verifies the table.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from measure import MONOLITH, Bench, Row, compared, output, python, run

PARTS = 40
_ROW_GROUP_BYTES = 16 << 20


def measure(bench: Bench) -> Iterator[Row]:
    """Whole processes, but for PyArrow, which tells its seconds without imports."""
    from monolith_cli.execution.workers import usable_processors

    name = "equal"
    model = bench.samples.model(name)
    bench.warm(bench.samples.files(name))
    target = bench.samples.directory / "exported"
    files = str(usable_processors())
    ours = [MONOLITH, "table", "export", model, "-o", str(target), "--files", files, "--quiet"]
    theirs = python("table_export", model, target)
    mine, other, peaks = [], [], []
    for _ in range(max(2, min(bench.runs, 5))):
        shutil.rmtree(target, ignore_errors=True)
        usage = run(ours)
        mine.append(usage.seconds)
        peaks.append(usage.peak_bytes)
        shutil.rmtree(target, ignore_errors=True)
        other.append(float(output(theirs)))
    shutil.rmtree(target, ignore_errors=True)
    what = f"`table export` to Parquet, {bench.samples.entries(name):,} entries of 33 floats"
    medians = statistics.median(mine), statistics.median(other)
    note = f", {max(peaks) / 1e6:.0f} MB"
    yield compared(what, "PyArrow, from memory", medians, "≤ 1.25", "0.6", note)


def write_by_pyarrow(model: str, target: Path) -> float:
    """Write the table, a part at a time; how many seconds that took without making the parts."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from monolith_cli import open_model_dir, open_tables
    from monolith_cli.execution.workers import usable_processors

    [table] = open_tables(open_model_dir(model).checkpoint())
    count = usable_processors()
    schema = pa.schema(
        [
            pa.field("fid", pa.int64(), nullable=False),
            pa.field("slot", pa.int16(), nullable=False),
            pa.field(
                "embedding", pa.list_(pa.field("element", pa.float32(), nullable=False), 33), False
            ),
            pa.field("last_update_ts_sec", pa.int64(), nullable=False),
        ]
    )
    integers = ["fid", "slot", "last_update_ts_sec"]
    target.mkdir(parents=True)
    paths = [target / f"{i}.parquet" for i in range(count)]
    writers = [
        pq.ParquetWriter(
            path,
            schema,
            compression="zstd",
            use_dictionary=False,
            write_statistics=integers,
            column_encoding={
                "fid": "PLAIN",
                "slot": "DELTA_BINARY_PACKED",
                "embedding.list.element": "BYTE_STREAM_SPLIT",
                "last_update_ts_sec": "DELTA_BINARY_PACKED",
            },
        )
        for path in paths
    ]

    def part(number: int) -> Any:
        columns: dict[str, Any] = dict(table.read_columns(shard=number, nshards=PARTS * count))
        flat = pa.array(columns["embedding"].reshape(-1))
        return pa.table(
            [
                pa.array(columns["fid"]),
                pa.array(columns["slot"].astype(np.int16)),
                pa.FixedSizeListArray.from_arrays(flat, type=schema.field("embedding").type),
                pa.array(columns["last_update_ts_sec"]),
            ],
            schema=schema,
        )

    def write(writer: Any, made: Any) -> None:
        writer.write_table(made, row_group_size=_ROW_GROUP_BYTES // 150)

    def end(writer: Any, path: Path) -> None:
        writer.close()
        file = os.open(path, os.O_RDONLY)
        os.fsync(file)
        os.close(file)

    seconds = 0.0
    with ThreadPoolExecutor(count) as pool:
        for i in range(PARTS):
            parts = list(pool.map(part, range(i * count, (i + 1) * count)))
            start = time.perf_counter()
            list(pool.map(write, writers, parts))
            seconds += time.perf_counter() - start
        start = time.perf_counter()
        list(pool.map(end, writers, paths))
        seconds += time.perf_counter() - start
    return seconds


if __name__ == "__main__":
    print(write_by_pyarrow(sys.argv[1], Path(sys.argv[2])))
