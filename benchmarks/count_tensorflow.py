"""Counting slots, against the fastest way that TensorFlow has.

By itself (`count_tensorflow.py MODE ENTRIES BATCH FILES_AT_ONCE FILE…`) it counts about so many
entries with TensorFlow. Mode `whole` does just that; `part` warms up first, and prints how many
seconds an entry took, without the import; `try` finds out which batch and number of files at a time
do best, and prints those.
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

# Enough to tell how fast it is once it runs.
_PART_ENTRIES = 2_000_000
_BATCHES = (512, 1_024, 2_048, 8_192)
_FILES_AT_ONCE = (1, 2, 4)
_SLOTS = 1 << 15


def measure(bench: Bench) -> Iterator[Row]:
    """Whole processes that count all entries; and theirs without its import, on some of them."""
    name = "varied"
    entries = bench.samples.entries(name)
    what = f"`ckpt-info --dry-run`, {entries:,} entries, varied lengths"
    if find_spec("tensorflow") is None:
        yield Row(what, "TensorFlow, which is not installed")
        return
    model, files = bench.samples.model(name), bench.samples.files(name)
    bench.warm(files)
    part = min(entries, _PART_ENTRIES)
    batch, at_once = output(python("count_tensorflow", "try", part, 0, 0, *files)).split()
    command = [MONOLITH, "ckpt-info", "--dry-run", model]
    how = f"TensorFlow, batches of {int(batch):,}, files at a time: {at_once}"
    tried = len(_BATCHES) * len(_FILES_AT_ONCE)
    ours, theirs = bench.seconds(
        command,
        python("count_tensorflow", "whole", entries, batch, at_once, *files),
        min(bench.runs, 3),
    )
    yield Row(
        what,
        f"{how} (the best of {tried} settings)",
        duration(ours),
        duration(theirs),
        f"{theirs / ours:.0f} times faster",
        "50 times",
        "100",
    )
    ours, theirs_each = bench.reported(
        command, python("count_tensorflow", "part", part, batch, at_once, *files)
    )
    ours_each = ours / entries
    yield Row(
        f"{what}, an entry",
        f"{how}, without its import, {part:,} entries",
        f"{1e-6 / ours_each:.1f}M entries/s",
        f"{1e-6 / theirs_each:.2f}M entries/s",
        f"{theirs_each / ours_each:.0f} times faster",
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


def _main(mode: str, entries: int, batch: int, at_once: int, *files: str) -> None:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    tf: Any = import_module("tensorflow")

    paths = list(files)
    if mode != "whole":  # what only a first run costs
        _seconds_an_entry(tf, paths, min(entries, 100_000), 1_024, 2)
    if mode != "try":
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
    _main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), *sys.argv[5:])
