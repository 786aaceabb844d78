"""What is said after tables were read: each damaged place once, and all that was wrong."""

from __future__ import annotations

from pathlib import Path

from dump_support import random_entries, shard_path, write_model_dir
from table_support import checkpoint_of, flip

from monolith_cli.tables.found import NO_TABLES, find_tables
from monolith_cli.tables.outcome import read_outcome
from monolith_cli.tables.stream import ReadOptions

SINGLES = {"a": random_entries(1, 30), "b": random_entries(2, 11)}


def test_nothing_is_wrong(tmp_path: Path) -> None:
    write_model_dir(tmp_path, singles=SINGLES)
    checkpoint = checkpoint_of(tmp_path)
    assert read_outcome(checkpoint, find_tables(checkpoint)) == ([], [], [], [], [])


def test_a_place_that_was_met_twice_is_told_once(tmp_path: Path) -> None:
    assets = write_model_dir(tmp_path, singles=SINGLES)
    flip(shard_path(assets, "a", 0, 2), 40)
    checkpoint = checkpoint_of(tmp_path)
    found = find_tables(checkpoint, (), ReadOptions(skip=True))
    skipped = []
    for table in found.tables:
        table.page(limit=100)
        skipped += table.skipped()
    assert skipped
    read = read_outcome(checkpoint, found, [*skipped, *skipped])
    assert read.skipped == skipped
    assert [error.kind for error in read.errors] == [skipped[0].kind]


def test_tables_that_are_not_whole_and_those_that_were_not_asked_for(tmp_path: Path) -> None:
    assets = write_model_dir(tmp_path, singles=SINGLES)
    shard_path(assets, "a", 1, 2).unlink()
    checkpoint = checkpoint_of(tmp_path)
    for patterns in ([], ["a"], ["b"]):
        read = read_outcome(checkpoint, find_tables(checkpoint, patterns))
        assert [error.kind for error in read.errors] == ["missing_shard"]


def test_no_tables_at_all(tmp_path: Path) -> None:
    write_model_dir(tmp_path, singles={})
    checkpoint = checkpoint_of(tmp_path)
    assert read_outcome(checkpoint, find_tables(checkpoint)).missing == [NO_TABLES]
