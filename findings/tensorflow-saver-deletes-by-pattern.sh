#!/usr/bin/env bash
# tensorflow 2.21.0, tf.compat.v1.train.Saver with max_to_keep
#
# Guessed: a Saver deletes the older checkpoints that it wrote itself, by their very paths.
# Seen: it deletes by pattern. In a directory whose name holds a wildcard, such as `run*`, it also
# deletes checkpoints of the same steps in every other directory that the name matches. Saving works
# there, and the directory's own files come out as expected, so that nothing hints at it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check tensorflow==2.21.0

cat > "$work/save.py" <<'PY'
import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow as tf

v1 = tf.compat.v1
top = sys.argv[1]


def save(name, keep):
    os.mkdir(f"{top}/{name}")
    with tf.Graph().as_default(), v1.Session() as session:
        v1.get_variable("w", [2], use_resource=False)
        session.run(v1.global_variables_initializer())
        saver = v1.train.Saver(max_to_keep=keep)
        for step in (1, 2, 3):
            saver.save(session, f"{top}/{name}/model.ckpt", global_step=step, write_meta_graph=False)


def steps(name):
    return [step for step in (1, 2, 3) if os.path.exists(f"{top}/{name}/model.ckpt-{step}.index")]


save("run1", 5)
print("run1:", steps("run1"))
save("run*", 1)
print("run1 after a job in 'run*' has saved:", steps("run1"))
print("run*:", steps("run*"))
PY
"$work/venv/bin/python" "$work/save.py" "$work" 2> "$work/err" > "$work/out" || { cat "$work/err" >&2; exit 1; }
diff - "$work/out" <<'SEEN' || { echo "it behaves differently now" >&2; exit 1; }
run1: [1, 2, 3]
run1 after a job in 'run*' has saved: [3]
run*: [3]
SEEN
echo "as found"
