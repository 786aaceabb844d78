"""`monolith iterator rollback`: what it says and writes; the library's tests have the cases."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from cli_support import Done, call
from iterator_support import write_inputs, write_job


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("MONOLITH_"):
            monkeypatch.delenv(name)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    directory = write_job(tmp_path / "model", {i: [10, 20] for i in range(3)}, 10, 20)
    for step in (10, 20):
        write_inputs(directory, step, [0, 1, 2])
    return directory


def rollback(*args: object) -> Done:
    return call("iterator", "rollback", *args)


NEXT_START = (
    "it takes effect when the job starts next, with the model of step 20, and ends with the first"
    " checkpoint after that\n"
)


def test_all_workers(model: Path) -> None:
    assert rollback(model, "--step", 10) == Done(
        0,
        "worker  from step  to step\n"
        "     0         20       10\n"
        "     1         20       10\n"
        "     2         20       10\n",
        f"Note: {NEXT_START}",
    )
    said = {"model_step": 20, "inputs": {"0": 10, "1": 10, "2": 10}}
    assert json.loads((model / "ckpt.override").read_text()) == said


def test_json(model: Path) -> None:
    rollback(model, "--step", 10, "--worker", 2)
    done = rollback(model, "--step", 10, "--worker", 0, "--worker", 1, "--json", "--quiet")
    assert done.err == ""
    assert done.document == {
        "model_dir": str(model),
        "model_step": 20,
        "step": 10,
        "workers": [
            {"worker": 0, "before": 20, "after": 10},
            {"worker": 1, "before": 20, "after": 10},
        ],
        "override": {"model_step": 20, "inputs": {"0": 10, "1": 10, "2": 10}},
        "replaced": {"model_step": 20, "inputs": {"2": 10}},
        "files": ["checkpoint_input_worker_0", "checkpoint_input_worker_1", "ckpt.override"],
        "dry_run": False,
    }


def test_a_dry_run(model: Path) -> None:
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    done = rollback(model, "--step", 10, "--dry-run")
    assert done.out.count("\n") == 4
    assert done.err == f"Note: a dry run: nothing is written; {NEXT_START}"
    assert {path.name: path.read_bytes() for path in model.iterdir()} == before


def test_taking_it_back(model: Path) -> None:
    rollback(model, "--step", 10)
    done = rollback(model, "--step", "latest")
    assert done.code == 0
    assert done.err == (
        "Note: ends a rollback of workers 0, 1, 2 to step 10\n"
        "Note: all inputs go on from the model's step, 20, as without a rollback\n"
    )
    assert not (model / "ckpt.override").exists()
    assert rollback(model, "--step", 20, "--json").document["override"] is None


def test_where_an_input_would_have_started_over(model: Path) -> None:
    for path in model.glob("*input_worker_0*"):
        path.unlink()
    (model / "ckpt.override").write_text('{"model_step": 20, "inputs": {"1": 5}}')
    done = rollback(model, "--step", 10, "--worker", 1)
    assert done.out == "worker  from step  to step\n     1  the start       10\n"


def test_a_job_that_may_run(model: Path) -> None:
    (model / "controller_server_addr.txt").write_text("10.1.2.3:4567")
    done = rollback(model, "--step", 10, "--worker", 1)
    assert done.code == 0
    assert done.err.splitlines()[-1] == (
        "Warning: a job has left its address, 10.1.2.3:4567: if it still runs, what it saves from"
        " now on is given up when it starts next, from step 20; stop it, and ask again"
    )


@pytest.mark.parametrize(
    ("args", "code", "what"),
    [
        (["--step", "15"], 3, "cannot go back to step 15"),
        (["--step", "30"], 3, "step 30 is later than the model's, 20"),
        (["--step", "10", "--worker", "7"], 3, "no states of worker 7"),
        (["--step", "all"], 2, "'all' makes no sense here"),
        ([], 2, "Missing option '--step'"),
        (["--step", "10", "--worker", "-1"], 2, "not in the range"),
    ],
)
def test_what_is_refused(model: Path, args: list[str], code: int, what: str) -> None:
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    done = rollback(model, *args)
    assert (done.code, done.out) == (code, "")
    assert what in done.err
    assert done.err.count("\n") == 1
    assert {path.name: path.read_bytes() for path in model.iterdir()} == before


def test_a_damaged_state(model: Path) -> None:
    data = model / "input_worker_1.ckpt-10.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-1])
    done = rollback(model, "--step", 10, "--json")
    assert (done.code, done.out) == (4, "")
    assert done.error["file"] == str(data)
    assert not (model / "ckpt.override").exists()


def test_a_directory_that_cannot_be_written(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", fail)
    done = rollback(model, "--step", 10)
    assert (done.code, done.out) == (3, "")
    assert "not written: Permission denied" in done.err
