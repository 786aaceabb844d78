"""Commits after a rollback, and of a run that started over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commit_support import (
    Killed,
    age,
    begin,
    commit,
    kill,
    listed,
    names,
    names_of,
    save,
    save_inputs,
    save_model,
    state_of,
    write_state,
)

from monolith_cli.checkpoint import commits
from monolith_cli.checkpoint.commits import CommittedSteps
from monolith_cli.checkpoint.inputs import StepInputs, write_step_inputs
from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.checkpoint.override import Override, read_override
from monolith_cli.checkpoint.restart import RestartPoint, restart_point

# --- rollbacks ------------------------------------------------------------------------------


def test_a_rollback_ends_with_the_first_commit(tmp_path: Path) -> None:
    commit(begin(tmp_path), tmp_path, 10, 20)
    (tmp_path / "ckpt.override").write_text('{"model_step": 20, "inputs": {"1": 10}}')
    point = begin(tmp_path).restart()
    assert point.override is not None
    steps = begin(tmp_path)
    save(tmp_path, 30, override=point.override.as_json())
    assert (tmp_path / "ckpt.override").exists()
    steps.commit(30)
    assert not (tmp_path / "ckpt.override").exists()


def test_a_rollback_that_was_asked_for_in_the_meantime_waits_for_the_restart(
    tmp_path: Path,
) -> None:
    steps = begin(tmp_path)
    commit(steps, tmp_path, 10)
    for text in ('{"model_step": 10, "inputs": {"1": 5}}', "not JSON"):
        (tmp_path / "ckpt.override").write_text(text)
        commit(steps, tmp_path, len(text))
        assert (tmp_path / "ckpt.override").read_text() == text


def test_a_rollback_whose_chief_died_right_after_the_commit(tmp_path: Path) -> None:
    commit(begin(tmp_path), tmp_path, 10, 20)
    path = tmp_path / "ckpt.override"
    path.write_text('{"model_step": 10, "inputs": {"1": 10}}')
    override = read_override(tmp_path)
    assert override is not None
    save(tmp_path, 30, override=override.as_json())
    write_state(tmp_path, "model.ckpt-10", "model.ckpt-30")
    steps = begin(tmp_path, max_to_keep=1)
    assert steps.latest == 30
    commit(steps, tmp_path, 40)
    assert not path.exists()
    assert restart_point(tmp_path).step == 40


def roll_back(directory: Path, model_step: int, **inputs: int) -> Override:
    """Ask for it, and go back by it as a chief does; worker 1 is `w1`."""
    said = {"model_step": model_step, "inputs": {name[1:]: at for name, at in inputs.items()}}
    (directory / "ckpt.override").write_text(json.dumps(said))
    override = restart_point(directory).override
    assert override is not None
    return override


def commit_part(
    steps: CommittedSteps, directory: Path, step: int, override: Override, *late: int
) -> Override | None:
    """A commit that these workers had no part in."""
    save(directory, step)
    rest = override.rest(late)
    note = override.as_note(rest)
    write_step_inputs(str(directory), StepInputs(step, "run", {}, note))
    steps.commit(step, rest)
    return rest


def test_a_rollback_stays_for_workers_that_are_late(tmp_path: Path) -> None:
    commit(begin(tmp_path), tmp_path, 10, 20)
    asked = roll_back(tmp_path, 20, w0=10, w1=10, w2=10)
    steps = begin(tmp_path)
    rest = commit_part(steps, tmp_path, 30, asked, 1, 2)
    said = json.loads((tmp_path / "ckpt.override").read_text())
    assert said == {
        "model_step": None,
        "inputs": {"1": 10, "2": 10},
        "written_ns": asked.written_ns,
    }
    point = restart_point(tmp_path)
    assert point == RestartPoint(30, str(tmp_path / "model.ckpt-30"), rest)
    assert [point.input_step(worker) for worker in (0, 1, 2, 3)] == [30, 10, 10, 30]
    # A worker that joins does so from where the job is, wherever its run has begun.
    assert restart_point(tmp_path, run_step=20) == point

    assert rest is not None
    rest = commit_part(steps, tmp_path, 40, rest, 2)
    assert json.loads((tmp_path / "ckpt.override").read_text())["inputs"] == {"2": 10}
    assert rest is not None
    assert commit_part(steps, tmp_path, 50, rest) is None
    assert not (tmp_path / "ckpt.override").exists()
    assert restart_point(tmp_path).override is None


def test_a_chief_that_dies_before_it_has_changed_the_rollback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(begin(tmp_path), tmp_path, 10, 20)
    asked = roll_back(tmp_path, 20, w0=10, w1=10)
    before = (tmp_path / "ckpt.override").read_bytes()
    steps = begin(tmp_path)
    monkeypatch.setattr(commits, "write_rest", kill)
    with pytest.raises(Killed):
        commit_part(steps, tmp_path, 30, asked, 1)
    monkeypatch.undo()
    assert (tmp_path / "ckpt.override").read_bytes() == before
    point = restart_point(tmp_path)
    assert (point.step, point.input_step(0), point.input_step(1)) == (30, 30, 10)

    steps = begin(tmp_path)  # the next one, which dies there as well
    monkeypatch.setattr(commits, "write_rest", kill)
    assert point.override is not None
    with pytest.raises(Killed):
        commit_part(steps, tmp_path, 40, point.override)
    monkeypatch.undo()
    assert restart_point(tmp_path).override is None
    commit(begin(tmp_path), tmp_path, 50)
    assert not (tmp_path / "ckpt.override").exists()


def test_what_is_left_of_a_rollback_is_taken_back(tmp_path: Path) -> None:
    commit(begin(tmp_path), tmp_path, 10, 20)
    asked = roll_back(tmp_path, 20, w1=10)
    steps = begin(tmp_path)
    rest = commit_part(steps, tmp_path, 30, asked, 1)
    (tmp_path / "ckpt.override").unlink()
    assert rest is not None
    commit_part(steps, tmp_path, 40, rest, 1)
    assert not (tmp_path / "ckpt.override").exists()
    assert restart_point(tmp_path).input_step(1) == 40


def test_states_that_a_rollback_names_outlive_their_step(tmp_path: Path) -> None:
    steps = begin(tmp_path, max_to_keep=2)
    commit(steps, tmp_path, 10, 20)
    asked = roll_back(tmp_path, 20, w1=10)
    steps = begin(tmp_path, max_to_keep=2)
    states = {f"input_worker_1.ckpt-10{end}" for end in (".index", ".data-00000-of-00001")}
    rest: Override | None = asked
    for step in (30, 40, 50):
        assert rest is not None
        steps.clear_uncommitted()
        rest = commit_part(steps, tmp_path, step, rest, 1)
        if step > 30:
            assert names_of(tmp_path, 10) == states | {"ckpt.info-10", "ckpt.inputs-10"}
    # Who knows no override goes by the state file.
    assert state_of(tmp_path, "checkpoint_input_worker_1").model_checkpoint_path == (
        "input_worker_1.ckpt-10"
    )
    assert open_model_dir(tmp_path).steps() == [40, 50]
    steps = begin(tmp_path, max_to_keep=2)  # a chief that starts in between
    assert rest is not None
    commit_part(steps, tmp_path, 60, rest)
    assert names_of(tmp_path, 10) == {"ckpt.info-10"}
    assert state_of(tmp_path, "checkpoint_input_worker_1").model_checkpoint_path == (
        "input_worker_1.ckpt-60"
    )


def test_states_without_a_record_go_with_the_rollback_too(tmp_path: Path) -> None:
    """Those of an original job, which writes no `ckpt.inputs`."""
    for step in (10, 20):
        save_inputs(tmp_path, step, 0, 1)
        save_model(tmp_path, step)
    write_state(tmp_path, "model.ckpt-10", "model.ckpt-20")
    asked = roll_back(tmp_path, 20, w1=10)
    steps = begin(tmp_path, max_to_keep=1)
    rest = commit_part(steps, tmp_path, 30, asked, 1)
    assert {name for name in names_of(tmp_path, 10) if not name.endswith(".index")} == {
        "input_worker_1.ckpt-10.data-00000-of-00001"
    }
    assert rest is not None
    steps.clear_uncommitted()
    commit_part(steps, tmp_path, 40, rest)
    assert not names_of(tmp_path, 10)


# --- a run that started over ----------------------------------------------------------------


def test_steps_of_the_run_before_are_no_future(tmp_path: Path) -> None:
    """It counts from 1 again: 100 and 200 are older, in the list and beside it."""
    save(tmp_path, 50, 100, 200, 3)
    age(tmp_path, s50=500.0, s100=1000.0, s200=2000.0, s3=3000.0)
    write_state(
        tmp_path,
        *("model.ckpt-100", "model.ckpt-200", "model.ckpt-3"),
        all_model_checkpoint_timestamps=(1000.0, 2000.0, 3000.0),
    )
    steps = begin(tmp_path, max_to_keep=3)
    assert (steps.latest, steps.is_committed(200)) == (3, True)
    before = names(tmp_path)
    assert steps.clear_uncommitted() == []
    assert names(tmp_path) == before  # 50, which is not listed, too
    commit(steps, tmp_path, 4)
    assert listed(tmp_path) == ["model.ckpt-200", "model.ckpt-3", "model.ckpt-4"]
    assert names_of(tmp_path, 100) == {"ckpt.info-100"}
    assert restart_point(tmp_path).step == 4


def test_the_newest_of_a_run_that_started_over_is_cleared(tmp_path: Path) -> None:
    save(tmp_path, 100, 3)
    age(tmp_path, s100=1000.0, s3=3000.0)
    write_state(tmp_path, "model.ckpt-3", all_model_checkpoint_timestamps=(3000.0,))
    save(tmp_path, 5)  # a save that died
    steps = begin(tmp_path)
    assert {name for name in steps.clear_uncommitted() if "-100" in name} == set()
    assert names_of(tmp_path, 5) == set()
    assert open_model_dir(tmp_path).steps() == [100, 3]


def test_going_back_to_a_step_in_the_middle_of_the_list(tmp_path: Path) -> None:
    """`restore_ckpt` of the original rewrites the latest alone: what comes behind is given up."""
    save(tmp_path, 10, 20, 30)
    age(tmp_path, s10=1000.0, s20=2000.0, s30=3000.0)
    paths = tuple(f"model.ckpt-{step}" for step in (10, 20, 30))
    write_state(tmp_path, "model.ckpt-20", all_model_checkpoint_paths=paths)
    steps = begin(tmp_path)
    assert (steps.latest, steps.is_committed(10), steps.is_committed(30)) == (20, True, False)
    steps.clear_uncommitted()
    assert names_of(tmp_path, 30) == set()
    commit(steps, tmp_path, 21)
    assert listed(tmp_path) == ["model.ckpt-10", "model.ckpt-20", "model.ckpt-21"]


def test_another_saver_beside_a_run_that_started_over(tmp_path: Path) -> None:
    save(tmp_path, 200, 3)
    age(tmp_path, s200=2000.0, s3=3000.0)
    write_state(
        tmp_path,
        *("model.ckpt-200", "model.ckpt-3"),
        all_model_checkpoint_timestamps=(2000.0, 3000.0),
    )
    steps = begin(tmp_path)
    save(tmp_path, 4)
    write_state(tmp_path, "model.ckpt-4")
    commit(steps, tmp_path, 5)
    assert listed(tmp_path) == [f"model.ckpt-{step}" for step in (200, 3, 4, 5)]
