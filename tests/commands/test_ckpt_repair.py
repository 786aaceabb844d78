"""`monolith ckpt repair`: what it shows, and that nothing is left of one that fails."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import dump_support as ds
import pytest
from cli_support import call, environment, failed
from repair_support import scribble
from step_support import commit, save_step
from table_support import flip

from monolith_cli.care.repair.step import repair_step
from monolith_cli.errors import AlreadyExistsError, PathNotFoundError, UsageError, WriteError
from monolith_cli.storage.atomic import AtomicFile, write_error
from monolith_cli.storage.local import LocalStore

TABLE = "model.ckpt-2.assets/user_0-00000-of-00002"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("MONOLITH_"):
            monkeypatch.delenv(name)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Two steps; of the latest a bit is flipped, and more of an entry."""
    directory = tmp_path / "model"
    for step in (1, 2):
        save_step(directory, step, entries=20, inputs=(0,))
    commit(directory, 1, 2)
    starts = ds.frame_starts(ds.random_entries(0, 20)[:10])
    flip(directory / TABLE, starts[3] + 14)
    scribble(directory / TABLE, starts[6] + 14)
    return directory


def test_what_it_shows(model: Path, tmp_path: Path) -> None:
    done = call("ckpt", "repair", model, "--to", tmp_path / "new")
    assert done.code == 1
    lines = done.out.splitlines()
    assert lines[0] == f"{tmp_path / 'new'}, step 2 of {model}"
    assert any(TABLE in line and "fid: " in line and " → " in line for line in lines)
    assert any(TABLE in line and "fails its checksum" in line for line in lines)
    assert lines[-1] == "1 entry left out, in 1 file"
    assert done.err == (
        f"Error: {tmp_path / 'new'}: step 2 is not whole: 1 entry left out, in 1 file\n"
    )
    again = call("ckpt", "repair", tmp_path / "new", "--to", tmp_path / "newer")
    assert again.code == 0
    assert again.out.splitlines()[-1] == "whole: nothing was damaged"
    assert again.err == ""


def test_counts_made_anew_are_shown(model: Path, tmp_path: Path) -> None:
    (model / "ckpt.info-1").write_text("{")
    done = call("ckpt", "repair", model, "--step", 1, "--to", tmp_path / "new")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[-1] == "whole: 1 damaged file made anew"
    assert any(line.startswith("ckpt.info-1 ") for line in lines)


def test_json(model: Path, tmp_path: Path) -> None:
    done = call("ckpt", "repair", model, "--to", tmp_path / "new", "--json")
    assert done.code == 1
    document = done.document
    assert (document["step"], document["to"], document["whole"]) == (
        2,
        str(tmp_path / "new"),
        False,
    )
    assert document["bits"][0]["field"] == "fid"
    assert document["left_out"][0]["entries"] == 1
    assert done.error["kind"] == "left_out"
    assert done.error["file"] == str(tmp_path / "new")


def test_a_step(model: Path, tmp_path: Path) -> None:
    done = call("ckpt", "repair", model, "--step", 1, "--to", tmp_path / "new")
    assert done.code == 0
    assert sorted(path.name for path in (tmp_path / "new").glob("model.*")) == [
        "model.ckpt-1.assets",
        "model.ckpt-1.data-00000-of-00001",
        "model.ckpt-1.index",
    ]
    assert failed(call("ckpt", "repair", model, "--step", 7, "--to", tmp_path / "x"), 3)


def test_dense_variables_that_are_damaged(model: Path, tmp_path: Path) -> None:
    flip(model / "model.ckpt-2.data-00000-of-00001", 3)
    line = failed(call("ckpt", "repair", model, "--to", tmp_path / "new"), 4)
    assert "take another step" in line
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("what", ["file", "directory", "dangling link"])
def test_a_directory_that_exists(model: Path, tmp_path: Path, what: str) -> None:
    target = tmp_path / "new"
    if what == "file":
        target.touch()
    elif what == "directory":
        target.mkdir()
    else:
        target.symlink_to(tmp_path / "nowhere")
    line = failed(call("ckpt", "repair", model, "--to", target), 1)
    assert line.startswith(f"Error: {target}: exists already")
    with pytest.raises(AlreadyExistsError):
        repair_step(model, target)


def test_a_directory_in_the_model_directory(model: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(model)
    for target in (model / "new", model / "a" / "b", tmp_path / "link" / "new"):
        with pytest.raises(UsageError, match="lies in"):
            repair_step(model, target)
    line = failed(call("ckpt", "repair", model, "--to", model / "new"), 2)
    assert "name a directory elsewhere" in line
    assert {
        path.name for path in model.iterdir() if path.name.startswith((".", "new", "a"))
    } == set()


def test_only_steps_of_a_job_are_repaired(model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="only its steps"):
        repair_step(model / "model.ckpt-2.assets", tmp_path / "new")


def test_a_full_disk(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = AtomicFile.write

    def full(file: AtomicFile, data: bytes) -> None:
        if "item_0" in file.path:
            raise write_error(file.path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        write(file, data)

    monkeypatch.setattr(AtomicFile, "write", full)
    with pytest.raises(WriteError) as caught:
        repair_step(model, tmp_path / "new")
    assert caught.value.kind == "no_space"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_name_that_is_taken_meanwhile(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = LocalStore.rename_if_absent

    def late(store: LocalStore, source: str, target: str) -> None:
        (tmp_path / "new").mkdir()
        rename(store, source, target)

    monkeypatch.setattr(LocalStore, "rename_if_absent", late)
    with pytest.raises(AlreadyExistsError):
        repair_step(model, tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "new"]
    assert not list((tmp_path / "new").iterdir())


def test_a_step_that_goes_meanwhile(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from monolith_cli.care.repair import step

    write = step.mend_inputs

    def going(repair: step.StepRepair) -> None:
        shutil.rmtree(model / "model.ckpt-2.assets")
        write(repair)

    monkeypatch.setattr(step, "mend_inputs", going)
    with pytest.raises(PathNotFoundError, match="gone"):
        repair_step(model, tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


KILLED_AT_THE_END = """
import os, signal, sys
from monolith_cli.storage.local import LocalStore
from monolith_cli.care.repair.step import repair_step

LocalStore.rename_if_absent = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
repair_step(sys.argv[1], sys.argv[2])
"""


def test_killed_it_leaves_no_directory(model: Path, tmp_path: Path) -> None:
    target = tmp_path / "new"
    arguments = [sys.executable, "-c", KILLED_AT_THE_END, str(model), str(target)]
    # From where the sources are not in the way of what is installed.
    killed = subprocess.run(arguments, check=False, timeout=60, env=environment(), cwd=tmp_path)
    assert killed.returncode == -signal.SIGKILL
    left = [path.name for path in tmp_path.iterdir() if path.name != "model"]
    assert len(left) == 1
    assert left[0].startswith(".new.")
    # The next one clears up.
    assert not repair_step(model, target).is_whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "new"]
