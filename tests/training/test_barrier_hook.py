"""Hooks of sessions at the barrier, and what fails there."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from barrier_support import POLL, Boom, Job, job, raise_boom
from tf_support import tensorflow
from waiting import eventually


def monitored(graph: Any, hooks: list[Any]) -> Any:
    del graph
    return tensorflow().compat.v1.train.SingularMonitoredSession(hooks=hooks)


def test_hook(ops: Any) -> None:
    tf = tensorflow()
    with tf.Graph().as_default() as graph:
        op = ops.BarrierOp(2, wait_seconds=POLL)
        step = tf.compat.v1.get_variable("step", initializer=0)
        train = step.assign_add(1)
        with monitored(graph, [ops.BarrierHook(0, op), ops.BarrierHook(1, op)]) as session:
            raw = session.raw_session()
            session.run(train)
            op.place_barrier(session)  # a monitored session is taken for what is inside it
            thread = threading.Thread(target=session.run, args=(train,))
            thread.start()
            eventually(lambda: op.is_all_blocked(raw))
            time.sleep(3 * POLL)
            assert raw.run(step) == 2
            op.remove_barrier(raw)
            thread.join(5)
            session.run(train)
            assert op.is_none_blocked(raw)


def test_the_chief_never_blocks(ops: Any) -> None:
    tf = tensorflow()
    with tf.Graph().as_default() as graph:
        op = ops.BarrierOp(2, wait_seconds=POLL)
        constant = tf.constant(3)
        with monitored(graph, [ops.BarrierHook(0, op)]) as session:
            op.place_barrier(session.raw_session())
            assert session.run(constant) == 3
    eventually(lambda: not [t for t in threading.enumerate() if t.name == "barrier-lease"])


def first_run(hook: Any, session: Any) -> Any:
    """A session's first run, as far as the hook is in it; returns what it asks for."""
    hook.after_create_session(session, tensorflow().train.Coordinator())
    return hook.before_run(tensorflow().compat.v1.train.SessionRunContext(None, session))


def test_a_worker_that_comes_during_a_placement_waits_before_its_first_step(ops: Any) -> None:
    with job(ops, capacity=2) as j:
        hook = ops.BarrierHook(1, j.op)
        j.op.place_barrier(j.session, "Save")
        # Hooks that come later restore only now.
        hook.after_create_session(j.session, tensorflow().train.Coordinator())
        assert j.op.get_blocked_indices(j.session) == [0]
        assert j.seen == ["MainThread Save"]
        thread = threading.Thread(target=first_run, args=(hook, j.session), name="w1")
        thread.start()
        eventually(lambda: j.op.is_all_blocked(j.session))
        assert thread.is_alive()
        j.op.remove_barrier(j.session)
        thread.join(5)
        assert not thread.is_alive()
        assert j.seen == ["MainThread Save", "w1 Save"]


def test_a_worker_that_comes_back_leaves_what_the_one_before_has_finished(ops: Any) -> None:
    with job(ops, capacity=2) as j:
        generation = j.op.place_barrier(j.session, "Save")
        j.worker(1)
        eventually(lambda: j.op.get_acknowledged_indices(j.session, generation) == [1])
        # Dies here, and another process takes its place.
        ops.BarrierHook(1, j.op).after_create_session(j.session, None)
        assert j.op.get_acknowledged_indices(j.session, generation) == [1]


@pytest.mark.parametrize("first", ["barrier", "restorer"])
def test_a_worker_restores_before_it_stands_at_the_barrier(ops: Any, first: str) -> None:
    """In any order of hooks."""
    tf = tensorflow()
    with tf.Graph().as_default():
        seen: list[str] = []
        op = ops.BarrierOp(
            2, wait_seconds=POLL, barrier_callbacks=[lambda action, session: seen.append(action)]
        )

        class Restorer(tf.compat.v1.train.SessionRunHook):
            def after_create_session(self, session: Any, coord: Any) -> None:
                seen.append("restored")

        class Placer(tf.compat.v1.train.SessionRunHook):
            def after_create_session(self, session: Any, coord: Any) -> None:
                op._state.place(
                    session,
                    op._state.read(session).request._replace(
                        newest=5, generation=5, action="Save", lease_seconds=0.3
                    ),
                )

        constant = tf.constant(1)
        hooks = [ops.BarrierHook(1, op), Restorer()]
        with monitored(
            None, [Placer(), *(hooks if first == "barrier" else hooks[::-1])]
        ) as session:
            assert seen == ["restored"]
            session.run(constant)
            assert seen == ["restored", "Save"]


def test_a_barrier_that_a_hook_of_the_same_session_has_placed_stays(ops: Any) -> None:
    tf = tensorflow()
    with tf.Graph().as_default():
        op = ops.BarrierOp(2, wait_seconds=POLL)
        shall_place, shall_fail = [True, False], [True, False, False]

        class Placer(tf.compat.v1.train.SessionRunHook):
            def after_create_session(self, session: Any, coord: Any) -> None:
                if shall_place.pop(0):
                    op.place_barrier(session, "Save")

        class Fails(tf.compat.v1.train.SessionRunHook):
            def after_run(self, run_context: Any, run_values: Any) -> None:
                if shall_fail.pop(0):
                    raise tf.errors.AbortedError(None, None, "a server is lost")

        hooks = [Placer(), ops.BarrierHook(0, op), Fails()]
        constant = tf.constant(1)
        with tf.compat.v1.train.MonitoredSession(hooks=hooks) as session:
            raw = session._tf_sess()
            assert op.get_blocked_indices(raw) == [0]
            # The next session begins without it.
            session.run(constant)
            assert session._tf_sess() is not raw
            assert op.get_blocked_indices(session._tf_sess()) == []
    eventually(lambda: not [t for t in threading.enumerate() if t.name == "barrier-lease"])


def test_a_worker_that_died_at_the_barrier_starts_with_a_clear_element(ops: Any) -> None:
    with job(ops, capacity=2) as j:
        j.op._state.set(j.session, 1)
        ops.BarrierHook(1, j.op).after_create_session(j.session, None)
        assert j.op.is_none_blocked(j.session)


def test_the_chiefs_new_session_starts_without_a_barrier(ops: Any) -> None:
    with job(ops, capacity=2) as j:
        hook = ops.BarrierHook(0, j.op)
        j.op.place_barrier(j.session)
        j.op.begin_request(j.session, "Save")
        j.op._chief_side.heartbeat.session = None  # as of one that is lost
        hook.after_create_session(j.session, None)
        assert j.op.is_none_blocked(j.session)
        j.op.begin_request(j.session, "Save")
        hook.end(j.session)
        assert j.op.is_none_blocked(j.session)


def test_a_worker_that_ends_clears_its_element_alone(ops: Any) -> None:
    with job(ops) as j:
        j.op._state.set(j.session, 1)
        j.op._state.set(j.session, 2)
        hook = ops.BarrierHook(1, j.op)
        hook.end(j.session)
        hook.end(j.session)
        assert j.op.get_blocked_indices(j.session) == [2]


def test_a_worker_may_end_after_the_barrier_is_gone(ops: Any) -> None:
    with job(ops, capacity=2) as j:

        class Lost:
            def run(self, *args: Any) -> Any:
                raise tensorflow().errors.UnavailableError(None, None, "no server")

        ops.BarrierHook(1, j.op).end(Lost())


def test_a_callback_that_raises_leaves_nothing_behind(ops: Any) -> None:
    with job(ops, capacity=2) as j:
        j.callback = raise_boom
        with pytest.raises(Boom):
            j.op.place_barrier(j.session)
        assert j.op.is_none_blocked(j.session)
        with pytest.raises(Boom):
            j.op.begin_request(j.session, "Save")
        assert j.op.is_none_blocked(j.session)
        j.callback = lambda action, session: None
        generation = j.op.place_barrier(j.session)
        j.callback = raise_boom
        with pytest.raises(Boom):
            j.op.wait_until_barrier_removed(j.session, 1)
        assert j.op.get_blocked_indices(j.session) == [0]
        with pytest.raises(Boom):
            j.op.begin_request(j.session, "Save")
        assert j.op.is_barrier_placed(j.session)  # somebody else's
        assert j.op.get_acknowledged_indices(j.session, generation) == []
    eventually(lambda: not [t for t in threading.enumerate() if t.name == "barrier-lease"])


def test_a_session_that_dies_inside_the_wait(ops: Any) -> None:
    j = Job(ops, capacity=2, lease_seconds=0.2)
    j.op.place_barrier(j.session)
    raised: list[BaseException] = []

    def wait() -> None:
        try:
            j.op.wait_until_barrier_removed(j.session, 1)
        except (RuntimeError, tensorflow().errors.CancelledError) as error:
            raised.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    eventually(lambda: j.op.is_all_blocked(j.session))
    j.session.close()
    thread.join(5)
    assert len(raised) == 1
    eventually(lambda: not [t for t in threading.enumerate() if t.name == "barrier-lease"])


def test_it_says_at_once_and_then_every_minute_that_it_waits(
    ops: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    said: list[str] = []
    monkeypatch.setattr("absl.logging.info", lambda text, *args: said.append(text % args))
    monkeypatch.setattr("monolith_cli.training.barrier.worker_side._LOG_SECONDS", 0.2)
    with job(ops, capacity=2) as j:
        j.op.place_barrier(j.session)
        j.worker(1)
        time.sleep(0.5)
    assert said[:2] == [
        "Worker 1 waits until the barrier is removed.",
        "Worker 1 still waits until the barrier is removed.",
    ]
    assert len(said) <= 4
