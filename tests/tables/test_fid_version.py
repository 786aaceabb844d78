"""Layouts of feature ids that do not exist are refused, wherever one can be named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dump_support as ds
import pytest
from table_support import checkpoint_of

from monolith_cli.errors import UsageError
from monolith_cli.tables import EntryFilter, ReadOptions, Table, open_tables
from monolith_cli.tables.counts import CountOptions, count_checkpoint
from monolith_cli.tables.dump import Dump
from monolith_cli.tables.lookup import find_entries
from monolith_cli.tables.table import entry_stream

V3 = EntryFilter(fid_version="v3")

WAYS: dict[str, Callable[[Table], object]] = {
    "filter": lambda table: V3.native(),
    "page": lambda table: table.page(chosen=V3),
    "columns": lambda table: table.read_columns(chosen=V3),
    "dump": lambda table: Dump(entry_stream([table]), ReadOptions(), chosen=V3),
    "lookup": lambda table: find_entries(
        entry_stream([table]), ReadOptions(), [1], fid_version="v3"
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_reading(tmp_path: Path, way: str) -> None:
    ds.write_model_dir(tmp_path, singles={"t": [ds.put_fixed64(1, 1)]})
    [table] = open_tables(checkpoint_of(tmp_path))
    with pytest.raises(UsageError, match="'v3' is not a version of feature ids; use v1 or v2"):
        WAYS[way](table)


def test_counting(tmp_path: Path) -> None:
    ds.write_model_dir(tmp_path, singles={"t": [ds.put_fixed64(1, 1)]})
    with pytest.raises(UsageError, match="'v3'"):
        count_checkpoint(checkpoint_of(tmp_path), CountOptions(fid_version="v3"))
