"""Saves that fail."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from save_support import (
    Job,
    chief,
    listener,
    no_space,
    of_step,
    steps,
    steps_or_none,
)
from tf_support import tensorflow

from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.errors import WriteError
from monolith_cli.storage import atomic

pytestmark = pytest.mark.usefixtures("threads_end")


def test_a_failed_save_is_tried_once_more(save: Any, tmp_path: Path) -> None:
    calls: list[str] = []
    failures = [1]

    def fail(session: Any, step: int) -> None:
        if failures:
            failures.pop()
            no_space()

    guards = [listener("outer", calls), listener("inner", calls)]
    listeners = [listener("l", calls, before=fail)]
    with chief(tmp_path, listeners=listeners, guard_saver_listeners=guards) as job:
        assert calls == ["l begin", "outer begin", "inner begin"]
        calls.clear()
        job.train(2)
        assert calls == [
            *("outer before 2", "inner before 2"),
            *("l before 2", "l before 2", "l after 2"),
            *("inner after 2", "outer after 2"),
        ]
        calls.clear()
    assert calls == ["l end 2", "outer end 2", "inner end 2"]
    assert steps(tmp_path) == [2]


def test_a_save_that_fails_twice_is_raised(save: Any, tmp_path: Path) -> None:
    calls: list[str] = []
    guards = [listener("guard", calls)]
    listeners = [listener("l", calls, before=no_space)]
    with (
        pytest.raises(tensorflow().errors.ResourceExhaustedError, match="no space"),
        chief(tmp_path, listeners=listeners, guard_saver_listeners=guards) as job,
    ):
        job.train(2)
    assert calls[2:] == ["guard before 2", "l before 2", "l before 2", "guard after 2"]
    assert steps_or_none(tmp_path) == []


@pytest.mark.parametrize("where", ["guard", "listener"])
def test_errors_are_ignored_if_asked(save: Any, tmp_path: Path, where: str) -> None:
    bad = [True]

    def fail(session: Any, step: int) -> None:
        if bad:
            no_space()

    key = "guard_saver_listeners" if where == "guard" else "listeners"
    calls: list[str] = []
    one = listener("l", calls, before=fail)
    with chief(tmp_path, ignore_save_errors=True, **{key: [one]}) as job:
        job.train(3)
        assert steps_or_none(tmp_path) == []
        assert job.hook.trigger_save(job.session, ignore_save_errors=True) is None
        with pytest.raises(tensorflow().errors.ResourceExhaustedError):
            job.hook.trigger_save(job.session)
        job.train(1)  # saves, and fails
        bad.clear()
    assert steps(tmp_path) == [4]  # at the end once more, for nothing has been trained since
    assert not job.hook.is_saving


def test_other_errors_are_not_tried_again(save: Any, tmp_path: Path) -> None:
    calls: list[str] = []

    def fail(session: Any, step: int) -> None:
        raise KeyError("a mistake")

    guards = [listener("outer", calls), listener("inner", calls, after=fail)]
    with (
        pytest.raises(KeyError),
        chief(
            tmp_path,
            listeners=[listener("l", calls, before=fail)],
            guard_saver_listeners=guards,
            ignore_save_errors=True,
        ) as job,
    ):
        job.train(2)
    assert calls[3:] == [
        *("outer before 2", "inner before 2", "l before 2", "inner after 2", "outer after 2")
    ]


@contextmanager
def file_size_limit(limit: int) -> Iterator[None]:
    """No file can grow beyond: a disk that is full for all but small ones."""
    import resource

    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


def big(job: Job) -> dict[str, Any]:
    v1 = tensorflow().compat.v1
    v1.get_variable("big", [1 << 18], initializer=v1.zeros_initializer())  # 1 MiB
    return {}


def test_a_full_disk_in_the_dense_variables(save: Any, tmp_path: Path) -> None:
    with chief(tmp_path, build=big, save_steps=100) as job:
        job.train(1)
        job.hook.trigger_save(job.session)
        job.train(1)
        with file_size_limit(100_000), pytest.raises(tensorflow().errors.OpError):
            job.hook.trigger_save(job.session)
        assert steps(tmp_path) == [1]
        assert not (tmp_path / "model.ckpt-2.index").exists()
        job.train(1)
    assert steps(tmp_path) == [1, 3]
    assert not of_step(tmp_path, 2)


@pytest.mark.parametrize("file", ["ckpt.inputs-2", "checkpoint", "monolith_checkpoint"])
def test_a_full_disk_at_a_small_file(
    save: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    from monolith_cli.training.saves import directory as save_directory

    calls: list[str] = []
    full = [True]
    write = atomic.atomic_write

    def atomic_write(path: str, data: bytes, **options: Any) -> None:
        calls.append(os.path.basename(path))
        if os.path.basename(path) == file and full and "l before 2" in calls:
            raise WriteError("not written: No space left on device", path=path, kind="no_space")
        write(path, data, **options)

    for module in (atomic, save_directory):
        monkeypatch.setattr(module, "atomic_write", atomic_write)
    with chief(tmp_path, save_steps=100, listeners=[listener("l", calls)]) as job:
        job.train(1)
        job.hook.trigger_save(job.session)
        job.train(1)
        if file == "monolith_checkpoint":  # comes after the commit
            assert job.hook.trigger_save(job.session).step == 2
            assert calls.count("l before 2") == 1
        else:
            with pytest.raises(WriteError, match="No space left"):
                job.hook.trigger_save(job.session)
            assert calls.count("l before 2") == 2
            assert steps(tmp_path) == [1]
            assert open_model_dir(tmp_path).checkpoint().step == 1
        full.clear()
        job.train(1)
    assert steps(tmp_path) == ([1, 2, 3] if file == "monolith_checkpoint" else [1, 3])


def test_a_directory_that_becomes_a_file(save: Any, tmp_path: Path) -> None:
    directory = tmp_path / "model"
    with chief(directory, save_steps=100) as job:
        job.train(1)
        shutil.rmtree(directory)
        directory.touch()
        with pytest.raises(WriteError, match="directory not made"):
            job.hook.trigger_save(job.session)
        directory.unlink()
        job.train(1)
    assert steps(directory) == [2]


def test_a_plain_session_takes_the_directory_as_it_is(save: Any, tmp_path: Path) -> None:
    with chief(tmp_path) as job:
        job.train(4)
    v1 = tensorflow().compat.v1
    job = Job(tmp_path)
    with job.graph.as_default(), v1.Session() as session:
        saver = v1.train.Saver(max_to_keep=2)
        hook = save.NoFirstSaveCheckpointSaverHook(str(tmp_path), save_steps=2, saver=saver)
        hook.begin()
        saver.restore(session, str(tmp_path / "model.ckpt-4"))
        session.run(job.train_op)
        assert hook.trigger_save(session).step == 5
    assert steps(tmp_path) == [4, 5]
    assert not of_step(tmp_path, 2)


def test_a_listener_cannot_save_inside_a_save(save: Any, tmp_path: Path) -> None:
    hooks: list[Any] = []

    def before(session: Any, step: int) -> None:
        hooks[0].trigger_save(session)

    results: list[Any] = []

    def after(session: Any, step: int) -> None:
        results.append(hooks[0].trigger_save(session))  # committed: that is fine

    with chief(tmp_path, save_steps=100, listeners=[listener(after=after)]) as job:
        hooks.append(job.hook)
        job.train(1)
        job.hook.trigger_save(job.session)
        assert [result.step for result in results] == [1]
        job.hook._listeners.append(listener(before=before))
        job.train(1)
        with pytest.raises(RuntimeError, match="a save is going on"):
            job.hook.trigger_save(job.session)
        job.hook._listeners.pop()
