"""Which tables a checkpoint has, and what each of them says of itself."""

from __future__ import annotations

import json
from pathlib import Path

import dump_support as ds
import pytest
from table_support import (
    EXPORT,
    SKIP,
    checkpoint_of,
    export_by_tensorflow,
    flip,
    needs_export,
    open_all,
    open_table,
    parse,
    read_shards,
)

from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.errors import (
    CorruptionError,
    MissingShardError,
    PathNotFoundError,
    ShardMismatchError,
    TableNotFoundError,
)
from monolith_cli.tables import ReadOptions, find_tables, open_tables
from monolith_cli.tables.multi import MultiTable
from monolith_cli.tables.single import SingleTable
from monolith_cli.tables.table import entry_stream

A = ds.random_entries(81, 12)
B = ds.random_entries(82, 9)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    ds.write_model_dir(
        tmp_path,
        singles={"t_10": A, "t_2": B, "t": A[:3]},
        multis={"Multi": {"z": A, "a": B}},
        hash_filters=1,
        shards=2,
    )
    return tmp_path


# --- the tables of a checkpoint -------------------------------------------------------------


def test_single_tables_come_first_in_natural_order(model: Path) -> None:
    tables = open_tables(checkpoint_of(model))
    assert [(table.name, table.kind) for table in tables] == [
        ("t", "single"),
        ("t_2", "single"),
        ("t_10", "single"),
        ("a", "multi"),
        ("z", "multi"),
    ]
    assert repr(tables[0]) == "<single table 't'>"
    assert [list(table) for table in tables] == [A[:3], B, A, B, A]


def test_tables_that_share_files_come_in_natural_order(tmp_path: Path) -> None:
    ds.write_model_dir(
        tmp_path,
        multis={"M": {"t_10": A, "t_1": B, "t_01": A}, "N": {"t_2": B, "t_1": A}},
        shards=1,
    )
    names = [table.name for table in open_tables(checkpoint_of(tmp_path))]
    assert names == ["t_01", "t_1", "t_2", "t_10"]


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        ([], ["t", "t_2", "t_10", "a", "z"]),
        (["t"], ["t"]),
        (["t*"], ["t", "t_2", "t_10"]),
        (["z", "t_?"], ["t_2", "z"]),
        (["[ab]", "a"], ["a"]),
    ],
)
def test_patterns(model: Path, patterns: list[str], names: list[str]) -> None:
    assert [table.name for table in open_tables(checkpoint_of(model), patterns)] == names


def test_a_name_that_looks_like_a_pattern(tmp_path: Path) -> None:
    ds.write_model_dir(tmp_path, singles={"t[0]": A, "t0": B, "t*": A, "tx": B})
    for pattern, names in [
        ("t[0]", ["t[0]"]),
        ("t*", ["t*"]),
        ("t[[]0]", ["t[0]"]),
        ("t?", ["t*", "t0", "tx"]),
        ("t[0-9]", ["t0"]),
    ]:
        tables = open_tables(checkpoint_of(tmp_path), [pattern])
        assert sorted(table.name for table in tables) == names, pattern
    both = open_tables(checkpoint_of(tmp_path), ["t[0]", "t[0-9]"])
    assert sorted(table.name for table in both) == ["t0", "t[0]"]


@pytest.mark.parametrize("pattern", ["T", "t_", "hash_filter_0", "Multi", "Multi.meta", ""])
def test_a_pattern_that_matches_nothing(model: Path, pattern: str) -> None:
    with pytest.raises(TableNotFoundError) as caught:
        open_tables(checkpoint_of(model), ["t", pattern])
    assert str(caught.value) == (f"{model}/model.ckpt-300.assets: no table matches {pattern!r}")


def test_what_a_table_says_of_itself(model: Path) -> None:
    tables = open_all(model)
    t = tables["t_10"]
    assert isinstance(t, SingleTable)
    paths = sorted((model / "model.ckpt-300.assets").glob("t_10-*"))
    assert [file.path for file in t.files] == [str(path) for path in paths]
    assert (t.shards, t.stored_bytes) == (2, sum(path.stat().st_size for path in paths))
    assert (t.promised_entries, t.skipped()) == (None, [])
    assert t.stream.size == ds.frame_starts(A)[-1]
    z = tables["z"]
    assert isinstance(z, MultiTable)
    assert (z.shards, z.stored_bytes, z.promised_entries) == (2, None, 12)
    assert z.stream.size == ds.frame_starts(A)[-1]


def test_a_checkpoint_without_tables(tmp_path: Path) -> None:
    ds.write_model_dir(tmp_path, singles={})
    assert open_tables(checkpoint_of(tmp_path)) == []
    with pytest.raises(TableNotFoundError):
        open_tables(checkpoint_of(tmp_path), ["*"])


def test_one_name_may_be_the_start_of_another(tmp_path: Path) -> None:
    names = ["t", "t_1", "t-1", "t-00000-of-00001", "t.meta.x"]
    ds.write_model_dir(tmp_path, singles={name: [A[i]] for i, name in enumerate(names)}, shards=1)
    assert {name: list(table) for name, table in open_all(tmp_path).items()} == {
        name: [A[i]] for i, name in enumerate(names)
    }


def test_broken_sets(model: Path) -> None:
    assets = model / "model.ckpt-300.assets"
    lost = assets / "t_2-00001-of-00002"
    data = lost.read_bytes()
    lost.unlink()
    with pytest.raises(MissingShardError) as missing:
        open_all(model)
    assert missing.value.path == str(lost)
    lost.write_bytes(data)
    (assets / "t_2-00000-of-00003").write_bytes(b"")
    with pytest.raises(ShardMismatchError) as mismatch:
        open_all(model)
    assert mismatch.value.path is not None
    assert Path(mismatch.value.path).name.startswith("t_2-0000")


def test_leftovers_are_no_tables(model: Path) -> None:
    assets = model / "model.ckpt-300.assets"
    (assets / "t-00000-of-00002-tmp-1234").write_bytes(b"half a file")
    (assets / ".t-00000-of-00002.77.ab.tmp").write_bytes(b"half a file")
    checkpoint = checkpoint_of(model)
    assert len(open_tables(checkpoint)) == 5
    [note] = checkpoint.notes
    assert ".t-00000-of-00002.77.ab.tmp" in note
    [warning] = find_tables(checkpoint).warnings
    assert warning.endswith(
        "/t-00000-of-00002-tmp-1234: the training system mistakes it for a shard of"
        " 't', and cannot restore that table; remove this file"
    )


def test_options_reach_the_files(model: Path) -> None:
    longest = max(map(len, A))
    table = open_table(model, "t_10", ReadOptions(max_record_bytes=longest - 1))
    with pytest.raises(CorruptionError, match=f"{longest} bytes long, where {longest - 1} are"):
        list(table)
    assert list(open_table(model, "z", ReadOptions(max_record_bytes=longest))) == A


# --- several tables as one stream -----------------------------------------------------------


def test_streams_of_tables(model: Path) -> None:
    tables = open_all(model)
    stream = entry_stream([tables["z"], tables["t"]])
    assert [extent.table for extent in stream.extents] == ["z", "z", "t", "t"]
    assert stream.size == tables["z"].stream.size + tables["t"].stream.size
    assert stream.shard(0, 1) == (0, stream.size)
    assert stream.shard(2, 3) == (stream.size * 2 // 3, stream.size)


# --- damage that pages skip -----------------------------------------------------------------


def test_a_table_tells_what_its_pages_skipped(model: Path) -> None:
    path = model / "model.ckpt-300.assets" / "t_10-00001-of-00002"
    flip(path, ds.frame_starts(A[6:])[2] + 13)
    table = open_table(model, "t_10", SKIP)
    assert table.skipped() == []
    offset, told = 0, []
    for _ in range(4):
        page = table.page(offset, 3)
        offset = page.next_offset
        told.append(len(table.skipped()))
    assert told == [0, 0, 1, 1]
    # Reading it again finds the same place, not another one.
    assert list(table) == A[:8] + A[9:]
    [damage] = table.skipped()
    assert (damage.path, damage.kind, damage.one_record) == (str(path), "bad_data_crc", True)
    assert damage.offset == ds.frame_starts(A[6:])[2]


def test_files_that_are_gone(model: Path) -> None:
    table = open_table(model, "t_10")
    path = model / "model.ckpt-300.assets" / "t_10-00001-of-00002"
    path.unlink()
    with pytest.raises(PathNotFoundError) as caught:
        table.page()
    assert caught.value.path == str(path)
    with pytest.raises(PathNotFoundError):
        _ = table.stored_bytes


# --- an export of the training system -------------------------------------------------------


@needs_export
def test_the_export_is_what_tensorflow_reads() -> None:
    tables = open_tables(open_model_dir(str(EXPORT)).checkpoint())
    expected = export_by_tensorflow()
    assert len(tables) == 20
    assert sorted(table.name for table in tables) == sorted(expected)
    for table in tables:
        assert table.kind == "single"
        assert list(table) == expected[table.name]
        for nshards in (1, 4, 97):
            assert read_shards(table, 2, nshards) == expected[table.name]
    entries = [entry for table in tables for entry in parse(list(table))]
    assert len(entries) == 30
    assert {entry.id >> 48 for entry in entries} == {0}
    assert len({entry.id for entry in entries}) == 30
    assert {len(entry.num) for entry in entries} <= {16, 17, 32, 33}
    kinds = [[single.WhichOneof("type") for single in entry.opt.dump] for entry in entries]
    assert {json.dumps(kind) for kind in kinds} <= {'["sgd"]', '["ftrl", "sgd"]'}
