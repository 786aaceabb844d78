"""What the manifest adds to a chief's saves: their time, and the same less what it took.

A table of 500,000 entries of dim 16 and 40 MB of dense variables, each save of a new step, with all
that it syncs. A clock runs around what makes and what writes the manifest, its sync too: saves
themselves vary by more than it takes. Runs by itself, and judges nothing: at most 1.01 is meant.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from typing import Any
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=500_000)
    parser.add_argument("--runs", type=int, default=15)
    arguments = parser.parse_args()

    import numpy as np
    import tensorflow as tf

    from monolith_cli.training.hash_table import HashTable, HashTableCheckpointSaverListener
    from monolith_cli.training.save_utils import NoFirstSaveCheckpointSaverHook

    v1 = tf.compat.v1
    v1.disable_eager_execution()
    with tempfile.TemporaryDirectory() as directory, tf.Graph().as_default():
        table = HashTable("t", 16)
        step = v1.train.create_global_step()
        v1.get_variable("dense", [10_000_000], initializer=v1.zeros_initializer())
        fids = np.arange(arguments.entries)
        fill = table.assign(fids, np.ones((len(fids), 16), np.float32), 1_700_000_000).as_op()
        train = step.assign_add(1).op
        hook = NoFirstSaveCheckpointSaverHook(
            directory,
            save_secs=10**6,
            scaffold=v1.train.Scaffold(saver=v1.train.Saver(max_to_keep=2)),
            listeners=[HashTableCheckpointSaverListener(f"{directory}/model.ckpt")],
        )
        with v1.train.MonitoredSession(hooks=[hook]) as session:
            session.run(fill)
            saves: list[float] = []
            manifests: list[float] = []
            with timed("make_manifest", manifests), timed("write_step_manifest", manifests):
                for _ in range(arguments.runs + 1):
                    session.run(train)
                    start = time.perf_counter()
                    hook.trigger_save(session)
                    saves.append(time.perf_counter() - start)
    whole = statistics.median(saves[1:])
    added = statistics.median(map(sum, zip(manifests[2::2], manifests[3::2], strict=True)))
    print(f"{whole * 1e3:.0f} ms, the manifest {added * 1e3:.1f} ms: {whole / (whole - added):.4f}")


@contextlib.contextmanager
def timed(name: str, seconds: list[float]) -> Iterator[None]:
    """Note how long a function of the saves takes."""
    module = importlib.import_module("monolith_cli.training.saves.save")
    work = getattr(module, name)

    def noting(*args: Any, **options: Any) -> Any:
        start = time.perf_counter()
        try:
            return work(*args, **options)
        finally:
            seconds.append(time.perf_counter() - start)

    with mock.patch.object(module, name, noting):
        yield


if __name__ == "__main__":
    main()
