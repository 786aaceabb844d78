"""`monolith table rewrite`: what it shows, what it refuses, and that failures leave nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import dump_support as ds
import pytest
from cli_support import call, environment, failed
from step_support import commit, save_step
from table_support import flip, open_all, parse

from monolith_cli.errors import WriteError
from monolith_cli.storage.local import LocalStore

ENTRIES = ds.random_entries(0, 20)
OF_SLOT_7 = sum(entry.id >> 48 == 7 for entry in parse(ENTRIES))


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("MONOLITH_"):
            monkeypatch.delenv(name)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Two steps of single tables and a dump of two."""
    directory = tmp_path / "model"
    for step in (1, 2):
        multis = {"emb_0": {"user": 30, "it": 5}}
        save_step(directory, step, tables=("a_0", "b_0"), entries=20, multis=multis, inputs=(0,))
    commit(directory, 1, 2)
    return directory


def test_what_it_shows(model: Path, tmp_path: Path) -> None:
    target = tmp_path / "new"
    done = call("table", "rewrite", model, target, "--drop-slot", 7, "--drop-table", "b_0")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == f"{target}, step 2 of {model}"
    kept = 20 - OF_SLOT_7
    assert f"20 {kept} 0 {OF_SLOT_7} 2 {OF_SLOT_7} slot" in " ".join(done.out.split())
    assert "the table goes" in done.out
    assert "read back" in lines[-1]
    assert len(list(open_all(target)["a_0"])) == kept


def test_tables_of_other_servers_are_named(tmp_path: Path) -> None:
    entries = sorted(ENTRIES, key=lambda entry: parse([entry])[0].id)
    model = save_step(tmp_path / "model", 1, tables=(), entries=0).parent
    assets = model / "model.ckpt-1.assets"
    for server in (0, 1):
        part = [each for each in entries if parse([each])[0].id % 2 == server]
        ds.write_single_table(assets, f"MonolithHashTable_user_{server}", part, 2)
        ds.write_multi_table(assets, f"M_{server}", {"item": part, "ad": part}, 2)
    commit(model, 1)
    arguments = ("--servers", 4, "--drop-table", "MonolithHashTable*", "--drop-slot", "7")
    would = call("table", "rewrite", "-n", model, tmp_path / "new", *arguments)
    lines = would.out.splitlines()
    assert max(map(len, lines[1:])) <= 80
    assert any(line.startswith("item in M_1") for line in lines)
    first = next(n for n, line in enumerate(lines) if line.startswith("there would be"))
    there = [line.split() for line in lines[first + 1 : first + 13]]
    assert [(row[0], row[-1]) for row in there[:4]] == [
        (f"MonolithHashTable_user_{server}", "2") for server in range(4)
    ]
    assert [row[:3] for row in there[4:6]] == [["item", "in", "M_0"], ["ad", "in", "M_0"]]
    counts = {row[2]: row[3:] for row in there[4:] if row[0] == "item"}
    of = [parse([each])[0].id for each in entries]
    for server in range(4):
        count = sum(fid % 4 == server and fid >> 48 != 7 for fid in of)
        assert counts[f"M_{server}"] == [str(count), "2"]
    done = call("table", "rewrite", model, tmp_path / "new", *arguments)
    assert "\nthere is" in done.out
    assert len(list((tmp_path / "new" / assets.name).glob("MonolithHashTable*"))) == 8


def test_files_of_a_table_that_is_dropped(model: Path, tmp_path: Path) -> None:
    out = call("table", "rewrite", "-n", model, tmp_path / "new", "--drop-table", "b_0").out
    assert "b_0 20 0 0 20 2 the table goes" in " ".join(out.split())
    out = call("table", "rewrite", "-n", model, tmp_path / "new", "--drop-table", "user").out
    assert "user 30 0 0 30 - the table goes" in " ".join(out.split())


def test_a_dry_run_refuses_what_cannot_be_made(model: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in model.rglob("*")}
    (tmp_path / "file").touch()
    for arguments in (("-n",), ()):
        target = tmp_path / "file" / "new"
        line = failed(call("table", "rewrite", *arguments, model, target, "--shards", 3), 3)
        assert line.startswith(f"Error: {target}: directory not made: Not a directory; ")
    assert {path.name for path in tmp_path.iterdir()} == {"model", "file"}
    would = call("table", "rewrite", "-n", model, tmp_path / "a" / "new", "--shards", 3)
    assert (would.code, would.err) == (0, "")
    assert {path.name for path in tmp_path.iterdir()} == {"model", "file"}
    assert {path: path.stat().st_mtime_ns for path in model.rglob("*")} == before


def test_a_full_disk_is_told_by_the_name_that_was_wanted(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = LocalStore.create

    def full(store: LocalStore, path: str, **options: bool) -> object:
        if path.endswith(".index"):
            raise WriteError("not written: No space left on device", path=path, kind="no_space")
        return create(store, path, **options)

    monkeypatch.setattr(LocalStore, "create", full)
    target = tmp_path / "new"
    line = failed(call("table", "rewrite", model, target, "--shards", 3), 3)
    assert line.startswith(f"Error: {target / 'model.ckpt-2.index'}: not written: No space left")
    assert line.endswith("; nothing is made; make room there, or name another directory")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_json(model: Path, tmp_path: Path) -> None:
    target = tmp_path / "new"
    arguments = ("--json", "--keep-slot", "0-1,7", "--where", "zero", "--set", "drop")
    document = call("table", "rewrite", f"{model}@1", target, *arguments).document
    assert {key: document[key] for key in ("model_dir", "step", "to", "made")} == {
        "model_dir": str(model),
        "step": 1,
        "to": str(target),
        "made": True,
    }
    table = document["tables"][0]
    assert (table["name"], table["dump"], table["kind"]) == ("a_0", "a_0", "single")
    kept = sum(entry.id >> 48 in (0, 1, 7) for entry in parse(ENTRIES))
    assert (table["entries"], table["same"], table["gone_by_slot"]) == (20, kept, 20 - kept)
    assert table["into"] == [{"name": "a_0", "dump": "a_0", "entries": kept, "shards": 2}]
    assert {each["slot"] for each in table["slots"] if each["gone_by_slot"]} == {301, 32767}
    assert document["files"] == len([path for path in target.rglob("*") if path.is_file()]) - 3


def test_a_dry_run(model: Path, tmp_path: Path) -> None:
    arguments = ("--drop-slot", 7, "--shards", 4)
    would = call("table", "rewrite", "-n", model, tmp_path / "new", *arguments)
    assert (would.code, would.err) == (0, "")
    assert would.out.splitlines()[0].endswith(": nothing is made")
    assert would.out.splitlines()[-1].startswith("would be made: ")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    done = call("table", "rewrite", model, tmp_path / "new", *arguments)
    assert done.out.splitlines()[1:-1] == would.out.splitlines()[1:-1]


def test_expiry_is_said(model: Path, tmp_path: Path) -> None:
    done = call("table", "rewrite", "-n", model, tmp_path / "new", "--expire", 30)
    times = [entry.last_update_ts_sec for entry in parse(ENTRIES)]
    expired = sum(max(times) - time >= 30 * 86400 for time in times)
    assert f"{expired} expired" in done.out
    assert "a_0: after 30 days, counted from the newest entry here, 20" in done.out
    most = call("table", "rewrite", "-n", model, tmp_path / "new", "--expire", 30, "--min-keep", 99)
    assert "expired" not in most.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing to change"),
        (["--where", "nan"], "--where and --set go together"),
        (["--set", "drop"], "--where and --set go together"),
        (["--where", "zero", "--set", "zero"], "zero already"),
        (["--where", "large", "--set", "drop"], "'large' is not"),
        (["--where", "norm-above", "--set", "drop"], "no number"),
        (["--where", "norm-above:x", "--set", "drop"], "no number"),
        (["--where", "norm-above:-1", "--set", "drop"], "no number"),
        (["--min-keep", "3"], "--min-keep goes with --expire"),
        (["--shards", "0"], "--shards"),
        (["--expire", "0"], "--expire"),
        (["--drop-slot", "9-7"], "runs backwards"),
    ],
)
def test_what_cannot_be_meant(model: Path, tmp_path: Path, arguments: list[str], said: str) -> None:
    assert said in failed(call("table", "rewrite", model, tmp_path / "new", *arguments), 2)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_what_is_refused(model: Path, tmp_path: Path) -> None:
    arguments = ("--shards", 3)
    line = failed(call("table", "rewrite", model, tmp_path, *arguments), 1)
    assert "exists already" in line
    failed(call("table", "rewrite", f"{model}@7", tmp_path / "new", *arguments), 3)
    line = failed(call("table", "rewrite", model, tmp_path / "new", "--drop-table", "x*"), 3)
    assert "'monolith table ls'" in line
    failed(call("table", "rewrite", model, model / "new", *arguments), 2)
    flip(model / "model.ckpt-2.assets" / "b_0-00001-of-00002", 20)
    failed(call("table", "rewrite", model, tmp_path / "new", *arguments), 4)
    failed(call("table", "rewrite", "-n", model, tmp_path / "new", "--drop-table", "b_0"), 4)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


GUARDED = {
    "KEEP_TABLE": "a_0",
    "DROP_TABLE": "*",
    "KEEP_SLOT": "7",
    "DROP_SLOT": "0-32767",
    "WHERE": "zero",
    "SET": "drop",
    "EXPIRE": "1",
    "RESET_FILTERS": "1",
}


def test_no_variable_leaves_anything_out(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in GUARDED.items():
        monkeypatch.setenv(f"MONOLITH_TABLE_REWRITE_{name}", value)
    monkeypatch.setenv("MONOLITH_TABLE_REWRITE_SHARDS", "3")
    document = call("table", "rewrite", "--json", model, tmp_path / "new").document
    assert [table["same"] for table in document["tables"]] == [20, 20, 30, 5]
    assert [table["into"][0]["shards"] for table in document["tables"]] == [3] * 4


def test_norms(model: Path, tmp_path: Path) -> None:
    norms = [sum(value * value for value in entry.num) ** 0.5 for entry in parse(ENTRIES)]
    middle = sorted(norms)[10]
    arguments = ("--where", f"norm-above:{middle!r}", "--set", "zero", "--json")
    [table, *_] = call("table", "rewrite", model, tmp_path / "new", *arguments).document["tables"]
    assert (table["same"], table["changed"]) == (11, 9)


KILLED_AT_THE_END = """
import os, signal, sys
from monolith_cli.storage.local import LocalStore
from monolith_cli.cli import run

LocalStore.rename_if_absent = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
run(["table", "rewrite", *sys.argv[1:], "--shards", "3"])
"""


def test_killed_it_leaves_no_directory(model: Path, tmp_path: Path) -> None:
    target = tmp_path / "new"
    arguments = [sys.executable, "-c", KILLED_AT_THE_END, str(model), str(target)]
    killed = subprocess.run(arguments, check=False, timeout=60, env=environment(), cwd=tmp_path)
    assert killed.returncode == -signal.SIGKILL
    left = [path.name for path in tmp_path.iterdir() if path.name != "model"]
    assert len(left) == 1
    assert left[0].startswith(".new.")
    assert call("table", "rewrite", model, target, "--shards", 3).code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "new"]
