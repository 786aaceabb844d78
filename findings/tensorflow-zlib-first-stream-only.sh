#!/usr/bin/env bash
# tensorflow 2.21.0, tf.data.TFRecordDataset and TextLineDataset with compression_type
#
# Files are often made by appending: `cat a.gz b.gz` is a valid gzip file of both contents.
# Guessed: readers of GZIP and of ZLIB treat streams one after the other alike: both read on, or both
# complain about what follows.
# Seen: with GZIP every member is read. With ZLIB the first stream alone is read; the file then ends
# without an error, however much follows.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check tensorflow==2.21.0

cat > "$work/read.py" <<'PY'
import gzip
import os
import sys
import zlib

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow as tf

top = sys.argv[1]


def framed(count):
    path = f"{top}/records"
    with tf.io.TFRecordWriter(path) as writer:
        for number in range(count):
            writer.write(b"record %d" % number)
    with open(path, "rb") as file:
        return file.read()


contents = {
    tf.data.TFRecordDataset: (framed(400), framed(300)),
    tf.data.TextLineDataset: (b"line\n" * 400, b"line\n" * 300),
}
for reader, parts in contents.items():
    for name, compress in (("GZIP", gzip.compress), ("ZLIB", zlib.compress)):
        path = f"{top}/two"
        with open(path, "wb") as file:
            file.write(b"".join(map(compress, parts)))
        count = sum(1 for _ in reader(path, compression_type=name))
        print(f"{reader.__name__}, {name}: {count} of 700")
PY
"$work/venv/bin/python" "$work/read.py" "$work" 2> "$work/err" > "$work/out" || { cat "$work/err" >&2; exit 1; }
sed -i 's/^TFRecordDatasetV2/TFRecordDataset/; s/^TextLineDatasetV2/TextLineDataset/' "$work/out"
diff - "$work/out" <<'SEEN' || { echo "it behaves differently now" >&2; exit 1; }
TFRecordDataset, GZIP: 700 of 700
TFRecordDataset, ZLIB: 400 of 700
TextLineDataset, GZIP: 700 of 700
TextLineDataset, ZLIB: 400 of 700
SEEN
echo "as found"
