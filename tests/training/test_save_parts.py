"""The parts of a save, each alone: its listeners, its workers, its requests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from save_support import Killed, listener
from tf_support import tensorflow

from monolith_cli.checkpoint.inputs import WorkerInput

# --- listeners ------------------------------------------------------------------------------------


def listeners(these: list[Any], guards: list[Any] | None = None) -> Any:
    tensorflow()
    from monolith_cli.training.saves.listeners import SaveListeners

    return SaveListeners(these, guards or [])


def barrier(calls: list[str]) -> Any:
    """One that notes its calls, and knows of no workers."""
    tensorflow()
    from monolith_cli.training.saves.barrier_listener import BarrierSaverListener

    class Barrier(BarrierSaverListener):
        def __init__(self) -> None:
            pass

        def before_save(self, session: Any, global_step_value: int) -> None:
            calls.append("placed")

        def release(self, session: Any) -> None:
            calls.append("released")

    return Barrier()


def note(calls: list[str], what: str) -> Callable[[], None]:
    return lambda: calls.append(what)


def test_each_barrier_is_looked_at_when_it_stands() -> None:
    calls: list[str] = []
    made = listeners([listener("one", calls), barrier(calls), listener("two", calls)])
    made.before_save(None, 7, note(calls, "looked"))
    assert calls == ["one before 7", "placed", "looked", "two before 7"]


def test_the_barrier_of_a_guard_is_looked_at_first() -> None:
    calls: list[str] = []
    made = listeners([listener("one", calls)], [listener("guard", calls), barrier(calls)])
    with made.guarded(None, 7):
        made.before_save(None, 7, note(calls, "looked"))
    assert calls == [
        "guard before 7",
        "placed",
        "looked",
        "one before 7",
        "released",
        "guard after 7",
    ]


def test_a_failed_save_releases_the_barriers_of_listeners_only() -> None:
    mine: list[str] = []
    guarding: list[str] = []
    made = listeners([barrier(mine)], [barrier(guarding)])
    made.after_failure(None)
    assert (mine, guarding) == (["released"], [])
    made.release(None)
    assert (mine, guarding) == (["released"] * 2, ["released"])


def test_guards_that_were_entered_are_left_whatever_happens() -> None:
    calls: list[str] = []

    def no(*_: Any) -> None:
        raise Killed

    made = listeners([], [listener("one", calls), listener("two", calls, before=no)])
    with pytest.raises(Killed), made.guarded(None, 7):
        raise AssertionError("never inside")
    assert calls == ["one before 7", "two before 7", "one after 7"]


def test_every_listener_is_told_and_the_first_failure_raised() -> None:
    calls: list[str] = []

    def failing(error: Exception) -> Callable[..., None]:
        def act(*_: Any) -> None:
            raise error

        return act

    made = listeners(
        [
            listener("one", calls, after=failing(KeyError())),
            listener("two", calls, after=failing(ValueError())),
            listener("three", calls),
        ]
    )
    with pytest.raises(KeyError):
        made.after_save(None, 7)
    assert calls == ["one after 7", "two after 7", "three after 7"]


def test_entries_of_those_that_count() -> None:
    one, two = listener(), listener()
    one.saved_entries = lambda step: {"a": step}
    two.saved_entries = lambda step: {"b": 2}
    assert listeners([one, listener(), two]).saved_entries(7) == {"a": 7, "b": 2}


def test_listeners_that_run_alone() -> None:
    calls: list[str] = []
    made = listeners([listener("one", calls, after=lambda *_: True)], [listener("guard", calls)])
    assert made.run_alone(None, 7)
    assert calls == ["guard before 7", "one before 7", "one after 7", "guard after 7"]
    assert not listeners([listener()], [listener()]).run_alone(None, 7)


# --- workers --------------------------------------------------------------------------------------


def standing(
    finished: list[int], unfinished: list[int], *, has_chief_finished: bool = False
) -> Any:
    """A barrier, as a save sees it."""
    return SimpleNamespace(
        finished_workers=finished,
        unfinished_workers=unfinished,
        has_chief_finished=lambda session: has_chief_finished,
        barrier_op=SimpleNamespace(capacity=1 + len(finished) + len(unfinished)),
    )


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module, and what workers have said of their inputs."""
    tensorflow()
    from monolith_cli.training.saves import workers as module

    said: dict[int, Any] = {}
    monkeypatch.setattr(module, "get_saved_inputs", lambda session: said)
    return SimpleNamespace(module=module, said=said)


def saved_input(rollback_ns: int | None = None) -> Any:
    return SimpleNamespace(fingerprint=None, rollback_ns=rollback_ns)


def test_without_a_barrier_nobody_is_known(workers: Any) -> None:
    assert workers.module.covered_inputs(None, []) == {}


@pytest.mark.parametrize(
    ("has_input", "has_finished", "expected"),
    [
        (True, True, True),
        (True, False, False),
        (False, False, False),
        (False, True, None),  # nothing to save: it is not among them
    ],
)
def test_the_chief_among_the_workers(
    workers: Any, has_input: bool, has_finished: bool, expected: bool | None
) -> None:
    if has_input:
        workers.said[0] = saved_input()
    found = workers.module.covered_inputs(
        None, [standing([1], [2], has_chief_finished=has_finished)]
    )
    chief = {} if expected is None else {0: WorkerInput(expected, None)}
    assert found == {**chief, 1: WorkerInput(True, None), 2: WorkerInput(False, None)}
    late = workers.module.unfinished(found)
    assert late == ([2] if expected in (True, None) else [0, 2])


@pytest.mark.parametrize(
    ("late", "message"),
    [
        ([1], "worker 1 has not saved its input"),
        ([1, 2], "workers 1, 2 have not saved their input"),
        ([0], "worker 0 has not saved its input"),
    ],
)
def test_who_is_late(workers: Any, late: list[int], message: str) -> None:
    error = workers.module.unfinished_error(late, "/models/ctr")
    assert str(error) == f"/models/ctr: {message}"


def test_the_chief_is_late_beside_its_run(workers: Any) -> None:
    from monolith_cli.training.run.chief_step import beside_a_run

    with beside_a_run():
        error = workers.module.unfinished_error([0], "/models/ctr")
    assert str(error).endswith(": worker 0 is the chief, whose step has not ended")


def test_the_rest_of_a_rollback_is_whoever_has_not_come_back(workers: Any) -> None:
    kept: list[list[int]] = []
    override = SimpleNamespace(written_ns=5, rest=kept.append)
    workers.said.update({1: saved_input(5), 2: saved_input(4), 3: saved_input(5)})
    found = {n: WorkerInput(n != 3, None) for n in (1, 2, 3, 4)}
    workers.module.rest_of_rollback(None, [standing([1, 2, 4], [3])], override, found)
    # 1 has come with a state from after it, 4 has finished and has no input; so has the chief.
    assert kept == [[2, 3]]
    assert workers.module.rest_of_rollback(None, [], override, found) is None


# --- requests -------------------------------------------------------------------------------------


class Saver:
    """Counts saves; a lock as a graph has one."""

    def __init__(self, *, should_stop: bool = False) -> None:
        self.lock = threading.RLock()
        self.threads: list[threading.Thread] = []
        self.should_stop = should_stop

    def save_now(self, session: Any, require_all: bool | None) -> tuple[Any, bool]:
        self.threads.append(threading.current_thread())
        return len(self.threads), self.should_stop


def on_demand(saver: Saver) -> tuple[Any, Any]:
    """Of a session that was made by hand, in this thread."""
    v1 = tensorflow().compat.v1
    from monolith_cli.training.saves.on_demand import OnDemand

    made, session = OnDemand(saver), v1.Session(graph=tensorflow().Graph())  # type: ignore[arg-type]
    made.open(session, v1.train.Coordinator())
    return made, session


def wait_for_request(made: Any) -> None:
    deadline = time.monotonic() + 60
    while not made._requests._waiting:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_the_thread_that_trains_saves_itself() -> None:
    saver = Saver()
    made, session = on_demand(saver)
    assert made.save(session, None, None) == 1
    assert saver.threads == [threading.current_thread()]


def test_others_are_served_by_the_thread_that_trains() -> None:
    saver = Saver(should_stop=True)
    made, session = on_demand(saver)
    with ThreadPoolExecutor() as pool, saver.lock:  # so nobody saves in this thread's place
        asked = pool.submit(made.save, session, None, 60)
        wait_for_request(made)
        assert made.serve(session)
        assert asked.result(10) == 1
    assert saver.threads == [threading.current_thread()]
    assert not made.is_stop_due


def test_a_run_serves_at_its_beginning_only_after_one_that_failed() -> None:
    saver = Saver()
    made, session = on_demand(saver)
    with ThreadPoolExecutor() as pool, saver.lock:  # as before
        asked = pool.submit(made.save, session, None, 60)
        wait_for_request(made)
        made.begin_run(session)
        made.end_run()
        made.begin_run(session)
        assert saver.threads == []
        made.begin_run(session)
        assert asked.result(10) == 1
    assert saver.threads == [threading.current_thread()]


def test_who_asks_saves_where_nobody_comes_by() -> None:
    saver = Saver(should_stop=True)
    made, session = on_demand(saver)
    with ThreadPoolExecutor() as pool:
        assert pool.submit(made.save, session, None, 60).result(60) == 1
    assert saver.threads != [threading.current_thread()]
    assert made.is_stop_due


def test_nobody_waits_after_the_end() -> None:
    made, session = on_demand(Saver())
    with ThreadPoolExecutor() as pool, made._saver.lock:
        asked = pool.submit(made.save, session, None, None)
        wait_for_request(made)
        made.end()
        with pytest.raises(tensorflow().errors.AbortedError):
            asked.result(10)


# --- what hooks of a graph share ------------------------------------------------------------------


def test_a_graph_has_one_lock_and_keeps_it() -> None:
    v1 = tensorflow().compat.v1
    from monolith_cli.training.saves.graph_saves import GraphSaves

    lock, graph = threading.RLock(), v1.Graph()
    shared = GraphSaves.of(graph, lock)
    assert shared.lock is lock
    assert GraphSaves.of(graph, threading.RLock()) is shared
    assert GraphSaves.of(v1.Graph()) is not shared


def test_a_saver_that_saves_nothing() -> None:
    tensorflow()
    from monolith_cli.training.saves.model_saver import ModelSaver

    class Finder:
        def __init__(self, saver: Any) -> None:
            self.saver = saver

        def get(self) -> Any:
            if self.saver is None:
                raise RuntimeError("there is none")
            return self.saver

    for saver, expected in (
        (SimpleNamespace(skip_save=True), True),
        (SimpleNamespace(_skip_save=True), True),
        (SimpleNamespace(skip_save=False), False),
        (SimpleNamespace(), False),
        (None, False),
    ):
        finder = Finder(saver)
        assert ModelSaver(finder.get).saves_nothing is expected
