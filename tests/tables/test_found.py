"""Which tables of a checkpoint are whole, and what is said of the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dump_support as ds
import pytest
import tf_support
from table_support import checkpoint_of, flip

from monolith_cli.errors import (
    CorruptionError,
    MissingShardError,
    RecordCountError,
    TableNotFoundError,
)
from monolith_cli.tables import find_tables, open_tables
from monolith_cli.tables.counts import CountOptions, count_checkpoint

A = ds.random_entries(51, 8, segments=(("adagrad", 2),))
B = ds.random_entries(52, 6, segments=(("adagrad", 2),))
C = ds.random_entries(53, 7, segments=(("adagrad", 2),))
TABLES = {"a": A, "b": B, "c": C}


# --- contents files, and what they promise ----------------------------------------------


def test_a_table_of_contents_that_is_cut_between_records(tmp_path: Path) -> None:
    assets = ds.write_model_dir(tmp_path, multis={"Multi": TABLES}, singles={"t": A}, shards=2)
    meta = ds.shard_path(assets, "Multi.meta", 1, 2)
    ds.write_plain(meta, tf_support.read_records(meta)[:1])
    found = find_tables(checkpoint_of(tmp_path))
    [problem] = found.problems
    assert problem.kind == "short_contents"
    assert str(problem) == (
        f"{meta}: names 1 of the 3 tables that the contents files of 'Multi' name together: it"
        " may be cut short; restore it: without it nobody knows which entries belong to which table"
    )
    assert [table.name for table in found.tables] == ["t"]
    with pytest.raises(CorruptionError):
        open_tables(checkpoint_of(tmp_path), ["b"])


@pytest.mark.parametrize("size", [0, 21 * 3 // 4])
@pytest.mark.parametrize("more", [{}, {"patterns": ["b"]}, {"scan_multi": True}])
def test_data_too_small_for_what_is_promised(
    tmp_path: Path, size: int, more: dict[str, Any]
) -> None:
    assets = ds.write_model_dir(tmp_path, multis={"Multi": TABLES}, shards=1)
    path = ds.shard_path(assets, "Multi", 0, 1)
    path.write_bytes(bytes(size))
    checkpoint = checkpoint_of(tmp_path)
    expected = (
        f"{path}: too small for the 21 records that its contents file promises, at byte {size};"
        " restore it"
        if size
        else f"{path}: no bytes, where its contents file promises 21 records, at byte 0; restore it"
    )
    with pytest.raises(RecordCountError) as caught:
        open_tables(checkpoint)
    assert str(caught.value) == expected
    assert caught.value.kind == ("too_few_records" if size else "empty_shard")
    counts = count_checkpoint(checkpoint, CountOptions(partial=True, **more))
    assert [str(problem) for problem in counts.problems] == [expected]
    assert (counts.tables, counts.entries) == ([], 0)


def test_data_too_small_of_several_shards(tmp_path: Path) -> None:
    assets = ds.write_model_dir(tmp_path, multis={"Multi": TABLES}, shards=3)
    for shard in (1, 2):
        ds.shard_path(assets, "Multi", shard, 3).write_bytes(b"")
    checkpoint = checkpoint_of(tmp_path)
    [problem] = find_tables(checkpoint).problems
    assert problem.path == str(ds.shard_path(assets, "Multi", 1, 3))
    assert problem.hint == "restore it, like 1 more of its dump"
    # Skipping takes it for damage, whether the data is read or not.
    for scan in (False, True):
        counts = count_checkpoint(checkpoint, CountOptions(skip_corrupt=True, scan_multi=scan))
        assert counts.entries == 8
        assert counts.feature_counts == {"a": 3, "b": 2, "c": 3}
        assert [damage.path[-14:] for damage in counts.skipped] == [
            "00001-of-00003",
            "00002-of-00003",
        ]


def test_the_smallest_data_there_can_be(tmp_path: Path) -> None:
    """Empty records, which Snappy makes as small as it makes anything: not called too small."""
    assets = ds.write_model_dir(
        tmp_path, multis={"Multi": {"a": [b""] * 20_000}}, shards=1, tf=True
    )
    path = ds.shard_path(assets, "Multi", 0, 1)
    assert path.stat().st_size < 20_000 * 0.8
    [table] = open_tables(checkpoint_of(tmp_path))
    assert table.promised_entries == 20_000


# --- dumps that are not whole ---------------------------------------------------------------


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """Two dumps, each with a part of `user`; returns their directory."""
    multis = {"emb_0": {"user": A, "item": B}, "emb_1": {"user": B, "author": A}}
    return ds.write_model_dir(tmp_path, multis=multis, singles={"t": A}, shards=2)


def test_parts_are_added(parts: Path) -> None:
    tables = {table.name: table.promised_entries for table in open_tables(checkpoint_of(parts))}
    assert tables == {"t": None, "author": 8, "item": 6, "user": 14}


@pytest.mark.parametrize("lost", ["emb_1-00001-of-00002", "emb_1.meta-00001-of-00002"])
def test_a_table_is_whole_or_left_out(parts: Path, lost: str) -> None:
    (parts / lost).unlink()
    checkpoint = checkpoint_of(parts)
    found = find_tables(checkpoint)
    assert [table.name for table in found.tables] == ["t", "item"]
    assert [problem.path for problem in found.problems] == [str(parts / lost)]
    counts = count_checkpoint(checkpoint, CountOptions(partial=True, scan_multi=True))
    assert (counts.entries, counts.feature_counts) == (14, {"item": 6})
    assert sum(counts.slot_counts.values()) == 14
    # What it holds of is known by the other shard's contents file.
    found = find_tables(checkpoint, ["t", "item"])
    assert ([table.name for table in found.tables], found.problems) == (["t", "item"], [])
    assert [problem.path for problem in found.others] == [str(parts / lost)]
    assert found.warnings == []
    assert open_tables(checkpoint, ["t", "item"])[0].name == "t"
    with pytest.raises(MissingShardError):
        open_tables(checkpoint, ["auth*"])
    with pytest.raises(TableNotFoundError):
        open_tables(checkpoint, ["nobody"])


def test_data_of_many_tables_without_contents(parts: Path) -> None:
    for shard in range(2):
        ds.shard_path(parts, "emb_1.meta", shard, 2).unlink()
    found = find_tables(checkpoint_of(parts))
    [problem] = found.problems
    assert isinstance(problem, MissingShardError)
    assert str(problem) == (
        f"{parts}/emb_1.meta-00000-of-00002: missing, while data of many tables is there: the save"
        " is not whole; restore it, or take another step"
    )
    assert [table.name for table in found.tables] == ["t", "item", "user"]
    # Nobody knows the names of its tables.
    assert [str(each) for each in find_tables(checkpoint_of(parts), ["t"]).problems] == [
        str(problem)
    ]
    assert find_tables(checkpoint_of(parts), ["nobody"]).tables == []
    ds.shard_path(parts, "emb_1", 0, 2).unlink()
    assert find_tables(checkpoint_of(parts), ["t"]).problems != []


def test_a_damaged_table_of_contents_hides_no_other_table(parts: Path) -> None:
    meta = ds.shard_path(parts, "emb_1.meta", 0, 2)
    flip(meta, 13)
    found = find_tables(checkpoint_of(parts))
    assert [table.name for table in found.tables] == ["t", "item"]
    assert [problem.path for problem in found.problems] == [str(meta)]
