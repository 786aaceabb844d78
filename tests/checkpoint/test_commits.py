"""What a chief's commits leave in the directory, whatever was there and whenever it is killed."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
import tf_support

from monolith_cli.checkpoint import commits, inputs
from monolith_cli.checkpoint.commits import CommittedSteps
from monolith_cli.checkpoint.inputs import StepInputs, write_input_state, write_step_inputs
from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.checkpoint.override import Override, read_override
from monolith_cli.checkpoint.restart import RestartPoint, restart_point
from monolith_cli.errors import NotReadableError, StateFileError, UsageError, WriteError
from monolith_cli.formats.checkpoint_state import (
    CheckpointState,
    format_checkpoint_state,
    read_checkpoint_state,
)
from monolith_cli.storage.atomic import atomic_write

HOUR = 3600.0


class Killed(BaseException):
    """In place of a kill -9: nothing in the way of it is to catch it."""


def kill(*_: object) -> None:
    raise Killed


def save_model(directory: Path, step: int, base: str = "model.ckpt") -> None:
    prefix = directory / f"{base}-{step}"
    assets = Path(f"{prefix}.assets")
    assets.mkdir(parents=True)
    (assets / "t-00000-of-00001").touch()
    for suffix in (".data-00000-of-00001", ".index", ".meta"):
        Path(f"{prefix}{suffix}").touch()


def save_inputs(directory: Path, step: int, *workers: int) -> None:
    directory.mkdir(exist_ok=True)
    for worker in workers:
        for suffix in (".data-00000-of-00001", ".index"):
            (directory / f"input_worker_{worker}.ckpt-{step}{suffix}").touch()
        write_input_state(str(directory), worker)


def save(directory: Path, *steps: int, override: object = None) -> None:
    """All that a save writes before it commits: a model and the inputs of two workers."""
    for step in steps:
        save_inputs(directory, step, 0, 1)
        save_model(directory, step)
        (directory / f"ckpt.info-{step}").touch()
        write_step_inputs(str(directory), StepInputs(step, "run", {}, override))


def begin(directory: Path, **options: float) -> CommittedSteps:
    """A chief, as it is after its restart."""
    steps = CommittedSteps(directory, **options)  # type: ignore[arg-type]  # one of them is an int
    steps.restart()
    return steps


def commit(steps: CommittedSteps, directory: Path, *numbers: int) -> None:
    for number in numbers:
        save(directory, number)
        steps.commit(number)


def state_of(directory: Path, name: str = "checkpoint") -> CheckpointState:
    return read_checkpoint_state(str(directory / name))


def listed(directory: Path) -> list[str]:
    state = state_of(directory)
    assert state.model_checkpoint_path == state.all_model_checkpoint_paths[-1]
    return list(state.all_model_checkpoint_paths)


def write_state(directory: Path, *paths: object, **fields: object) -> None:
    state = CheckpointState(str(paths[-1]), tuple(map(str, paths)))._replace(**fields)
    atomic_write(directory / "checkpoint", format_checkpoint_state(state).encode())


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def names_of(directory: Path, step: int) -> set[str]:
    return {name for name in names(directory) if f"-{step}" in name}


def exempt(directory: Path, *paths: object) -> None:
    lines = [f'exempt_model_checkpoint_paths: "{path}"\n' for path in paths]
    (directory / "monolith_checkpoint").write_text("".join(lines))


# --- commits --------------------------------------------------------------------------------


def test_a_step_is_committed_once_checkpoint_names_it(tmp_path: Path) -> None:
    steps = begin(tmp_path)
    assert (steps.latest, steps.is_committed(10)) == (None, False)
    save(tmp_path, 10)
    assert not steps.is_committed(10)
    steps.commit(10)
    assert (steps.latest, steps.is_committed(10), steps.is_committed(5)) == (10, True, False)
    assert steps.prefix(10) == str(tmp_path / "model.ckpt-10")
    assert restart_point(tmp_path) == RestartPoint(10, str(tmp_path / "model.ckpt-10"))
    again = begin(tmp_path)
    assert (again.latest, again.is_committed(10)) == (10, True)


def test_paths_are_relative(tmp_path: Path) -> None:
    commit(begin(tmp_path), tmp_path, 10, 20)
    state = state_of(tmp_path)
    assert listed(tmp_path) == ["model.ckpt-10", "model.ckpt-20"]
    first, second = state.all_model_checkpoint_timestamps
    assert 0 < first <= second
    assert state.last_preserved_timestamp == first


def test_tensorflow_reads_what_is_written(tmp_path: Path) -> None:
    tf = tf_support.tensorflow()
    old = tmp_path / "old"
    for step in (10, 20, 30):
        tf_support.save_checkpoint(old, step)
    write_state(old, old / "model.ckpt-10", old / "model.ckpt-20")  # as before the third save
    steps = begin(old)
    assert steps.latest == 20
    steps.commit(30)
    save_inputs(old, 20, 1)
    save_inputs(old, 30, 1)
    moved = tmp_path / "new"
    old.rename(moved)
    state = tf.train.get_checkpoint_state(str(moved))
    assert list(state.all_model_checkpoint_paths) == [
        str(moved / f"model.ckpt-{step}") for step in (10, 20, 30)
    ]
    assert len(state.all_model_checkpoint_timestamps) == 3
    assert tf.train.latest_checkpoint(str(moved)) == str(moved / "model.ckpt-30")
    assert tf.train.load_checkpoint(str(moved)).get_tensor("global_step") == 30
    name = "checkpoint_input_worker_1"
    assert tf.train.latest_checkpoint(str(moved), latest_filename=name) == str(
        moved / "input_worker_1.ckpt-30"
    )
    inputs_state = tf.train.get_checkpoint_state(str(moved), latest_filename=name)
    assert [Path(path).name for path in inputs_state.all_model_checkpoint_paths] == [
        "input_worker_1.ckpt-20",
        "input_worker_1.ckpt-30",
    ]


def test_another_base_name(tmp_path: Path) -> None:
    save_model(tmp_path, 10)
    write_state(tmp_path, "model.ckpt-10")
    steps = CommittedSteps(tmp_path, "my.ckpt", max_to_keep=1)
    steps.restart()
    for step in (20, 30):
        save_model(tmp_path, step, "my.ckpt")
        steps.commit(step)
    assert listed(tmp_path) == ["my.ckpt-30"]
    assert open_model_dir(tmp_path).steps() == [30]
    assert (tmp_path / "model.ckpt-10.index").exists()
    assert not names_of(tmp_path, 20)


def test_a_rename_that_fails_commits_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = begin(tmp_path, max_to_keep=1)
    commit(steps, tmp_path, 10)
    save(tmp_path, 20)
    before = names(tmp_path)
    replace = os.replace

    def refuse(source: str, target: str) -> None:
        if os.path.basename(target) == "checkpoint":
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(WriteError) as caught:
        steps.commit(20)
    assert caught.value.kind == "no_space"
    assert (steps.latest, steps.is_committed(20)) == (10, False)
    assert names(tmp_path) == before
    assert restart_point(tmp_path).step == 10
    monkeypatch.undo()
    steps.commit(20)
    assert listed(tmp_path) == ["model.ckpt-20"]
    assert names_of(tmp_path, 10) == {"ckpt.info-10"}


# --- the restart ----------------------------------------------------------------------------


def test_the_latest_that_is_not_in_the_list(tmp_path: Path) -> None:
    save(tmp_path, 10, 20)
    write_state(tmp_path, "model.ckpt-10", model_checkpoint_path="model.ckpt-20")
    steps = begin(tmp_path)
    assert steps.is_committed(20)
    commit(steps, tmp_path, 30)
    assert listed(tmp_path) == ["model.ckpt-10", "model.ckpt-20", "model.ckpt-30"]


def test_newer_ones_that_checkpoint_lists_do_not_count(tmp_path: Path) -> None:
    commit(begin(tmp_path), tmp_path, 10, 20, 30)
    (tmp_path / "ckpt.override").write_text('{"model_step": 20}')
    steps = begin(tmp_path)
    assert steps.latest == 20
    assert [steps.is_committed(step) for step in (10, 20, 30)] == [True, True, False]
    steps.clear_uncommitted()
    assert not names_of(tmp_path, 30)
    assert restart_point(tmp_path).step == 20
    commit(steps, tmp_path, 30)
    assert steps.is_committed(30)
    assert listed(tmp_path) == ["model.ckpt-10", "model.ckpt-20", "model.ckpt-30"]
    assert not (tmp_path / "ckpt.override").exists()


def test_a_restored_step_is_not_written_again_though_it_is_unlisted(tmp_path: Path) -> None:
    save(tmp_path, 10, 20)
    write_state(tmp_path, "model.ckpt-20")
    (tmp_path / "ckpt.override").write_text('{"model_step": 10}')
    steps = begin(tmp_path, max_to_keep=1)
    assert (steps.is_committed(10), steps.is_committed(20)) == (True, False)
    steps.clear_uncommitted()
    commit(steps, tmp_path, 11)
    assert open_model_dir(tmp_path).steps() == [10, 11]


def test_a_point_that_is_given(tmp_path: Path) -> None:
    commit(begin(tmp_path), tmp_path, 10, 20)
    steps = CommittedSteps(tmp_path)
    point = RestartPoint(10, str(tmp_path / "model.ckpt-10"))
    assert steps.restart(point) is point
    assert (steps.latest, steps.is_committed(20)) == (10, False)
    steps.restart(RestartPoint())
    assert (steps.latest, steps.is_committed(10)) == (None, False)


def test_a_point_that_is_not_of_this_directory(tmp_path: Path) -> None:
    """As where dense variables are saved besides, at steps of their own."""
    commit(begin(tmp_path), tmp_path, 10, 20)
    steps = CommittedSteps(tmp_path)
    steps.restart(RestartPoint(15))
    assert steps.latest == 15
    assert [steps.is_committed(step) for step in (10, 15, 20)] == [True, False, False]
    steps.clear_uncommitted()
    commit(steps, tmp_path, 15, 25)
    assert listed(tmp_path) == ["model.ckpt-10", "model.ckpt-15", "model.ckpt-25"]


def test_a_checkpoint_without_a_number(tmp_path: Path) -> None:
    save(tmp_path, 10, 20)
    (tmp_path / "model.ckpt.index").touch()
    write_state(tmp_path, "model.ckpt-10", "model.ckpt")
    steps = begin(tmp_path, max_to_keep=1)
    assert (steps.latest, steps.is_committed(10)) == (10, True)
    steps.clear_uncommitted()
    assert names_of(tmp_path, 10)
    assert not names_of(tmp_path, 20)
    commit(steps, tmp_path, 30)
    assert listed(tmp_path) == ["model.ckpt-30"]
    assert (tmp_path / "model.ckpt.index").exists()


def test_a_start_from_another_job(tmp_path: Path) -> None:
    base, job = tmp_path / "base", tmp_path / "job"
    save(base, 500)
    job.mkdir()
    write_state(job, base / "model.ckpt-500")
    steps = begin(job, max_to_keep=1)
    assert steps.latest == 500
    before = names(base)
    commit(steps, job, 510, 520)
    assert listed(job) == ["model.ckpt-520"]
    assert names(base) == before


def test_a_state_file_of_tensorflow_1_has_no_times(tmp_path: Path) -> None:
    directory = tmp_path / "old"
    save(directory, 10, 20)
    for step in (10, 20):
        os.utime(directory / f"model.ckpt-{step}.index", (step * 1e6, step * 1e6))
    write_state(directory, directory / "model.ckpt-10", directory / "model.ckpt-20")
    moved = directory.rename(tmp_path / "new")
    commit(begin(moved), moved, 30)
    state = state_of(moved)
    assert state.all_model_checkpoint_timestamps[:2] == (10e6, 20e6)
    assert state.last_preserved_timestamp == 10e6


# --- what was given up ----------------------------------------------------------------------


LEFT_BY_TENSORFLOW = [
    "model.ckpt-20.data-00000-of-00001.tempstate8801735835092795140",
    "model.ckpt-20.index.tempstate1176894157491294291",
    "model.ckpt-20.meta.tmp25828e7f664d45bdb958d59ee08455bd",
    "model.ckpt-20_temp/part-00000-of-00001.data-00000-of-00001.tempstate8475724573055064447",
    "model.ckpt-20_temp_25828e7f664d45bdb958d59ee08455bd/part-00000-of-00001.index",
    "input_worker_1.ckpt-20.data-00000-of-00001.tempstate8801735835092795140",
    "input_worker_7.ckpt-20.index.tempstate1176894157491294291",  # it has no state at all yet
    "input_worker_7.ckpt-20.parts/0.index",
    "checkpoint.tmpe5cce9d15410422d9f6331fcba5778e4",
]
LEFT_BY_US = [
    ".checkpoint.4711.00112233445566aa.tmp",
    ".ckpt.inputs-20.4711.00112233445566aa.tmp",
    ".ckpt.info-20.4711.00112233445566aa.tmp",
]
NOT_OURS = [
    "model.ckpt-20.tar.gz",
    "model.ckpt-20.notes.txt",
    "model.ckpt-20_template.txt",
    "other.ckpt-20.index",
    "graph.pbtxt",
    "events.out.tfevents.20.host",
    "notes-20",
    "dense_only/model.ckpt-20.index",
    ".ckpt.info-10.4711.00112233445566aa.tmp",  # `monolith ckpt-info` may be writing it
    ".checkpoint_input_worker_1.4711.00112233445566aa.tmp",  # and that worker this
]


def test_everything_of_a_later_step_is_cleared(tmp_path: Path) -> None:
    commit(begin(tmp_path), tmp_path, 10)
    before = names(tmp_path)
    save(tmp_path, 20, 30)
    left = {name.split("/")[0] for name in LEFT_BY_TENSORFLOW + LEFT_BY_US}
    for name in LEFT_BY_TENSORFLOW + LEFT_BY_US + NOT_OURS:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    kept = {name.split("/")[0] for name in NOT_OURS}
    steps = begin(tmp_path)
    gone = steps.clear_uncommitted()
    assert names(tmp_path) == before | kept
    assert left < set(gone)
    assert state_of(tmp_path, "checkpoint_input_worker_1").all_model_checkpoint_paths == (
        "input_worker_1.ckpt-10",
    )
    assert steps.clear_uncommitted() == []
    assert restart_point(tmp_path).step == 10


def test_an_older_step_that_is_not_listed_stays(tmp_path: Path) -> None:
    save(tmp_path, 5, 10)
    write_state(tmp_path, "model.ckpt-10")
    steps = begin(tmp_path)
    assert steps.clear_uncommitted() == []
    commit(steps, tmp_path, 20)
    assert open_model_dir(tmp_path).steps() == [5, 10, 20]


def test_a_first_save_that_was_given_up(tmp_path: Path) -> None:
    save(tmp_path, 0)
    steps = begin(tmp_path)
    assert steps.latest is None
    steps.clear_uncommitted()
    assert names(tmp_path) == set()


def test_a_directory_that_is_not_there_yet(tmp_path: Path) -> None:
    assert begin(tmp_path / "model").clear_uncommitted() == []


# --- somebody else who commits ----------------------------------------------------------------


def test_what_somebody_else_commits_stays(tmp_path: Path) -> None:
    steps = begin(tmp_path)
    commit(steps, tmp_path, 10)
    save_model(tmp_path, 15)
    save(tmp_path, 20)  # of a save that was given up
    write_state(tmp_path, tmp_path / "model.ckpt-10", tmp_path / "model.ckpt-15")  # TensorFlow's
    before = names_of(tmp_path, 10) | names_of(tmp_path, 15)
    assert {name for name in steps.clear_uncommitted() if "-15" in name} == set()
    assert names_of(tmp_path, 10) | names_of(tmp_path, 15) == before
    assert not names_of(tmp_path, 20)
    assert steps.latest == 15
    commit(steps, tmp_path, 20)
    assert listed(tmp_path) == ["model.ckpt-10", "model.ckpt-15", "model.ckpt-20"]
    assert open_model_dir(tmp_path).steps() == [10, 15, 20]


def test_what_another_chief_commits_during_a_save_is_listed(tmp_path: Path) -> None:
    steps = begin(tmp_path)
    commit(steps, tmp_path, 10)
    steps.clear_uncommitted()
    save(tmp_path, 20)
    commit(begin(tmp_path), tmp_path, 15)
    steps.commit(20)
    assert listed(tmp_path) == ["model.ckpt-10", "model.ckpt-15", "model.ckpt-20"]
    assert open_model_dir(tmp_path).steps() == [10, 15, 20]


def test_a_first_commit_by_somebody_else(tmp_path: Path) -> None:
    steps = begin(tmp_path)
    save_model(tmp_path, 5)
    write_state(tmp_path, "model.ckpt-5")
    assert steps.clear_uncommitted() == []
    assert steps.latest == 5
    commit(steps, tmp_path, 7)
    assert listed(tmp_path) == ["model.ckpt-5", "model.ckpt-7"]


def test_what_is_gone_from_the_list_of_somebody_else_is_not_listed_again(tmp_path: Path) -> None:
    """As TensorFlow's saver deletes what leaves its own list, `checkpoint` must not name it."""
    steps = begin(tmp_path)
    commit(steps, tmp_path, 10, 20)
    for name in names_of(tmp_path, 10):
        path = tmp_path / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    save_model(tmp_path, 25)
    write_state(tmp_path, tmp_path / "model.ckpt-20", tmp_path / "model.ckpt-25")
    commit(steps, tmp_path, 30)
    assert listed(tmp_path) == ["model.ckpt-20", "model.ckpt-25", "model.ckpt-30"]


def test_what_was_about_to_be_dropped_is_dropped_after_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = begin(tmp_path, max_to_keep=1)
    commit(steps, tmp_path, 10)
    save(tmp_path, 20)
    with monkeypatch.context() as patch:
        patch.setattr(commits, "remove", no_removal)
        with pytest.raises(WriteError):
            steps.commit(20)
    save_model(tmp_path, 25)
    write_state(tmp_path, "model.ckpt-20", "model.ckpt-25")
    steps.clear_uncommitted()
    commit(steps, tmp_path, 30)
    assert open_model_dir(tmp_path).steps() == [20, 25, 30]  # theirs to drop, as they name them
    assert names_of(tmp_path, 10) == {"ckpt.info-10"}


def test_each_drops_its_own_steps(tmp_path: Path) -> None:
    """Somebody who keeps two steps, and knows of no others, commits after every third of ours."""
    steps = begin(tmp_path, max_to_keep=2)
    theirs: list[int] = []
    for step in range(1, 30):
        if step % 4:
            steps.clear_uncommitted()
            commit(steps, tmp_path, step)
        else:
            save_model(tmp_path, step)
            theirs.append(step)
            write_state(tmp_path, *(tmp_path / f"model.ckpt-{number}" for number in theirs[-2:]))
            for name in names_of(tmp_path, theirs[-3]) if len(theirs) > 2 else ():
                path = tmp_path / name
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        for path in state_of(tmp_path).all_model_checkpoint_paths:
            assert (tmp_path / (os.path.basename(path) + ".index")).exists()
        indexes = {n for n in names(tmp_path) if n.startswith("model") and n.endswith(".index")}
        assert len(indexes) <= 4  # nothing is left behind
    assert listed(tmp_path) == [f"model.ckpt-{number}" for number in (24, 27, 28, 29)]
    assert open_model_dir(tmp_path).steps() == [24, 27, 28, 29]
    again = begin(tmp_path, max_to_keep=2)  # all is its own
    commit(again, tmp_path, 30)
    assert open_model_dir(tmp_path).steps() == [29, 30]


def no_removal(path: str) -> None:
    raise WriteError("not removed", path=path)


def test_newer_steps_go_after_a_rollback_though_checkpoint_names_them(tmp_path: Path) -> None:
    """It has said so since before the restart: nobody else has committed them."""
    commit(begin(tmp_path), tmp_path, 10, 20, 30)
    (tmp_path / "ckpt.override").write_text('{"model_step": 20}')
    steps = begin(tmp_path)
    assert steps.latest == 20
    cleared = steps.clear_uncommitted()
    assert names_of(tmp_path, 30) == set()
    assert "model.ckpt-30.index" in cleared
    steps.clear_uncommitted()  # and again: `checkpoint` is still as it was
    assert steps.latest == 20
    commit(steps, tmp_path, 25)
    assert listed(tmp_path) == ["model.ckpt-10", "model.ckpt-20", "model.ckpt-25"]
    assert not (tmp_path / "ckpt.override").exists()


# --- how many stay --------------------------------------------------------------------------


def test_the_newest_stay(tmp_path: Path) -> None:
    commit(begin(tmp_path, max_to_keep=2), tmp_path, 10, 20, 30)
    assert listed(tmp_path) == ["model.ckpt-20", "model.ckpt-30"]
    assert names_of(tmp_path, 10) == {"ckpt.info-10"}
    for worker in (0, 1):
        state = state_of(tmp_path, f"checkpoint_input_worker_{worker}")
        assert state.all_model_checkpoint_paths == (
            f"input_worker_{worker}.ckpt-20",
            f"input_worker_{worker}.ckpt-30",
        )
    commit(begin(tmp_path, max_to_keep=1), tmp_path, 40)
    assert listed(tmp_path) == ["model.ckpt-40"]
    assert open_model_dir(tmp_path).steps() == [40]


@pytest.mark.parametrize("max_to_keep", [0, None])
def test_all_stay(tmp_path: Path, max_to_keep: int | None) -> None:
    steps = CommittedSteps(tmp_path, max_to_keep=max_to_keep)
    steps.restart()
    commit(steps, tmp_path, *range(7))
    assert listed(tmp_path) == [f"model.ckpt-{step}" for step in range(7)]


def test_a_negative_number(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="max_to_keep is -1"):
        CommittedSteps(tmp_path, max_to_keep=-1)


def test_dropping_leaves_what_it_did_not_write(tmp_path: Path) -> None:
    steps = begin(tmp_path, max_to_keep=1)
    commit(steps, tmp_path, 10)
    for name in ("model.ckpt-10.tar.gz", "model.ckpt-100.index", "model.ckpt-1.index"):
        (tmp_path / name).touch()
    commit(steps, tmp_path, 20)
    assert names_of(tmp_path, 10) == {
        "ckpt.info-10",
        "model.ckpt-10.tar.gz",
        "model.ckpt-100.index",
    }
    assert (tmp_path / "model.ckpt-1.index").exists()


def test_one_every_few_hours_stays_unlisted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1e9
    monkeypatch.setattr(commits.time, "time", lambda: now)
    for hour in range(12):  # the job restarts before each save
        now = 1e9 + hour * HOUR
        commit(begin(tmp_path, max_to_keep=2, keep_every_n_hours=4), tmp_path, hour)
    assert listed(tmp_path) == ["model.ckpt-10", "model.ckpt-11"]
    assert open_model_dir(tmp_path).steps() == [4, 8, 10, 11]
    assert inputs.input_steps(str(tmp_path), 1) == [4, 8, 10, 11]
    assert state_of(tmp_path).last_preserved_timestamp == 1e9 + 8 * HOUR


def test_keep_every_0_hours_keeps_all_but_lists_few(tmp_path: Path) -> None:
    commit(begin(tmp_path, max_to_keep=1, keep_every_n_hours=0), tmp_path, 1, 2, 3)
    assert listed(tmp_path) == ["model.ckpt-3"]
    assert open_model_dir(tmp_path).steps() == [1, 2, 3]


@pytest.mark.parametrize("form", ["model.ckpt-10", "./model.ckpt-10", "{new}/model.ckpt-10"])
@pytest.mark.parametrize("recorded", ["", "{new}/", "{old}/"])
def test_exempt(tmp_path: Path, form: str, recorded: str) -> None:
    places = {"old": tmp_path / "old", "new": tmp_path / "new"}
    new = places["new"]
    save(new, 10, 20)
    write_state(new, *(f"{recorded.format(**places)}model.ckpt-{step}" for step in (10, 20)))
    exempt(new, form.format(**places))
    commit(begin(new, max_to_keep=1), new, 30)
    assert listed(new) == ["model.ckpt-10", "model.ckpt-30"]
    assert open_model_dir(new).steps() == [10, 30]
    assert inputs.input_steps(str(new), 1) == [10, 30]


def test_exempt_in_a_directory_that_was_moved_or_copied(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    save(old, 10, 20)
    write_state(old, old / "model.ckpt-10", old / "model.ckpt-20")
    exempt(old, old / "model.ckpt-10")
    shutil.copytree(old, new)
    before = names(old)
    commit(begin(new, max_to_keep=1), new, 30)
    assert names(old) == before
    assert listed(new) == ["model.ckpt-10", "model.ckpt-30"]
    assert names_of(new, 20) == {"ckpt.info-20"}
    shutil.rmtree(new)
    old.rename(new)
    commit(begin(new, max_to_keep=1), new, 30)
    assert listed(new) == ["model.ckpt-10", "model.ckpt-30"]
    assert open_model_dir(new).steps() == [10, 30]


def test_a_checkpoint_elsewhere_is_never_deleted(tmp_path: Path) -> None:
    model, kept = tmp_path / "model", tmp_path / "kept"
    save(model, 30)
    save(kept, 10, 20)
    write_state(model, kept / "model.ckpt-10", "../kept/model.ckpt-20", "model.ckpt-30")
    exempt(model, kept / "model.ckpt-20")
    before = names(kept)
    commit(begin(model, max_to_keep=1), model, 40)
    assert listed(model) == ["../kept/model.ckpt-20", "model.ckpt-40"]
    assert names(kept) == before
    assert open_model_dir(model).steps() == [20, 40]


def test_one_step_by_two_paths_is_one(tmp_path: Path) -> None:
    save(tmp_path, 10, 20)
    write_state(tmp_path, tmp_path / "model.ckpt-10", "model.ckpt-20", tmp_path / "model.ckpt-20")
    commit(begin(tmp_path, max_to_keep=2), tmp_path, 30)
    assert listed(tmp_path) == ["model.ckpt-20", "model.ckpt-30"]
    assert open_model_dir(tmp_path).steps() == [20, 30]


def test_a_malformed_list_of_exempt_steps_commits_nothing(tmp_path: Path) -> None:
    steps = begin(tmp_path, max_to_keep=1)
    commit(steps, tmp_path, 10)
    (tmp_path / "monolith_checkpoint").write_text("exempt_model_checkpoint_paths: oops\n")
    save(tmp_path, 20)
    with pytest.raises(StateFileError):
        steps.commit(20)
    assert not steps.is_committed(20)
    assert listed(tmp_path) == ["model.ckpt-10"]


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


# --- refusals and kills ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.EROFS, "read_only"), (errno.EIO, "not_written")]
)
def test_what_cannot_be_removed_is_removed_by_the_next_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: str
) -> None:
    steps = begin(tmp_path, max_to_keep=1)
    commit(steps, tmp_path, 10)
    save(tmp_path, 20)
    unlink = os.unlink

    def refuse(path: str) -> None:
        if "model.ckpt-10" in path:
            raise OSError(number, os.strerror(number))
        unlink(path)

    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(WriteError) as caught:
        steps.commit(20)
    assert (caught.value.errno, caught.value.kind) == (number, kind)
    assert str(caught.value) == (
        f"{tmp_path}/model.ckpt-10.index: not removed: {os.strerror(number)}"
    )
    assert steps.is_committed(20)
    assert listed(tmp_path) == ["model.ckpt-20"]
    monkeypatch.undo()
    commit(steps, tmp_path, 30)
    assert names_of(tmp_path, 10) == {"ckpt.info-10"}
    assert names_of(tmp_path, 20) == {"ckpt.info-20"}


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only to root")
def test_a_read_only_directory(tmp_path: Path) -> None:
    steps = begin(tmp_path)
    commit(steps, tmp_path, 10)
    save(tmp_path, 20)
    tmp_path.chmod(0o555)
    try:
        for act in (steps.clear_uncommitted, lambda: steps.commit(20)):
            with pytest.raises(WriteError) as caught:
                act()
            assert caught.value.kind == "read_only"
    finally:
        tmp_path.chmod(0o755)
    assert steps.latest == 10


def test_a_disk_that_fails_is_no_empty_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the job would start anew, and clear all that it has."""
    commit(begin(tmp_path), tmp_path, 10)
    lstat = os.lstat

    def fail(path: str, **options: object) -> os.stat_result:
        if os.path.basename(path) == "checkpoint":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return lstat(path)

    monkeypatch.setattr(os, "lstat", fail)
    with pytest.raises(NotReadableError):
        CommittedSteps(tmp_path).restart()


def kill_at(monkeypatch: pytest.MonkeyPatch, count: int) -> list[str]:
    """Die before that removal or correction of a state file; returns what was done, by name."""
    done: list[str] = []

    def step(name: str) -> None:
        if len(done) == count:
            raise Killed
        done.append(name)

    remove, write = commits.remove, commits.write_input_state

    def removed(path: str) -> bool:
        step(os.path.basename(path))
        return remove(path)

    def written(directory: str, worker: int, latest: int | None) -> None:
        step(f"checkpoint_input_worker_{worker}")
        write(directory, worker, latest)

    monkeypatch.setattr(commits, "remove", removed)
    monkeypatch.setattr(commits, "write_input_state", written)
    return done


ORDER = [
    "model.ckpt-10.index",
    "input_worker_0.ckpt-10.index",
    "input_worker_1.ckpt-10.index",
    "checkpoint_input_worker_0",
    "checkpoint_input_worker_1",
    "input_worker_0.ckpt-10.data-00000-of-00001",
    "input_worker_1.ckpt-10.data-00000-of-00001",
    "model.ckpt-10.assets",
    "model.ckpt-10.data-00000-of-00001",
    "model.ckpt-10.meta",
    "ckpt.inputs-10",
]


def test_the_order_of_a_removal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = kill_at(monkeypatch, -1)
    commit(begin(tmp_path, max_to_keep=1), tmp_path, 10, 20)
    assert done == ORDER


@pytest.mark.parametrize("count", range(1, len(ORDER)))
def test_the_next_commit_finishes_a_killed_removal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    steps = begin(tmp_path, max_to_keep=1)
    commit(steps, tmp_path, 10)
    save(tmp_path, 20)
    with monkeypatch.context() as patch:
        kill_at(patch, count)
        with pytest.raises(Killed):
            steps.commit(20)
    assert open_model_dir(tmp_path).steps() == [20]
    steps = begin(tmp_path, max_to_keep=1)
    assert steps.latest == 20
    assert steps.clear_uncommitted() == []
    commit(steps, tmp_path, 30)
    assert names_of(tmp_path, 10) == {"ckpt.info-10"}
    assert names_of(tmp_path, 20) == {"ckpt.info-20"}
    for worker in (0, 1):
        state = state_of(tmp_path, f"checkpoint_input_worker_{worker}")
        assert state.all_model_checkpoint_paths == (f"input_worker_{worker}.ckpt-30",)


def test_a_commit_killed_before_the_first_removal_leaves_a_whole_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = begin(tmp_path, max_to_keep=1)
    commit(steps, tmp_path, 10)
    whole = names_of(tmp_path, 10)
    save(tmp_path, 20)
    with monkeypatch.context() as patch:
        kill_at(patch, 0)
        with pytest.raises(Killed):
            steps.commit(20)
    commit(begin(tmp_path, max_to_keep=1), tmp_path, 30)
    assert names_of(tmp_path, 10) == whole
    assert open_model_dir(tmp_path).steps() == [10, 30]


@pytest.mark.parametrize("count", range(12))
def test_clearing_that_is_killed_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    save(tmp_path, 10)  # a first save, given up: so the state files go as well
    with monkeypatch.context() as patch:
        kill_at(patch, count)
        with pytest.raises(Killed):
            begin(tmp_path).clear_uncommitted()
    begin(tmp_path).clear_uncommitted()
    assert names(tmp_path) == set()


def test_before_the_first_commit_only_steps_that_were_begun_are_cleared(tmp_path: Path) -> None:
    save_model(tmp_path, 5)  # somebody's only copy, whose `checkpoint` was lost
    steps = begin(tmp_path)
    steps.begin(10, "run")
    save_model(tmp_path, 10)
    save_inputs(tmp_path, 10, 1)
    begin(tmp_path).clear_uncommitted()
    assert {name.partition(".")[2] for name in os.listdir(tmp_path)} == {
        "ckpt-5.assets",
        "ckpt-5.data-00000-of-00001",
        "ckpt-5.index",
        "ckpt-5.meta",
    }


# --- a run that started over ----------------------------------------------------------------


def age(directory: Path, **seconds: float) -> None:
    """Give the files of steps (`s100=1000.0`) these times of modification."""
    for step, at in seconds.items():
        for path in directory.glob(f"*-{step.removeprefix('s')}*"):
            os.utime(path, (at, at))


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
