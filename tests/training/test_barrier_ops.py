"""The barrier in one process: placed, asked, acknowledged, removed."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from barrier_support import POLL, job
from tf_support import tensorflow
from waiting import eventually

from monolith_cli.errors import UsageError


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
