"""`table diff` of two steps, a third changed and the order shuffled: time, and memory.

By itself it writes the second step, or does with DuckDB what `table diff` does, and prints the
seconds: what is not the command's own work, such as imports and exports, is not timed.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from measure import MONOLITH, Bench, Row, compared, output, python, run

_CHANGED = 3  # one entry of so many
_DUCKDB_SHARE = 0.2  # DuckDB takes hundreds of bytes of memory an entry


def measure(bench: Bench) -> Iterator[Row]:
    """Against `ckpt-info` of both, against DuckDB, and the memory of one that spills."""
    a, b = pair(bench, "equal")
    entries = bench.samples.entries("equal")
    what = f"`table diff`, {entries:,} entries a side, a third changed, shuffled"
    ours = [MONOLITH, "table", "diff", a, "--with", b, "--memory", "4GiB"]
    counts = " && ".join(f"'{MONOLITH}' ckpt-info --dry-run '{each}'" for each in (a, b))
    bench.warm([*files_of(a), *files_of(b)])
    yield compared(
        what, "`ckpt-info` of both", bench.seconds(ours, ["/bin/sh", "-c", counts]), "2.5", "1.7"
    )
    spilling = [*ours[:-1], "256MiB"]
    peak = max(run(spilling).peak_bytes for _ in range(min(3, bench.runs)))
    yield Row(
        f"peak memory, {what}, `--memory 256MiB`",
        ours=f"{peak / 1e6:.0f} MB",
        must="≤ 400 MB",
        aim="320 MB",
    )
    try:
        import duckdb  # noqa: F401  # is it there?
        import pyarrow  # noqa: F401
    except ImportError:
        return
    few = bench.samples.at_scale(_DUCKDB_SHARE)
    small = Bench(few, bench.runs, few.scale)
    a, b = pair(small, "equal")
    ours = [MONOLITH, "table", "diff", a, "--with", b, "--memory", "4GiB"]
    theirs = python("table_diff", "duckdb", exported(a), exported(b))
    expected = json.loads(output([*ours, "--json"]))
    assert json.loads(output([*theirs, "--counts"])) == [
        expected[key] for key in ("added", "removed", "changed")
    ]
    mine, other = small.reported(ours, theirs)
    yield Row(
        f"`table diff`, {few.entries('equal'):,} entries a side, a third changed, shuffled",
        "DuckDB, full outer join on fid of both as Parquet",
        f"{mine:.2f} s",
        f"{other:.2f} s",
        f"{other / mine:.1f} times faster",
        "5 times",
        "8 times",
    )


def pair(bench: Bench, name: str, changed: int = _CHANGED) -> tuple[str, str]:
    """A sample, and the same later, with one entry of so many changed."""
    first = bench.samples.model(name)
    second = f"{first}-later-{changed}"
    if not (Path(second) / "checkpoint").exists():
        print(f"writing {second}", file=sys.stderr, flush=True)
        run(python("table_diff", "later", first, second, changed))
    return first, second


def files_of(model: str) -> list[str]:
    """Its tables' files."""
    return sorted(map(str, Path(model).glob("*.assets/*")))


def exported(model: str) -> str:
    """Its only table as Parquet, fid and embedding; written where it is not there."""
    path = f"{model}.parquet"
    if not Path(path).exists():
        print(f"writing {path}", file=sys.stderr, flush=True)
        run(python("table_diff", "export", model, path))
    return path


def _columns(model: str) -> Iterator[Mapping[str, object]]:
    """The columns of its only table, a file at a time."""
    from monolith_cli.checkpoint.model_dir import open_model_dir
    from monolith_cli.tables import open_tables

    [table] = open_tables(open_model_dir(model).checkpoint())
    for shard in range(table.shards):
        yield table.read_columns(shard=shard, nshards=table.shards, jobs=None)


def write_later(first: str, second: str, changed: int) -> None:
    """Shuffle each file, move a value of one entry of so many, and give it another name."""
    import shutil

    import numpy as np

    from monolith_cli._native import encode_entries

    shutil.rmtree(second, ignore_errors=True)
    shutil.copytree(first, second, ignore=shutil.ignore_patterns("*-of-*", "checkpoint"))
    names = [Path(each).relative_to(first) for each in files_of(first)]
    rng = np.random.default_rng(1)
    for name, columns in zip([*names[1:], names[0]], _columns(first), strict=True):
        fids = np.asarray(columns["fid"])
        order = rng.permutation(len(fids))
        values = np.asarray(columns["embedding"])
        times = np.asarray(columns["last_update_ts_sec"])
        with (Path(second) / name).open("wb") as out:
            for start in range(0, len(order), 100_000):
                some = order[start : start + 100_000]
                moved = values[some]
                moved[some % changed == 0, 0] += 1
                out.write(
                    encode_entries(fids[some], moved, times=times[some], optimizers=[("sgd", [])])
                )
    shutil.copy(Path(first) / "checkpoint", second)
    os.sync()


def export(model: str, path: str) -> None:
    """Write fid and embedding as Parquet."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer = None
    for columns in _columns(model):
        values = np.asarray(columns["embedding"])
        embedding = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
        batch = pa.table({"fid": pa.array(np.asarray(columns["fid"])), "embedding": embedding})
        writer = writer or pq.ParquetWriter(path, batch.schema, use_dictionary=False)
        writer.write_table(batch)
    if writer is not None:
        writer.close()
    os.sync()


def by_duckdb(a: str, b: str, counts: bool) -> None:
    """Count what was added, removed, changed; print the seconds, or the counts."""
    import duckdb

    start = time.perf_counter()
    found = (
        duckdb.connect()
        .execute(
            f"""SELECT count(*) FILTER (a.fid IS NULL), count(*) FILTER (b.fid IS NULL),
            count(*) FILTER (a.embedding <> b.embedding)
            FROM read_parquet('{a}') a FULL OUTER JOIN read_parquet('{b}') b ON a.fid = b.fid"""
        )
        .fetchone()
    )
    seconds = time.perf_counter() - start
    print(json.dumps(list(found or ())) if counts else seconds)


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what == "later":
        write_later(rest[0], rest[1], int(rest[2]))
    elif what == "export":
        export(*rest)
    else:
        by_duckdb(rest[0], rest[1], "--counts" in rest)
