"""A save of a HashTable in a session. Run on its own, it prints seconds.

It is compared with TensorFlow's record writer writing the very same records, which lie serialized
in a list. A job saves by `HashTableCheckpointSaverListener`, which syncs the files and moves them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

Work = Callable[[], object]


def timed(work: Work) -> tuple[float, float]:
    """Seconds by the clock, and of all cores."""
    clock, cores = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - cores


def compare(works: dict[str, Work], runs: int) -> None:
    """In turns, after one of each that does not count."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for run in range(runs + 1):
        for name, work in works.items():
            seconds = timed(work)
            if run:
                times[name].append(seconds)
    for name, measured in times.items():
        clock, cores = (statistics.median(part) for part in zip(*measured, strict=True))
        print(f"{name}: {clock:.2f} s, {cores:.2f} s of cores", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=16)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()

    import numpy as np
    import tensorflow as tf

    from monolith_cli.training.hash_table import HashTable, HashTableCheckpointSaverListener

    rng = np.random.default_rng(1)
    fids = rng.integers(-(2**63), 2**63, arguments.entries)
    values = rng.random((arguments.entries, arguments.dim), dtype=np.float32)
    with (
        tempfile.TemporaryDirectory() as directory,
        tf.Graph().as_default(),
        tf.compat.v1.Session() as session,
    ):
        table = HashTable("t", arguments.dim)
        listener = HashTableCheckpointSaverListener(f"{directory}/model.ckpt")
        save = table.save(f"{directory}/t").as_op()
        session.run(table.assign(fids, values, 1_700_000_000).as_op())
        _, entries = session.run(table.save_as_tensor(0, 1, arguments.entries, 0))
        records = entries.tolist()

        def write() -> None:
            with tf.io.TFRecordWriter(f"{directory}/records") as writer:
                for record in records:
                    writer.write(record)

        compare(
            {
                "TensorFlow's record writer, from memory": write,
                "HashTable.save": lambda: session.run(save),
                "HashTableCheckpointSaverListener": lambda: listener.before_save(session, 1),
            },
            arguments.runs,
        )


if __name__ == "__main__":
    main()
