#!/usr/bin/env bash
# tensorflow 2.21.0, tf.data.TFRecordDataset on a file that was cut off
#
# Guessed: a file that ends anywhere but between two records raises DataLossError, as the reader
# cannot know that nothing is missing.
# Seen: it does so only from the 12th byte of a record on. A file that ends 1 to 11 bytes into the
# header (length and its checksum) passes for one that ends with the record before; plain files and
# all compressions alike. A copy that broke off there loses its last records without a word.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check tensorflow==2.21.0

cat > "$work/cut.py" <<'PY'
import gzip
import os
import sys
import zlib

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow as tf

path = f"{sys.argv[1]}/records"
with tf.io.TFRecordWriter(path) as writer:
    for _ in range(4):
        writer.write(b"abc")
with open(path, "rb") as file:
    whole = file.read()
size = len(whole) // 4
for name, compress in (("", bytes), ("GZIP", gzip.compress), ("ZLIB", zlib.compress)):
    seen = []
    for kept in range(size):
        with open(path, "wb") as file:
            file.write(compress(whole[: 3 * size + kept]))
        try:
            seen.append(str(sum(1 for _ in tf.data.TFRecordDataset(path, compression_type=name))))
        except tf.errors.DataLossError:
            seen.append("lost")
    print(name or "plain", *seen)
PY
"$work/venv/bin/python" "$work/cut.py" "$work" 2> "$work/err" > "$work/out" || { cat "$work/err" >&2; exit 1; }
diff - "$work/out" <<'SEEN' || { echo "it behaves differently now" >&2; exit 1; }
plain 3 3 3 3 3 3 3 3 3 3 3 3 lost lost lost lost lost lost lost
GZIP 3 3 3 3 3 3 3 3 3 3 3 3 lost lost lost lost lost lost lost
ZLIB 3 3 3 3 3 3 3 3 3 3 3 3 lost lost lost lost lost lost lost
SEEN
echo "as found"
