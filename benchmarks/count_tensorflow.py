"""Counting slots, against the fastest way that TensorFlow has.

By itself (`count_tensorflow.py ENTRIES BATCH FILES_AT_ONCE FILE…`) it counts about so many entries
with TensorFlow and prints how many seconds each took, without the import; with BATCH 0 it tries
which batch and number of files at a time do best, and prints those.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from measure import MONOLITH, Bench, Row, duration, output, python

# TensorFlow takes 20 s for all of 20 million entries: a part of them says as much.
_PART_ENTRIES = 2_000_000
_BATCHES = (512, 1_024, 2_048, 8_192)
_FILES_AT_ONCE = (1, 2, 4)
_SLOTS = 1 << 15


def measure(bench: Bench) -> Iterator[Row]:
    """Ours counts all entries, whole process; theirs some. Compared is the time an entry."""
    name = "varied"
    entries = bench.samples.entries(name)
    what = f"`ckpt-info --dry-run`, {entries:,} entries, varied lengths"
    if find_spec("tensorflow") is None:
        yield Row(what, "TensorFlow, which is not installed")
        return
    model, files = bench.samples.model(name), bench.samples.files(name)
    bench.warm(files)
    part = min(entries, _PART_ENTRIES)
    batch, at_once = output(python("count_tensorflow", part, 0, 0, *files)).split()
    ours, theirs_each = bench.reported(
        [MONOLITH, "ckpt-info", "--dry-run", model],
        python("count_tensorflow", part, batch, at_once, *files),
    )
    ours_each = ours / entries
    tried = len(_BATCHES) * len(_FILES_AT_ONCE)
    yield Row(
        what,
        f"TensorFlow without its import, {part:,} entries, batches of {int(batch):,}, files at a"
        f" time: {at_once} (the best of {tried} settings)",
        f"{duration(ours)}, {1e-6 / ours_each:.1f}M entries/s",
        f"{1e-6 / theirs_each:.2f}M entries/s",
        f"{theirs_each / ours_each:.0f} times faster",
        "50 times",
        "100",
    )


def _seconds_an_entry(tf: Any, files: list[str], entries: int, batch: int, at_once: int) -> float:
    """Count entries by slot, as `ckpt-info` does. The first field of an entry is its fid."""

    def slots(records: Any) -> Any:
        heads = tf.io.decode_raw(records, tf.uint8, fixed_length=9)
        fids = tf.bitcast(heads[:, 1:], tf.int64)
        return tf.cast(tf.bitwise.right_shift(fids, 48) & (_SLOTS - 1), tf.int32)

    def batches(file: Any) -> Any:
        return tf.data.TFRecordDataset(file, buffer_size=4 << 20).batch(batch).map(slots)

    def add(counts: Any, found: Any) -> Any:
        return counts + tf.math.bincount(found, minlength=_SLOTS, maxlength=_SLOTS)

    start = time.perf_counter()
    # Files side by side, each batched by itself: several times as fast as num_parallel_reads, which
    # hands over single records.
    dataset = tf.data.Dataset.from_tensor_slices(files).interleave(
        batches, cycle_length=at_once, num_parallel_calls=at_once, deterministic=False
    )
    counts = dataset.take(-(-entries // batch)).reduce(tf.zeros(_SLOTS, tf.int32), add).numpy()
    return (time.perf_counter() - start) / int(counts.sum())


def _main(entries: int, batch: int, at_once: int, *files: str) -> None:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    tf: Any = import_module("tensorflow")

    paths = list(files)
    _seconds_an_entry(tf, paths, min(entries, 100_000), 1_024, 2)  # what only a first run costs
    if batch:
        print(_seconds_an_entry(tf, paths, entries, batch, at_once))
        return
    trials = [
        (_seconds_an_entry(tf, paths, entries, batch, at_once), batch, at_once)
        for _ in range(2)  # the better of two, lest chance decides
        for batch in _BATCHES
        for at_once in _FILES_AT_ONCE
    ]
    print(*min(trials)[1:])


if __name__ == "__main__":
    _main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
