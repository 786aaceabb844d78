"""The barrier in one process: threads and plain or monitored sessions."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tf_support import tensorflow

from monolith_cli.errors import UsageError

pytestmark = pytest.mark.filterwarnings("ignore")
POLL = 0.02


@pytest.fixture(scope="module")
def ops() -> Any:
    tensorflow()
    from monolith_cli.training import barrier_ops

    return barrier_ops


class Job:
    """A barrier and a session on it, with whatever callbacks saw."""

    def __init__(self, ops: Any, capacity: int = 3, **options: Any) -> None:
        tf = tensorflow()
        self.seen: list[str] = []
        self.callback: Callable[[str, Any], object] = lambda action, session: None
        self.last: list[str] = []  # as a second callback saw it
        self.graph = tf.Graph()
        with self.graph.as_default():
            self.op = ops.BarrierOp(
                capacity,
                wait_seconds=options.pop("wait_seconds", POLL),
                barrier_callbacks=[self._called, self._called_last],
                **options,
            )
            self.session = tf.compat.v1.Session(graph=self.graph)
            self.session.run(tf.compat.v1.local_variables_initializer())
            self.graph.finalize()
        self.threads: list[threading.Thread] = []

    def _called(self, action: str, session: Any) -> object:
        self.seen.append(f"{threading.current_thread().name} {action}")
        return self.callback(action, session)

    def _called_last(self, action: str, session: Any) -> object:
        self.last.append(f"{threading.current_thread().name} {action}")
        return 0  # equals False, and is not

    def worker(self, index: int) -> threading.Thread:
        """A thread that stands at the barrier, as worker `index`."""
        thread = threading.Thread(
            target=self.op.wait_until_barrier_removed, args=(self.session, index), name=f"w{index}"
        )
        thread.start()
        self.threads.append(thread)
        return thread

    def close(self) -> None:
        self.op.reset(self.session)
        for thread in self.threads:
            thread.join(5)
            assert not thread.is_alive()
        self.session.close()


@contextmanager
def job(ops: Any, **options: Any) -> Iterator[Job]:
    made = Job(ops, **options)
    try:
        yield made
    finally:
        made.close()


def eventually(condition: Callable[[], object], seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def test_place_and_remove(ops: Any) -> None:
    with job(ops) as j:
        assert j.op.is_barrier_removed(j.session)
        j.op.place_barrier(j.session, "Stop")
        assert j.op.is_barrier_placed(j.session)
        assert j.op.get_blocked_indices(j.session) == [0]
        assert j.op.get_unblocked_indices(j.session) == [1, 2]
        with pytest.raises(ops.BarrierAlreadyPlacedError, match="Stop"):
            j.op.place_barrier(j.session)
        j.op.remove_barrier(j.session)
        j.op.remove_barrier(j.session)
        assert j.op.is_none_blocked(j.session)
        assert j.op.capacity == 3
        assert j.seen == ["MainThread Stop"]


def test_workers_stand_until_it_is_removed(ops: Any) -> None:
    with job(ops) as j:
        j.op.place_barrier(j.session, "Save")
        threads = [j.worker(1), j.worker(2)]
        eventually(lambda: j.op.is_all_blocked(j.session))
        assert j.op.get_unblocked_indices(j.session) == []
        time.sleep(3 * POLL)
        assert all(thread.is_alive() for thread in threads)
        j.op.remove_barrier(j.session)
        for thread in threads:
            thread.join(5)
        assert j.op.is_none_blocked(j.session)
        assert sorted(j.seen) == ["MainThread Save", "w1 Save", "w2 Save"]


def test_removed_before_the_worker_looks(ops: Any) -> None:
    with job(ops) as j:
        j.op.place_barrier(j.session, "Save")
        j.op.remove_barrier(j.session)
        j.op.wait_until_barrier_removed(j.session, 1)
        assert j.seen == ["MainThread Save"]
        assert j.op.is_none_blocked(j.session)


@pytest.mark.parametrize("index", [-1, 0, 3, 4])
def test_index_outside(ops: Any, index: int) -> None:
    with job(ops) as j, pytest.raises(ValueError, match=rf"index {index} .*capacity 3"):
        j.op.wait_until_barrier_removed(j.session, index)


def test_arguments(ops: Any) -> None:
    with tensorflow().Graph().as_default():
        with pytest.raises(ValueError, match="capacity"):
            ops.BarrierOp(0)
        with pytest.raises(ValueError, match="wait_seconds"):
            ops.BarrierOp(1, wait_seconds=-1)
        with pytest.raises(ValueError, match="lease_seconds"):
            ops.BarrierOp(1, lease_seconds=0)
        op = ops.BarrierOp(2)
        for index in (-1, 2):
            with pytest.raises(ValueError, match=f"index {index} .*capacity is 2"):
                ops.BarrierHook(index, op)


def test_a_second_barrier_of_a_prefix(ops: Any) -> None:
    with tensorflow().Graph().as_default():
        ops.BarrierOp(2)
        with pytest.raises(
            UsageError, match="there is a barrier 'default_barrier_op' in this graph"
        ):
            ops.BarrierOp(2)
        ops.BarrierOp(2, name_prefix="other")
    with tensorflow().Graph().as_default():
        ops.BarrierOp(2)


@pytest.mark.parametrize("scope", ["name_scope", "variable_scope"])
def test_a_barrier_inside_a_scope(ops: Any, scope: str) -> None:
    """Its variables would be called otherwise than in processes that make it elsewhere."""
    v1 = tensorflow().compat.v1
    with tensorflow().Graph().as_default(), getattr(v1, scope)("tower"):
        with pytest.raises(UsageError, match="a barrier inside the name scope 'tower'"):
            ops.BarrierOp(2)
        assert not v1.local_variables()


@pytest.mark.parametrize("ttl", [0, -1.0, float("nan")])
def test_bad_time_to_live(ops: Any, ttl: float) -> None:
    with job(ops) as j:
        with pytest.raises(ValueError, match="ttl_seconds"):
            j.op.place_barrier(j.session, ttl_seconds=ttl)
        assert j.op.is_none_blocked(j.session)


@pytest.mark.parametrize("is_chief", [True, False])
def test_names_and_collections(ops: Any, is_chief: bool) -> None:
    v1 = tensorflow().compat.v1
    with tensorflow().Graph().as_default() as graph:
        ops.BarrierOp(4, is_chief=is_chief)
        second = ops.BarrierOp(2, is_chief=is_chief, name_prefix="other")
        local, everywhere = v1.local_variables(), v1.global_variables()
        mine, empty = (local, everywhere) if is_chief else (everywhere, local)
        names = {variable.op.name for variable in mine}
        assert "default_barrier_op/barrier_var" in names
        assert "other_barrier_op/barrier_op_action" in names
        assert len(names) == 22
        assert not empty
        assert not v1.trainable_variables()
        graph.get_tensor_by_name("default_barrier_op/index_placeholder:0")
        graph.get_tensor_by_name("default_barrier_op/barrier_op_action_placeholder:0")
        assert second.barrier_placed_tensor.shape == []


def test_variables_are_on_the_first_server(ops: Any) -> None:
    v1 = tensorflow().compat.v1
    devices = []
    for before in (0, 1):
        setter = v1.train.replica_device_setter(ps_tasks=2, worker_device="/job:worker/task:1")
        with tensorflow().Graph().as_default(), v1.device(setter):
            for number in range(before):
                v1.Variable(0.0, name=f"v{number}")
            ops.BarrierOp(2)
            devices += [variable.device for variable in v1.local_variables()]
    assert set(devices) == {"/job:ps/task:0/device:CPU:0"}
    with tensorflow().Graph().as_default(), v1.device("/job:ps/task:1"):
        ops.BarrierOp(2)
        assert {variable.device for variable in v1.local_variables()} == {
            "/job:ps/task:1/device:CPU:0"
        }


def test_callbacks_run_one_at_a_time_and_do_not_hold_up_the_removal(ops: Any) -> None:
    with job(ops) as j:
        gate, inside = threading.Event(), []
        j.op.place_barrier(j.session)

        def callback(action: str, session: Any) -> None:
            inside.append(action)
            gate.wait(5)
            assert len(inside) == 1
            inside.clear()

        j.callback = callback
        threads = [j.worker(1), j.worker(2)]
        eventually(lambda: inside)
        j.op.remove_barrier(j.session)
        assert j.op.is_barrier_removed(j.session)
        gate.set()
        for thread in threads:
            thread.join(5)
        assert j.op.is_none_blocked(j.session)


# Generations and acknowledgements


def test_all_blocked_is_not_all_finished(ops: Any) -> None:
    with job(ops, capacity=2) as j:
        gate = threading.Event()
        generation = j.op.place_barrier(j.session, "Save")
        j.callback = lambda action, session: gate.wait(5)
        j.worker(1)
        eventually(lambda: j.op.is_all_blocked(j.session))
        assert j.op.get_unacknowledged_indices(j.session, generation) == [1]
        assert j.op.wait_until_acknowledged(j.session, generation, 0.05) == []
        gate.set()
        assert j.op.wait_until_acknowledged(j.session, generation, 5) == [1]


def test_placed_again_within_a_poll(ops: Any) -> None:
    with job(ops, capacity=2, wait_seconds=0.3) as j:
        first = j.op.place_barrier(j.session, "one")
        j.worker(1)
        assert j.op.wait_until_acknowledged(j.session, first, 5) == [1]
        j.op.remove_barrier(j.session)
        second = j.op.place_barrier(j.session, "two")
        assert second > first
        assert j.op.get_acknowledged_indices(j.session, second) == []
        assert j.op.wait_until_acknowledged(j.session, second, 5) == [1]
        assert [seen for seen in j.seen if seen.startswith("w1")] == ["w1 one", "w1 two"]


def test_a_request_reaches_workers_that_wait_already(ops: Any) -> None:
    with job(ops) as j:
        stop = j.op.place_barrier(j.session, "Stop")
        j.worker(1)
        j.worker(2)
        assert j.op.wait_until_acknowledged(j.session, stop, 5) == [1, 2]
        generation, placed = j.op.begin_request(j.session, "Save")
        assert (placed, generation > stop) == (False, True)
        assert j.op.wait_until_acknowledged(j.session, generation, 5) == [1, 2]
        assert not j.op.is_request_open(j.session, generation)
        j.op.end_request(j.session)
        j.op.end_request(j.session)
        assert j.op.is_all_blocked(j.session)
        time.sleep(3 * POLL)
        assert sorted(j.seen) == [
            "MainThread Save", "MainThread Stop", "w1 Save", "w1 Stop", "w2 Save", "w2 Stop",
        ]  # fmt: skip


def test_a_request_places_and_removes_the_barrier(ops: Any) -> None:
    with job(ops, capacity=2) as j:
        generation, placed = j.op.begin_request(j.session, "Save")
        assert placed
        assert j.op.get_action(j.session) == "Save"
        assert j.op.open_generation(j.session) == generation == j.op.get_generation(j.session)
        with pytest.raises(RuntimeError, match="another request"):
            j.op.begin_request(j.session, "Save")
        assert j.op.wait_until_acknowledged(j.session, generation, 0) == []
        late = j.worker(1)
        eventually(lambda: j.op.is_all_blocked(j.session))
        time.sleep(3 * POLL)
        assert j.seen == ["MainThread Save"]  # nobody saves for a closed request
        j.op.end_request(j.session)
        late.join(5)
        assert j.op.is_none_blocked(j.session)


def test_a_late_worker_gets_the_placement_once_the_request_is_closed(ops: Any) -> None:
    with job(ops, capacity=2) as j:
        j.op.place_barrier(j.session, "Stop")
        generation, _ = j.op.begin_request(j.session, "Save")
        j.op.close_request(j.session, generation)
        j.worker(1)
        eventually(lambda: "w1 Stop" in j.seen)
        assert j.op.get_acknowledged_indices(j.session, generation) == []
        j.op.end_request(j.session)


def test_a_placement_during_a_request_outlives_it(ops: Any) -> None:
    with job(ops, capacity=2) as j:
        generation, _ = j.op.begin_request(j.session, "Save")
        stop = j.op.place_barrier(j.session, "Stop")
        with pytest.raises(ops.BarrierAlreadyPlacedError):
            j.op.place_barrier(j.session, "Stop")
        j.worker(1)
        assert j.op.wait_until_acknowledged(j.session, generation, 5) == [1]
        j.op.end_request(j.session)
        assert j.op.is_barrier_placed(j.session)
        assert j.op.wait_until_acknowledged(j.session, stop, 5) == [1]
        assert [seen for seen in j.seen if seen.startswith("w1")] == ["w1 Save", "w1 Stop"]


def test_a_removal_during_a_request_takes_effect_after_it(ops: Any) -> None:
    with job(ops) as j:
        j.op.place_barrier(j.session)
        j.op.begin_request(j.session, "Save")
        j.op.remove_barrier(j.session)
        assert j.op.is_barrier_placed(j.session)
        j.op.place_barrier(j.session, "again")
        j.op.remove_barrier(j.session)
        j.op.end_request(j.session)
        assert j.op.is_none_blocked(j.session)


def test_a_worker_starts_from_its_own_acknowledgement(ops: Any) -> None:
    with job(ops, capacity=2) as j:
        generation = j.op.place_barrier(j.session, "Save")
        j.worker(1)
        assert j.op.wait_until_acknowledged(j.session, generation, 5) == [1]
        j.worker(1)  # it died and came back
        time.sleep(3 * POLL)
        assert j.seen.count("w1 Save") == 1


def test_an_acknowledgement_of_an_earlier_life_counts_for_nothing(ops: Any) -> None:
    with job(ops, capacity=2) as j:
        j.op._state.acknowledge(j.session, 1, time.time_ns() // 1000 + 10**12)
        generation = j.op.place_barrier(j.session, "Save")
        j.op._state.set(j.session, 1)
        assert j.op.get_acknowledged_indices(j.session, generation) == []
        j.worker(1)
        assert j.op.wait_until_acknowledged(j.session, generation, 5) == [1]


def test_many_placements_end_on_the_last(ops: Any) -> None:
    with job(ops, wait_seconds=0.001) as j:
        threads = [j.worker(1), j.worker(2)]
        last = 0
        for number in range(200):
            last = j.op.place_barrier(j.session, str(number))
            threads = [t if t.is_alive() else j.worker(i + 1) for i, t in enumerate(threads)]
            if number < 199:
                j.op.remove_barrier(j.session)
        eventually(lambda: (j.worker(1), j.worker(2))
                   and j.op.wait_until_acknowledged(j.session, last, 0.5) == [1, 2])  # fmt: skip
        assert {"w1 199", "w2 199"} <= set(j.seen)


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
        j.callback = _raise
        with pytest.raises(_Boom):
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
        j.callback = _raise
        with pytest.raises(_Boom):
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


# Hooks, and failures


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


class _Boom(Exception):
    pass


def _raise(action: str, session: Any) -> None:
    raise _Boom


def test_a_callback_that_raises_leaves_nothing_behind(ops: Any) -> None:
    with job(ops, capacity=2) as j:
        j.callback = _raise
        with pytest.raises(_Boom):
            j.op.place_barrier(j.session)
        assert j.op.is_none_blocked(j.session)
        with pytest.raises(_Boom):
            j.op.begin_request(j.session, "Save")
        assert j.op.is_none_blocked(j.session)
        j.callback = lambda action, session: None
        generation = j.op.place_barrier(j.session)
        j.callback = _raise
        with pytest.raises(_Boom):
            j.op.wait_until_barrier_removed(j.session, 1)
        assert j.op.get_blocked_indices(j.session) == [0]
        with pytest.raises(_Boom):
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
