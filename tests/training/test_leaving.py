"""How workers wait for the chief's last save, in one process: each is a thread with its session."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import forked
import pytest
from save_support import chief, workers
from tf_support import tensorflow
from waiting import eventually

from monolith_cli.errors import UnfinishedWorkersError, UnreachableError

POLL = 0.02
_servers: list[Any] = []


@pytest.fixture(scope="module")
def ops() -> Any:
    tensorflow()
    from monolith_cli.training import barrier_ops

    return barrier_ops


@pytest.fixture(scope="module")
def leaving(ops: Any) -> Any:
    from monolith_cli.training.barrier import leaving

    return leaving


class Process:
    """A graph with a barrier and its hook, and a session of its own at a common server."""

    def __init__(self, ops: Any, target: str, index: int, **options: Any) -> None:
        v1 = tensorflow().compat.v1
        self.graph = tensorflow().Graph()
        self.seen: list[str] = []
        self.error: BaseException | None = None
        with self.graph.as_default():
            self.op = ops.BarrierOp(
                3,
                is_chief=index == 0,
                wait_seconds=POLL,
                lease_seconds=options.pop("lease_seconds", 2),
                barrier_callbacks=[lambda action, session: self.seen.append(action)],
            )
            self.hook = ops.BarrierHook(index, self.op, **options)
            self.one = tensorflow().constant(1)
        self.session = v1.Session(target, graph=self.graph)
        if index == 0:
            with self.graph.as_default():
                self.session.run(v1.local_variables_initializer())
        self.coord = v1.train.Coordinator()

    def begin(self) -> None:
        self.hook.begin()
        self.hook.after_create_session(self.session, self.coord)

    def run(self) -> bool:
        """A step; whether it is the last one."""
        train = tensorflow().compat.v1.train
        context = train.SessionRunContext(None, self.session)
        args = self.hook.before_run(context)
        values = self.session.run(args.fetches) if args else None
        self.hook.after_run(context, train.SessionRunValues(values, None, None))
        return bool(context.stop_requested)

    def end_in_thread(self) -> threading.Thread:
        def end() -> None:
            try:
                self.hook.end(self.session)
            except BaseException as error:
                self.error = error

        thread = threading.Thread(target=end, daemon=True)
        thread.start()
        return thread


@contextmanager
def job(ops: Any, *indices: int, **options: Any) -> Iterator[list[Process]]:
    server = tensorflow().compat.v1.train.Server.create_local_server()
    _servers.append(server)  # nothing stops one
    made = [Process(ops, server.target, 0)]
    made += [Process(ops, server.target, index, **options) for index in indices]
    for process in made:
        process.begin()
    try:
        yield made
    finally:
        made[0].op.chief_end.close()
        made[0].op.reset(made[0].session)
        for process in made:
            process.session.close()


def ended(thread: threading.Thread, seconds: float = 10) -> bool:
    thread.join(seconds)
    return not thread.is_alive()


def counters(chief: Process) -> list[int]:
    return list(chief.op._leaving.get(chief.session))


# --- a worker that waits ----------------------------------------------------------------------


def test_it_stays_for_the_chief_and_stands_at_every_barrier(ops: Any) -> None:
    with job(ops, 1) as (first, worker):
        assert not worker.run()
        assert counters(first) == [0, 0, 0]
        thread = worker.end_in_thread()
        eventually(lambda: counters(first)[1] > 0)
        for action in ("Save", "again"):
            generation, _ = first.op.begin_request(first.session, action)
            began = time.monotonic()
            # Worker 2 is not there, and nobody says that it never will.
            assert first.op.wait_until_acknowledged(first.session, generation, 0.5) == [1]
            assert time.monotonic() - began >= 0.5
            first.op.end_request(first.session)
        assert worker.seen == ["Save", "again"]
        time.sleep(2.5)  # longer than the lease, as the chief lives
        assert thread.is_alive()
        first.hook.end(first.session)
        assert ended(thread)
        assert worker.error is None
        assert counters(first) == [0, -1, 0]


def test_it_stays_until_every_part_of_the_chief_has_ended(ops: Any) -> None:
    """Whatever the order of hooks: the save may come after the chief's BarrierHook."""
    from monolith_cli.training.ckpt_hooks import BarrierSaverListener

    with job(ops, 1) as (first, worker):
        with first.graph.as_default():
            listener = BarrierSaverListener(first.op, POLL, 0.5)
            listener.begin()
        thread = worker.end_in_thread()
        eventually(lambda: counters(first)[1] > 0)
        first.hook.end(first.session)
        generation, _ = first.op.begin_request(first.session, "Save")
        assert first.op.wait_until_acknowledged(first.session, generation, 0.5) == [1]
        first.op.end_request(first.session)
        assert thread.is_alive()
        listener.end(first.session, 7)
        assert ended(thread)
        assert worker.seen == ["Save"]


def test_who_has_left_is_waited_for_no_more(ops: Any) -> None:
    with job(ops, 1, 2, leave_after_seconds=0.1) as (first, one, two):
        assert ended(one.end_in_thread())
        assert ended(two.end_in_thread())
        generation, _ = first.op.begin_request(first.session, "Save")
        began = time.monotonic()
        assert first.op.wait_until_acknowledged(first.session, generation, 30) == []
        assert time.monotonic() - began < 5
        assert first.op.get_gone_indices(first.session) == [1, 2]
        first.op.end_request(first.session)
        one.begin()  # another process of it
        assert first.op.get_gone_indices(first.session) == [2]


def test_who_was_killed_while_it_waited_is_known_by_its_counter(ops: Any) -> None:
    with job(ops, 1) as (first, _):
        first.op._leaving.set(first.session, 1, 5)  # and is never raised again
        first.op._leaving.set(first.session, 2, -1)
        generation, _ = first.op.begin_request(first.session, "Save")
        began = time.monotonic()
        assert first.op.wait_until_acknowledged(first.session, generation, 30) == []
        assert 1.5 < time.monotonic() - began < 10
        first.op.end_request(first.session)


def test_it_does_not_stay_where_nobody_says_when_the_chief_has_ended(ops: Any) -> None:
    with job(ops, 1) as (first, worker):
        first.op._leaving.set_chief(first.session, 0)  # a chief without BarrierHook
        assert ended(worker.end_in_thread(), 5)
        assert worker.error is None


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_chief_and_worker_in_one_session(ops: Any, order: list[int]) -> None:
    with tensorflow().Graph().as_default():
        op = ops.BarrierOp(2, wait_seconds=POLL)
        hooks = [ops.BarrierHook(index, op) for index in order]
        one = tensorflow().constant(1)
        began = time.monotonic()
        with tensorflow().compat.v1.train.SingularMonitoredSession(hooks=hooks) as session:
            session.run(one)
        assert time.monotonic() - began < 10


def test_a_chief_that_has_ended_before(ops: Any, caplog: pytest.LogCaptureFixture) -> None:
    with job(ops, 1, 2) as (first, one, two):
        for process in (one, one, one, two):
            assert not process.run()
        first.hook.end(first.session)
        for process in (one, two):
            assert ended(process.end_in_thread())
            assert process.error is None
    assert "The chief has ended before worker 1" in caplog.text
    assert "before worker 2" not in caplog.text  # a step that may have been under way


def test_a_chief_that_dies(ops: Any) -> None:
    with job(ops, 1) as (first, worker):
        thread = worker.end_in_thread()
        eventually(lambda: counters(first)[1] > 0)
        first.op.chief_end.close()
        assert ended(thread)
        assert isinstance(worker.error, UnreachableError)
        assert "no sign of life of the chief for 2 s: its last save" in str(worker.error)


def test_a_chief_that_begins_anew(ops: Any) -> None:
    with job(ops, 1) as (first, worker):
        thread = worker.end_in_thread()
        eventually(lambda: counters(first)[1] > 0)
        time.sleep(0.5)
        first.op.chief_end.begin_session(first.session)
        assert ended(thread)
        assert isinstance(worker.error, UnreachableError)
        assert "the chief has begun a new run" in str(worker.error)


# --- a stop -----------------------------------------------------------------------------------


def test_all_end_after_the_last_save(ops: Any) -> None:
    with job(ops, 1, 2) as (first, one, two):
        assert not any(process.run() for process in (first, one, two))
        first.op.stop_all(first.session)
        assert first.run()
        assert not one.run()  # while nothing is saved
        generation, _ = first.op.begin_request(first.session, "Save")
        stops: list[bool] = []
        thread = threading.Thread(target=lambda: stops.append(one.run()))
        thread.start()
        assert first.op.wait_until_acknowledged(first.session, generation, 1) == [1]
        assert stops == []
        first.op.end_request(first.session)
        assert ended(thread)
        assert stops == [True]
        leaver = one.end_in_thread()
        eventually(lambda: counters(first)[1] > 0)
        first.hook.end(first.session)
        assert ended(leaver)
        # Worker 2 was in a long step: it learns of it now, without the chief.
        assert two.run()
        assert ended(two.end_in_thread())
        assert (one.error, two.error) == (None, None)
        # And one that comes later trains no step.
        one.begin()
        with pytest.raises(tensorflow().errors.OutOfRangeError, match="no step is trained"):
            one.run()
        assert one.coord.should_stop()


# --- limits -----------------------------------------------------------------------------------


def test_limits(leaving: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    find = leaving.Limits.find
    assert find(None, None) == (None, 20)
    assert find(3, 4) == (3, 4)
    monkeypatch.setenv("MONOLITH_LEAVE_AFTER_SECONDS", "7.5")
    monkeypatch.setenv("MONOLITH_SIGTERM_GRACE_SECONDS", "0")
    assert find(None, None) == (7.5, 0)
    assert find(0, 4) == (0, 4)
    for text in ("soon", "-1", "nan", "inf"):
        monkeypatch.setenv("MONOLITH_LEAVE_AFTER_SECONDS", text)
        with pytest.raises(ValueError, match="MONOLITH_LEAVE_AFTER_SECONDS"):
            find(None, None)
    with pytest.raises(ValueError, match="sigterm_grace_seconds"):
        find(1, -1)


def test_after_sigterm_it_waits_only_so_long(ops: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from monolith_cli.training.barrier import termination

    with job(ops, 1, sigterm_grace_seconds=1) as (first, worker):
        assert not worker.run()
        monkeypatch.setattr(termination, "_came_at", time.monotonic())
        assert worker.run()
        began = time.monotonic()
        assert ended(worker.end_in_thread())
        assert 0.5 < time.monotonic() - began < 5
        assert worker.error is None
        # At a barrier too, that somebody has placed and forgotten.
        first.op.place_barrier(first.session)
        worker.begin()
        with pytest.raises(tensorflow().errors.OutOfRangeError):
            worker.run()


PROGRAM = """
import os, signal, sys, threading, time
import tensorflow as tf
from monolith_cli.training.barrier_ops import BarrierHook, BarrierOp

v1 = tf.compat.v1
what = sys.argv[1]
if what == "own handler":
    signal.signal(signal.SIGTERM, lambda *_: print("own", flush=True))
op = BarrierOp(1)
one = tf.constant(1)
if what == "before":
    hook = BarrierHook(0, op)
    hook.begin()
    os.kill(os.getpid(), signal.SIGTERM)
    print("survived")
with v1.train.MonitoredSession(hooks=[BarrierHook(0, op)]) as session:
    session.run(one)
    os.kill(os.getpid(), signal.SIGTERM)
    if what == "twice":
        os.kill(os.getpid(), signal.SIGTERM)
        print("survived")
    session.run(one)
    print("stops", session.should_stop(), flush=True)
if what == "after":
    os.kill(os.getpid(), signal.SIGTERM)
    print("survived")
"""


@pytest.mark.parametrize(
    ("what", "code", "output"),
    [
        ("in a session", 0, "stops True\n"),
        ("own handler", 0, "own\nstops False\n"),
        ("before", -15, ""),
        ("twice", -15, ""),
        ("after", -15, "stops True\n"),
    ],
)
def test_sigterm(ops: Any, what: str, code: int, output: str) -> None:
    program = "import tensorflow as tf; tf.compat.v1.disable_eager_execution()\n" + PROGRAM
    done = forked.run(program, what)
    assert (done.returncode, done.stdout) == (code, output), done.stderr[-2000:]


# --- the chief's last save --------------------------------------------------------------------


# The worker's session is closed under it, as the chief's ends first.
@pytest.mark.filterwarnings(
    "ignore:Exception in thread worker-1:pytest.PytestUnhandledThreadExceptionWarning"
)
@pytest.mark.parametrize("ignore", [False, True])
def test_a_last_save_without_all_that_are_required(tmp_path: Path, ignore: bool) -> None:
    from contextlib import nullcontext

    from monolith_cli.training.barrier_ops import BarrierHook, BarrierOp
    from monolith_cli.training.ckpt_hooks import BarrierSaverListener

    more: list[Any] = []

    def build(job: Any) -> dict[str, Any]:
        job.op = BarrierOp(3, wait_seconds=POLL)
        more.append(BarrierHook(0, job.op))
        return {"guard_saver_listeners": [BarrierSaverListener(job.op, POLL, 0.3)]}

    expected: Any = nullcontext()
    if not ignore:
        expected = pytest.raises(UnfinishedWorkersError, match="worker 2 has not saved its input")
    with (
        expected,
        chief(
            tmp_path,
            build=build,
            more_hooks=more,
            save_steps=1000,
            require_all=True,
            ignore_save_errors=ignore,
        ) as job,
    ):
        job.train()
        others = workers(job, job.op, 1)
        others.__enter__()
        more.append(others)
    more[-1].__exit__(None, None, None)
    assert not (tmp_path / "checkpoint").exists()
