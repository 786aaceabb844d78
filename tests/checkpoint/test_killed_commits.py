"""Commits that are refused, and those of a chief that is killed."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from commit_support import (
    Killed,
    begin,
    commit,
    listed,
    names,
    names_of,
    save,
    save_inputs,
    save_model,
    state_of,
)

from monolith_cli.checkpoint import commits
from monolith_cli.checkpoint.commits import CommittedSteps
from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.errors import NotReadableError, WriteError
from monolith_cli.storage.local import LocalStore


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

    delete, write = LocalStore.delete, commits.write_input_state

    def deleted(store: LocalStore, path: str) -> bool:
        name = os.path.basename(path)
        if not name.startswith("checkpoint_input_worker_"):  # see below
            step(name)
        return delete(store, path)

    def written(directory: str, worker: int, latest: int | None) -> None:
        step(f"checkpoint_input_worker_{worker}")
        write(directory, worker, latest)

    monkeypatch.setattr(LocalStore, "delete", deleted)
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
