#!/usr/bin/env bash
# duckdb 2.0.1 and pyarrow 26.0.1 on float columns of a Parquet file that pyarrow wrote
#
# Guessed: how many NaN a column holds does not depend on whether the file has statistics.
# Seen: writers leave NaN out of a column's minimum and maximum, and DuckDB takes those for the whole
# range: in a file with statistics it finds no NaN at all, neither by isnan(), nor by comparing
# (NaN is the largest number to it), nor inside vectors, and its max() is finite. pyarrow finds them
# by is_nan(), but not by the negation of a comparison. polars finds them in either. A check for
# diverged embeddings says 0 where a third of the rows are NaN; without statistics all agree.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    pyarrow==26.0.1 polars==2.1.0 duckdb==2.0.1

cat > "$work/nan.py" <<'PY'
import os
import sys

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

os.chdir(sys.argv[1])
nan = float("nan")
table = pa.table(
    {
        "x": pa.array([1.0, 2.0, nan] * 1000, pa.float32()),
        "v": pa.array([[1.0, nan]] * 3000, pa.list_(pa.float32(), 2)),
    }
)
for statistics in (True, False):
    pq.write_table(table, "t.parquet", write_statistics=statistics)
    print("with statistics" if statistics else "without")
    for condition in ("isnan(x)", "x > 100", "NOT (x <= 2)", "isnan(v[2])"):
        [(rows,)] = duckdb.sql(f"SELECT count(*) FROM 't.parquet' WHERE {condition}").fetchall()
        print("  duckdb ", condition, rows)
    print("  duckdb  max(x)", duckdb.sql("SELECT max(x) FROM 't.parquet'").fetchall()[0][0])
    dataset = ds.dataset("t.parquet")
    for name, condition in (
        ("is_nan(x)", pc.is_nan(pc.field("x"))),
        ("~(x <= 2)", ~(pc.field("x") <= 2)),
    ):
        print("  pyarrow", name, dataset.to_table(filter=condition).num_rows)
    for name, condition in (("is_nan(x)", pl.col("x").is_nan()), ("~(x <= 2)", ~(pl.col("x") <= 2))):
        print("  polars ", name, pl.scan_parquet("t.parquet").filter(condition).collect().height)
PY
"$work/venv/bin/python" "$work/nan.py" "$work" 2> "$work/err" > "$work/out" || { cat "$work/err" >&2; exit 1; }
diff - "$work/out" <<'SEEN' || { echo "it behaves differently now" >&2; exit 1; }
with statistics
  duckdb  isnan(x) 0
  duckdb  x > 100 0
  duckdb  NOT (x <= 2) 0
  duckdb  isnan(v[2]) 0
  duckdb  max(x) 2.0
  pyarrow is_nan(x) 1000
  pyarrow ~(x <= 2) 0
  polars  is_nan(x) 1000
  polars  ~(x <= 2) 1000
without
  duckdb  isnan(x) 1000
  duckdb  x > 100 1000
  duckdb  NOT (x <= 2) 1000
  duckdb  isnan(v[2]) 3000
  duckdb  max(x) nan
  pyarrow is_nan(x) 1000
  pyarrow ~(x <= 2) 1000
  polars  is_nan(x) 1000
  polars  ~(x <= 2) 1000
SEEN
echo "as found"
