#!/usr/bin/env bash
# pyarrow 26.0.1, ParquetWriter and ipc.new_file as context managers
#
# Guessed: when the block ends with an exception, the file stays without its footer (Parquet) or its
# end (Arrow), so that every reader refuses it.
# Seen: both are closed as if all had gone well. What was written before the exception is a file that
# is valid in every respect, only shorter, under its final name; nothing in it tells that rows are
# missing. A writer that fails half way therefore has to write elsewhere, and rename at the end.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check pyarrow==26.0.1

cat > "$work/fail.py" <<'PY'
import os
import sys

import pyarrow as pa
import pyarrow.parquet as pq

os.chdir(sys.argv[1])
batch = pa.table({"fid": pa.array(range(10), pa.int64())})
openers = {
    "parquet": lambda name: pq.ParquetWriter(name, batch.schema),
    "arrow": lambda name: pa.ipc.new_file(name, batch.schema),
}
readers = {"parquet": pq.read_table, "arrow": lambda name: pa.ipc.open_file(name).read_all()}
for kind, opener in openers.items():
    name = f"rows.{kind}"
    try:
        with opener(name) as writer:
            writer.write_table(batch)
            raise KeyError("the second of three batches could not be made")
    except KeyError:
        print(kind, "has", readers[kind](name).num_rows, "rows of 30")
PY
"$work/venv/bin/python" "$work/fail.py" "$work" 2> "$work/err" > "$work/out" || { cat "$work/err" >&2; exit 1; }
diff - "$work/out" <<'SEEN' || { echo "it behaves differently now" >&2; exit 1; }
parquet has 10 rows of 30
arrow has 10 rows of 30
SEEN
echo "as found"
