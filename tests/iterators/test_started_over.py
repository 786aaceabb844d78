"""A job that has started over: its steps count from 1 again beside those of the run before.

`checkpoint` lists 900 and 1000 of that run, and then 10 and 20, the latest.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from iterator_support import write_states

from monolith_cli.checkpoint.input_order import newest_until, order_of_inputs
from monolith_cli.checkpoint.inputs import find_input_step, write_input_state
from monolith_cli.checkpoint.restart import Override, RestartPoint, restart_point
from monolith_cli.errors import StepNotFoundError
from monolith_cli.formats.checkpoint_state import read_checkpoint_state
from monolith_cli.iterators.resume import find_input
from monolith_cli.iterators.rollback import roll_back
from monolith_cli.iterators.workers import list_workers

COMMITS = {900: 100.0, 1000: 200.0, 10: 300.0, 20: 400.0}


def save(model: Path, worker: int, step: int, time: float) -> None:
    prefix = model / f"input_worker_{worker}.ckpt-{step}"
    write_states(prefix, IteratorV2=step)
    os.utime(f"{prefix}.index", (time, time))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Worker 1 has states of all steps, 2 of the run before alone, 3 has an odd older one."""
    directory = tmp_path / "model"
    directory.mkdir()
    lines = ['model_checkpoint_path: "model.ckpt-20"']
    for step, time in COMMITS.items():
        for suffix in (".index", ".data-00000-of-00001"):
            (directory / f"model.ckpt-{step}{suffix}").touch()
        lines.append(f'all_model_checkpoint_paths: "model.ckpt-{step}"')
        save(directory, 1, step, time - 1)
        if step >= 900:
            save(directory, 2, step, time - 1)
    lines += [f"all_model_checkpoint_timestamps: {time}" for time in COMMITS.values()]
    (directory / "checkpoint").write_text("\n".join(lines))
    save(directory, 3, 15, 150.0)  # between 900 and 1000
    save(directory, 3, 10, 299.0)
    for worker in (1, 2, 3):
        write_input_state(str(directory), worker)
    return directory


def test_the_order(model: Path) -> None:
    bases = {"input_worker_3.ckpt": [10, 15]}
    assert order_of_inputs(str(model), bases) == [900, 15, 1000, 10, 20]
    (model / "checkpoint").write_text("what?")
    assert order_of_inputs(str(model), bases) == [15, 10]


def test_the_newest_until() -> None:
    order = [900, 1000, 10, 20]
    assert newest_until(order, [900, 1000], 20) == 1000
    assert newest_until(order, [10, 20], 1000) is None
    assert newest_until(order, [900, 10], 30) == 10  # nowhere: by its number


def test_whoever_has_no_state_of_the_step_takes_the_newest_older_one(model: Path) -> None:
    restart = restart_point(model)
    found = [find_input_step(str(model), worker, restart) for worker in (1, 2, 3)]
    assert found == [20, 1000, 10]
    back = RestartPoint(20, None, Override(20, {1: 10, 2: 10, 3: 1000}))
    found = [find_input_step(str(model), worker, back) for worker in (1, 2, 3)]
    assert found == [10, 1000, 15]
    assert find_input(model, 2).note == (
        "there is no state of worker 2's input at step 20: this is the one of step 1000"
    )


def test_the_state_file_names_the_newest(model: Path) -> None:
    state = read_checkpoint_state(str(model / "checkpoint_input_worker_1"))
    steps = [int(path.rpartition("-")[2]) for path in state.all_model_checkpoint_paths]
    assert steps == [900, 1000, 10, 20]
    assert state.model_checkpoint_path == "input_worker_1.ckpt-20"
    write_input_state(str(model), 1, 1000)
    state = read_checkpoint_state(str(model / "checkpoint_input_worker_1"))
    assert state.all_model_checkpoint_paths[-1] == "input_worker_1.ckpt-1000"


def test_without_a_model_the_latest_goes_by_time(model: Path) -> None:
    (model / "checkpoint").unlink()
    (model / "checkpoint_input_worker_1").unlink()
    assert find_input_step(str(model), 1, RestartPoint()) == 20


def test_where_everybody_is(model: Path) -> None:
    (model / "checkpoint_input_worker_1").unlink()
    _, states = list_workers(model)
    assert [(state.step, state.behind) for state in states] == [(20, 0), (1000, None), (10, 10)]
    assert states[0].remarks == ("has no state file",)
    assert states[1].remarks == ("is of a run before this one",)
    _, states = list_workers(model, 1000)
    assert [state.step for state in states] == [1000, 1000, 15]


def test_inputs_go_back_to_the_run_before(model: Path) -> None:
    done = roll_back(model, 1000, workers=[1, 2])
    assert dict(done.inputs) == {1: 1000, 2: 1000}
    assert [find_input_step(str(model), i, restart_point(model)) for i in (1, 2)] == [1000, 1000]


def test_what_all_could_go_back_to(model: Path) -> None:
    save(model, 1, 30, 500.0)  # a save that is under way
    save(model, 2, 30, 500.0)
    with pytest.raises(StepNotFoundError, match="step 30 is later than the model's, 20"):
        roll_back(model, 30, workers=[1, 2])
    with pytest.raises(StepNotFoundError, match=r"all of them have states of steps 900, 1000$"):
        roll_back(model, 10, workers=[1, 2])
