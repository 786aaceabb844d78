"""`monolith table ls`, `dump` and `get`."""

from __future__ import annotations

import json
import struct
import subprocess
from pathlib import Path
from typing import Any

import pexpect
import pytest
from cli_support import MONOLITH, Done, call, environment
from dump_support import (
    frame,
    put_bytes,
    put_fixed64,
    put_floats,
    put_int,
    random_entries,
    write_model_dir,
    write_single_table,
)


def entry(fid: int, *, values: tuple[float, ...] = (), norm: float | None = None) -> bytes:
    """An entry with an embedding, the state of an Adagrad, and a time."""
    record = put_fixed64(1, fid % 2**64) + b"".join(put_floats(2, values))
    if norm is not None:
        adagrad = put_bytes(1, put_bytes(1, b"".join(put_floats(1, [norm]))))
        record += put_bytes(3, adagrad)
    return record + put_int(4, 1_750_000_000)


SLOT_3 = 3 << 48
A = [entry(SLOT_3 + n, values=(0.5, n), norm=0.1) for n in range(10)]
B = [entry(SLOT_3 + 4, values=(float("nan"),)), entry(-1, values=(1.0,)), entry(7, values=(2.0,))]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    directory = tmp_path / "model"
    write_model_dir(directory, 300, singles={"a": A, "b": B}, shards=2)
    return directory


@pytest.fixture
def multi(tmp_path: Path) -> Path:
    directory = tmp_path / "multi"
    write_model_dir(directory, 300, multis={"Multi": {"a": A, "b": B}}, shards=2)
    return directory


def rows(done: Done) -> list[Any]:
    return [json.loads(line) for line in done.out.splitlines()]


def fids(done: Done) -> list[int]:
    return [int(row["fid"]) for row in rows(done)]


# --- ls -------------------------------------------------------------------------------------


def test_ls(model: Path) -> None:
    sizes = [sum(p.stat().st_size for p in model.glob(f"*.assets/{name}-*")) for name in "ab"]
    done = call("table", "ls", model)
    assert done == (
        0,
        "table  kind    entries  shards   size  dim  slots  optimizers\n"
        f"a      single       10       2  {sizes[0]} B    2      1  adagrad\n"
        f"b      single        3       2  {sizes[1]} B    1      3\n",
        "",
    )
    assert call("table", "ls", "--json", model).document == [
        {
            "name": "a",
            "kind": "single",
            "entries": 10,
            "shards": 2,
            "bytes": sizes[0],
            "dim": 2,
            "optimizers": ["adagrad"],
            "slots": 1,
        },
        {
            "name": "b",
            "kind": "single",
            "entries": 3,
            "shards": 2,
            "bytes": sizes[1],
            "dim": 1,
            "optimizers": [],
            "slots": 3,
        },
    ]


def test_ls_of_multi_tables(multi: Path) -> None:
    listing = call("table", "ls", "--json", multi).document
    assert [(row["name"], row["entries"], row["bytes"]) for row in listing] == [
        ("a", 10, None),
        ("b", 3, None),
    ]
    assert {row["dim"] for row in listing} == {row["slots"] for row in listing} == {None}
    listing = call("table", "ls", "--json", "--scan", "--table", "a", multi).document
    assert [(row["dim"], row["optimizers"], row["slots"]) for row in listing] == [
        (2, ["adagrad"], 1)
    ]
    assert "a      multi       10       2     -    -      -  -\n" in call("table", "ls", multi).out


def test_ls_of_all_steps(model: Path) -> None:
    assert len(call("table", "ls", "--json", "--step", "all", model).document) == 1
    assert call("table", "ls", "--step", "all", model).out.startswith("step 300\ntable")


# --- dump -----------------------------------------------------------------------------------


def test_dump(model: Path) -> None:
    done = call("table", "dump", model)
    assert done.code == 0
    assert fids(done) == [SLOT_3 + n for n in range(10)] + [SLOT_3 + 4, -1, 7]
    assert rows(done)[1] == {
        "fid": str(SLOT_3 + 1),
        "slot": 3,
        "table": "a",
        "embedding": [0.5, 1],
        "opt": [{"adagrad": {"norm": [0.1]}}],
        "last_update_ts_sec": 1_750_000_000,
    }
    assert rows(done)[10]["embedding"] == [None]
    assert done.err == "Warning: 1 float not finite, written as null\n"


def test_dump_selects(model: Path) -> None:
    done = call("table", "dump", "--table", "b", "--slot", "0-5", "--columns", "table,fid", model)
    assert done.out == (f'{{"fid":"{SLOT_3 + 4}","table":"b"}}\n' + '{"fid":"7","table":"b"}\n')
    assert fids(call("table", "dump", "--fid", "0xffffffffffffffff", model)) == [-1]
    done = call("table", "dump", "--fid", 7, "--columns", "fid", "--json-number-ids", model)
    assert done.out == '{"fid":7}\n'


@pytest.mark.parametrize("kind", ["model", "multi"])
def test_pages(kind: str, request: pytest.FixtureRequest) -> None:
    directory = request.getfixturevalue(kind)
    offset, found, pages = "0", [], 0
    while offset is not None:
        done = call("table", "dump", "--limit", 4, "--offset", offset, "--cursor", directory)
        *page, last = rows(done)
        assert list(last) == ["next_offset"]
        offset = last["next_offset"]
        found += [int(row["fid"]) for row in page]
        pages += 1
        end = "the shard is exhausted" if offset is None else f"go on with --offset {offset}"
        assert f"{end}\n" in done.err
    assert found == fids(call("table", "dump", directory))
    assert pages == 4


@pytest.mark.parametrize("nshards", [1, 2, 3, 7, 40])
def test_shards(model: Path, nshards: int) -> None:
    found = []
    for shard in range(nshards):
        found += fids(call("table", "dump", "--shard", shard, "--nshards", nshards, model))
    assert found == fids(call("table", "dump", model))


def test_tfrecord(model: Path) -> None:
    done = subprocess.run(
        [MONOLITH, "table", "dump", "--format", "tfrecord", model],
        check=True,
        capture_output=True,
        env=environment(),
    )
    assert done.stdout == frame(*A, *B)


def test_tfrecord_is_not_for_a_terminal(model: Path) -> None:
    child = pexpect.spawn(
        str(MONOLITH), ["table", "dump", "--format", "tfrecord", str(model)], encoding="utf-8"
    )
    assert "Error: tfrecord is not for a terminal" in child.read()
    child.close()
    assert child.exitstatus == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shard", "1"], "--shard 1 is not one of --nshards 1"),
        (["--nshards", "0"], "--nshards"),
        (["--limit", "0"], "--limit"),
        (["--offset", "x"], "--offset"),
        (["--offset", "2"], "cursor 2 points at no record of this shard"),
        (["--step", "all"], "name one step"),
        (["--columns", "fid,bogus"], "'bogus' is none of fid, slot, table,"),
        (["--format", "tfrecord", "--cursor"], "--cursor goes with --format jsonl only"),
        (["--format", "tfrecord", "--json"], "--json goes with --format jsonl only"),
    ],
)
def test_dump_refuses(model: Path, options: list[str], message: str) -> None:
    done = call("table", "dump", *options, model)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert done.err.startswith("Error: ")
    assert done.err.count("\n") == (2 if "--json" in options else 1)


def test_rows_before_damage_are_valid(model: Path) -> None:
    path = model / "model.ckpt-300.assets" / "a-00001-of-00002"
    data = bytearray(path.read_bytes())
    data[-6] ^= 1
    path.write_bytes(data)
    done = call("table", "dump", "--json", model)
    assert (done.code, done.error["file"]) == (4, str(path))
    assert fids(done) == [SLOT_3 + n for n in range(9)]
    done = call("table", "dump", "--on-corrupt", "skip", model)
    assert done.code == 4
    assert fids(done) == [SLOT_3 + n for n in range(9)] + [SLOT_3 + 4, -1, 7]
    assert f"Warning: {path}: " in done.err
    assert done.err.splitlines()[-1].startswith(f"Error: {path}: ")


def test_head_of_a_dump(tmp_path: Path) -> None:
    model = tmp_path / "model"
    write_model_dir(model, singles={"t": []})
    block = frame(*random_entries(1, 200)) * 50
    for path in model.glob("*.assets/*"):
        path.write_bytes(block)
    script = f"set -o pipefail; {MONOLITH} table dump --columns fid {model} | head -1"
    done = subprocess.run(
        ["bash", "-c", script], check=False, capture_output=True, text=True, env=environment()
    )
    assert (done.returncode, done.stderr) == (141, "")
    assert list(json.loads(done.stdout)) == ["fid"]


def test_name_with_a_line_break(tmp_path: Path) -> None:
    model = tmp_path / "model"
    assets = write_model_dir(model, singles={"t": A})
    write_single_table(assets, "größe\n", B)
    done = call("table", "dump", "--columns", "table", model)
    assert {row["table"] for row in rows(done)} == {"t", "größe\n"}
    assert "\ngröße\\n  single" in call("table", "ls", model).out


# --- get ------------------------------------------------------------------------------------


def test_get(model: Path) -> None:
    done = call("table", "get", "--json", model, SLOT_3 + 4, "0x7")
    assert done.code == 0
    assert [(row["table"], row["fid"]) for row in rows(done)] == [
        ("a", str(SLOT_3 + 4)),
        ("b", str(SLOT_3 + 4)),
        ("b", "7"),
    ]


def test_get_for_people(model: Path) -> None:
    done = call("table", "get", "--table", "a", model, SLOT_3 + 4)
    assert done == (
        0,
        f"fid {SLOT_3 + 4}\n"
        "  table      a\n"
        "  slot       3\n"
        "  updated    1750000000 (2025-06-15 15:06:40 UTC)\n"
        "  embedding  0.5 4\n"
        "  adagrad\n"
        "    norm     0.1\n",
        "",
    )


def test_get_of_one_that_is_absent(model: Path) -> None:
    done = call("table", "get", "--json", model, 7, 8, 9)
    assert (done.code, fids(done)) == (1, [7])
    assert (done.error["code"], done.error["kind"]) == (1, "no_such_entry")
    assert done.err.splitlines()[0] == (
        f"Error: {model}: feature id 8 (and 1 more) is not in any of the 2 tables"
    )


def test_get_negative_ids(model: Path) -> None:
    assert fids(call("table", "get", "--json", model, "--", "-1")) == [-1]
    assert fids(call("table", "get", "--json", model, "18446744073709551615")) == [-1]


def test_get_columns(model: Path) -> None:
    done = call("table", "get", "--json", "--columns", "slot,table", model, 7)
    assert done.out == '{"slot":0,"table":"b"}\n'
    done = call("table", "get", "--json", "--columns", "fid", "--json-number-ids", model, 7)
    assert done.out == '{"fid":7}\n'
    assert call("table", "get", "--columns", "slot", model, 7).out == "  slot       0\n"


@pytest.mark.parametrize("fid", ["x", "1.5", "18446744073709551616"])
def test_get_refuses(model: Path, fid: str) -> None:
    assert call("table", "get", model, fid).code == 2
    assert call("table", "get", model).code == 2


def test_get_from_multi_tables(multi: Path) -> None:
    assert fids(call("table", "get", "--json", multi, 7)) == [7]


def test_floats_are_those_of_the_file(model: Path) -> None:
    value = struct.unpack("<f", b"\x01\x00\x80\x3e")[0]
    write_single_table(model / "model.ckpt-300.assets", "c", [entry(1, values=(value,))])
    line = call("table", "dump", "--table", "c", "--columns", "embedding", model).out
    assert line == '{"embedding":[0.25000003]}\n'
