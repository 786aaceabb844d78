"""Where a worker's input is, against TensorFlow reading the same state.

By itself: `iterator_state.py write DIR RECORDS RECORD_BYTES WORKERS` makes the directory of a job
whose workers, as many as are wanted, stopped in the middle of their input with that many records in
a shuffle buffer. `iterator_state.py read PREFIX` reads a state with TensorFlow.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from measure import MONOLITH, Bench, Row, compared, duration, python, run

_STEP = 1000
_STATE = "iterator/.ATTRIBUTES/ITERATOR_STATE"
_STARTS = 21
_MB = 1_000_000


def measure(bench: Bench) -> Iterator[Row]:
    """Whole processes. The states are written by TensorFlow."""
    if find_spec("tensorflow") is None:
        yield Row("`iterator show`", "TensorFlow, which is not installed")
        return
    records = max(100, round(20_000 * bench.scale))
    model = _written(bench, records, 1024, 1)
    prefix = _prefix(model, 1)
    size = os.path.getsize(f"{prefix}.data-00000-of-00001")
    show = [MONOLITH, "iterator", "show", "--worker", "1", model]
    theirs = python("iterator_state", "read", prefix)
    ours, tensorflow = bench.seconds(show, theirs, min(bench.runs, 5))
    yield Row(
        f"`iterator show`, a shuffle buffer of {records:,} records, {size / _MB:.3g} MB",
        "TensorFlow: import, and restore the state",
        duration(ours),
        duration(tensorflow),
        f"{tensorflow / ours:.0f} times faster",
        "10 times",
    )
    workers = _written(bench, 100, 100, 64)
    click = [sys.executable, "-c", "import click"]
    ls = [MONOLITH, "iterator", "ls", workers]
    medians = bench.seconds(ls, click, max(bench.runs, _STARTS))
    yield compared("`iterator ls`, 64 workers", '`python -c "import click"`', medians, "≤ 3", "")
    large = max(1, round(200 * bench.scale)) * _MB
    for what, directory, element in (
        (f"a shuffle buffer of {records:,} records", model, 1024),
        (f"elements of {large / _MB:.0f} MB", _written(bench, 2, large, 1), large),
    ):
        argv = [MONOLITH, "iterator", "show", "--worker", "1", directory]
        peak = max(run(argv).peak_bytes for _ in range(min(3, bench.runs)))
        most = 60 + 2 * element / _MB
        yield Row(
            f"peak memory, `iterator show`, {what}",
            ours=f"{peak / _MB:.0f} MB",
            must=f"≤ {most:.0f} MB",
        )


def _prefix(directory: str, worker: int) -> str:
    return f"{directory}/input_worker_{worker}.ckpt-{_STEP}"


def _written(bench: Bench, records: int, record_bytes: int, workers: int) -> str:
    path = bench.samples.directory / f"inputs-{records}-{record_bytes}-{workers}"
    if not (path / "checkpoint").exists():  # written last
        shutil.rmtree(path, ignore_errors=True)
        print(f"writing {path}", file=sys.stderr, flush=True)
        arguments = python("iterator_state", "write", path, records, record_bytes, workers)
        subprocess.run(arguments, check=True)
    return str(path)


def _write(directory: Path, records: int, record_bytes: int, workers: int) -> None:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    tf: Any = import_module("tensorflow")
    directory.mkdir(parents=True)
    data = str(directory / "records")
    with tf.io.TFRecordWriter(data) as writer:
        for _ in range(2 * records):
            writer.write(os.urandom(record_bytes))  # as good as compressed
    dataset = tf.data.TFRecordDataset([data]).shuffle(records).batch(max(1, min(10, records // 9)))
    iterator = iter(dataset.prefetch(2))
    next(iterator)
    tf.train.Checkpoint(iterator=iterator).write(_prefix(str(directory), 1))
    for worker in range(1, workers + 1):
        name = os.path.basename(_prefix("", worker))
        for suffix in (".index", ".data-00000-of-00001"):
            if worker > 1:
                shutil.copy(_prefix(str(directory), 1) + suffix, directory / (name + suffix))
        state = f'model_checkpoint_path: "{name}"\n'
        (directory / f"checkpoint_input_worker_{worker}").write_text(state)
    for suffix in (".index", ".data-00000-of-00001"):
        (directory / f"model.ckpt-{_STEP}{suffix}").write_bytes(b"")
    state = f'model_checkpoint_path: "model.ckpt-{_STEP}"\n'
    (directory / "checkpoint").write_text(state)
    os.sync()


def _read(prefix: str) -> None:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    tf: Any = import_module("tensorflow")
    tf.raw_ops.RestoreV2(
        prefix=prefix, tensor_names=[_STATE], shape_and_slices=[""], dtypes=[tf.variant]
    )


if __name__ == "__main__":
    if sys.argv[1] == "write":
        _write(Path(sys.argv[2]), *map(int, sys.argv[3:]))
    else:
        _read(sys.argv[2])
