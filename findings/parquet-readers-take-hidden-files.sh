#!/usr/bin/env bash
# polars 2.1.0 and duckdb 2.0.1 beside pyarrow 26.0.1, reading a folder of Parquet files
#
# Guessed: files whose names start with a dot or an underscore are passed over by all three, given a
# folder as well as given a pattern, as a shell's `*` does with dots: that is how writers hide what
# they have not finished.
# Seen: pyarrow passes over both. polars and DuckDB read both, also where `*.parquet` is asked for. A
# writer that stages `.part.parquet` beside its finished files has its rows counted twice, or half a
# file refused. Of another extension DuckDB passes over it, and polars refuses the whole folder, even
# for a hidden one, unless it is given a pattern. So a writer should stage in another folder.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    pyarrow==26.0.1 polars==2.1.0 duckdb==2.0.1

cat > "$work/read.py" <<'PY'
import os
import sys

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

os.chdir(sys.argv[1])
os.mkdir("table")


def write(name, rows):
    pq.write_table(pa.table({"fid": pa.array(range(rows), pa.int64())}), f"table/{name}")


for name, rows in (("a.parquet", 1), (".a.parquet", 10), ("_a.parquet", 100)):
    write(name, rows)
for where in ("table", "table/*.parquet"):
    print("polars", where, pl.scan_parquet(where).select(pl.len()).collect().item())
    [(rows,)] = duckdb.sql(f"SELECT count(*) FROM read_parquet('{where}')").fetchall()
    print("duckdb", where, rows)
print("pyarrow table", ds.dataset("table", format="parquet").count_rows())
write(".a.tmp", 1000)
for where in ("table", "table/*.parquet"):
    try:
        print("polars", where, pl.scan_parquet(where).select(pl.len()).collect().item())
    except pl.exceptions.InvalidOperationError:
        print("polars", where, "refused for .a.tmp")
[(rows,)] = duckdb.sql("SELECT count(*) FROM read_parquet('table')").fetchall()
print("duckdb table", rows)
PY
"$work/venv/bin/python" "$work/read.py" "$work" 2> "$work/err" > "$work/out" || { cat "$work/err" >&2; exit 1; }
diff - "$work/out" <<'SEEN' || { echo "it behaves differently now" >&2; exit 1; }
polars table 111
duckdb table 111
polars table/*.parquet 111
duckdb table/*.parquet 111
pyarrow table 1
polars table refused for .a.tmp
polars table/*.parquet 111
duckdb table 111
SEEN
echo "as found"
