"""Which iterator states there are, and which of them a worker goes on from."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from monolith_cli.checkpoint.inputs import (
    StepInputs,
    WorkerInput,
    find_input_step,
    input_prefix,
    input_steps,
    list_inputs,
    read_step_inputs,
    worker_of,
    write_input_state,
    write_step_inputs,
)
from monolith_cli.checkpoint.restart import Override, RestartPoint
from monolith_cli.errors import NotReadableError, PathNotFoundError, StateFileError, WriteError
from monolith_cli.formats.checkpoint_state import CheckpointState, read_checkpoint_state


def save(directory: Path, worker: int, *steps: int) -> None:
    directory.mkdir(exist_ok=True)
    for step in steps:
        for suffix in (".data-00000-of-00001", ".index"):
            (directory / f"input_worker_{worker}.ckpt-{step}{suffix}").touch()


def state_of(directory: Path, worker: int) -> CheckpointState:
    return read_checkpoint_state(str(directory / f"checkpoint_input_worker_{worker}"))


def at(step: int | None, **inputs: int) -> RestartPoint:
    """The restart at that step, with inputs rolled back: `w1=5`."""
    if step is None:
        return RestartPoint()
    override = Override(step, {int(worker[1:]): there for worker, there in inputs.items()})
    return RestartPoint(step, f"model.ckpt-{step}", override if inputs else None)


# --- which there are ------------------------------------------------------------------------


def test_names() -> None:
    assert list_inputs(
        [
            "input_worker_2.ckpt-100.index",
            "input_worker_2.ckpt-9.index",
            "input_worker_10.ckpt-9.index",
            "input_worker_1.ckpt-9.data-00000-of-00001",
            "input_worker_1.ckpt-9.index.tempstate12",
            "input_worker_1.ckpt-old-9.index",
            "input_worker_.ckpt-9.index",
            "input_worker_01.ckpt-9.index",
            "my_input_worker_1.ckpt-9.index",
            "model.ckpt-9.index",
        ]
    ) == {2: [9, 100], 10: [9]}
    assert input_prefix("model", 2, 9) == os.path.join("model", "input_worker_2.ckpt-9")
    assert worker_of("input_worker_12.ckpt-9.index.tempstate1") == 12
    assert worker_of("checkpoint_input_worker_12") is None
    assert worker_of("model.ckpt-9.index") is None


def test_steps_of_a_worker(tmp_path: Path) -> None:
    save(tmp_path, 1, 20, 5, 100)
    assert input_steps(str(tmp_path), 1) == [5, 20, 100]
    assert input_steps(str(tmp_path), 2) == []
    assert input_steps(str(tmp_path / "absent"), 1) == []


# --- which one a worker goes on from --------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "step", "found"),
    [
        ([10, 20, 30], 20, 20),  # that step's
        ([10, 30], 20, 10),  # the newest older one
        ([5, 10, 19], 20, 19),
        ([30], 20, None),  # never a newer
        ([], 20, None),
        ([0, 10], 0, 0),
    ],
)
def test_the_state_of_the_models_step(
    tmp_path: Path, there: list[int], step: int, found: int | None
) -> None:
    save(tmp_path, 1, *there)
    if there:
        write_input_state(str(tmp_path), 1)  # says the newest, which does not matter
    assert find_input_step(str(tmp_path), 1, at(step)) == found


def test_a_rollback_of_some_workers(tmp_path: Path) -> None:
    for worker in (1, 2):
        save(tmp_path, worker, 5, 10, 20)
    restart = at(20, w1=10)
    assert find_input_step(str(tmp_path), 1, restart) == 10
    assert find_input_step(str(tmp_path), 2, restart) == 20
    assert find_input_step(str(tmp_path), 1, at(20, w1=9)) == 5
    assert find_input_step(str(tmp_path), 1, at(10, w1=20)) == 20
    assert find_input_step(str(tmp_path), 1, at(20, w1=4)) is None


def test_without_any_model_the_latest_there_is(tmp_path: Path) -> None:
    directory = str(tmp_path)
    assert find_input_step(directory, 1, at(None)) is None
    save(tmp_path, 1, 5, 10, 20)
    assert find_input_step(directory, 1, at(None)) == 20
    write_input_state(directory, 1, latest=10)
    assert find_input_step(directory, 1, at(None)) == 10
    (tmp_path / "input_worker_1.ckpt-10.index").unlink()
    assert find_input_step(directory, 1, at(None)) == 20


def test_without_any_model_nothing_of_a_save_that_was_not_committed(tmp_path: Path) -> None:
    """The model starts anew: an input that went on would leave out what was read before."""
    directory = str(tmp_path)
    save(tmp_path, 1, 10, 20)
    write_input_state(directory, 1)
    write_step_inputs(directory, StepInputs(20, "run", {}))
    assert find_input_step(directory, 1, at(None)) == 10
    write_step_inputs(directory, StepInputs(10, "run", {}))
    assert find_input_step(directory, 1, at(None)) is None


def test_a_stale_state_file_of_a_moved_directory(tmp_path: Path) -> None:
    save(tmp_path, 1, 10, 20)
    (tmp_path / "checkpoint_input_worker_1").write_text(
        'model_checkpoint_path: "/gone/input_worker_1.ckpt-10"\n'
    )
    assert find_input_step(str(tmp_path), 1, at(None)) == 10


def test_a_malformed_state_file(tmp_path: Path) -> None:
    save(tmp_path, 1, 10)
    (tmp_path / "checkpoint_input_worker_1").write_text('model_checkpoint_path: "inp')
    with pytest.raises(StateFileError):
        find_input_step(str(tmp_path), 1, at(None))
    assert find_input_step(str(tmp_path), 1, at(10)) == 10


# --- the state files ------------------------------------------------------------------------


def test_a_state_file_lists_what_is_there(tmp_path: Path) -> None:
    directory = str(tmp_path)
    save(tmp_path, 1, 10, 9, 100)
    os.utime(tmp_path / "input_worker_1.ckpt-9.index", (9.5, 9.5))
    write_input_state(directory, 1)
    state = state_of(tmp_path, 1)
    assert state.model_checkpoint_path == "input_worker_1.ckpt-100"
    assert state.all_model_checkpoint_paths == (
        "input_worker_1.ckpt-9",
        "input_worker_1.ckpt-10",
        "input_worker_1.ckpt-100",
    )
    assert state.all_model_checkpoint_timestamps[0] == 9.5
    write_input_state(directory, 1, latest=10)
    assert state_of(tmp_path, 1).model_checkpoint_path == "input_worker_1.ckpt-10"
    assert state_of(tmp_path, 1).all_model_checkpoint_paths[-1] == "input_worker_1.ckpt-10"


def test_a_worker_without_states_has_no_state_file(tmp_path: Path) -> None:
    write_input_state(str(tmp_path), 1)
    (tmp_path / "checkpoint_input_worker_1").touch()
    write_input_state(str(tmp_path), 1)
    assert list(tmp_path.iterdir()) == []


def test_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    (tmp_path / "checkpoint_input_worker_1").touch()
    save(tmp_path, 2, 10)
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refuse)
        patch.setattr(os, "replace", refuse)
        for worker in (1, 2):
            with pytest.raises(WriteError) as caught:
                write_input_state(str(tmp_path), worker)
            assert (caught.value.kind, caught.value.errno) == ("read_only", errno.EROFS)
            assert caught.value.path == str(tmp_path / f"checkpoint_input_worker_{worker}")
        with pytest.raises(WriteError):
            write_step_inputs(str(tmp_path), StepInputs(1, "", {}))
    assert read_step_inputs(str(tmp_path), 1) is None


def test_a_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "model").touch()
    with pytest.raises((PathNotFoundError, NotReadableError)):
        read_step_inputs(str(tmp_path / "model"), 1)
    assert input_steps(str(tmp_path / "model"), 1) == []


# --- ckpt.inputs ----------------------------------------------------------------------------


def test_what_belongs_to_a_step(tmp_path: Path) -> None:
    workers = {
        1: WorkerInput(True, {"files": ["a", "b"]}),
        0: WorkerInput(True),
        10: WorkerInput(False),
    }
    inputs = StepInputs(20, "f00", workers)
    write_step_inputs(str(tmp_path), inputs)
    assert json.loads((tmp_path / "ckpt.inputs-20").read_bytes()) == {
        "step": 20,
        "run_id": "f00",
        "workers": {
            "0": {"finished": True, "fingerprint": None},
            "1": {"finished": True, "fingerprint": {"files": ["a", "b"]}},
            "10": {"finished": False, "fingerprint": None},
        },
    }
    assert read_step_inputs(str(tmp_path), 20) == inputs
    assert read_step_inputs(str(tmp_path), 30) is None
    ended = inputs._replace(override={"model_step": 10})
    write_step_inputs(str(tmp_path), ended)
    assert read_step_inputs(str(tmp_path), 20) == ended


def test_more_keys_are_fine(tmp_path: Path) -> None:
    (tmp_path / "ckpt.inputs-1").write_text(
        '{"step": 1, "run_id": "x", "workers": {"1": {"finished": true, "more": 1}}, "more": []}'
    )
    assert read_step_inputs(str(tmp_path), 1) == StepInputs(1, "x", {1: WorkerInput(True)})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\xff",
        "[]",
        "1",
        "null",
        "{",
        "{}",
        '{"step": 1, "run_id": "x"}',
        '{"step": 1, "workers": {}}',
        '{"run_id": "x", "workers": {}}',
        '{"step": "?", "run_id": "x", "workers": {}}',
        '{"step": 1e999, "run_id": "x", "workers": {}}',
        '{"step": 1, "run_id": "x", "workers": []}',
        '{"step": 1, "run_id": "x", "workers": {"chief": {"finished": true}}}',
        '{"step": 1, "run_id": "x", "workers": {"1": {}}}',
        '{"step": 1, "run_id": "x", "workers": {"1": true}}',
        "[" * 100_000,
    ],
)
def test_a_malformed_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "ckpt.inputs-1").write_bytes(text.encode("latin-1"))
    with pytest.raises(StateFileError) as caught:
        read_step_inputs(str(tmp_path), 1)
    assert str(caught.value) == (
        f"{tmp_path}/ckpt.inputs-1: does not say which inputs belong to a step;"
        " restore it from a copy, or take another step"
    )
