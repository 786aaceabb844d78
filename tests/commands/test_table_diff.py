"""`monolith table diff`."""

from __future__ import annotations

import json
import random
from pathlib import Path

import dump_support as ds
import pytest
import tf_support
from cli_support import call, failed

from monolith_cli import messages
from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.reports.diff_rows import row_writer
from monolith_cli.tables.diff.compare import diff_tables


def entry(fid: int, value: float = 1.0, time: int = 5) -> bytes:
    return bytes(
        messages.EntryDump(id=fid, num=[value, 2.0], last_update_ts_sec=time).SerializeToString()
    )


A = [entry(1 << 48), entry(2), entry(-3), entry(4), entry(5)]
B = [entry(1 << 48, 1.5), entry(2, time=6), entry(-3), entry(5), entry(6), entry(5)]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Two steps, of which the older one has the higher number."""
    model = tmp_path / "model"
    ds.write_model_dir(model, 300, singles={"t": A, "gone": A[:1]}, shards=1)
    ds.write_model_dir(model, 200, singles={"t": B}, shards=3)
    ds.write_checkpoint_state(model, [300, 200])
    return model


def test_the_latest_and_the_one_before(model: Path) -> None:
    done = call("table", "diff", "--json", model)
    assert done.code == 0
    document = done.document
    assert (document["a"]["step"], document["b"]["step"]) == (300, 200)
    assert document["differs"]
    [t] = [table for table in document["tables"] if table["name"] == "t"]
    assert [t[key] for key in ("added", "removed", "changed", "touched", "same")] == [2, 1, 1, 1, 2]
    assert (t["changed_embedding"], t["again_a"], t["again_b"]) == (1, 0, 1)
    assert {table["name"]: table["in_b"] for table in document["tables"]}["gone"] is False
    text = call("table", "diff", model).out
    assert f"{model}, step 300 → step 200" in text
    assert "gone: gone" in text
    assert "0 entries before and 1 after with a feature id that has come before" in text
    assert call("table", "diff", model, "200", "300").out.count("new") == 1
    same = call("table", "diff", model, "latest", "--exit-code")
    assert (same.code, same.out.splitlines()[-1]) == (0, "the same")


def test_another_directory(model: Path, tmp_path: Path) -> None:
    other = tmp_path / "a@b"
    ds.write_model_dir(other, 7, singles={"t": B})
    for place in (other, f"{other}@7", f"{other}@latest"):
        assert call("table", "diff", "--with", place, "--exit-code", model).code == 0
    done = call("table", "diff", "--with", other, "--exit-code", model, 300)
    assert done.code == 1
    assert "Error: 6 entries differ, of table gone and 1 more" in done.err
    twice = call("table", "diff", model, 200, 300, "--with", other)
    assert "name the other step as DIR@STEP" in failed_usage(twice.err)
    assert "no step before 7" in failed(call("table", "diff", other), 3)
    assert "no step 8" in failed(call("table", "diff", model, "--with", f"{other}@8"), 3)
    assert "no table matches 'x'" in failed(call("table", "diff", model, "--table", "x"), 3)


def failed_usage(err: str) -> str:
    return " ".join(err.split())


def test_conditions(model: Path) -> None:
    line = ["table", "diff", model, "--fail-if"]
    assert call(*line, "added gt 5").code == 0
    done = call(*line, "change(table[t].entries) gt 10%")
    assert done.code == 1
    assert "table[t].entries: 6 after 5, +20%" in done.err
    assert call(*line, "slot[1].changed ge 1").code == 1
    assert call(*line, "nan gt 0").code == 3
    document = call(*line, "removed gt 0", "--json").document
    assert document["conditions"][0]["holds"] is True


def test_rows(model: Path) -> None:
    done = call("table", "diff", model, "--format", "jsonl")
    rows = [json.loads(line) for line in done.out.splitlines()]
    found = {(row["table"], row["fid"], row["change"]) for row in rows}
    assert found == {
        ("t", str(1 << 48), "embedding"),
        ("t", "2", "touched"),
        ("t", "4", "removed"),
        ("t", "5", "added"),
        ("t", "6", "added"),
        ("gone", str(1 << 48), "removed"),
    }
    by_fid = {row["fid"]: row for row in rows if row["table"] == "t"}
    assert by_fid[str(1 << 48)]["slot"] == 1
    assert by_fid["5"]["again"]
    assert (by_fid["2"]["last_update_ts_sec_a"], by_fid["2"]["last_update_ts_sec_b"]) == (5, 6)
    assert by_fid["6"]["last_update_ts_sec_a"] is None
    assert "2 entries added, 2 removed" in done.err
    numbers = call("table", "diff", model, "--format", "jsonl", "--json-number-ids")
    assert json.loads(numbers.out.splitlines()[-1])["fid"] in {1 << 48, 2, 4, 5, 6}
    assert call("table", "diff", model, "--format", "jsonl", "--json").out == done.out
    both = call("table", "diff", model, "--format", "parquet", "--json")
    assert both.code == 2


def test_parquet(model: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    directory = open_model_dir(model)
    with (tmp_path / "rows").open("wb") as out, row_writer("parquet", out) as rows:
        diff_tables(directory.checkpoint(300), directory.checkpoint(), on_changes=rows.write)
    table = parquet.read_table(tmp_path / "rows").to_pylist()
    lines = call("table", "diff", model, "--format", "jsonl", "--json-number-ids").out.splitlines()
    assert table == [json.loads(line) for line in lines]


def test_a_delta_makes_one_side_the_other(model: Path, tmp_path: Path) -> None:
    """Read with TensorFlow, and applied in Python."""
    path = tmp_path / "delta"
    done = call("table", "diff", model, "--delta", path, "--json")
    assert done.code == 0
    assert f"{path}: 7 changes written" in done.err
    records = [messages.DeltaRecord.FromString(each) for each in tf_support.read_records(path)]
    header, *changes, end = records
    assert end.end.changes == len(changes) == 7
    assert (header.header.version, header.header.step_a, header.header.step_b) == (1, 300, 200)
    names = [table.name.decode() for table in header.header.tables]
    assert names == ["gone", "t"]
    assert [table.entries_b for table in header.header.tables] == [0, 6]
    state: dict[int, list[bytes]] = {}
    for record in A:
        state.setdefault(messages.EntryDump.FromString(record).id, []).append(record)
    change = messages.get_message("monolith.delta.DeltaChange")
    for record in changes:
        if names[record.change.table] != "t":
            assert record.change.op == change.REMOVE
            continue
        if record.change.op in (change.REPLACE, change.REMOVE):
            del state[record.change.fid]
        if record.change.op in (change.REPLACE, change.ADD):
            state.setdefault(record.change.fid, []).append(record.change.entry)
    assert sorted(each for entries in state.values() for each in entries) == sorted(B)
    digests = {table["name"]: table for table in done.document["tables"]}
    assert digests["t"]["digest_b"] == f"{header.header.tables[1].digest_b:016x}"
    assert "--force replaces it" in call("table", "diff", model, "--delta", path).err
    assert call("table", "diff", model, "--delta", path, "--force").code == 0
    for option in (["--slot", "1"], ["--merge-servers"]):
        assert call("table", "diff", model, "--delta", path, *option).code == 2


def test_a_delta_is_whole_or_not_there(model: Path, tmp_path: Path) -> None:
    shard = ds.shard_path(model / "model.ckpt-200.assets", "t", 0, 3)
    data = bytearray(shard.read_bytes())
    data[30] ^= 1
    shard.write_bytes(data)
    for options in ([], ["--values"], ["--delta", tmp_path / "delta"]):
        assert str(shard) in failed(call("table", "diff", model, *options), 4)
    shard.unlink()
    failed(call("table", "diff", model, "--delta", tmp_path / "delta"), 4)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["model"]


def test_values(tmp_path: Path) -> None:
    rng = random.Random(1)
    for name, more in (("a", 0.0), ("b", 0.25)):
        records = [entry(fid, fid + more * (fid == 7)) for fid in range(20)]
        rng.shuffle(records)
        ds.write_model_dir(tmp_path / name, singles={"t": records})
    line = ["table", "diff", tmp_path / "a", "--with", tmp_path / "b"]
    values = call(*line, "--values", "--json").document["tables"][0]["values"]
    assert values["moves"] == [{"fid": "7", "distance": 0.25, "largest": 0.25, "norm": 53**0.5}]
    assert "embeddings moved by 0.25 on average (L2)" in call(*line, "--values").out
    assert call(*line, "--exit-code", "--atol", 0.1).code == 1
    assert call(*line, "--exit-code", "--atol", 0.3).code == 0
    assert call(*line, "--exit-code", "--rtol", 0.04).code == 0


def test_what_is_within_the_tolerance_is_the_same(model: Path) -> None:
    line = ["table", "diff", model, "--table", "t"]
    for tolerance, changed in ((0.4, 1), (0.5, 0)):
        close = [*line, "--atol", tolerance]
        document = call(*close, "--json").document
        [table] = document["tables"]
        for counts in (document, table):
            assert [counts[key] for key in ("changed", "touched")] == [changed, 0]
            assert counts["same"] == 4 - changed
        assert sum(slot["changed"] for slot in document["slots"]) == changed
        assert call(*close, "--fail-if", "changed gt 0").code == changed
        assert call(*close, "--fail-if", "slot[*].changed gt 0").code == changed
        done = call(*close, "--format", "jsonl")
        changes = [json.loads(row)["change"] for row in done.out.splitlines()]
        assert sorted(changes) == ["added", "added", *["embedding"] * changed, "removed"]
        tolerated = f"({1 - changed} of them within the tolerance, 1 of another time alone)"
        assert tolerated in done.err
        assert tolerated in call(*close).out
        assert "2 entries added, 1 removed" in done.err


def test_a_delta_knows_no_tolerance(model: Path, tmp_path: Path) -> None:
    for name, options in (("strict", []), ("close", ["--atol", 9])):
        call("table", "diff", model, "--delta", tmp_path / name, *options)
    assert (tmp_path / "strict").read_bytes() == (tmp_path / "close").read_bytes()


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "-1", "1e999", "x"])
@pytest.mark.parametrize("option", ["--atol", "--rtol"])
def test_a_tolerance_is_a_finite_number(model: Path, option: str, text: str) -> None:
    assert option in failed(call("table", "diff", model, option, text), 2)
