"""Saves that are asked for while the chief is in no step of its own, or in one that does not end.

The test's thread is the chief's: while it asks, it trains nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from absl import logging
from control_support import ADDRESS, Client, refused
from save_support import Job, chief, dense, listener, my_index, steps, workers
from tf_support import tensorflow
from waiting import eventually

POLL = 0.02


class Standing:
    """A chief that can be asked, with an input of its own."""

    def __init__(self, job: Job, directory: Path) -> None:
        self.job = job
        self.barrier: Any = None
        self.server: Any = None
        self.directory = directory

    def client(self) -> Client:
        return Client((self.directory / ADDRESS).read_text())

    def has_state(self, worker: int, step: int) -> bool:
        return (self.directory / f"input_worker_{worker}.ckpt-{step}.index").exists()


@contextmanager
def standing(
    directory: Path,
    *present: int,
    elements: int = 1000,
    in_run: Callable[[], object] | None = None,
    last_hooks: Any = (),
    add: Callable[[Standing], object] = lambda made: None,
    **options: Any,
) -> Iterator[Standing]:
    """Its session has been made, and has not run. The server's hook comes before all others."""
    from monolith_cli.training.barrier_ops import BarrierHook, BarrierOp
    from monolith_cli.training.ckpt_hooks import BarrierSaverListener, WorkerCkptHelper
    from monolith_cli.training.controller import ServerHook
    from monolith_cli.training.save_utils import NoFirstSaveCheckpointSaverHook

    tf = tensorflow()
    made = Standing(None, directory)  # type: ignore[arg-type]
    hooks: list[Any] = []

    def build(job: Job) -> dict[str, Any]:
        made.job = job
        count = len(present) + 1
        first = [] if in_run is None else [tf.py_function(in_run, [], tf.bool)]
        iterator = tf.compat.v1.data.make_one_shot_iterator(tf.data.Dataset.range(elements))
        with tf.control_dependencies(first):
            read = iterator.get_next()
        with tf.control_dependencies([read]):
            job.train_op = tf.group(job.step.assign_add(1), job.number.assign_add(1.0))
        saves = [
            WorkerCkptHelper(str(directory), index).create_save_iterator_callback()
            for index in range(count)
        ]
        made.barrier = BarrierOp(
            count,
            wait_seconds=POLL,
            barrier_callbacks=[lambda action, session: saves[my_index()](action, session)],
        )
        guard = BarrierSaverListener(made.barrier, POLL, 10)
        return {"guard_saver_listeners": [guard]}

    def hook(*arguments: Any, **named: Any) -> Any:
        saver = NoFirstSaveCheckpointSaverHook(*arguments, **named)
        made.server = ServerHook(directory, made.barrier, saver, allow_without_token=True)
        made.job.hooks.append(made.server)
        add(made)
        hooks.extend([*last_hooks, BarrierHook(0, made.barrier)])
        return saver

    options.setdefault("save_steps", 10**9)
    with (
        chief(directory, build=build, hook_class=hook, more_hooks=hooks, **options) as job,
        workers(job, made.barrier, *present),
    ):
        yield made
        job.hook.timer.update_last_triggered_step(job.at)  # no last save


def hook_of(**actions: Callable[[], object]) -> Any:
    """A hook that does what it is told when a session has been made."""

    class Hook(tensorflow().compat.v1.train.SessionRunHook):  # type: ignore[misc]
        def after_create_session(self, session: Any, coord: Any) -> None:
            actions["after_create_session"]()

    return Hook()


def test_the_five_methods_before_the_first_run(tmp_path: Path) -> None:
    with standing(tmp_path, 1) as made, made.client() as client:
        assert client("GetTrainingStatus").global_step == 0
        client("StopTraining")
        eventually(lambda: client("GetBlockStatus").blocked_indices == [0, 1])
        client("SaveCheckpoint", timeout=30)
        assert steps(tmp_path) == [0]
        assert made.has_state(0, 0)
        assert made.has_state(1, 0)
        client("ResumeTraining")
        eventually(lambda: client("GetBlockStatus").blocked_indices == [])
        made.job.train(2)
        assert made.job.at == 2


def test_nothing_is_saved_before_all_has_been_restored(tmp_path: Path) -> None:
    """A session is made, but some hook, the last one, has not yet restored what is its."""
    clients: list[Client] = []
    calls: list[Any] = []
    seen: list[Any] = []

    def restore() -> None:
        clients.append(Client((tmp_path / ADDRESS).read_text()))
        seen.append(clients[0]("GetTrainingStatus").global_step)
        calls.append(clients[0].start("SaveNow", timeout=30))
        time.sleep(6)  # longer than it waits for a run
        seen.extend([calls[0].done(), (tmp_path / "checkpoint").exists()])

    with standing(tmp_path, last_hooks=[hook_of(after_create_session=restore)]):
        assert seen == [0, False, False]
        assert calls[0].result().step == 0
    assert steps(tmp_path) == [0]
    clients[0].channel.close()


def test_nothing_is_saved_when_a_restore_has_failed(tmp_path: Path) -> None:
    calls: list[Any] = []
    clients: list[Client] = []

    def fail() -> None:
        clients.append(Client((tmp_path / ADDRESS).read_text()))
        calls.append(clients[0].start("SaveNow", timeout=3))
        raise ZeroDivisionError

    try:
        with standing(tmp_path, last_hooks=[hook_of(after_create_session=fail)]):
            raise AssertionError
    except ZeroDivisionError:  # its frames, and so the session, are alive meanwhile
        refused("UNAVAILABLE", calls[0].result)
        eventually(lambda: not (tmp_path / ADDRESS).exists())
        refused("UNAVAILABLE", lambda: clients[0]("GetInfo", timeout=2))
    clients[0].channel.close()
    assert not (tmp_path / "checkpoint").exists()


def test_the_input_is_dry(tmp_path: Path) -> None:
    tf = tensorflow()
    with standing(tmp_path, 1, elements=2) as made, made.client() as client:
        made.job.train(2)
        try:
            made.job.train()
        except tf.errors.OutOfRangeError:
            # The frames of that run are kept here, and it has ended all the same.
            began = time.monotonic()
            saved = client("SaveNow", require_all=True, timeout=30)
        assert time.monotonic() - began < 4
        assert (saved.step, saved.finished_workers, saved.unfinished_workers) == (2, [0, 1], [])
        assert dense(tmp_path, 2) == (2, 2.0)
        assert made.has_state(0, 2)


def test_a_dry_input_that_is_asked_again_and_again(tmp_path: Path) -> None:
    """No run ends well, and hardly any time is between two."""
    tf = tensorflow()
    savers: list[str] = []
    note = listener(before=lambda *_: savers.append(threading.current_thread().name))
    with standing(tmp_path, elements=2, listeners=[note]) as made, made.client() as client:
        made.job.train(2)
        call = client.start("SaveNow", require_all=True, timeout=30)
        end = time.monotonic() + 20
        while not call.done() and time.monotonic() < end:
            with pytest.raises(tf.errors.OutOfRangeError):
                made.job.train()
        assert call.result().finished_workers == [0]
        assert savers == [threading.current_thread().name]


def test_a_run_that_does_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()
    go.set()
    said: list[str] = []
    monkeypatch.setattr(logging, "warning", lambda text, *args, **_: said.append(text % args))

    with (
        ThreadPoolExecutor(1) as pool,
        standing(tmp_path, 1, in_run=lambda: go.wait(60)) as made,
        made.client() as client,
    ):
        try:
            made.job.train(2)
            go.clear()
            run = pool.submit(made.job.train)
            eventually(lambda: made.job.hook._on_demand._has_begun_run)
            began = time.monotonic()
            what = refused(
                "FAILED_PRECONDITION", lambda: client("SaveNow", require_all=True, timeout=30)
            )
            assert what == (
                "worker 0 has not saved its input: worker 0 is the chief, whose step has not ended"
            )
            assert 5 <= time.monotonic() - began < 20
            saved = client("SaveNow", timeout=30)
            assert (saved.step, saved.finished_workers, saved.unfinished_workers) == (2, [1], [0])
            assert not run.done()
        finally:
            go.set()
        run.result(20)
        assert made.job.at == 3
        assert dense(tmp_path, 2) == (2, 2.0)
        assert not made.has_state(0, 2)
        assert made.has_state(1, 2)
        assert client("SaveNow", require_all=True, timeout=30).finished_workers == [0, 1]
    assert "The chief's step has not ended: saving beside it, without its own input." in said


def test_a_chief_without_input_lacks_none(tmp_path: Path) -> None:
    """A save beside its run is whole."""
    from monolith_cli.training.barrier_ops import BarrierOp
    from monolith_cli.training.ckpt_hooks import BarrierSaverListener, WorkerCkptHelper

    go = threading.Event()

    def build(job: Job) -> dict[str, Any]:
        save = WorkerCkptHelper(str(tmp_path), 0).create_save_iterator_callback()
        barrier = BarrierOp(1, wait_seconds=POLL, barrier_callbacks=[save])
        waiting = tensorflow().py_function(lambda: go.wait(60), [], tensorflow().bool)
        with tensorflow().control_dependencies([waiting]):
            job.train_op = job.step.assign_add(1).op
        return {"guard_saver_listeners": [BarrierSaverListener(barrier, POLL)]}

    with ThreadPoolExecutor(1) as pool, chief(tmp_path, build=build, save_steps=100) as job:
        try:
            run = pool.submit(job.train)
            eventually(lambda: job.hook._on_demand._has_begun_run)
            result = job.hook.trigger_save(job.session, require_all=True, timeout_seconds=30)
            assert (result.step, result.unfinished_workers) == (0, ())
            assert not run.done()
        finally:
            go.set()
        run.result(20)


def test_the_next_step_waits_for_a_save_in_another_thread(tmp_path: Path) -> None:
    go, begun = threading.Event(), threading.Event()
    savers: list[str] = []

    def before(session: Any, step: int) -> None:
        savers.append(threading.current_thread().name)
        begun.set()
        go.wait(30)

    with (
        standing(tmp_path, listeners=[listener(before=before)]) as made,
        made.client() as client,
        ThreadPoolExecutor(1) as pool,
    ):
        made.job.train(1)
        call = client.start("SaveNow", timeout=30)
        assert begun.wait(10)
        run = pool.submit(made.job.train)
        time.sleep(0.5)
        assert made.job.at == 1
        assert not run.done()
        go.set()
        run.result(10)
        assert call.result().step == 1
        assert dense(tmp_path, 1) == (1, 1.0)
        assert made.job.at == 2
    assert savers != [threading.current_thread().name]


def test_saves_of_two_hooks_do_not_meet(tmp_path: Path) -> None:
    """One on time, after a run, while another thread saves beside it: it waits."""
    from monolith_cli.training.ckpt_hooks import BarrierSaverListener
    from monolith_cli.training.save_utils import NoFirstSaveCheckpointSaverHook

    go, begun, on = threading.Event(), threading.Event(), threading.Event()

    def before(session: Any, step: int) -> None:
        begun.set()
        on.wait(30)

    dense_hooks: list[Any] = []

    def add_dense(made: Standing) -> None:
        barrier = BarrierSaverListener(made.barrier, POLL, 1)
        dense_hooks.append(
            NoFirstSaveCheckpointSaverHook(
                str(tmp_path / "dense"),
                save_steps=1,
                saver=tensorflow().compat.v1.train.Saver(),
                is_dense_only=True,
                listeners=[barrier],
            )
        )
        made.job.hooks.append(dense_hooks[0])

    with (
        ThreadPoolExecutor(1) as pool,
        standing(
            tmp_path,
            in_run=lambda: go.wait(60),
            listeners=[listener(before=before)],
            add=add_dense,
        ) as made,
        made.client() as client,
    ):
        try:
            run = pool.submit(made.job.train)
            call = client.start("SaveNow", timeout=30)
            assert begun.wait(20)
            go.set()
            eventually(lambda: made.job.at == 1)
            time.sleep(0.3)
            assert not run.done()
            on.set()
            assert call.result().step == 0
            run.result(20)
        finally:
            on.set()
            go.set()
        assert dense_hooks[0].last_saved_step == 1


def test_a_guard_that_ends_the_training_does_so_from_another_thread(tmp_path: Path) -> None:
    stops = listener(after=lambda session, step: True)
    with standing(tmp_path, listeners=[stops]) as made, made.client() as client:
        made.job.train(1)
        assert client("SaveNow", timeout=30).step == 1
        assert not made.job.session.should_stop()
        made.job.train(1)
        assert made.job.session.should_stop()


def test_a_call_without_a_deadline_gets_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from monolith_cli.training.control import asked_saves

    assert asked_saves._DEADLINE_SECONDS == 600
    monkeypatch.setattr(asked_saves, "_DEADLINE_SECONDS", 0.3)
    said: list[str] = []

    def restore() -> None:  # the chief is not ready
        with Client((tmp_path / ADDRESS).read_text()) as client:
            call = client.start("SaveCheckpoint", timeout=None)
            eventually(call.done)
            said.append(call.details())

    with standing(tmp_path, last_hooks=[hook_of(after_create_session=restore)]):
        assert said == ["no checkpoint was saved within 0.2 s"]
