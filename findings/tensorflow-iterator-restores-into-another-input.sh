#!/usr/bin/env bash
# tensorflow 2.21.0, tf.train.Checkpoint of a tf.data iterator over TFRecord files
#
# Guessed: an iterator's state belongs to its pipeline; restored into one with other files, another
# order of them, batch size or shard, or when a file has become shorter, it raises.
# Seen: all of these restore without a word, and go on somewhere else. The file being read is stored
# by name, the number of files begun as a number: so the old file is read to its end even if it is
# not in the list any more, and then the list goes on behind that number; with the order turned round
# one file comes twice and the other never. A file that now ends before the stored offset counts as
# finished. Only somebody who keeps a description of the input beside the state can tell.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check tensorflow==2.21.0

cat > "$work/restore.py" <<'PY'
import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow as tf

os.chdir(sys.argv[1])
FIRST = {"a": 10, "b": 20, "c": 30}


def write(name, records):
    with tf.io.TFRecordWriter(name) as writer:
        for number in range(FIRST[name], FIRST[name] + records):
            writer.write(b"%d" % number)


def pipeline(files="ab", batch=2, shard=0):
    dataset = tf.data.TFRecordDataset(list(files)).shard(2, shard).batch(batch)
    options = tf.data.Options()
    options.experimental_optimization.inject_prefetch = False  # it would read ahead
    return dataset.with_options(options)


def show(label, batches):
    print(f"{label}:", *("+".join(x.decode() for x in batch.numpy()) for batch in batches))


for name in FIRST:
    write(name, 8)
iterator = iter(pipeline())
show("before the save", [next(iterator)])
path = tf.train.Checkpoint(iterator=iterator).save("state")


def resume(label, **changes):
    iterator = iter(pipeline(**changes))
    tf.train.Checkpoint(iterator=iterator).restore(path).assert_consumed()
    show(label, iterator)


resume("the same input")
resume("batches of 3", batch=3)
resume("files b, a", files="ba")
resume("files c, b", files="cb")
resume("the other shard", shard=1)
write("a", 2)
resume("a cut to 2 records")
PY
"$work/venv/bin/python" "$work/restore.py" "$work" 2> "$work/err" > "$work/out" || { cat "$work/err" >&2; exit 1; }
diff - "$work/out" <<'SEEN' || { echo "it behaves differently now" >&2; exit 1; }
before the save: 10+12
the same input: 14+16 20+22 24+26
batches of 3: 14+16+20 22+24+26
files b, a: 14+16 10+12 14+16
files c, b: 14+16 20+22 24+26
the other shard: 13+15 17+21 23+25 27
a cut to 2 records: 20+21 23+25 27
SEEN
echo "as found"
