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


def test_ls_of_tables_that_are_split_over_servers(tmp_path: Path) -> None:
    singles = {
        f"{table}_{server}": random_entries(server, 5) for server in (0, 1) for table in "ab"
    }
    write_model_dir(tmp_path / "m", singles=singles)
    done = call("table", "ls", "--json", "--merge-servers", tmp_path / "m")
    assert [(t["name"], t["entries"], t["shards"]) for t in done.document] == [
        ("a", 10, 4),
        ("b", 10, 4),
    ]
    done = call("table", "ls", "--merge-servers", "--table", "a_*", tmp_path / "m")
    assert [line.split()[:4] for line in done.out.splitlines()[1:]] == [["a", "single", "10", "4"]]


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
        assert (list(last), last["step"]) == (["next_offset", "step"], 300)
        offset = last["next_offset"]
        found += [int(row["fid"]) for row in page]
        pages += 1
        more = f"go on with --step 300 --offset {offset}"
        assert f"{'nothing is left' if offset is None else more}\n" in done.err
    assert found == fids(call("table", "dump", directory))
    assert pages == 4


def test_pages_keep_to_their_checkpoint(model: Path) -> None:
    """A page that says no step says which one it reads; the cursor names it for the next."""
    page = ["table", "dump", "--limit", 3, "--columns", "fid", "--cursor"]
    first = call(*page, model)
    last = rows(first)[-1]
    assert last["step"] == 300
    assert first.err == f"Note: 3 entries, go on with --step 300 --offset {last['next_offset']}\n"

    write_model_dir(model, 400, singles={"a": A[5:], "b": B}, shards=2)
    goes_on = [*page, "--offset", last["next_offset"], model]
    note = "Note: step 400 is read, the latest; --step 400 keeps to it when another is saved"
    assert note in call(*goes_on).err.splitlines()
    assert rows(call(*goes_on))[-1]["step"] == 400
    pinned = call(*goes_on, "--step", last["step"])
    assert [int(row["fid"]) for row in rows(pinned)[:-1]] == [SLOT_3 + n for n in (3, 4, 5)]
    assert "is read" not in pinned.err
    assert "is read" not in call(*goes_on, "--quiet").err

    parts = ["table", "dump", "--shard", 1, "--nshards", 2, model]
    assert note in call(*parts).err.splitlines()
    assert "is read" not in call(*parts, "--step", 400).err
    assert "is read" not in call("table", "dump", model).err


def test_pages_of_an_export_have_no_step(tmp_path: Path) -> None:
    export = tmp_path / "export"
    (export / "assets").mkdir(parents=True)
    (export / "saved_model.pb").touch()
    write_single_table(export / "assets", "a", A)
    done = call("table", "dump", "--limit", 3, "--cursor", export)
    assert done.code == 0
    assert rows(done)[-1]["step"] is None
    offset = rows(done)[-1]["next_offset"]
    assert f"go on with --offset {offset}\n" in done.err
    done = call("table", "dump", "--offset", offset, "--nshards", 1, export)
    assert (done.err, len(rows(done))) == ("", 7)


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
        (["--offset", "2"], "cursor 2 points at no record of this partition"),
        (["--step", "all"], "name one step"),
        (["--columns", "fid,bogus"], "'bogus' is not one of fid, slot, table,"),
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


def test_get_shows_what_is_not_finite(tmp_path: Path) -> None:
    values = (float("nan"), float("inf"), float("-inf"), 0.5)
    write_model_dir(tmp_path, singles={"t": [entry(7, values=values, norm=float("inf"))]})
    done = call("table", "get", tmp_path, 7)
    assert "  embedding  NaN inf -inf 0.5\n" in done.out
    assert "    norm     inf\n" in done.out
    assert (done.code, done.err) == (0, "Warning: 4 floats not finite\n")
    done = call("table", "get", "--json", tmp_path, 7)
    [row] = rows(done)
    assert row["embedding"] == [None, None, None, 0.5]
    assert row["opt"] == [{"adagrad": {"norm": [None]}}]
    assert done.err == "Warning: 4 floats not finite, written as null\n"


def test_get_lists_all_that_are_absent(model: Path) -> None:
    done = call("table", "get", model, 9, 7, 8, "0xffffffffffffffff", "0xfffffffffffffffe", 9)
    assert done.code == 1
    assert done.err.splitlines()[-1] == (
        f"Error: {model}: feature ids 9, 8, -2 are not in any of the 2 tables"
    )
    done = call("table", "get", "--json", model, 9, 7, 8)
    assert done.error["absent"] == ["9", "8"]
    done = call("table", "get", "--json", "--json-number-ids", model, 9, 7, 8)
    assert done.error["absent"] == [9, 8]
    assert "absent" not in call("table", "get", "--json", "--table", "no", model, 9).error


def test_get_of_absent_ones_beside_damage(model: Path) -> None:
    """Damage is the worse of two errors; what was not found is listed all the same."""
    path = model / "model.ckpt-300.assets" / "a-00001-of-00002"
    data = bytearray(path.read_bytes())
    data[-6] ^= 1
    path.write_bytes(data)
    done = call("table", "get", "--json", "--on-corrupt", "skip", model, 7, 8, SLOT_3 + 9)
    assert (done.code, fids(done)) == (4, [7])
    assert done.error["kind"] == "bad_data_crc"
    assert done.error["absent"] == ["8", str(SLOT_3 + 9)]
    assert "absent" not in call("table", "get", "--json", model, 7, 8).error


def test_get_of_a_list(model: Path, tmp_path: Path) -> None:
    ids = tmp_path / "ids.txt"
    ids.write_text(f"# a list\n\n  0x7  # seven\r\n{SLOT_3 + 9}\n-1\n", encoding="utf-8-sig")
    done = call("table", "get", "--json", "--fids-from", ids, model)
    assert (done.code, fids(done)) == (0, [SLOT_3 + 9, -1, 7])
    done = call("table", "get", "--json", "--fids-from", ids, model, SLOT_3)
    assert (done.code, fids(done)) == (0, [SLOT_3, SLOT_3 + 9, -1, 7])
    done = subprocess.run(
        [MONOLITH, "table", "get", "--json", "--columns", "fid", "--fids-from", "-", model],
        check=False,
        capture_output=True,
        input=b"7\n8\n",
        env=environment(),
    )
    assert (done.returncode, done.stdout) == (1, b'{"fid":"7"}\n')
    assert json.loads(done.stderr.splitlines()[-1])["error"]["absent"] == ["8"]


def test_get_of_a_list_that_is_none(model: Path, tmp_path: Path) -> None:
    ids = tmp_path / "ids.txt"
    done = call("table", "get", "--json", "--fids-from", ids, model)
    assert (done.code, done.error["kind"]) == (3, "not_found")
    ids.write_text("7\n\n1e5\n")
    done = call("table", "get", "--fids-from", ids, model)
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        f"Error: {ids}: line 3: '1e5' is not a feature id;"
        " write a decimal number, or 0x and hexadecimal digits\n"
    )
    ids.write_text("# nothing\n")
    done = call("table", "get", "--fids-from", ids, model)
    assert done == (0, "", f"Note: {ids}: no feature ids in it\n")
    assert call("table", "get", "--fids-from", tmp_path, model).code == 3
    script = f"{MONOLITH} table get --fids-from - {model} <&-"
    closed = subprocess.run(["bash", "-c", script], check=False, capture_output=True, text=True)
    assert (closed.returncode, closed.stdout) == (3, "")
    assert closed.stderr == "Error: standard input: not readable: it was closed\n"


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
