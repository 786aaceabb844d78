"""A hash table of stock TensorFlow ops, and the listeners that save and restore it.

The names that trainers import; the table is in `stock_table`, the listeners are in
`hash_table_listeners`.
"""

from __future__ import annotations

from monolith_cli.training.hash_table_listeners import (
    HashTableCheckpointRestorerListener,
    HashTableCheckpointSaverListener,
)
from monolith_cli.training.stock_table import HashTable, dump_name

__all__ = [
    "HashTable",
    "HashTableCheckpointRestorerListener",
    "HashTableCheckpointSaverListener",
    "dump_name",
]
