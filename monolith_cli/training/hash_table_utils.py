"""Loops over tables page by page, in a graph.

A table is anything with `save_as_tensor(shard_idx, num_shards, limit, offset)`, which returns a new
offset and the entries of a page, serialized: a trainer's own C++ table, `HashTable`, or the table
of a dump.
"""

from __future__ import annotations

from monolith_cli.training.tables.iteration import (
    HASH_TABLES,
    MULTI_HASH_TABLES,
    OfflineTable,
    infer_dim_size,
    iterate_table_and_apply,
    table_device,
)

__all__ = [
    "HASH_TABLES",
    "MULTI_HASH_TABLES",
    "OfflineTable",
    "infer_dim_size",
    "iterate_table_and_apply",
    "table_device",
]
