"""Tables for tests: opening them, and reading them to the end in every way there is."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import pytest
import tf_support

from monolith_cli import messages
from monolith_cli.checkpoint.checkpoint import Checkpoint
from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.tables import EntryFilter, Page, ReadOptions, Table, open_tables
from monolith_cli.tables.single import SingleTable

EXPORT = Path(__file__).parents[2] / ".." / "shared" / "data" / "monolith_export"

needs_export = pytest.mark.skipif(
    not EXPORT.is_dir(), reason="the export in ../shared/data is not there"
)

SKIP = ReadOptions(skip=True)


@functools.cache
def export_by_tensorflow() -> dict[str, list[bytes]]:
    """The records of each table of the export, read by TensorFlow in order of shard.

    All servers have copies of all tables.
    """
    found: dict[str, list[bytes]] = {}
    for path in sorted(EXPORT.glob("ps_0/*/assets/*-of-*")):
        name = path.name.rsplit("-", 3)[0]
        found.setdefault(name, []).extend(tf_support.read_records(path))
    return found


def checkpoint_of(directory: str | os.PathLike[str]) -> Checkpoint:
    """The latest checkpoint of a model directory."""
    return open_model_dir(os.fspath(directory)).checkpoint()


def open_all(
    directory: str | os.PathLike[str], options: ReadOptions | None = None
) -> dict[str, Table]:
    """All tables of the latest checkpoint, newly opened, by name."""
    tables = open_tables(checkpoint_of(directory), options=options)
    return {table.name: table for table in tables}


def open_table(
    directory: str | os.PathLike[str], name: str = "t", options: ReadOptions | None = None
) -> Table:
    """One of them; a single one as its files are, in SNAPPY blocks too.

    `open_tables` takes that for data of many tables that lacks its contents file.
    """
    single = checkpoint_of(directory).table_files().singles.get(name)
    if single is not None:
        return SingleTable(name, single, options or ReadOptions())
    return open_all(directory, options)[name]


def read_shard(
    table: Table,
    limit: int,
    shard: int = 0,
    nshards: int = 1,
    chosen: EntryFilter | None = None,
) -> list[bytes]:
    """The entries of a shard, page by page; checks what holds for every page."""
    entries: list[bytes] = []
    offset, done = 0, False
    while not done:
        page = table.page(offset, limit, shard=shard, nshards=nshards, chosen=chosen)
        assert page.next_offset > 0
        assert page.next_offset > offset or not page.entries
        assert len(page.entries) <= limit
        assert len(page.entries) == limit or page.done
        entries += page.entries
        _, offset, done = page
    # Once finished, always finished.
    assert table.page(offset, limit, shard=shard, nshards=nshards) == Page([], offset, True)
    return entries


def read_shards(
    table: Table, limit: int, nshards: int, chosen: EntryFilter | None = None
) -> list[bytes]:
    """The entries of all shards, one shard after the other."""
    return [
        entry
        for shard in range(nshards)
        for entry in read_shard(table, limit, shard, nshards, chosen)
    ]


def flip(path: Path, at: int, bit: int = 3) -> None:
    """Flip one bit of a file."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)


def parse(records: list[bytes]) -> list[Any]:
    """The records as protobuf messages."""
    return [messages.EntryDump.FromString(record) for record in records]
