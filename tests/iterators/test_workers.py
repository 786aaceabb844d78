"""Which states a directory holds, and which each worker goes on from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from iterator_support import write_inputs, write_job, write_states

from monolith_cli.checkpoint.inputs import StepInputs, WorkerInput, write_step_inputs
from monolith_cli.checkpoint.manifests import make_manifest, write_step_manifest
from monolith_cli.errors import (
    CorruptionError,
    MissingShardError,
    PathNotFoundError,
    StateFileError,
    StepNotFoundError,
    UsageError,
)
from monolith_cli.iterators.workers import WorkerState, find_state, list_workers, open_inputs


def rows(directory: Path, step: int | None = None) -> dict[int | None, WorkerState]:
    _, states = list_workers(directory, step)
    return {state.worker: state for state in states}


def test_workers_at_the_models_step(tmp_path: Path) -> None:
    model = write_job(tmp_path / "model", {0: [10, 20], 1: [10, 20], 12: [20]}, 10, 20)
    states = rows(model)
    assert list(states) == [0, 1, 12]
    for state in states.values():
        assert (state.step, state.model_step, state.behind, state.resumes_from) == (20, 20, 0, 20)
        assert (state.iterators, state.problem, state.remarks) == (1, None, ())
        assert state.size_bytes == 64


def test_behind_and_ahead(tmp_path: Path) -> None:
    model = write_job(tmp_path / "model", {1: [10], 2: [10, 20, 35], 3: [20]}, 10, 20)
    states = rows(model)
    assert [state.behind for state in states.values()] == [10, -15, 0]
    assert [state.resumes_from for state in states.values()] == [10, 20, 20]


def test_without_a_model(tmp_path: Path) -> None:
    model = write_job(tmp_path / "model", {1: [10, 20]}, 20)
    for path in [model / "checkpoint", *model.glob("model.ckpt*")]:
        path.unlink()
    (state,) = rows(model).values()
    assert (state.step, state.model_step, state.behind, state.resumes_from) == (20, None, None, 20)


def test_a_model_that_is_not_whole(tmp_path: Path) -> None:
    model = write_job(tmp_path / "model", {1: [10, 20]}, 10, 20)
    write_step_manifest(str(model), make_manifest(str(model), "model.ckpt", 20))
    (model / "model.ckpt-20.data-00000-of-00001").unlink()
    inputs, (state,) = list_workers(model)
    assert isinstance(inputs.problem, MissingShardError)
    assert inputs.problem.what == "missing: the manifest of step 20 names it"
    assert (state.model_step, state.resumes_from) == (20, None)


def test_at_another_step(tmp_path: Path) -> None:
    model = write_job(tmp_path / "model", {1: [10, 20, 30], 2: [10, 30], 3: [30]}, 10, 20, 30)
    states = rows(model, 20)
    assert [state.step for state in states.values()] == [20, 10, None]
    assert [state.behind for state in states.values()] == [0, 10, None]
    assert isinstance(states[3].problem, StepNotFoundError)
    with pytest.raises(StepNotFoundError, match="no state of step 5 or before; there are states"):
        list_workers(model, 5)


def test_the_state_file_says_which_is_the_latest(tmp_path: Path) -> None:
    model = write_job(tmp_path / "model", {1: [10, 20]}, 10, 20)
    (model / "checkpoint_input_worker_1").write_text(
        'model_checkpoint_path: "/home/ann/old/input_worker_1.ckpt-10"\n'
    )
    (state,) = rows(model).values()
    assert (state.step, state.behind, state.resumes_from) == (10, 10, 20)
    assert state.prefix == str(model / "input_worker_1.ckpt-10")


def test_without_a_state_file(tmp_path: Path) -> None:
    model = write_job(tmp_path / "model", {1: [10, 20]}, 10, 20)
    (model / "checkpoint_input_worker_1").unlink()
    (state,) = rows(model).values()
    assert (state.step, state.remarks) == (20, ("has no state file",))


def test_a_state_in_another_directory(tmp_path: Path) -> None:
    model = write_job(tmp_path / "model", {}, 10)
    (tmp_path / "other").mkdir()
    write_states(tmp_path / "other/input_worker_1.ckpt-7", IteratorV2=3)
    (model / "checkpoint_input_worker_1").write_text(
        f'model_checkpoint_path: "{tmp_path}/other/input_worker_1.ckpt-7"\n'
    )
    (state,) = rows(model).values()
    assert (state.step, state.iterators, state.resumes_from) == (7, 1, None)
    assert state.remarks == (f"is in {tmp_path}/other",)


def test_a_state_that_is_gone(tmp_path: Path) -> None:
    model = write_job(tmp_path / "model", {1: [10, 20], 2: [10, 20]}, 10, 20)
    for path in model.glob("input_worker_1.ckpt-20*"):
        path.unlink()
    states = rows(model)
    assert isinstance(states[1].problem, StateFileError)
    assert "names 'input_worker_1.ckpt-20' as the latest, which is gone" in str(states[1].problem)
    assert "there are states of 10" in str(states[1].problem)
    assert (states[1].step, states[1].size_bytes, states[1].resumes_from) == (20, None, 10)
    assert states[2].problem is None


def test_damaged_states_leave_the_others(tmp_path: Path) -> None:
    model = write_job(tmp_path / "model", {1: [10], 2: [10], 3: [10], 4: [10], 5: [10]}, 10)
    data = ".data-00000-of-00001"
    flipped = bytearray((model / f"input_worker_1.ckpt-10{data}").read_bytes())
    flipped[30] ^= 1
    (model / f"input_worker_1.ckpt-10{data}").write_bytes(flipped)
    (model / f"input_worker_2.ckpt-10{data}").unlink()
    index = model / "input_worker_3.ckpt-10.index"
    index.write_bytes(index.read_bytes()[:-9])
    (model / "checkpoint_input_worker_4").write_text("what?")
    states = rows(model)
    for worker in (1, 2, 3, 4):
        assert isinstance(states[worker].problem, CorruptionError), worker
        assert states[worker].size_bytes is None
    assert states[5].problem is None
    _, quick = list_workers(model, verify=False)
    assert quick[0].problem is None  # only its index is read
    assert quick[2].problem is not None


def test_what_a_commit_says_of_workers(tmp_path: Path) -> None:
    model = write_job(tmp_path / "model", {1: [10], 2: []}, 10)
    write_inputs(model, 10, [1, 2], late=(3,))
    generated = {"nodes": [{"op": "GeneratorDataset", "parameters": {}}]}
    states = rows(model)
    assert list(states) == [1, 2, 3]
    assert isinstance(states[2].problem, PathNotFoundError)
    assert states[3].remarks == ("was not saved with the model",)
    workers = {1: WorkerInput(True, {"it": {}}), 2: WorkerInput(True, {"it": generated})}
    write_step_inputs(str(model), StepInputs(10, "run", {**workers, 0: WorkerInput(True)}))
    states = rows(model)
    assert list(states) == [1, 2]  # the chief has no iterators
    assert states[2].problem is None
    assert states[2].remarks == ("has no state: a generator's cannot be saved",)


def test_a_pending_rollback(tmp_path: Path) -> None:
    model = write_job(tmp_path / "model", {1: [10, 20], 2: [10, 20]}, 10, 20)
    (model / "ckpt.override").write_text(json.dumps({"model_step": 20, "inputs": {"1": 10}}))
    inputs, states = list_workers(model)
    assert [state.resumes_from for state in states] == [10, 20]
    assert inputs.notes == [
        "a rollback is pending: the job's next run begins with the model of step 20,"
        " worker 1 from step 10"
    ]


def test_a_broken_model_is_told_and_inputs_are_shown(tmp_path: Path) -> None:
    model = write_job(tmp_path / "model", {1: [10]}, 10)
    (model / "checkpoint").write_text("what?")
    inputs, states = list_workers(model)
    assert isinstance(inputs.problem, StateFileError)
    assert (states[0].step, states[0].behind, states[0].problem) == (10, None, None)


@pytest.mark.parametrize("kind", ["nothing", "empty", "file", "no inputs", "assets"])
def test_no_inputs(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "model"
    if kind == "file":
        path.write_text("")
    elif kind == "no inputs":
        write_job(path, {}, 10)
    elif kind == "assets":
        path = tmp_path / "model.ckpt-10.assets"
        path.mkdir()
        (path / "t-00000-of-00001").touch()
    elif kind == "empty":
        path.mkdir()
    with pytest.raises(PathNotFoundError):
        open_inputs(path)
    with pytest.raises(UsageError):
        open_inputs("")


class TestOneState:
    """`find_state`."""

    def test_the_only_worker(self, tmp_path: Path) -> None:
        model = write_job(tmp_path / "model", {4: [10, 20]}, 10, 20)
        write_inputs(model, 20, [4])
        state, prints = find_state(model)
        assert (state.worker, state.step, state.behind) == (4, 20, 0)
        assert list(prints) == ["IteratorV2:0"]
        state, prints = find_state(model, 4, 10)
        assert (state.step, state.model_step, prints) == (10, 10, None)

    def test_which_one(self, tmp_path: Path) -> None:
        model = write_job(tmp_path / "model", {1: [10], 2: [10]}, 10)
        with pytest.raises(UsageError, match="has several inputs, of workers 1, 2"):
            find_state(model)
        with pytest.raises(StepNotFoundError, match="no worker 3; there are workers 1, 2"):
            find_state(model, 3)
        with pytest.raises(StepNotFoundError, match="at step 7; there are states of 10"):
            find_state(model, 1, 7)

    def test_a_path(self, tmp_path: Path) -> None:
        model = write_job(tmp_path / "model", {1: [10]}, 10)
        write_inputs(model, 10, [1])
        for suffix in ("", ".index"):
            state, prints = find_state(model / f"input_worker_1.ckpt-10{suffix}")
            assert (state.worker, state.step) == (1, 10)
            assert prints is not None
        write_states(tmp_path / "it-3", it=1)
        state, prints = find_state(tmp_path / "it-3")
        assert (state.worker, state.step, prints) == (None, 3, None)
        with pytest.raises(UsageError, match="a file has no other workers or steps"):
            find_state(tmp_path / "it-3", 1)
