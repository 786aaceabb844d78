"""Disks that fail while the positions of an input are saved."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from ckpt_hooks_support import STATE_FILES, Worker, names, save_steps
from input_support import files_of_at_most, numbers
from tf_support import renames, tensorflow

from monolith_cli.errors import UsageError


def wide() -> Any:
    zeros = tensorflow().zeros
    return numbers().map(lambda x: (x, zeros([50_000]))).shuffle(10)


def test_a_full_disk_leaves_nothing_and_the_next_save_succeeds(
    hooks: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    worker = Worker(hooks, tmp_path, wide)
    with worker.session() as session:
        session.run(worker.inputs[0].next)
        with files_of_at_most(100_000):
            assert worker.save(session, 10) is False
        assert "The input of worker 1 is not saved: " in caplog.text
        assert names(tmp_path) == []
        session.run(worker.inputs[0].next)
        assert worker.save(session, 10) is True
    assert names(tmp_path) == STATE_FILES


@pytest.mark.parametrize("which", range(3))
def test_no_rename(hooks: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: int) -> None:
    """The data, the index and the state file get their names one after the other."""
    save_steps(hooks, tmp_path, [2])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    done: list[str] = []
    replace = os.replace

    def failing(source: Any, target: Any) -> None:
        if len(done) == which:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done.append(target)
        replace(source, target)

    worker = Worker(hooks, tmp_path)
    with worker.session() as session:
        worker.inputs[0].take(session, 2)
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", failing)
            assert worker.save(session, 4) is False
        # A state is there whole, even where it is not listed, or not at all.
        if which < 2:
            assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
        assert not [name for name in names(tmp_path) if name.startswith(".")]
        assert worker.inputs[0].take(session) == [4]
        assert worker.save(session, 5) is True
    assert Worker(hooks, tmp_path).next() == [5]


def test_a_step_that_was_saved_before_is_never_half_of_each(
    hooks: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_steps(hooks, tmp_path, [2, 4])
    seen: list[list[str]] = []
    replace = os.replace

    def watching(source: Any, target: Any) -> None:
        seen.append([name for name in names(tmp_path) if "ckpt-4." in name and name[0] != "."])
        replace(source, target)

    worker = Worker(hooks, tmp_path)
    with worker.session() as session:
        worker.inputs[0].take(session, 3)
        monkeypatch.setattr(os, "replace", watching)
        assert worker.save(session, 4) is True
    # New data beside the old index would be a torn state, should the process die there.
    data = "input_worker_1.ckpt-4.data-00000-of-00001"
    assert seen[:2] == [[data], [data]]
    assert Worker(hooks, tmp_path).next() == [7]


def test_a_directory_that_cannot_be_made(
    hooks: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    worker = Worker(hooks, tmp_path / "file" / "model")
    with worker.session() as session:
        assert worker.save(session, 4) is False
        assert worker.inputs[0].take(session) == [0]
    assert "The input of worker 1 is not saved: " in caplog.text


def test_what_a_killed_process_left_goes_at_the_next_save(hooks: Any, tmp_path: Path) -> None:
    own, other = ".input_worker_1.ckpt-4.0a0b0c0d.tmp", ".input_worker_11.ckpt-4.0a0b0c0d.tmp"
    for name in (own, other):
        (tmp_path / name).mkdir()
        (tmp_path / name / "input_worker_1.ckpt-4.index").touch()
    assert Worker(hooks, tmp_path).next() == [0]
    save_steps(hooks, tmp_path, [10])
    assert names(tmp_path) == sorted([other, *STATE_FILES])


def test_a_session_that_is_lost_is_no_full_disk(
    hooks: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = tensorflow().errors.UnavailableError(None, None, "gone")
    worker = Worker(hooks, tmp_path)
    with worker.session() as session:
        monkeypatch.setattr(worker.helper._state, "save", lambda *_: (_ for _ in ()).throw(lost))
        with pytest.raises(tensorflow().errors.UnavailableError):
            worker.save(session, 4)
    assert names(tmp_path) == []


def test_what_is_renamed_is_on_disk_before(
    hooks: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(hooks, tmp_path)
    with worker.session() as session, renames(monkeypatch) as renamed:
        assert worker.save(session, 10) is True
    assert renamed == [(str(tmp_path / name), True) for name in STATE_FILES]


def test_a_url(hooks: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with tensorflow().Graph().as_default(), pytest.raises(UsageError, match="is a URL"):
        hooks.WorkerCkptHelper("hdfs://nn/model", 1)
    assert names(tmp_path) == []
