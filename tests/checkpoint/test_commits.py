"""What a chief's commits leave in the directory, whatever was there."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
import tf_support
from commit_support import (
    begin,
    commit,
    listed,
    names,
    names_of,
    save,
    save_inputs,
    save_model,
    state_of,
    write_state,
)

from monolith_cli.checkpoint.commits import CommittedSteps
from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.checkpoint.restart import RestartPoint, restart_point
from monolith_cli.errors import WriteError
from monolith_cli.storage.local import LocalStore

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
        patch.setattr(LocalStore, "delete", no_removal)
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


def no_removal(store: LocalStore, path: str) -> None:
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
