"""Entries by slot, counted in the trainer while it saves: `ckpt.info-<step>`."""

from __future__ import annotations

import os
from typing import Any

import tensorflow as tf
from absl import logging

from monolith_cli.checkpoint.names import ckpt_info_name
from monolith_cli.errors import UsageError
from monolith_cli.fid import MAX_SLOTS, V2_SIGNATURE_BITS
from monolith_cli.formats.ckpt_info import CkptInfo, write_ckpt_info
from monolith_cli.storage.atomic import make_directory
from monolith_cli.training.graph.paths import absolute_path, check_save_path
from monolith_cli.training.tables.entry_ops import entry_ids
from monolith_cli.training.tables.iteration import (
    HASH_TABLES,
    MULTI_HASH_TABLES,
    iterate_table_and_apply,
    table_device,
)

__all__ = ["FidSlotCountSaverListener"]

_SLOT_MASK = 0x7FFF


class FidSlotCountSaverListener(tf.compat.v1.train.CheckpointSaverListener):
    """Writes `ckpt.info-<step>`: how many entries of each slot the tables hold at a save.

    The code of `monolith ckpt-info` writes the file, so equal counts give equal bytes. The counts
    are those of the tables in memory; a dump may rightly have fewer entries, because entries that
    expired are left out of it.

    Tables are taken from the graph collections `monolith_hash_tables` and
    `monolith_multi_hash_tables` when the listener is made, so make the model first. A table is
    anything with `save_as_tensor` and `table.device`. If there are tables of the second kind, their
    own saver writes the counts, and this listener does nothing.

    Costs, at each save, one pass over the tables through `iterate_table_and_apply`: devices at the
    same time, the tables of one device one after another. It takes 800 KB of memory on each device,
    and no lock. Counts are exact while nobody writes to the tables, so put it behind the listener
    that places the barrier.

    Parameters
    ----------
    model_dir
        A local path; made if it is not there.

    Raises
    ------
    UsageError
        There is no table in the graph, or the directory is a URL or a pattern. It is a
        ValueError.
    """

    def __init__(self, model_dir: str | os.PathLike[str]) -> None:
        super().__init__()
        self._model_dir = absolute_path(model_dir)
        check_save_path(self._model_dir)
        self._counts: list[Any] = []
        tables = tf.compat.v1.get_collection(HASH_TABLES)
        self._has_multi_tables = bool(tf.compat.v1.get_collection(MULTI_HASH_TABLES))
        if not tables and not self._has_multi_tables:
            raise UsageError(
                "no hash table in the graph: the listener was made before the model",
                hint="make it once the model is built",
            )
        if self._has_multi_tables:
            return
        by_device: dict[str, list[Any]] = {}
        for table in tables:
            by_device.setdefault(table_device(table), []).append(table)
        self._counts = [_count(device, found) for device, found in by_device.items()]

    def before_save(self, session: Any, global_step_value: int) -> None:
        """Count and write.

        Raises
        ------
        WriteError
            The directory cannot be made, or the file cannot be written. It is an OSError.
        tf.errors.DataLossError
            A table returned something that is not an EntryDump.
        """
        if self._has_multi_tables:
            return
        total = sum(session.run(self._counts))
        slots = total.nonzero()[0].tolist()
        counts = {slot: int(total[slot]) for slot in slots}
        make_directory(self._model_dir)
        path = os.path.join(self._model_dir, ckpt_info_name(int(global_step_value)))
        write_ckpt_info(path, CkptInfo(counts, {}))
        logging.info("Wrote %s: %d entries, %d slots.", path, sum(counts.values()), len(counts))


def _count(device: str, tables: list[Any]) -> Any:
    """A tensor that counts the slots of all tables on a device each time it is fetched."""
    # The name is part of the contract, and device and variable go together, whatever scopes the
    # caller is in.
    with (
        tf.compat.v1.name_scope(None),
        tf.device(None),
        tf.device(device),
        tf.control_dependencies(None),
    ):
        # In no collection, so that no saver and no initializer knows it.
        counts = tf.compat.v1.Variable(
            lambda: tf.zeros([MAX_SLOTS], tf.int64),
            name=f"monolith_fid_slot_count/{device.replace(':', '_')}".rstrip("/"),
            trainable=False,
            collections=[],
            use_resource=True,
        )
        done = counts.assign(tf.zeros([MAX_SLOTS], tf.int64), read_value=False)

        def add(dump: Any) -> None:
            slots = tf.bitwise.right_shift(entry_ids(dump), V2_SIGNATURE_BITS)
            slots = tf.minimum(tf.bitwise.bitwise_and(slots, _SLOT_MASK), MAX_SLOTS - 1)
            counts.scatter_add(tf.IndexedSlices(tf.ones_like(slots), slots))

        for table in tables:
            # One after another, because additions from several ops at once would get lost.
            with tf.control_dependencies([done]):
                done = iterate_table_and_apply(table, add, name="CountSlots")
        with tf.control_dependencies([done]):
            return counts.read_value()
