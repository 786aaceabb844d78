"""A hash table of stock TensorFlow ops, and the listeners that save and restore it.

This module has the names that trainers import; the code is in `tables`.
"""

from __future__ import annotations

from monolith_cli.training.tables.listeners import (
    HashTableCheckpointRestorerListener,
    HashTableCheckpointSaverListener,
)
from monolith_cli.training.tables.table import HashTable, dump_name

__all__ = [
    "HashTable",
    "HashTableCheckpointRestorerListener",
    "HashTableCheckpointSaverListener",
    "dump_name",
]
