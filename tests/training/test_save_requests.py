"""Saves that other threads ask for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotDone
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from save_barrier_support import job_with_barrier
from save_support import (
    Job,
    Killed,
    chief,
    dense,
    listener,
    no_space,
)
from tf_support import tensorflow
from waiting import eventually

from monolith_cli.errors import UnfinishedWorkersError

pytestmark = pytest.mark.usefixtures("threads_end")


@contextmanager
def threads(count: int = 4) -> Iterator[Callable[..., Future[Any]]]:
    """`ask(hook, session, ...)` in a thread; when it returns, the request is there or has ended."""
    with ThreadPoolExecutor(count) as pool:

        def ask(job: Job, **options: Any) -> Future[Any]:
            before = len(job.hook._on_demand._requests._waiting)
            future = pool.submit(job.hook.trigger_save, job.session, **options)
            eventually(
                lambda: future.done() or len(job.hook._on_demand._requests._waiting) > before
            )
            return future

        yield ask


def test_a_request_waits_for_the_chiefs_step(tmp_path: Path) -> None:
    savers: list[str] = []
    with (
        threads() as ask,
        job_with_barrier(
            tmp_path,
            1,
            listeners=[
                {"before": lambda session, step: savers.append(threading.current_thread().name)}
            ],
        ) as job,
    ):
        job.train(1)
        future = ask(job)
        with pytest.raises(NotDone):
            future.result(0.3)
        assert not (tmp_path / "checkpoint").exists()
        job.train(1)
        assert future.result(10) == (2, str(tmp_path / "model.ckpt-2"), (1,), ())
        assert dense(tmp_path, 2) == (2, 2.0)
        assert savers == [threading.current_thread().name]


def test_several_at_once_share_a_save(tmp_path: Path) -> None:
    calls: list[str] = []
    with threads() as ask, chief(tmp_path, save_steps=3, listeners=[listener("l", calls)]) as job:
        futures = [ask(job) for _ in range(3)]
        job.train(1)
        assert [future.result(10).step for future in futures] == [1, 1, 1]
        job.train(1)
        futures = [ask(job) for _ in range(2)]
        job.train(1)  # a save on time serves them
        assert [future.result(10).step for future in futures] == [3, 3]
    assert [call for call in calls if "before" in call] == ["l before 1", "l before 3"]


def test_errors_reach_the_one_who_asks_and_not_the_training(tmp_path: Path) -> None:
    bad: list[Any] = [no_space]

    def fail(session: Any, step: int) -> None:
        for one in bad:
            one()

    with (
        threads() as ask,
        chief(tmp_path, save_steps=100, listeners=[listener(before=fail)]) as job,
    ):
        first, ignoring = ask(job), ask(job, ignore_save_errors=True)
        job.train(1)
        with pytest.raises(tensorflow().errors.ResourceExhaustedError):
            first.result(10)
        assert ignoring.result(10) is None

        def mistake() -> None:
            raise KeyError("a mistake")

        bad[:] = [mistake]
        future = ask(job)
        job.train(1)
        with pytest.raises(KeyError):
            future.result(10)
        bad.clear()
        future = ask(job)
        job.train(1)
        assert future.result(10).step == 3


def test_unfinished_workers_reach_the_one_who_asks(tmp_path: Path) -> None:
    with threads() as ask, job_with_barrier(tmp_path, max_pending_seconds=0.2) as job:
        strict, lenient, ignoring = (
            ask(job, require_all=True),
            ask(job),
            ask(job, require_all=True, ignore_save_errors=True),
        )
        job.train(1)
        with pytest.raises(UnfinishedWorkersError):
            strict.result(10)
        assert lenient.result(10).unfinished_workers == (1,)
        assert ignoring.result(10) is None


def test_a_request_whose_time_is_over(tmp_path: Path) -> None:
    with threads() as ask, chief(tmp_path, save_steps=100) as job:
        job.train(1)
        began = time.monotonic()
        future = ask(job, timeout_seconds=0.3)
        with pytest.raises(TimeoutError, match=r"no checkpoint was saved within 0\.3 s"):
            future.result(10)
        assert 0.3 <= time.monotonic() - began < 1.5
        assert ask(job, timeout_seconds=0, ignore_save_errors=True).result(10) is None
        job.train(1)
        assert not (tmp_path / "checkpoint").exists()  # what is given up is not saved


def test_requests_at_the_end_of_a_session(tmp_path: Path) -> None:
    with threads() as ask:
        with chief(tmp_path, save_steps=100) as job:
            job.train(1)
            future = ask(job)
        assert future.result(10).step == 1  # the save at the end is theirs
        late = ask(job)  # and later there is none
        with pytest.raises(tensorflow().errors.AbortedError, match="the session has ended"):
            late.result(10)
        with pytest.raises(tensorflow().errors.AbortedError, match="the session has ended"):
            job.hook.trigger_save(job.session)
        assert ask(job, ignore_save_errors=True).result(10) is None


def test_a_request_when_the_last_save_fails(tmp_path: Path) -> None:
    futures: list[Future[Any]] = []

    def train(ask: Callable[..., Future[Any]]) -> None:
        with chief(tmp_path, save_steps=100, listeners=[listener(before=no_space)]) as job:
            job.train(1)
            futures.append(ask(job))

    with threads() as ask:
        with pytest.raises(tensorflow().errors.ResourceExhaustedError):
            train(ask)
        with pytest.raises(tensorflow().errors.AbortedError, match="the session has ended"):
            futures[0].result(10)


def test_a_request_when_the_session_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from monolith_cli.training.saves import requests as save_requests

    monkeypatch.setattr(save_requests, "_GRACE_SECONDS", 0.5)
    futures: list[Future[Any]] = []

    def train(ask: Callable[..., Future[Any]]) -> None:
        with chief(tmp_path, save_steps=100) as job:
            jobs.append(job)
            futures.append(ask(job))
            raise KeyError("a mistake in the training loop")

    jobs: list[Job] = []
    with threads() as ask:
        with pytest.raises(KeyError):
            train(ask)
        for future in (futures[0], ask(jobs[0])):
            with pytest.raises(tensorflow().errors.AbortedError, match="the session has ended"):
                future.result(10)


def test_a_request_when_the_thread_that_trains_is_gone(tmp_path: Path) -> None:
    made: list[Job] = []
    asked, trained = threading.Event(), threading.Event()

    def train() -> None:
        try:
            with chief(tmp_path, save_steps=100) as job:
                made.append(job)
                trained.set()
                asked.wait(10)
                job.hook._on_demand._requests._coord = None  # nothing else tells
                raise KeyError
        except KeyError:
            pass

    thread = threading.Thread(target=train)
    thread.start()
    trained.wait(30)
    with threads() as ask:
        future = ask(made[0])
        asked.set()
        thread.join()
        with pytest.raises(tensorflow().errors.AbortedError):
            future.result(10)


def test_a_request_outlives_a_recovery(tmp_path: Path) -> None:
    tf = tensorflow()

    class AbortOnce(tf.compat.v1.train.SessionRunHook):  # type: ignore[misc]
        due = True

        def before_run(self, run_context: Any) -> None:
            if self.due:
                self.due = False
                raise tf.errors.AbortedError(None, None, "once")

    with threads() as ask, chief(tmp_path, save_steps=100, more_hooks=[AbortOnce()]) as job:
        future = ask(job)
        job.train(1)
        assert future.result(10).step == 1


def test_a_request_and_a_session_lost_in_its_save(tmp_path: Path) -> None:
    tf = tensorflow()
    lost = [2]

    def lose(session: Any, step: int) -> None:
        if lost[0]:
            lost[0] -= 1
            raise tf.errors.UnavailableError(None, None, "a server is gone")

    with (
        threads() as ask,
        job_with_barrier(tmp_path, capacity=1, listeners=[{"before": lose}]) as job,
    ):
        first, second = ask(job), ask(job)
        job.train(1)  # recovers: a training loop sees nothing of it
        for future in (first, second):
            with pytest.raises(tf.errors.UnavailableError):
                future.result(10)
        future = ask(job)
        job.train(1)
        assert future.result(10).step == int(job.raw.run(job.step))


def test_killed_in_a_save_that_was_asked_for(tmp_path: Path) -> None:
    def kill(session: Any, step: int) -> None:
        raise Killed

    futures: list[Future[Any]] = []

    def train(ask: Callable[..., Future[Any]]) -> None:
        with chief(tmp_path, save_steps=100, listeners=[listener(before=kill)]) as job:
            futures.append(ask(job))
            job.train(1)

    with threads() as ask:
        with pytest.raises(Killed):
            train(ask)
        with pytest.raises(tensorflow().errors.AbortedError):
            futures[0].result(10)


def test_a_stop_that_a_requested_save_wants(tmp_path: Path) -> None:
    stops = listener(after=lambda session, step: True)
    with threads() as ask, chief(tmp_path, save_steps=100, listeners=[stops]) as job:
        future = ask(job)
        job.train(1)
        assert job.session.should_stop()
        assert future.result(10).step == 1


def test_saves_in_a_plain_session_from_many_threads(tmp_path: Path) -> None:
    from monolith_cli.training.save_utils import NoFirstSaveCheckpointSaverHook

    v1 = tensorflow().compat.v1
    calls: list[str] = []
    job = Job(tmp_path)
    with job.graph.as_default(), v1.Session() as session:
        hook = NoFirstSaveCheckpointSaverHook(
            str(tmp_path),
            save_steps=100,
            saver=v1.train.Saver(),
            listeners=[listener("l", calls, before=lambda *_: time.sleep(0.05))],
        )
        hook.begin()
        session.run([v1.global_variables_initializer(), v1.local_variables_initializer()])
        session.run(job.train_op)
        with ThreadPoolExecutor(4) as pool:
            futures = [pool.submit(hook.trigger_save, session) for _ in range(4)]
            assert {future.result(20).step for future in futures} == {1}
    assert calls == ["l begin", "l before 1", "l after 1"]
