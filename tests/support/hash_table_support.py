"""The hash table of stock ops, filled and read through a graph that is not finalized."""

from __future__ import annotations

from typing import Any

import numpy as np

from monolith_cli import messages

Content = dict[int, tuple[tuple[float, ...], int]]
"""By id: the floats, and the time."""


def hash_table(name: str = "t", dim: int = 2) -> Any:
    from monolith_cli.training.hash_table import HashTable

    return HashTable(name, dim)


def parse(entries: Any) -> Content:
    parsed = [messages.EntryDump.FromString(bytes(entry)) for entry in entries]
    return {entry.id: (tuple(entry.num), entry.last_update_ts_sec) for entry in parsed}


def content(table: Any, session: Any) -> Content:
    """Everything, read through a graph that is not finalized."""
    return parse(session.run(table.save_as_tensor(0, 1, 1 << 40, 0))[1])


def fill(table: Any, count: int = 5, time: int = 9) -> Any:
    values = np.arange(count * table.dim_size, dtype=np.float32).reshape(count, table.dim_size)
    return table.assign(np.arange(count), values, time)
