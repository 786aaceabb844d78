"""Slot counts in a session, and pages of a table in a graph. Run on its own, it prints seconds,
and how much memory counting takes above what the job has.

The original's way of counting is what the listener is compared with: ids by `decode_proto`, and for
each page of 1000 a whole vector by `scatter_nd`, added to the counts. Both read the same table,
which has its entries serialized already, so that counting is what is measured.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ENTRIES = 1_000_000
DIM = 16
RUNS = 3
LARGE = 4_000_000


class Ready:
    """A table of entries that are serialized already."""

    def __init__(self, entries: Any, session: Any) -> None:
        import tensorflow as tf

        v1 = tf.compat.v1
        self.entries = v1.get_variable("entries", initializer=entries, use_resource=True)
        self.table = self.entries.handle
        session.run(self.entries.initializer)
        v1.add_to_collection("monolith_hash_tables", self)

    def save_as_tensor(self, shard_idx: Any, num_shards: Any, limit: Any, offset: Any) -> Any:
        import tensorflow as tf

        size = ENTRIES // num_shards
        start = tf.maximum(offset - 1, 0)
        count = tf.minimum(tf.cast(limit, tf.int64), size - start)
        first = tf.cast(shard_idx, tf.int64) * size + start
        # Neither the variable nor the slice is copied.
        return start + count + 1, self.entries.read_value()[first : first + count]


def seconds(work: Callable[[], object]) -> float:
    """The median of some runs, after one that does not count."""
    work()
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def pages(entries: int) -> float:
    """Every page of a HashTable at the default limit."""
    import numpy as np
    import tensorflow as tf

    from monolith_cli.training.hash_table import HashTable
    from monolith_cli.training.hash_table_utils import iterate_table_and_apply

    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        table = HashTable(f"table_{entries}", DIM)
        values = np.ones((entries, DIM), np.float32)
        session.run(table.assign(np.arange(entries), values, 1).as_op())
        total = iterate_table_and_apply(table, lambda dump: None)
        return seconds(lambda: session.run(total))


def counts() -> tuple[float, float]:
    """The listener, and the original's way."""
    import numpy as np
    import tensorflow as tf

    from monolith_cli.fid import MAX_SLOTS
    from monolith_cli.training.ckpt_info import FidSlotCountSaverListener
    from monolith_cli.training.hash_table_utils import iterate_table_and_apply
    from monolith_cli.training.tables.entry_ops import decode_entries, encode_entries

    v1 = tf.compat.v1
    fids = np.random.default_rng(1).integers(-(2**63), 2**63, ENTRIES)
    directory = tempfile.TemporaryDirectory()
    with directory as path, tf.Graph().as_default(), v1.Session() as session:
        dump = session.run(encode_entries(fids, tf.ones([ENTRIES, DIM]), tf.ones_like(fids)))
        table = Ready(dump, session)
        listener = FidSlotCountSaverListener(path)
        total = v1.get_variable(
            "total", initializer=np.zeros(MAX_SLOTS, np.int64), use_resource=True
        )

        def add(page: Any) -> None:
            if tf.size(page) > 0:
                slots = tf.bitwise.right_shift(decode_entries(page)[0], 48) & 0x7FFF
                vector = tf.scatter_nd(slots[:, None], tf.ones_like(slots), [MAX_SLOTS])
                total.assign_add(vector)

        original = iterate_table_and_apply(table, add)
        session.run(total.initializer)
        return (
            seconds(lambda: listener.before_save(session, 1)),
            seconds(lambda: session.run(original)),
        )


def resident(key: str) -> float:
    """MiB; Linux."""
    with open("/proc/self/status") as lines:
        [line] = [line for line in lines if line.startswith(key)]
    return int(line.split()[1]) / 1024


def memory(entries: int) -> float:
    """The peak of resident memory in the first count of a HashTable, above the job's own, MiB."""
    import numpy as np
    import tensorflow as tf

    from monolith_cli.training.ckpt_info import FidSlotCountSaverListener
    from monolith_cli.training.hash_table import HashTable

    v1 = tf.compat.v1
    directory = tempfile.TemporaryDirectory()
    with directory as path, tf.Graph().as_default(), v1.Session() as session:
        table = HashTable("large", DIM)
        listener = FidSlotCountSaverListener(path)
        ids = v1.placeholder(tf.int64, [None])
        assign = table.assign(ids, tf.ones([tf.size(ids), DIM]), 1).as_op()
        rng = np.random.default_rng(1)
        for _ in range(entries // 100_000):
            session.run(assign, {ids: rng.integers(-(2**63), 2**63, 100_000)})
        with open("/proc/self/clear_refs", "w") as peak:
            peak.write("5")
        before = resident("VmRSS")
        listener.before_save(session, 1)
        return resident("VmHWM") - before


def main() -> None:
    print(f"slot counts of {LARGE:,} entries: {memory(LARGE):.0f} MiB above the job's own")
    for entries in (ENTRIES // 4, ENTRIES // 2, ENTRIES):
        print(f"pages of a HashTable, {entries:,} entries: {pages(entries):.2f} s")
    ours, theirs = counts()
    print(f"slot counts of {ENTRIES:,} entries: {ours:.2f} s, {theirs:.2f} s as the original does")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
