"""Saves with workers at a barrier, and saves that other threads ask for."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotDone
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from save_support import Job, Killed, chief, dense, listener, my_index, names, steps, workers
from tf_support import tensorflow

from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.errors import StepNotFoundError, UnfinishedWorkersError

pytestmark = pytest.mark.filterwarnings("ignore")
POLL = 0.02
PLACES = ["guard_saver_listeners", "listeners"]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    tensorflow()
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        # TensorFlow's writer of summaries lives as long as the process.
        if type(thread).__name__ != "_EventLoggerThread":
            thread.join(5)
            assert not thread.is_alive(), thread


@contextmanager
def job_with_barrier(
    directory: Path,
    *present: int,
    capacity: int = 2,
    place: str = "guard_saver_listeners",
    inputs: bool = False,
    callback: Callable[[str, Any], object] | None = None,
    tables: bool = False,
    lease_seconds: float = 30,
    max_pending_seconds: float = 10,
    listeners: Any = (),
    **options: Any,
) -> Iterator[Job]:
    """A chief, and those workers that are present. Saves are asked for, unless told otherwise."""
    from monolith_cli.training.barrier_ops import BarrierHook, BarrierOp
    from monolith_cli.training.ckpt_hooks import BarrierSaverListener, WorkerCkptHelper
    from monolith_cli.training.ckpt_info import FidSlotCountSaverListener
    from monolith_cli.training.hash_table import HashTable, HashTableCheckpointSaverListener

    more: list[Any] = []

    def build(job: Job) -> dict[str, Any]:
        callbacks = [callback] if callback else []
        if inputs:
            dataset = tensorflow().data.Dataset.range(100)
            job.next = tensorflow().compat.v1.data.make_one_shot_iterator(dataset).get_next()
            saves = [
                WorkerCkptHelper(directory, index).create_save_iterator_callback()
                for index in range(capacity)
            ]
            callbacks.append(lambda action, session: saves[my_index()](action, session))
        job.barrier_op = BarrierOp(
            capacity, wait_seconds=POLL, barrier_callbacks=callbacks, lease_seconds=lease_seconds
        )
        more.append(BarrierHook(0, job.barrier_op))
        job.barrier = BarrierSaverListener(job.barrier_op, POLL, max_pending_seconds)
        made = [listener(**one) if isinstance(one, dict) else one for one in listeners]
        if tables:
            HashTable("table", 1)
            made.insert(0, HashTableCheckpointSaverListener(directory / "model.ckpt"))
            made.insert(2, FidSlotCountSaverListener(str(directory)))
        if place == "listeners":
            return {"listeners": [job.barrier, *made]}
        guards = [job.barrier, *options.pop("guard_saver_listeners", ())]
        return {"listeners": made, "guard_saver_listeners": guards}

    options.setdefault("save_steps", 1000)
    with chief(directory, build=build, more_hooks=more, **options) as job:
        with workers(job, job.barrier_op, *present):
            yield job
        assert_let_go(job)


def assert_let_go(job: Job) -> None:
    """Neither a barrier nor its thread is left; nor does anybody stand there for long."""
    assert not job.barrier_op.is_barrier_placed(job.raw)
    assert job.barrier_op.open_generation(job.raw) == 0
    assert job.barrier_op._chief_side.heartbeat is None


def inputs_of(directory: Path, step: int) -> dict[str, bool]:
    said = json.loads((directory / f"ckpt.inputs-{step}").read_text())
    return {worker: entry["finished"] for worker, entry in said["workers"].items()}


def no_space(*_: Any) -> None:
    raise tensorflow().errors.ResourceExhaustedError(None, None, "no space")


# --- workers --------------------------------------------------------------------------------------


def test_the_order_of_a_save(tmp_path: Path) -> None:
    seen: list[tuple[str, set[str]]] = []

    def note(what: str, job: Job | None = None) -> Callable[..., None]:
        def act(*_: Any) -> None:
            known = {name for _, new in seen for name in new}
            seen.append((what, names(tmp_path) - known))

        return act

    with job_with_barrier(
        tmp_path,
        1,
        inputs=True,
        tables=True,
        listeners=[
            {"before": note("tables")},
            {"before": note("counts"), "after": note("committed")},
        ],
        guard_saver_listeners=[listener(before=note("inputs"), after=note("let go"))],
    ) as job:
        note("start")()
        job.session.run([job.train_op, job.next])
        result = job.hook.trigger_save(job.session)
    assert result == (1, str(tmp_path / "model.ckpt-1"), (0, 1), ())
    bundle = {".index", ".data-00000-of-00001"}
    assert [(what, new) for what, new in seen if what != "start"] == [
        (
            "inputs",
            {"ckpt.inputs-1"}
            | {f"input_worker_{i}.ckpt-1{end}" for i in (0, 1) for end in bundle}
            | {f"checkpoint_input_worker_{i}" for i in (0, 1)},
        ),
        ("tables", {"model.ckpt-1.assets"}),
        ("counts", {"ckpt.info-1"}),
        (
            "committed",
            {"checkpoint", "ckpt.manifest-1"}
            | {f"model.ckpt-1{end}" for end in bundle | {".meta"}},
        ),
        ("let go", set()),
    ]
    assert inputs_of(tmp_path, 1) == {"0": True, "1": True}


@pytest.mark.parametrize("place", PLACES)
def test_every_worker_stands_while_the_model_is_saved(tmp_path: Path, place: str) -> None:
    jobs: list[Job] = []
    blocked: list[bool] = []

    def before(session: Any, step: int) -> None:
        blocked.append(jobs[0].barrier_op.is_all_blocked(session))

    with job_with_barrier(
        tmp_path, 1, 2, capacity=3, place=place, listeners=[{"before": before}]
    ) as job:
        jobs.append(job)
        job.train(1)
        result = job.hook.trigger_save(job.session)
        assert (result.finished_workers, result.unfinished_workers) == ((1, 2), ())
        assert_let_go(job)
        job.train(1)
        assert job.hook.trigger_save(job.session).step == 2
    assert blocked == [True, True]


@pytest.mark.parametrize("place", PLACES)
def test_a_step_without_some_worker_is_committed_and_says_so(tmp_path: Path, place: str) -> None:
    with job_with_barrier(tmp_path, 1, capacity=3, place=place, max_pending_seconds=0.3) as job:
        job.train(1)
        result = job.hook.trigger_save(job.session)
        assert (result.finished_workers, result.unfinished_workers) == ((1,), (2,))
        assert job.hook.trigger_save(job.session) == result  # read back
        with pytest.raises(UnfinishedWorkersError, match=r"worker 2 has not saved"):
            job.hook.trigger_save(job.session, require_all=True)  # it is committed all the same
    assert steps(tmp_path) == [1]
    assert inputs_of(tmp_path, 1) == {"1": True, "2": False}


@pytest.mark.parametrize("place", PLACES)
def test_all_required(tmp_path: Path, place: str) -> None:
    dense_saves: list[int] = []
    with job_with_barrier(
        tmp_path,
        1,
        capacity=3,
        place=place,
        max_pending_seconds=0.3,
        require_all=True,
        save_steps=2,
        listeners=[{"before": lambda session, step: dense_saves.append(step)}],
    ) as job:
        job.train(2)  # a save on time is left out
        with pytest.raises(StepNotFoundError):
            open_model_dir(tmp_path).checkpoint()
        job.train(1)
        for ask in ({}, {"require_all": True}):
            with pytest.raises(UnfinishedWorkersError, match=r"worker 2 "):
                job.hook.trigger_save(job.session, **ask)
        assert job.hook.trigger_save(job.session, ignore_save_errors=True) is None
        assert_let_go(job)
        assert not (tmp_path / "checkpoint").exists()
        assert job.hook.last_saved_step is None
        assert dense_saves == []  # known right after the barrier, before anything else
        result = job.hook.trigger_save(job.session, require_all=False)
        assert (result.step, result.unfinished_workers) == (3, (2,))
    assert steps(tmp_path) == [3]
    assert not [name for name in names(tmp_path) if "-2" in name]


def test_a_worker_that_leaves_before_the_commit_is_unfinished(tmp_path: Path) -> None:
    jobs: list[Job] = []

    with job_with_barrier(
        tmp_path,
        1,
        capacity=2,
        lease_seconds=0.3,
        listeners=[{"before": lambda session, step: hold_up(jobs[0])}],
    ) as job:
        jobs.append(job)
        job.train(1)
        with pytest.raises(UnfinishedWorkersError):
            job.hook.trigger_save(job.session, require_all=True)
        assert not (tmp_path / "checkpoint").exists()
        assert_let_go(job)
        result = job.hook.trigger_save(job.session)
        assert (result.finished_workers, result.unfinished_workers) == ((), (1,))
    assert inputs_of(tmp_path, 1) == {"1": False}


def hold_up(job: Job) -> None:
    """Give no sign of life until the worker has left, as a chief that swaps would."""
    job.barrier_op._chief_side.heartbeat.stop()
    job.barrier_op.chief_end._heartbeat.stop()
    deadline = time.monotonic() + 10
    while 1 in job.barrier_op.get_blocked_indices(job.raw):
        assert time.monotonic() < deadline
        time.sleep(POLL)


def test_the_chiefs_own_input_counts(tmp_path: Path) -> None:
    bad = [True]

    def callback(action: str, session: Any) -> object:
        return not (bad and my_index() == 0)

    with job_with_barrier(tmp_path, 1, inputs=True, callback=callback) as job:
        job.train(1)
        with pytest.raises(UnfinishedWorkersError, match=r"worker 0 "):
            job.hook.trigger_save(job.session, require_all=True)
        assert job.hook.trigger_save(job.session).unfinished_workers == (0,)
        bad.clear()
        job.train(1)
        assert job.hook.trigger_save(job.session).finished_workers == (0, 1)
    assert inputs_of(tmp_path, 1) == {"0": False, "1": True}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("failures", [1, 2])
@pytest.mark.parametrize("ignore", [True, False])
def test_failures_leave_no_barrier(tmp_path: Path, place: str, failures: int, ignore: bool) -> None:
    left = [failures]

    def fail(session: Any, step: int) -> None:
        if left[0]:
            left[0] -= 1
            no_space()

    with job_with_barrier(tmp_path, 1, place=place, listeners=[{"before": fail}]) as job:
        job.train(1)
        if failures == 1:
            assert job.hook.trigger_save(job.session).step == 1
        elif ignore:
            assert job.hook.trigger_save(job.session, ignore_save_errors=True) is None
        else:
            with pytest.raises(tensorflow().errors.ResourceExhaustedError):
                job.hook.trigger_save(job.session)
        assert left == [0]
        assert_let_go(job)
        job.train(1)
        assert job.hook.trigger_save(job.session).finished_workers == (1,)
    assert steps(tmp_path) == ([1, 2] if failures == 1 else [2])


@pytest.mark.parametrize("place", PLACES)
def test_whatever_is_raised_leaves_no_barrier(tmp_path: Path, place: str) -> None:
    def kill(session: Any, step: int) -> None:
        raise Killed

    later: list[Any] = []
    with job_with_barrier(
        tmp_path,
        1,
        place=place,
        listeners=[{"before": lambda session, step: [one(session, step) for one in later]}],
    ) as job:
        job.train(1)
        later.append(kill)
        with pytest.raises(Killed):
            job.hook.trigger_save(job.session)
        assert_let_go(job)
        later.clear()
        assert job.hook.trigger_save(job.session).step == 1


@pytest.mark.parametrize("place", PLACES)
def test_a_listener_that_fails_after_the_commit_leaves_no_barrier(
    tmp_path: Path, place: str
) -> None:
    with job_with_barrier(tmp_path, 1, place=place, listeners=[{"after": no_space}]) as job:
        job.train(1)
        with pytest.raises(tensorflow().errors.ResourceExhaustedError):
            job.hook.trigger_save(job.session)
        assert_let_go(job)
        assert job.hook.trigger_save(job.session).step == 1


@pytest.mark.parametrize("place", PLACES)
def test_a_session_lost_in_a_save(tmp_path: Path, place: str) -> None:
    lost = [2]  # the second try is lost as well

    def lose(session: Any, step: int) -> None:
        if step == 4 and lost[0]:
            lost[0] -= 1
            raise tensorflow().errors.AbortedError(None, None, "a server is gone")

    calls: list[str] = []
    with job_with_barrier(
        tmp_path,
        place=place,
        capacity=1,
        save_steps=2,
        listeners=[{"name": "l", "calls": calls, "before": lose}],
    ) as job:
        job.train(4)  # back to 2, and one step again
        assert lost == [0]
        assert int(job.raw.run(job.step)) == 3
        assert_let_go(job)
        assert steps(tmp_path) == [2]
        job.train(1)
        assert steps(tmp_path) == [2, 4]
    assert calls == [
        *("l begin", "l before 2", "l after 2", "l before 4", "l before 4"),
        *("l before 4", "l after 4", "l end 4"),
    ]


# --- barriers of others ---------------------------------------------------------------------------


@pytest.mark.parametrize("place", PLACES)
def test_a_barrier_placed_during_a_save_outlives_it(tmp_path: Path, place: str) -> None:
    jobs: list[Job] = []
    actions: list[str] = []

    def before(session: Any, step: int) -> None:
        with ThreadPoolExecutor(1) as pool:  # as a controller's thread would
            pool.submit(jobs[0].barrier_op.place_barrier, session, "Stop").result(10)

    with job_with_barrier(
        tmp_path,
        1,
        place=place,
        listeners=[{"before": before}],
        callback=lambda action, session: actions.append(f"{my_index()} {action}"),
    ) as job:
        jobs.append(job)
        job.train(1)
        assert job.hook.trigger_save(job.session).finished_workers == (1,)
        assert job.barrier_op.is_barrier_placed(job.raw)
        wait_for(lambda: "1 Stop" in actions)
        job.barrier_op.remove_barrier(job.raw)
        assert_let_go(job)
    assert actions[:2] in (["0 Save", "1 Save"], ["1 Save", "0 Save"])
    assert sorted(actions[2:]) == ["0 Stop", "1 Stop"]


@pytest.mark.parametrize("place", PLACES)
def test_a_removal_during_a_save_takes_effect_after_it(tmp_path: Path, place: str) -> None:
    jobs: list[Job] = []
    placed: list[bool] = []

    def before(session: Any, step: int) -> None:
        op = jobs[0].barrier_op
        with ThreadPoolExecutor(1) as pool:
            pool.submit(op.remove_barrier, session).result(10)
        placed.append(op.is_barrier_placed(session))

    with job_with_barrier(tmp_path, 1, place=place, listeners=[{"before": before}]) as job:
        jobs.append(job)
        job.train(1)
        job.barrier_op.place_barrier(job.raw, "Stop")
        wait_for(lambda: job.barrier_op.is_all_blocked(job.raw))
        result = job.hook.trigger_save(job.session)  # reaches the workers that stand there
        assert result.finished_workers == (1,)
        assert placed == [True]
        assert_let_go(job)


def test_a_barrier_of_others_stays_after_a_save(tmp_path: Path) -> None:
    with job_with_barrier(tmp_path, 1) as job:
        job.train(1)
        job.barrier_op.place_barrier(job.raw, "Stop")
        assert job.hook.trigger_save(job.session).finished_workers == (1,)
        assert job.barrier_op.is_barrier_placed(job.raw)
        job.barrier_op.remove_barrier(job.raw)


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(POLL)


# --- other threads --------------------------------------------------------------------------------


@contextmanager
def threads(count: int = 4) -> Iterator[Callable[..., Future[Any]]]:
    """`ask(hook, session, ...)` in a thread; when it returns, the request is there or has ended."""
    with ThreadPoolExecutor(count) as pool:

        def ask(job: Job, **options: Any) -> Future[Any]:
            before = len(job.hook._on_demand._requests._waiting)
            future = pool.submit(job.hook.trigger_save, job.session, **options)
            wait_for(lambda: future.done() or len(job.hook._on_demand._requests._waiting) > before)
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
