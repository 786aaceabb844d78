"""What callbacks at the barrier say, and are told; leases, times-to-live and runs."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from barrier_support import POLL, Boom, job, raise_boom
from tf_support import tensorflow
from waiting import eventually

# What callbacks say, and are told


def in_a_worker() -> bool:
    return threading.current_thread().name.startswith("w")


def test_a_callback_that_has_not_finished_is_not_acknowledged(ops: Any) -> None:
    with job(ops, capacity=2) as j:
        j.callback = lambda action, session: not (in_a_worker() and action == "Save")
        generation, _ = j.op.begin_request(j.session, "Save")
        j.worker(1)
        assert j.op.wait_until_acknowledged(j.session, generation, 0.3) == []
        # It stands, it is not asked again, and the other callbacks have run.
        assert j.op.is_all_blocked(j.session)
        assert j.op.get_unacknowledged_indices(j.session, generation) == [1]
        assert j.seen == j.last == ["MainThread Save", "w1 Save"]
        j.op.end_request(j.session)


def test_a_newer_generation_asks_again_who_has_not_finished(ops: Any) -> None:
    with job(ops, capacity=2, wait_seconds=0.005) as j:
        j.callback = lambda action, session: not in_a_worker()
        stop = j.op.place_barrier(j.session, "Stop")
        j.worker(1)
        eventually(lambda: j.last == ["MainThread Stop", "w1 Stop"])
        first, _ = j.op.begin_request(j.session, "Save")
        assert j.op.wait_until_acknowledged(j.session, first, 0.2) == []
        j.op.end_request(j.session)
        time.sleep(0.05)  # the placement's generation is open again
        j.callback = lambda action, session: None
        assert j.op.get_acknowledged_indices(j.session, stop) == []
        second, _ = j.op.begin_request(j.session, "Save")
        assert j.op.wait_until_acknowledged(j.session, second, 5) == [1]
        j.op.end_request(j.session)
        worker = [seen for seen in j.seen if seen.startswith("w1")]
        assert worker == ["w1 Stop", "w1 Save", "w1 Save"]


def test_who_has_not_finished_a_request_does_so_by_no_later_placement(ops: Any) -> None:
    with job(ops, capacity=2, wait_seconds=0.005) as j:
        j.callback = lambda action, session: action != "Save"
        generation, _ = j.op.begin_request(j.session, "Save")
        stop = j.op.place_barrier(j.session, "Stop")
        j.worker(1)
        close_request = j.op.close_request

        def closes_slowly(session: Any, closed: int) -> None:
            close_request(session, closed)
            eventually(lambda: j.op.get_acknowledged_indices(j.session, stop) == [1])

        j.op.close_request = closes_slowly
        assert j.op.wait_until_acknowledged(j.session, generation, 0.1) == []
        assert not j.op.has_chief_finished(j.session, generation)
        assert j.op.has_chief_finished(j.session, stop)
        j.op.end_request(j.session)


def test_whether_the_chief_has_finished(ops: Any) -> None:
    with job(ops) as j:
        first = j.op.place_barrier(j.session, "Stop")
        assert j.op.has_chief_finished(j.session, first)
        j.callback = lambda action, session: False
        second, _ = j.op.begin_request(j.session, "Save")
        assert j.last == ["MainThread Stop", "MainThread Save"]
        assert not j.op.has_chief_finished(j.session, second)
        assert j.op.has_chief_finished(j.session, first)
        j.op.end_request(j.session)
        j.callback = raise_boom
        with pytest.raises(Boom):
            j.op.begin_request(j.session, "Save")
        assert not j.op.has_chief_finished(j.session, second + 1)
        j.callback = lambda action, session: None
        third, _ = j.op.begin_request(j.session, "Save")
        assert j.op.has_chief_finished(j.session, third)
        assert not j.op.has_chief_finished(j.session, third + 1)
        # The chief is none of the workers.
        assert j.op.get_acknowledged_indices(j.session, third) == []
        assert j.op.get_unacknowledged_indices(j.session, third) == [1, 2]
        assert j.op.wait_until_acknowledged(j.session, third, 0) == []
        j.op.end_request(j.session)


def test_a_callback_knows_what_it_is_run_for(ops: Any) -> None:
    with job(ops, capacity=2) as j:
        told: list[Any] = []

        def callback(action: str, session: Any) -> None:
            aside: list[Any] = []
            thread = threading.Thread(target=lambda: aside.append(ops.running_request()))
            thread.start()
            thread.join(5)
            assert aside == [None]  # of another thread it says nothing
            told.append(ops.running_request())

        j.callback = callback
        assert ops.running_request() is None
        generation, _ = j.op.begin_request(j.session, "Save")
        stop = j.op.place_barrier(j.session, "Stop")
        j.worker(1)
        assert j.op.wait_until_acknowledged(j.session, generation, 5) == [1]
        j.op.end_request(j.session)
        assert j.op.wait_until_acknowledged(j.session, stop, 5) == [1]
        assert [running.generation for running in told] == [generation, stop, generation, stop]
        assert all(running.barrier_op is j.op for running in told)
        assert told[0] == ops.RunningRequest(j.op, generation)
        j.callback = raise_boom
        with pytest.raises(Boom):
            j.op.begin_request(j.session, "Save")
        assert ops.running_request() is None


# Leases and times-to-live


def test_workers_leave_when_the_lease_stands_still(ops: Any) -> None:
    with job(ops, capacity=2, lease_seconds=0.3) as j:
        generation = j.op.place_barrier(j.session, "Save")
        started = time.monotonic()
        thread = j.worker(1)
        assert j.op.wait_until_acknowledged(j.session, generation, 5) == [1]
        time.sleep(0.8)
        assert thread.is_alive()  # a living chief may hold it for longer than a lease
        j.op._chief_side.heartbeat.stop()
        thread.join(5)
        assert time.monotonic() - started < 3
        assert j.op.is_barrier_placed(j.session)
        assert j.op.get_blocked_indices(j.session) == [0]
        assert j.op.get_acknowledged_indices(j.session, generation) == []
        # It goes on past this placement until there is a sign of life.
        j.op.wait_until_barrier_removed(j.session, 1)
        time.sleep(3 * POLL)
        j.op.wait_until_barrier_removed(j.session, 1)
        j.op._state.raise_lease(j.session)
        time.sleep(2 * POLL)
        j.worker(1)
        eventually(lambda: 1 in j.op.get_blocked_indices(j.session))
        # Its steps in between are no part of that save.
        assert j.op.get_acknowledged_indices(j.session, generation) == []
        assert j.seen.count("w1 Save") == 1


def test_an_ignored_placement_and_a_new_one(ops: Any) -> None:
    with job(ops, capacity=2, lease_seconds=0.2) as j:
        j.op.place_barrier(j.session, "one")
        j.op._chief_side.heartbeat.stop()
        j.worker(1).join(5)
        j.op.remove_barrier(j.session)
        generation = j.op.place_barrier(j.session, "two")
        time.sleep(2 * POLL)
        j.worker(1)
        assert j.op.wait_until_acknowledged(j.session, generation, 5) == [1]


def test_the_chiefs_lease_counts(ops: Any) -> None:
    with job(ops, capacity=2, lease_seconds=0.2) as j:
        j.op.place_barrier(j.session)
        j.op.worker_side._lease_seconds = 1000.0  # as if the worker had been given another
        j.op._chief_side.heartbeat.stop()
        j.worker(1).join(5)
        assert j.op.get_blocked_indices(j.session) == [0]


def test_time_to_live(ops: Any) -> None:
    with job(ops, capacity=2) as j:
        assert not j.op.set_ttl(j.session, 1)
        j.op.place_barrier(j.session, ttl_seconds=0.2)
        assert 0 < j.op.expires_in_seconds <= 0.2
        thread = j.worker(1)
        thread.join(5)
        assert not thread.is_alive()
        assert j.op.is_none_blocked(j.session)
        assert j.op.expires_in_seconds is None
        j.op.place_barrier(j.session, ttl_seconds=60)
        assert j.op.set_ttl(j.session, 0.1)
        eventually(lambda: j.op.is_barrier_removed(j.session))


def test_a_time_to_live_that_ends_in_a_request(ops: Any) -> None:
    with job(ops) as j:
        j.op.place_barrier(j.session, ttl_seconds=0.1)
        j.op.begin_request(j.session, "Save")
        time.sleep(0.4)
        assert j.op.is_barrier_placed(j.session)
        j.op.end_request(j.session)
        assert j.op.is_none_blocked(j.session)


# Runs


def test_a_new_run_ends_a_placement(ops: Any) -> None:
    with job(ops, capacity=2) as j:
        assert j.op.run.get(j.session) == ("", 0)
        run = j.op.run.publish(j.session, 7)
        assert j.op.run.get(j.session) == (run, 7)
        j.op.place_barrier(j.session)
        thread = j.worker(1)
        eventually(lambda: j.op.is_all_blocked(j.session))
        j.op.run.empty(j.session)
        thread.join(5)
        assert not thread.is_alive()
        assert j.op.get_blocked_indices(j.session) == [0]
        assert j.op.run.publish(j.session, 8) != run


def test_the_hook_rebuilds_its_session_for_a_new_run(ops: Any) -> None:
    with job(ops, capacity=2) as j:
        j.op.run.publish(j.session, 7)
        hook = ops.BarrierHook(1, j.op)
        hook.after_create_session(j.session, None)
        j.op.run.publish(j.session, 7)
        j.op.place_barrier(j.session)
        with pytest.raises(tensorflow().errors.AbortedError, match="new run"):
            hook._wait(j.session)


def test_the_chief_ends_its_run_for_good(ops: Any) -> None:
    from monolith_cli.training.run_state import ENDED

    with job(ops, capacity=2) as j:
        j.op.run.publish(j.session, 7)
        hook = ops.BarrierHook(1, j.op)
        hook.after_create_session(j.session, None)
        j.op.run.end(j.session)
        assert j.op.run.get(j.session) == (ENDED, 7) == ("ended", 7)
        assert j.session.run([j.op.run.id_tensor, j.op.run.step_tensor]) == [b"ended", 7]
        j.op.place_barrier(j.session)
        # It neither waits nor makes another session, which would wait for a run.
        context = tensorflow().compat.v1.train.SessionRunContext(None, j.session)
        hook.after_run(context, tensorflow().compat.v1.train.SessionRunValues(True, None, None))
        assert context.stop_requested


def test_presence(ops: Any) -> None:
    from monolith_cli.training.run_state import ABSENT, INPUT_ENDED, TRAINING

    with job(ops) as j:
        assert j.op.run.get_presence(j.session) == [ABSENT, ABSENT, ABSENT] == [0, 0, 0]
        j.op.run.set_presence(j.session, 1, TRAINING)
        j.op.run.set_presence(j.session, 2, INPUT_ENDED)
        assert j.op.run.get_presence(j.session) == [0, 1, 2]
        j.op.run.set_presence(j.session, 1, ABSENT)
        assert j.op.run.get_presence(j.session) == [0, 0, 2]
        for index in (-1, 3):
            with pytest.raises(ValueError, match=f"index {index} .*capacity is 3"):
                j.op.run.set_presence(j.session, index, TRAINING)
        with pytest.raises(ValueError, match="presence 3"):
            j.op.run.set_presence(j.session, 1, 3)
        assert j.op.run.get_presence(j.session) == [0, 0, 2]
