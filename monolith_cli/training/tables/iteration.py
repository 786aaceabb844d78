"""Loops over tables page by page, in a graph; see `hash_table_utils`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from monolith_cli.errors import UsageError
from monolith_cli.tables.paged import PagedTable

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "HASH_TABLES",
    "MULTI_HASH_TABLES",
    "OfflineTable",
    "infer_dim_size",
    "iterate_table_and_apply",
    "table_device",
]

HASH_TABLES = "monolith_hash_tables"
"""The graph collection of tables."""

MULTI_HASH_TABLES = "monolith_multi_hash_tables"
"""The graph collection of multi tables, which have their own savers to save and count them."""

_PATIENCE = 100
"""How many empty pages in a row may leave the offset at 0 before a table counts as stuck."""


class OfflineTable:
    """Lets a graph use a table that takes and returns Python objects, such as a dump's.

    Parameters
    ----------
    table
        Its `save_as_tensor` takes ints and returns an int and a list of bytes.
    """

    def __init__(self, table: Any) -> None:
        self._table = table

    def save_as_tensor(
        self, shard_idx: Any, num_shards: Any, limit: Any, offset: Any
    ) -> tuple[Any, Any]:
        """A page: the new offset (int64 scalar) and the entries (string vector).

        The table is called in the process that built the graph, whatever device is asked for. Its
        errors come out of `session.run` as `tf.errors.OpError`, with their text in the message.
        """
        arguments = [tf.cast(number, tf.int64) for number in (shard_idx, num_shards, limit, offset)]
        new_offset, dump = tf.numpy_function(self._page, arguments, [tf.int64, tf.string])
        new_offset.set_shape([])
        dump.set_shape([None])
        return new_offset, dump

    def _page(self, shard_idx: Any, num_shards: Any, limit: Any, offset: Any) -> tuple[Any, Any]:
        import numpy as np

        new_offset, entries = self._table.save_as_tensor(
            int(shard_idx), int(num_shards), int(limit), int(offset)
        )
        # As objects: NumPy's own strings lose NULs at their end.
        dump = np.empty(len(entries), dtype=object)
        dump[:] = entries
        return np.int64(new_offset), dump


def iterate_table_and_apply(
    table: Any,
    apply_fn: Callable[[Any], Any],
    limit: Any = 1000,
    nshards: Any = 4,
    name: str = "IterateTable",
) -> Any:
    """Call `apply_fn` on every page of every partition of a table, in a graph.

    Every entry is in exactly one page, if the table keeps its contract. Entries that are written
    meanwhile may be missed or come twice. Pages and partitions follow each other: what `apply_fn`
    did to its variables for one page is done before the next page is fetched.

    Costs the table's pages, and about 0.2 ms more for each; memory for one page. It takes no lock
    of its own; `HashTable` takes its own for each page.

    Parameters
    ----------
    table
        Its `save_as_tensor` is called once, to build the loop, with an int32 scalar for the
        partition, `nshards`, `limit`, and an int64 scalar for the offset: 0 at the start of a
        partition, then what the page before returned. A page that is shorter than `limit`
        ends the partition. The dump tables of this library can be given as they are, other tables
        that work on Python lists as `OfflineTable(table)`.
    apply_fn
        Gets a page: a string vector of serialized EntryDumps, which may be empty. It is traced once
        as a part of a `tf.function`, so plain `if` on tensors works in it. Variables that it writes
        must be resource variables. What it returns is ignored.
    limit
        Entries a page, at most: a number, or an integer scalar tensor, which the table gets as
        int64.
    nshards
        How many partitions the table is read in: a number, or an integer scalar tensor, which the
        table gets as int32.
    name
        Of the scope of its ops.

    Returns
    -------
    int64 scalar tensor
        The number of entries, for `session.run` and `tf.group`. The ops are on the device of
        `table.table`, if it has one.

    Raises
    ------
    UsageError
        A number is < 1. It is a ValueError.
    tf.errors.InvalidArgumentError
        In `session.run`: the table does not move on, so the loop would never end; or a tensor is
        < 1.
    """
    limit = _at_least_one(limit, tf.int64, "limit", "entry")
    nshards = _at_least_one(nshards, tf.int32, "nshards", "shard")
    source = OfflineTable(table) if isinstance(table, PagedTable) else table

    def iterate() -> Any:
        def body(shard: Any, offset: Any, stalls: Any, entries: Any) -> tuple[Any, Any, Any, Any]:
            new_offset, dump = source.save_as_tensor(shard, nshards, limit, offset)
            new_offset = tf.reshape(tf.cast(new_offset, tf.int64), [])
            dump = tf.ensure_shape(dump, [None])
            apply_fn(dump)
            size = tf.size(dump, out_type=tf.int64)
            more = tf.logical_or(size >= limit, tf.equal(new_offset, 0))
            # An empty page at the start may be asked for again; any other would come again.
            stall = tf.logical_and(tf.equal(new_offset, offset), tf.equal(size, 0))
            stalls = tf.where(tf.logical_and(more, stall), stalls + 1, 0)
            stuck = tf.reduce_any(
                [
                    tf.logical_and(tf.equal(new_offset, offset), size > 0),
                    new_offset < offset,
                    stalls >= _PATIENCE,
                ]
            )
            told = ["the table does not move on: shard", shard, "offset", offset, "to", new_offset]
            tf.debugging.Assert(tf.logical_not(tf.logical_and(more, stuck)), told)
            return (
                tf.where(more, shard, shard + 1),
                tf.where(more, new_offset, tf.zeros_like(new_offset)),
                stalls,
                entries + size,
            )

        zero = tf.constant(0, tf.int64)
        state = (tf.constant(0), zero, tf.constant(0), zero)
        return tf.while_loop(lambda shard, *_: shard < nshards, body, state)[-1]

    # A function for each call: one for all would keep every table and its graph for ever.
    with tf.device(table_device(table)), tf.name_scope(name):
        return tf.function(iterate)()


def _at_least_one(number: Any, dtype: Any, name: str, of_what: str) -> Any:
    """An int if it is known, else a tensor that is checked when it is used."""
    known = tf.get_static_value(number)
    if known is None:
        number = tf.reshape(tf.cast(number, dtype), [])
        check = tf.debugging.Assert(number >= 1, [f"{name}, at least one {of_what}:", number])
        with tf.control_dependencies([check]):
            return tf.identity(number)
    if int(known) < 1:
        raise UsageError(f"{name} {known}: at least one {of_what}")
    return int(known)


def table_device(table: Any) -> str:
    """The device of a table: that of `table.table`, or of `table`; empty if none was chosen."""
    device = getattr(getattr(table, "table", table), "device", None)
    return str(device or "")


def infer_dim_size(config: Any) -> int:
    """The number of floats of an entry: the dims of all segments of an EmbeddingHashTableConfig.

    It takes any class of that message, this library's or a trainer's own.
    """
    return sum(int(segment.dim_size) for segment in config.entry_config.segments)
