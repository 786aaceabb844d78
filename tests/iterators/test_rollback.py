"""Inputs go back to an older step, the model stays: what is written, and what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from iterator_support import commit, write_inputs, write_job, write_states

from monolith_cli.checkpoint.commits import CommittedSteps
from monolith_cli.checkpoint.inputs import find_input_step
from monolith_cli.checkpoint.manifests import make_manifest, write_step_manifest
from monolith_cli.checkpoint.restart import read_override, restart_point
from monolith_cli.errors import (
    CorruptionError,
    MissingShardError,
    MonolithError,
    PathNotFoundError,
    StateFileError,
    StepNotFoundError,
    WriteError,
)
from monolith_cli.formats.checkpoint_state import read_checkpoint_state
from monolith_cli.iterators.rollback import Move, roll_back

STEPS = [10, 20, 30]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Three workers, the chief being one, at three committed steps."""
    directory = write_job(tmp_path / "model", dict.fromkeys(range(3), STEPS), *STEPS)
    for step in STEPS:
        write_inputs(directory, step, [0, 1, 2])
    return directory


def content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def latest(directory: Path, worker: int) -> str:
    return read_checkpoint_state(
        str(directory / f"checkpoint_input_worker_{worker}")
    ).model_checkpoint_path


def goes_on_from(directory: Path) -> list[int | None]:
    restart = restart_point(directory)
    return [find_input_step(str(directory), worker, restart) for worker in range(3)]


def override(directory: Path) -> object:
    return json.loads((directory / "ckpt.override").read_text())


# --- what is written ------------------------------------------------------------------------


def test_all_workers(model: Path) -> None:
    before = content(model)
    done = roll_back(model, 10)
    assert done.moves == (Move(0, 30, 10), Move(1, 30, 10), Move(2, 30, 10))
    assert (done.model_step, done.step, done.replaced, done.notes) == (30, 10, None, ())
    assert goes_on_from(model) == [10, 10, 10]
    assert restart_point(model).step == 30
    assert override(model) == {"model_step": 30, "inputs": {"0": 10, "1": 10, "2": 10}}
    # An original job restores the latest of these.
    assert [latest(model, worker) for worker in range(3)] == [
        f"input_worker_{worker}.ckpt-10" for worker in range(3)
    ]
    after = content(model)
    changed = sorted(name for name in after if after[name] != before.get(name))
    assert sorted(done.files) == changed
    assert done.files[-1] == "ckpt.override"
    assert before.keys() - after.keys() == set()


def test_one_worker(model: Path) -> None:
    done = roll_back(model, 20, workers=[1])
    assert done.moves == (Move(1, 30, 20),)
    assert goes_on_from(model) == [30, 20, 30]
    assert latest(model, 2) == "input_worker_2.ckpt-30"
    assert done.files == ("checkpoint_input_worker_1", "ckpt.override")


def test_workers_one_after_the_other(model: Path) -> None:
    roll_back(model, 10, workers=[1])
    done = roll_back(model, 20, workers=[2])
    assert goes_on_from(model) == [30, 10, 20]
    assert done.notes == ("an earlier rollback stays: worker 1 to step 10",)
    done = roll_back(model, 20, workers=[1])
    assert goes_on_from(model) == [30, 20, 20]
    assert done.notes == (
        "replaces a rollback of worker 1 to step 10",
        "an earlier rollback stays: worker 2 to step 20",
    )
    assert done.moves == (Move(1, 10, 20),)


def test_all_after_one(model: Path) -> None:
    roll_back(model, 10, workers=[1])
    done = roll_back(model, 20)
    assert goes_on_from(model) == [20, 20, 20]
    assert done.notes == ("replaces a rollback of worker 1 to step 10",)
    assert done.replaced is not None
    assert dict(done.replaced.inputs) == {1: 10}


def test_back_to_the_step_of_the_model_ends_a_rollback(model: Path) -> None:
    roll_back(model, 10)
    done = roll_back(model, None)
    assert goes_on_from(model) == [30, 30, 30]
    assert not (model / "ckpt.override").exists()
    assert dict(done.inputs) == {}
    assert done.files[-1] == "ckpt.override"
    assert done.notes == ("ends a rollback of workers 0, 1, 2 to step 10",)
    assert [latest(model, worker)[-2:] for worker in range(3)] == ["30"] * 3
    again = roll_back(model, 30)
    assert "ckpt.override" not in again.files


def test_of_one_worker_too(model: Path) -> None:
    roll_back(model, 10)
    roll_back(model, 30, workers=[0, 2])
    assert goes_on_from(model) == [30, 10, 30]
    roll_back(model, 30, workers=[1])
    assert not (model / "ckpt.override").exists()


def test_a_dry_run_writes_nothing(model: Path) -> None:
    before = content(model)
    dry = roll_back(model, 10, dry_run=True)
    assert content(model) == before
    assert dry == roll_back(model, 10)._replace(dry_run=True)


def test_a_rollback_that_is_done_counts_no_more(model: Path) -> None:
    roll_back(model, 10, workers=[1])
    steps = CommittedSteps(model)
    point = steps.restart()
    # The override is still there where the chief has died right after the commit.
    said = (model / "ckpt.override").read_bytes(), os.stat(model / "ckpt.override")
    write_job(model, {0: [40], 1: [40], 2: [40]}, *STEPS, 40)
    assert point.override is not None
    text = {"step": 40, "run_id": "", "workers": {}, "override": point.override.as_json()}
    (model / "ckpt.inputs-40").write_text(json.dumps(text))
    assert (model / "ckpt.override").read_bytes() == said[0]
    done = roll_back(model, 20, workers=[2])
    assert done.replaced is None
    assert done.moves == (Move(2, 40, 20),)
    assert override(model) == {"model_step": 40, "inputs": {"2": 20}}


def test_the_next_commit_ends_it(model: Path) -> None:
    roll_back(model, 10)
    steps = CommittedSteps(model)
    assert steps.restart().override is not None
    for suffix in (".data-00000-of-00001", ".index"):
        (model / f"model.ckpt-40{suffix}").touch()
    steps.commit(40)
    assert read_override(model) is None


def test_one_for_another_step_of_the_model_is_replaced(model: Path) -> None:
    (model / "ckpt.override").write_text('{"model_step": 20, "inputs": {"1": 10}}')
    done = roll_back(model, 20, workers=[2])
    assert override(model) == {"model_step": 30, "inputs": {"2": 20}}
    assert done.notes == (
        "replaces a rollback of the model to step 20",
        "replaces a rollback of worker 1 to step 10",
    )
    assert done.moves == (Move(2, 20, 20),)


def test_an_older_state_where_the_one_of_the_model_is_missing(model: Path) -> None:
    (model / "input_worker_2.ckpt-30.index").unlink()
    assert roll_back(model, 10).moves[2] == Move(2, 20, 10)


def test_a_moved_directory(model: Path) -> None:
    state = model / "checkpoint_input_worker_1"
    state.write_text('model_checkpoint_path: "/old/place/input_worker_1.ckpt-30"\n')
    roll_back(model, 10)
    assert latest(model, 1) == "input_worker_1.ckpt-10"


# --- who is meant ---------------------------------------------------------------------------


def test_of_an_original_job_all_that_have_states(tmp_path: Path) -> None:
    model = write_job(tmp_path / "model", {1: [10, 20], 2: [10, 20]}, 10, 20)
    assert [move.worker for move in roll_back(model, 10).moves] == [1, 2]


def test_a_chief_without_input_is_no_obstacle(model: Path) -> None:
    for path in model.glob("*input_worker_0*"):
        path.unlink()
    text = json.loads((model / "ckpt.inputs-30").read_text())
    text["workers"]["0"]["fingerprint"] = None
    (model / "ckpt.inputs-30").write_text(json.dumps(text))
    assert [move.worker for move in roll_back(model, 10).moves] == [1, 2]


def test_one_that_has_never_saved_is(model: Path) -> None:
    text = json.loads((model / "ckpt.inputs-30").read_text())
    text["workers"]["3"] = {"finished": False, "fingerprint": None}
    (model / "ckpt.inputs-30").write_text(json.dumps(text))
    with pytest.raises(StepNotFoundError, match=r"worker 3 has no state of it \(there is none\)"):
        roll_back(model, 10)


def test_what_a_larger_job_has_left_is_none(model: Path) -> None:
    write_states(model / "input_worker_7.ckpt-20", IteratorV2=1)
    done = roll_back(model, 10)
    assert [move.worker for move in done.moves] == [0, 1, 2]
    assert done.notes == ("worker 7 had no part in step 30, and has no state of step 10: left out",)
    assert [move.worker for move in roll_back(model, 20).moves] == [0, 1, 2, 7]


def test_a_worker_that_was_late_is_named(model: Path) -> None:
    write_inputs(model, 10, [0, 1], late=(2,))
    assert roll_back(model, 10).notes == ("worker 2 did not stand still when step 10 was saved",)


# --- what is refused ------------------------------------------------------------------------


def refused(kind: type[MonolithError], model: Path, step: int, **options: object) -> MonolithError:
    before = content(model)
    with pytest.raises(kind) as caught:
        roll_back(model, step, **options)  # type: ignore[arg-type]
    assert content(model) == before
    return caught.value


def test_a_missing_state(model: Path) -> None:
    (model / "input_worker_1.ckpt-10.index").unlink()
    for path in model.glob("input_worker_2*"):
        path.unlink()
    assert str(refused(StepNotFoundError, model, 10)) == (
        f"{model}: cannot go back to step 10: worker 1 has no state of it (there are steps 20, 30);"
        " worker 2 has no state of it (there is none)"
    )
    error = refused(StepNotFoundError, model, 10, workers=[0, 1])
    assert error.hint == "all of them have states of steps 20, 30"
    roll_back(model, 10, workers=[0])
    assert goes_on_from(model) == [10, 30, None]


def test_a_step_at_which_nothing_was_saved(model: Path) -> None:
    error = refused(StepNotFoundError, model, 15)
    assert str(error) == (
        f"{model}: cannot go back to step 15: workers 0, 1, 2 have no state of it (there are steps"
        " 10, 20, 30)"
    )


def test_a_later_step_than_the_model(model: Path) -> None:
    write_states(model / "input_worker_1.ckpt-40", IteratorV2=1)  # of a save that was given up
    error = refused(StepNotFoundError, model, 40, workers=[1])
    assert error.what == "step 40 is later than the model's, 30: inputs can only go back"


def test_steps_of_a_job_that_has_started_over(tmp_path: Path) -> None:
    model = write_job(tmp_path / "model", {0: [100, 200, 50], 1: [100, 200, 50]}, 100, 200, 50)
    assert str(refused(StepNotFoundError, model, 664)) == (
        f"{model}: cannot go back to step 664: workers 0, 1 have no state of it (there are steps"
        " 50, 100, 200)"
    )
    assert roll_back(model, 200).moves == (Move(0, 50, 200), Move(1, 50, 200))


def test_each_place_of_damage_is_beside_its_worker(model: Path) -> None:
    places = []
    for worker in (0, 1):
        path = model / f"input_worker_{worker}.ckpt-10.data-00000-of-00001"
        path.write_bytes(path.read_bytes()[: 30 + worker])
        places.append(f"cut off at {30 + worker} bytes")
    for path in model.glob("input_worker_2.ckpt-10*"):
        path.unlink()
    error = refused(CorruptionError, model, 10)
    clauses = str(error).removeprefix(f"{error.path}: cannot go back to step 10: ").split("; ")
    assert [clause.partition(": IteratorV2")[0] for clause in clauses[:2]] == [
        f"the state of worker 0: {places[0]}",
        f"the state of worker 1: {places[1]}",
    ]
    assert [clause.rpartition(", ")[2] for clause in clauses[:2]] == ["at byte 30", "at byte 31"]
    assert clauses[2:] == [
        "worker 2 has no state of it (there are steps 20, 30)",
        "all of them have states of steps 20, 30",
    ]


def test_a_worker_that_is_not_there(model: Path) -> None:
    error = refused(StepNotFoundError, model, 10, workers=[1, 8, 9])
    assert str(error) == f"{model}: no states of workers 8, 9; there are some of workers 0, 1, 2"


@pytest.mark.parametrize("where", ["index", "data-00000-of-00001"])
def test_a_damaged_state(model: Path, where: str) -> None:
    path = model / f"input_worker_1.ckpt-10.{where}"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    error = refused(CorruptionError, model, 10)
    assert error.what.startswith("cannot go back to step 10: the state of worker 1: ")
    assert error.path == str(path)
    assert error.hint == "all of them have states of steps 20, 30"


def test_a_state_without_its_data(model: Path) -> None:
    path = model / "input_worker_1.ckpt-10.data-00000-of-00001"
    path.unlink()
    error = refused(CorruptionError, model, 10)
    assert (error.path, error.kind) == (str(path), MissingShardError.kind)


def test_a_bundle_without_iterators(model: Path) -> None:
    write_states(model / "input_worker_1.ckpt-10")
    error = refused(CorruptionError, model, 10)
    assert "the state of worker 1: holds no state of an iterator" in error.what


def test_nothing_committed(model: Path) -> None:
    (model / "checkpoint").unlink()
    error = refused(StepNotFoundError, model, 10)
    assert error.what == "nothing is committed: there is no 'checkpoint' file"


@pytest.mark.parametrize(
    ("lost", "kind"),
    [
        ("model.ckpt-30.data-00000-of-00001", MissingShardError),
        ("model.ckpt-30.index", StepNotFoundError),
    ],
)
def test_a_model_that_is_not_whole(model: Path, lost: str, kind: type[MonolithError]) -> None:
    """The job would not start, whatever its inputs go on from."""
    write_step_manifest(str(model), make_manifest(str(model), "model.ckpt", 30))
    (model / lost).unlink()
    error = refused(kind, model, 10)
    assert lost.removesuffix(".index") in str(error)
    with pytest.raises(kind):
        restart_point(model)


def test_a_state_that_the_manifest_names_is_not_needed(model: Path) -> None:
    manifest = make_manifest(str(model), "model.ckpt", 30, workers=[0, 1, 2])
    write_step_manifest(str(model), manifest)
    (model / "input_worker_1.ckpt-30.index").unlink()
    roll_back(model, 10)
    assert goes_on_from(model) == [10, 10, 10]


def test_no_inputs_at_all(tmp_path: Path) -> None:
    commit(tmp_path / "model", 10)
    refused(StepNotFoundError, tmp_path / "model", 10)


def test_no_directory_of_a_job(tmp_path: Path) -> None:
    with pytest.raises(PathNotFoundError):
        roll_back(tmp_path / "absent", 10)
    assets = tmp_path / "model.ckpt-10.assets"
    assets.mkdir()
    (assets / "t-00000-of-00001").touch()
    with pytest.raises(PathNotFoundError, match="no directory of a job"):
        roll_back(assets, 10)


def test_an_override_that_does_not_parse(model: Path) -> None:
    (model / "ckpt.override").write_text("{")
    error = refused(StateFileError, model, 10)
    assert error.path == str(model / "ckpt.override")


def test_a_write_that_fails_can_be_done_again(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = os.replace

    def fail(source: str, target: str) -> None:
        if target.endswith("ckpt.override"):
            raise OSError(28, "No space left on device")
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(WriteError):
            roll_back(model, 10)
    assert goes_on_from(model) == [30, 30, 30]  # the override comes last
    assert not list(model.glob(".*"))
    roll_back(model, 10)
    assert goes_on_from(model) == [10, 10, 10]
