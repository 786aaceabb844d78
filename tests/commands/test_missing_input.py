"""What is said where files of a dump, a step, a table or the directory are missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bad_input_support import COMMANDS, check_error, found, names, run, two_tables
from cli_support import call, failed
from dump_support import (
    write_checkpoint_state,
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return two_tables(tmp_path / "model")


@pytest.mark.parametrize("command", [("ckpt-info",), ("ckpt", "show"), ("table", "ls")])
@pytest.mark.parametrize("path", [".", "..", "./"])
def test_the_current_directory_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], path: str
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    said = failed(call(*command, path), 3)
    assert said == f"Error: {path}: the current directory is gone"


def remove(name: str) -> Any:
    return lambda model: (model / "model.ckpt-300.assets" / name).unlink()


def add(name: str) -> Any:
    return lambda model: (model / "model.ckpt-300.assets" / name).write_bytes(b"")


@pytest.mark.parametrize(
    ("change", "name", "kind", "says"),
    [
        (
            remove("t-00001-of-00002"),
            "t-00001-of-00002",
            "missing_shard",
            "missing: 1 of 2 shards are there; restore it, or take another step",
        ),
        (
            add("t-00000-of-00001"),
            "t-00000-of-00002",
            "shard_mismatch",
            "two totals: 't-00000-of-00001' is there as well; move away what is left over from"
            " another dump",
        ),
        (
            add("t-00002-of-00002"),
            "t-00002-of-00002",
            "shard_mismatch",
            "numbers begin at 0: shard 2 is not one of 2; move it away",
        ),
        (
            add("m.meta-00000-of-00001"),
            "m-00000-of-00001",
            "missing_shard",
            "missing, while its 'm.meta' is there; restore it, or take another step",
        ),
    ],
)
def test_sets_that_are_not_whole(model: Path, change: Any, name: str, kind: str, says: str) -> None:
    change(model)
    path = model / "model.ckpt-300.assets" / name
    there = names(model)
    for command in COMMANDS:
        for options in ([], ["--on-corrupt", "skip"]):
            done = run(command, model, *options)
            assert check_error(done, path, kind, None) == f"Error: {path}: {says}"
            # The one entry of the other table.
            assert found(command, done) == {"get": [], "dump": [1]}.get(command, 1)
    assert names(model) == there


def test_files_that_a_dying_writer_left(model: Path) -> None:
    assets = model / "model.ckpt-300.assets"
    (assets / "t-00000-of-00002-tmp-1f2e").write_bytes(b"half a")
    (assets / "t-tmp-77").write_bytes(b"file")
    for name, entries in {"ckpt-info": 1, "ls": 1, "dump": [1]}.items():
        done = run(name, model)
        assert (done.code, found(name, done)) == (0, entries)
        assert done.err == "".join(
            f"Warning: {assets}/{leftover}: the training system mistakes it for a shard of 't', and"
            " cannot restore that table; remove this file\n"
            for leftover in ("t-00000-of-00002-tmp-1f2e", "t-tmp-77")
        )


@pytest.mark.parametrize(
    ("make", "kind", "says"),
    [
        (lambda path: path.mkdir(), "not_found", "an empty directory; give a model directory, "),
        (lambda path: path.touch(), "not_found", "a file in place of a directory; give the dir"),
        (lambda path: None, "not_found", "no such directory; give a model directory, one *.ass"),
    ],
)
def test_nothing_there(tmp_path: Path, make: Any, kind: str, says: str) -> None:
    path = tmp_path / "x"
    make(path)
    for name in COMMANDS:
        done = run(name, path)
        assert says in check_error(done, path, kind, None, code=3)
        assert done.out == ""


def test_no_such_step_or_table(model: Path) -> None:
    assets = model / "model.ckpt-300.assets"
    for name in COMMANDS:
        done = run(name, model, "--step", "299")
        line = check_error(done, model, "no_such_step", None, code=3)
        assert line == f"Error: {model}: no step 299; the steps are 300"
        done = run(name, model, "--table", "x*")
        line = check_error(done, assets, "no_such_table", None, code=3)
        assert "no table matches 'x*'" in line


def test_a_step_that_is_gone(model: Path) -> None:
    write_checkpoint_state(model, [300, 400])
    for name in COMMANDS:
        done = run(name, model)
        line = check_error(done, model / "checkpoint", "no_such_step", None, code=3)
        assert line.endswith(
            "names 'model.ckpt-400' as the latest, whose files are gone; the steps are 300"
        )
        done = run(name, model, "--step", "400")
        line = check_error(done, model / "checkpoint", "no_such_step", None, code=3)
        assert "names 'model.ckpt-400' as the latest, whose files are gone" in line
    assert run("ckpt-info", model, "--step", "300").document["entries"] == 1
