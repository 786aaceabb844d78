"""Columns as arrays, against protobuf's parser."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import dump_support as ds
import numpy as np
import pytest
from table_support import (
    EXPORT,
    SKIP,
    export_by_tensorflow,
    flip,
    needs_export,
    open_all,
    open_table,
    parse,
)

from monolith_cli import messages
from monolith_cli.errors import CorruptionError, UsageError
from monolith_cli.tables import EntryFilter, ranges
from monolith_cli.tables.columns import Ragged

# Everything that a row of arrays can hold: several segments, a scalar each of both kinds.
SEGMENTS = (("adagrad", 4), ("dynamic_wd_adagrad", 2), ("group_adagrad", 1), ("sgd", 3))
RECORDS = ds.random_entries(61, 200, segments=SEGMENTS, special=True)


def complete(records: list[bytes]) -> list[bytes]:
    """The records with all their optional fields."""
    found = []
    for entry in parse(records):
        entry.opt.dump[1].dynamic_wd_adagrad.last_update_step = entry.id % 1000
        entry.opt.dump[2].group_adagrad.grad_square_sum = 0.25
        found.append(entry.SerializeToString())
    return found


def rows_of(column: Any) -> list[list[Any]]:
    """A column, ragged or not, as a list of lists."""
    if isinstance(column, Ragged):
        return [part.tolist() for part in np.split(column.values, np.cumsum(column.lengths)[:-1])]
    rows: list[list[Any]] = column.tolist()
    return rows


def same(found: list[list[float]], expected: list[list[float]]) -> bool:
    """Equal values, where NaN equals itself."""
    return repr(found) == repr(expected)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    ds.write_model_dir(
        tmp_path,
        singles={"t": complete(RECORDS), "none": []},
        multis={"Multi": {"m": complete(RECORDS)}},
        shards=3,
    )
    return tmp_path


@pytest.mark.parametrize("name", ["t", "m"])
@pytest.mark.parametrize("jobs", [1, 3])
def test_all_columns(model: Path, name: str, jobs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "SMALL_BYTES", 0)
    columns = open_table(model, name).read_columns(jobs=jobs)
    n = len(RECORDS)
    assert {
        name: (column.dtype.name, column.shape)
        for name, column in columns.items()
        if not isinstance(column, Ragged)
    } == {
        "fid": ("int64", (n,)),
        "slot": ("uint32", (n,)),
        "last_update_ts_sec": ("int64", (n,)),
        "embedding": ("float32", (n, 10)),
        "opt.0.adagrad.norm": ("float32", (n, 4)),
        "opt.1.dynamic_wd_adagrad.norm": ("float32", (n, 2)),
        "opt.1.dynamic_wd_adagrad.last_update_step": ("int64", (n, 1)),
        "opt.2.group_adagrad.grad_square_sum": ("float32", (n, 1)),
    }
    entries = parse(complete(RECORDS))
    assert columns["fid"].tolist() == [entry.id for entry in entries]
    assert columns["slot"].tolist() == [entry.id >> 48 & 0x7FFF for entry in entries]
    assert columns["last_update_ts_sec"].tolist() == [e.last_update_ts_sec for e in entries]
    for column, value in {
        "embedding": lambda entry: entry.num,
        "opt.0.adagrad.norm": lambda entry: entry.opt.dump[0].adagrad.norm,
        "opt.1.dynamic_wd_adagrad.norm": lambda entry: entry.opt.dump[1].dynamic_wd_adagrad.norm,
        "opt.1.dynamic_wd_adagrad.last_update_step": lambda entry: [
            entry.opt.dump[1].dynamic_wd_adagrad.last_update_step
        ],
        "opt.2.group_adagrad.grad_square_sum": lambda entry: [
            entry.opt.dump[2].group_adagrad.grad_square_sum
        ],
    }.items():
        assert same(rows_of(columns[column]), [list(value(entry)) for entry in entries]), column


def test_some_columns(model: Path) -> None:
    table = open_table(model)
    assert list(table.read_columns(["slot", "fid"])) == ["fid", "slot"]
    assert list(table.read_columns(["embedding"])) == ["embedding"]
    assert sorted(table.read_columns(["opt"])) == [
        "opt.0.adagrad.norm",
        "opt.1.dynamic_wd_adagrad.last_update_step",
        "opt.1.dynamic_wd_adagrad.norm",
        "opt.2.group_adagrad.grad_square_sum",
    ]
    assert list(table.read_columns("fid")) == ["fid"]
    assert table.read_columns([]) == {}
    with pytest.raises(UsageError, match="-1 jobs: at least one"):
        table.read_columns("fid", jobs=-1)
    with pytest.raises(UsageError) as caught:
        table.read_columns(["fid", "nothing", "none"])
    assert caught.value.what == "no column none, nothing"


def test_rows_of_different_lengths(tmp_path: Path) -> None:
    entries = [
        messages.EntryDump(id=1, num=[1.0, 2.0]),
        messages.EntryDump(id=2),
        messages.EntryDump(id=3, num=[3.0]),
    ]
    entries[0].opt.dump.add().adagrad.norm.extend([0.5])
    entries[2].opt.dump.add().adam.beta1_power = 0.25
    records = [entry.SerializeToString() for entry in entries]
    ds.write_model_dir(tmp_path, singles={"t": records}, shards=1)
    columns = open_table(tmp_path).read_columns()
    embedding = columns["embedding"]
    assert isinstance(embedding, Ragged)
    assert embedding.values.tolist() == [1, 2, 3]
    assert embedding.lengths.tolist() == [2, 0, 1]
    assert (embedding.values.dtype.name, embedding.lengths.dtype.name) == ("float32", "uint32")
    assert rows_of(columns["opt.0.adagrad.norm"]) == [[0.5], [], []]
    assert rows_of(columns["opt.0.adam.beta1_power"]) == [[], [], [0.25]]


def test_a_column_that_only_some_ranges_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monolith_cli.tables.columns._RANGE_BYTES", 500)
    plain = ds.random_entries(1, 50, segments=(("", 2),))
    late = ds.random_entries(2, 50, segments=(("batch_softmax", 2),))
    records = plain + late
    ds.write_model_dir(tmp_path, singles={"t": records}, shards=2)
    steps = open_table(tmp_path).read_columns(["opt"])["opt.0.batch_softmax.global_step"]
    expected = [
        [dump.batch_softmax.global_step]
        if (dump := next(iter(entry.opt.dump), None)) and dump.batch_softmax.HasField("global_step")
        else []
        for entry in parse(records)
    ]
    assert rows_of(steps) == expected


def test_an_empty_table(model: Path) -> None:
    columns = open_table(model, "none").read_columns()
    assert not any(isinstance(column, Ragged) for column in columns.values())
    assert {name: (c.dtype.name, c.shape) for name, c in columns.items()} == {
        "fid": ("int64", (0,)),
        "slot": ("uint32", (0,)),
        "last_update_ts_sec": ("int64", (0,)),
        "embedding": ("float32", (0, 0)),
    }


def test_entries_without_a_vector(tmp_path: Path) -> None:
    records = [ds.put_fixed64(1, fid) for fid in range(4)]
    ds.write_model_dir(tmp_path, singles={"t": records}, shards=1)
    columns = open_table(tmp_path).read_columns(["fid", "embedding", "last_update_ts_sec"])
    assert columns["fid"].tolist() == [0, 1, 2, 3]
    assert columns["embedding"].shape == (4, 0)
    assert columns["last_update_ts_sec"].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("nshards", [1, 3, 97])
def test_shards(model: Path, nshards: int) -> None:
    table = open_table(model)
    whole = table.read_columns()
    parts = [table.read_columns(shard=shard, nshards=nshards) for shard in range(nshards)]
    for name in ("fid", "slot", "embedding"):
        rows = [part[name] for part in parts if len(part["fid"])]
        np.testing.assert_array_equal(np.concatenate(rows), whole[name])


def test_chosen_entries(model: Path) -> None:
    chosen = EntryFilter(slots=[(0, 1), (301, 301)])
    fids = open_table(model).read_columns(["fid"], chosen=chosen)["fid"].tolist()
    expected = [e.id for e in parse(RECORDS) if e.id >> 48 & 0x7FFF in (0, 1, 301)]
    assert fids == expected
    assert open_table(model).read_columns(["slot"], chosen=EntryFilter(fids=fids[3:5]))[
        "slot"
    ].tolist() == [fid >> 48 & 0x7FFF for fid in fids[3:5]]


def test_slots_of_v1_ids(model: Path) -> None:
    slots = open_table(model).read_columns(["slot"], chosen=EntryFilter(fid_version="v1"))["slot"]
    assert slots.tolist() == [(entry.id & (2**64 - 1)) >> 54 for entry in parse(RECORDS)]


@pytest.mark.parametrize("seed", range(5))
def test_entries_of_any_kind(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    entries = [ds.random_entry(rng) for _ in range(30)]
    records = [ds.scrambled(entry, rng) for entry in entries]
    ds.write_model_dir(tmp_path, singles={"t": records}, shards=2)
    columns = open_table(tmp_path).read_columns()
    assert columns["fid"].tolist() == [entry.id for entry in entries]
    assert same(rows_of(columns["embedding"]), [list(entry.num) for entry in entries])
    for name, column in columns.items():
        if not name.startswith("opt."):
            continue
        index, kind, field = int(name.split(".")[1]), *name.split(".")[2:]
        expected = []
        for entry in entries:
            dumps = entry.opt.dump
            state = getattr(dumps[index], kind) if len(dumps) > index else None
            if state is None or dumps[index].WhichOneof("type") != kind:
                expected.append([])
            elif field in ds.OPTIMIZERS[kind][0]:
                expected.append(list(getattr(state, field)))
            else:
                expected.append([getattr(state, field)] if state.HasField(field) else [])
        assert same(rows_of(column), expected), name


def test_damage(model: Path) -> None:
    path = ds.shard_path(model / "model.ckpt-300.assets", "t", 1, 3)
    flip(path, 20)
    with pytest.raises(CorruptionError) as caught:
        open_table(model).read_columns(["fid"])
    assert (caught.value.path, caught.value.offset) == (str(path), 0)
    fids = open_table(model, options=SKIP).read_columns(["fid"])["fid"].tolist()
    victim = len(RECORDS) // 3 + 1  # the first of the second file
    assert fids == [entry.id for entry in parse(RECORDS[:victim] + RECORDS[victim + 1 :])]


@needs_export
def test_the_export_value_by_value() -> None:
    for name, table in open_all(EXPORT).items():
        entries = parse(export_by_tensorflow()[name])
        columns = table.read_columns()
        assert columns["fid"].tolist() == [entry.id for entry in entries]
        assert columns["slot"].tolist() == [0] * len(entries)
        assert columns["last_update_ts_sec"].tolist() == [e.last_update_ts_sec for e in entries]
        assert same(rows_of(columns["embedding"]), [list(entry.num) for entry in entries])
        for index in range(max((len(entry.opt.dump) for entry in entries), default=0)):
            for field in ("zero", "norm"):
                found = columns.get(f"opt.{index}.ftrl.{field}")
                expected = [list(getattr(e.opt.dump[index].ftrl, field)) for e in entries]
                assert found is None or same(rows_of(found), expected)
                assert (found is None) == (not any(expected))
