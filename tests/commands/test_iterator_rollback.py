"""`monolith iterator rollback`: what it says and writes; the library's tests have the cases."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path

import pytest
from cli_support import Done, call
from fake_jobs import OriginalJob, OurJob, serving, write_address
from iterator_support import commit, write_inputs, write_job

from monolith_cli.checkpoint.restart import restart_point
from monolith_cli.errors import StepNotFoundError

pytestmark = pytest.mark.usefixtures("no_variables")


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


def files(model: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in model.iterdir()}


GIVEN_UP = (
    "what it saves from now on is dropped when it next starts, from step 20, and if that step is"
    " gone by then it cannot start: stop it, and roll back again"
)


@pytest.mark.parametrize("kind", [OurJob, OriginalJob])
def test_beside_a_running_job_it_is_refused(model: Path, kind: type[OriginalJob]) -> None:
    job = kind(model)
    with serving(job) as address:
        before = files(model)
        for step in (10, "latest"):
            done = rollback(model, "--step", step)
            assert (done.code, done.out) == (5, "")
            assert done.err == (
                f"Error: {model}: a job runs here: it answers at {address}, and is at step 120;"
                " stop it first, with 'monolith job stop'; or do it all the same with --force\n"
            )
        assert rollback(model, "--step", 10, "--json").error["kind"] == "job_runs"
        done = rollback(model, "--step", 10, "--dry-run")
        assert done.code == 0
        assert done.err.splitlines()[-1] == (
            f"Warning: a job runs here: it answers at {address}, and is at step 120; stop it first"
        )
        assert files(model) == before
    assert job.changes == []  # it is looked at, and no token is shown to it
    assert all("authorization" not in metadata for metadata in job.metadata)


def test_force_writes_beside_a_running_job(model: Path) -> None:
    with serving(OurJob(model)) as address:
        done = rollback(model, "--step", 10, "--force")
        assert (done.code, done.err.splitlines()[-1]) == (
            0,
            f"Warning: a job runs here: it answers at {address}, and is at step 120; {GIVEN_UP}",
        )
        assert (model / "ckpt.override").exists()
        done = rollback(model, "--step", "latest", "--force")
        assert done.code == 0
        assert "given up" not in done.err  # there is no override any more


def test_force_does_not_come_from_the_environment(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MONOLITH_ITERATOR_ROLLBACK_FORCE", "1")
    with serving(OurJob(model)):
        assert rollback(model, "--step", 10).code == 5


def test_a_job_of_another_directory_is_no_obstacle(model: Path, tmp_path: Path) -> None:
    """A port that a job has left is soon another one's."""
    (tmp_path / "other").mkdir()
    with serving(OurJob(tmp_path / "other")) as address:
        write_address(model, address)
        done = rollback(model, "--step", 10)
    assert done.code == 0
    assert done.err.splitlines()[-1] == (
        f"Warning: the job may run: the job that listens at {address} belongs to"
        f" {tmp_path}/other; {GIVEN_UP}"
    )


def test_a_stale_address_is_no_obstacle(model: Path) -> None:
    with serving(OurJob(model)) as address:
        pass
    done = rollback(model, "--step", 10)
    assert done.code == 0
    assert done.err.splitlines()[-1] == (
        f"Warning: the job may run: nobody listens at {address} on this host, but it may run on"
        f" another one; {GIVEN_UP}"
    )
    assert "may run" not in rollback(model, "--step", "latest").err


def test_a_stale_address_of_this_host_by_its_name(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There somebody would answer if the job ran, so nothing is said."""

    def refuse(*_: object, **__: object) -> None:
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(socket, "create_connection", refuse)
    write_address(model, "10.1.2.3:4567")
    done = rollback(model, "--step", 10)
    assert (done.code, done.err) == (0, f"Note: {NEXT_START}")


def test_what_listens_and_does_not_answer_is_not_waited_for(model: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        write_address(model, address)
        started = time.monotonic()
        done = rollback(model, "--step", 10)
        assert time.monotonic() - started < 8
    assert done.code == 0
    assert done.err.splitlines()[-1].startswith("Warning: the job may run: ")


def test_a_step_that_is_gone_when_the_job_starts(model: Path) -> None:
    """The job went on, saved step 30, and deleted the one that the rollback was to go on from."""
    rollback(model, "--step", 10)
    for path in model.glob("model.ckpt-20*"):
        path.unlink()
    commit(model, 10, 30)
    with pytest.raises(StepNotFoundError) as caught:
        restart_point(model)
    assert caught.value.kind == "override_stale"
    assert str(caught.value) == (
        f"{model}/ckpt.override: asks for the model of step 20: no step 20; remove it to go on from"
        " the latest step, or roll the inputs back once more; the steps are 10, 30"
    )
    done = call("iterator", "ls", "--json", model)
    assert (done.code, done.error["file"]) == (3, f"{model}/ckpt.override")
    assert rollback(model, "--step", 10).code == 0
    assert restart_point(model).step == 30


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
