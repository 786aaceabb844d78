"""The parts of a barrier alone, with variables that are plain values of this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from tf_support import tensorflow

from monolith_cli.errors import UnreachableError

POLL = 0.02


class Parts(NamedTuple):
    """The modules; they import TensorFlow."""

    callbacks: Any
    chief_side: Any
    leaving: Any
    state: Any
    termination: Any
    view: Any
    worker_side: Any


@pytest.fixture(scope="module")
def parts() -> Parts:
    tensorflow()
    from monolith_cli.training.barrier import (
        callbacks,
        chief_side,
        leaving,
        state,
        termination,
        view,
        worker_side,
    )

    return Parts(callbacks, chief_side, leaving, state, termination, view, worker_side)


class Memory:
    """What `BarrierState` keeps in variables. `fail` is raised by the next placement."""

    def __init__(self, parts: Parts, capacity: int = 3) -> None:
        self.capacity = capacity
        self._lock = threading.Lock()
        self.fail: Exception | None = None
        self.looks = 0
        self.status = parts.state.Status(
            request=parts.state.Request(),
            lease=0,
            run_id="run",
            elements=[False] * capacity,
            acknowledged=[0] * capacity,
            placed=False,
            leaving=[0] * capacity,
        )

    def read(self, session: Any) -> Any:
        self.looks += 1
        return self.status

    def place(self, session: Any, request: Any) -> None:
        self._change(request=request, element=(0, True))
        if self.fail is not None:
            fail, self.fail = self.fail, None
            raise fail

    def remove(self, session: Any, request: Any) -> None:
        self._change(request=request, element=(0, False))

    def write(self, session: Any, request: Any) -> None:
        self._change(request=request)

    def set(self, session: Any, index: int) -> None:
        self._change(element=(index, True))

    def clear(self, session: Any, index: int) -> None:
        self._change(element=(index, False))

    def raise_lease(self, session: Any) -> None:
        self._change(lives=1)

    def acknowledge(self, session: Any, index: int, generation: int) -> None:
        self._change(acknowledged=(index, generation))

    def leave(self, session: Any, index: int, generation: int) -> None:
        self._change(acknowledged=(index, generation), element=(index, False))

    def _change(
        self,
        request: Any = None,
        element: tuple[int, bool] | None = None,
        acknowledged: tuple[int, int] | None = None,
        lives: int = 0,
    ) -> None:
        with self._lock:  # the lease's thread writes too
            status = self.status
            elements, numbers = list(status.elements), list(status.acknowledged)
            if element is not None:
                elements[element[0]] = element[1]
            if acknowledged is not None:
                numbers[acknowledged[0]] = acknowledged[1]
            self.status = status._replace(
                request=status.request if request is None else request,
                elements=elements,
                placed=elements[0],
                acknowledged=numbers,
                lease=status.lease + lives,
            )


class Sides:
    """A chief and its workers at one such barrier."""

    def __init__(self, parts: Parts, **request: Any) -> None:
        self.memory = Memory(parts)
        if request:
            self.memory.place(None, parts.state.Request(**request))
        self.session = object()
        self.seen: list[str] = []
        self.expired: list[int] = []
        self.is_over: Callable[[float | None], bool] = lambda since: False
        self.callbacks = parts.callbacks.Callbacks(
            self, self.memory, [lambda action, session: self.seen.append(action)]
        )
        watch = parts.leaving.LeavingWatch(30)
        self.chief = parts.chief_side.ChiefSide(
            self.memory, self.callbacks, watch, 30, self.expired.append
        )
        self.worker = parts.worker_side.WorkerSide(
            self.memory,
            None,
            self.callbacks,
            None,
            wait_seconds=POLL,
            lease_seconds=30,
            is_over=lambda since: self.is_over(since),
        )


# --- callbacks --------------------------------------------------------------------------------


def test_one_callback_that_has_not_finished(parts: Parts) -> None:
    memory, seen = Memory(parts), []
    answers = [False, None]

    def first(action: str, session: Any) -> Any:
        seen.append((action, parts.callbacks.running_request().generation))
        return answers.pop(0)

    def second(action: str, session: Any) -> None:
        seen.append((action, 0))

    callbacks = parts.callbacks.Callbacks(object(), memory, [first, second])
    request = parts.state.Request(
        newest=8, generation=7, action="Save", placement=8, placement_action="Stop"
    )
    callbacks.run(None, 1, request, 7)
    assert callbacks.has_not_finished(1, 7)
    assert not callbacks.has_not_finished(2, 7)
    assert memory.status.acknowledged == [0, 0, 0]
    callbacks.run(None, 1, request, 8)
    assert memory.status.acknowledged == [0, 8, 0]
    assert callbacks.has_not_finished(1, 7)
    assert not callbacks.has_not_finished(1, 8)
    assert seen == [("Save", 7), ("Save", 0), ("Stop", 8), ("Stop", 0)]
    assert parts.callbacks.running_request() is None


# --- looks ------------------------------------------------------------------------------------


def test_who_has_finished(parts: Parts) -> None:
    status = Memory(parts, 6).status._replace(
        request=parts.state.Request(newest=8),
        elements=[True, True, True, True, False, True],
        acknowledged=[8, 7, 6, -8, 8, 9],  # the last one in an earlier life
    )
    assert status.finished(7) == [1]
    assert status.finished(6) == [1, 2]


@pytest.mark.parametrize(
    ("placed", "placement", "ending", "action", "ends_at"),
    [
        (True, 5, (5, 12.5), "Stop", 12.5),
        (True, 5, (5, None), "Stop", None),
        (True, 5, (4, 12.5), "Stop", None),  # another process has placed it
        (True, 0, (5, 12.5), "Save", None),
        (False, 5, (5, 12.5), "", None),
    ],
)
def test_a_view(
    parts: Parts,
    placed: bool,
    placement: int,
    ending: tuple[int, float | None],
    action: str,
    ends_at: float | None,
) -> None:
    request = parts.state.Request(
        newest=6, generation=6, action="Save", placement=placement, placement_action="Stop"
    )
    status = Memory(parts).status._replace(
        request=request, placed=placed, elements=[placed, False, True]
    )
    assert parts.view.view_of(status, ending) == parts.view.BarrierView(
        placed=placed,
        action=action,
        generation=6,
        placement=placement if placed else 0,
        blocked_workers=[2],
        unblocked_workers=[1],
        run_id="run",
        ends_at=ends_at,
    )


# --- the chief's side -------------------------------------------------------------------------


def test_a_placement_during_a_request_outlives_it(parts: Parts) -> None:
    sides = Sides(parts)
    first, placed = sides.chief.begin_request(sides.session, "Save")
    assert placed
    second = sides.chief.place(sides.session, "Stop", None)
    assert sides.memory.status.request[:5] == (second, first, "Save", second, "Stop")
    sides.chief.end_request(sides.session)
    assert sides.memory.status.placed
    assert sides.memory.status.request[:5] == (second, second, "Stop", second, "Stop")
    sides.chief.remove(sides.session)
    assert not sides.memory.status.placed
    assert sides.memory.status.request[:5] == (second, 0, "", 0, "")
    assert sides.chief.heartbeat is None
    assert sides.seen == ["Save", "Stop"]


@pytest.mark.parametrize("lost", [True, False])
def test_what_fails_leaves_no_barrier_unless_the_session_is_lost(parts: Parts, lost: bool) -> None:
    sides = Sides(parts)
    errors = tensorflow().errors
    kind = errors.UnavailableError if lost else errors.InternalError
    for raises in (
        lambda: sides.chief.place(sides.session, "Stop", 30),
        lambda: sides.chief.begin_request(sides.session, "Save"),
    ):
        sides.memory.fail = kind(None, None, "no server")
        with pytest.raises(kind):
            raises()
        assert sides.memory.status.placed == lost
        assert sides.chief.heartbeat is None
        assert sides.chief.expires_in_seconds is None
        sides.chief.reset(sides.session, keep_own=False)
        assert not sides.memory.status.placed
    assert sides.seen == []


def test_a_time_to_live_waits_for_the_request(parts: Parts) -> None:
    sides = Sides(parts)
    generation = sides.chief.place(sides.session, "Stop", 0.05)
    sides.chief.begin_request(sides.session, "Save")
    deadline = time.monotonic() + 10
    while not sides.expired:
        assert time.monotonic() < deadline
        time.sleep(POLL)
    assert sides.expired == [generation]
    assert sides.memory.status.placed
    sides.chief.end_request(sides.session)
    assert not sides.memory.status.placed


# --- a worker's side --------------------------------------------------------------------------


def test_a_dead_chief_is_ignored_until_it_gives_a_sign_of_life(parts: Parts) -> None:
    sides = Sides(parts, newest=5, generation=5, action="Save", lease_seconds=0.1)
    go_on = parts.worker_side.Outcome.GO_ON
    assert sides.worker.stand(sides.session, 1, "run") is go_on
    assert sides.memory.status.elements == [True, False, False]
    assert sides.memory.status.acknowledged == [0, -5, 0]
    looks = sides.memory.looks
    sides.worker._ignored[1] = (sides.worker._ignored[1][0], time.monotonic() + 60)
    assert sides.worker.stand(sides.session, 1, "run") is go_on
    assert sides.memory.looks == looks
    sides.worker._ignored[1] = (sides.worker._ignored[1][0], time.monotonic())
    assert sides.worker.stand(sides.session, 1, "run") is go_on
    assert sides.memory.looks == looks + 1
    assert sides.memory.status.elements == [True, False, False]
    sides.memory.raise_lease(None)
    sides.memory.write(None, sides.memory.status.request._replace(lease_seconds=60))
    time.sleep(2 * POLL)
    sides.is_over = lambda since: bool(sides.memory.status.elements[1])
    assert sides.worker.stand(sides.session, 1, "run") is parts.worker_side.Outcome.STOP
    assert sides.seen == ["Save"]


def test_what_a_worker_does_after_a_barrier(parts: Parts) -> None:
    outcome = parts.worker_side.Outcome
    sides = Sides(parts)
    assert sides.worker.stand(sides.session, 1, "run") is outcome.GO_ON
    assert sides.worker.stand(sides.session, 1, "before") is outcome.NEW_RUN
    sides.memory.status = sides.memory.status._replace(stopping=True)
    assert sides.worker.stand(sides.session, 1, "run") is outcome.STOP
    for index in (0, 3):
        with pytest.raises(ValueError, match=f"index {index} .*capacity 3"):
            sides.worker.stand(sides.session, index, "run")


def test_a_workers_callback_does_not_hold_up_a_removal(parts: Parts) -> None:
    sides = Sides(parts)
    begun, go = threading.Event(), threading.Event()

    def waits(action: str, session: Any) -> None:
        if threading.current_thread().name == "worker":
            begun.set()
            assert go.wait(10)

    sides.callbacks._callbacks[:] = [waits]
    sides.chief.place(sides.session, "Save", None)
    thread = threading.Thread(
        target=sides.worker.stand, args=(sides.session, 1, "run"), name="worker"
    )
    thread.start()
    try:
        assert begun.wait(10)
        sides.chief.remove(sides.session)
        assert not sides.memory.status.placed
    finally:
        go.set()
        thread.join(10)
    assert sides.memory.status.elements == [False, False, False]


# --- leaving ----------------------------------------------------------------------------------


def test_who_has_left_and_stands_again_is_not_gone(parts: Parts) -> None:
    watch = parts.leaving.LeavingWatch(30)
    status = Memory(parts, 4).status._replace(
        leaving=[0, -1, -1, 5], elements=[True, False, True, False]
    )
    assert watch.gone_by(status) == {1}
    assert watch.waiting == {3}


class Unheard:
    """A `LeavingState` that nobody reads."""

    def set(self, session: Any, index: int, count: int) -> None:
        pass


@pytest.mark.parametrize("looks", [["alive", "lost", "lost", "ended"], ["alive", "lost"], ["lost"]])
def test_a_server_that_is_lost_while_a_worker_waits(parts: Parts, looks: list[str]) -> None:
    """For a moment it does not matter; for the lease's time it is an error, never a good end."""
    chief = {"alive": 5, "ended": -5}
    memory, left = Memory(parts), list(looks)

    def read() -> Any:
        look = left.pop(0) if len(left) > 1 else left[0]
        if look == "lost":
            raise tensorflow().errors.UnavailableError(None, None, "gone")
        return memory.status._replace(chief=chief[look])

    waiting = parts.leaving.LeavingWorker(Unheard(), object(), 1, 0.3)
    how = {"stand": lambda: None, "run_id": "run", "is_over": lambda: False, "poll_seconds": POLL}
    if looks[-1] == "ended":
        assert waiting.stay(read=read, **how)
    else:
        with pytest.raises(UnreachableError, match="last save is made is not known"):
            waiting.stay(read=read, **how)
    waiting.stop()


@pytest.mark.parametrize("steps", [0, 3])
def test_a_worker_whose_server_is_gone_before_it_waits(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    """It has lost nothing if it stood at the barrier last; else nobody knows, and it says so."""
    from monolith_cli.training.barrier_ops import BarrierHook, BarrierOp

    def lost(*_: object) -> None:
        raise tensorflow().errors.UnavailableError(None, None, "gone")

    with tensorflow().Graph().as_default():
        op = BarrierOp(2)
    hook = BarrierHook(1, op)
    monkeypatch.setattr(op.worker_side, "stay", lost)
    hook._runs = steps
    if steps:
        with pytest.raises(UnreachableError):
            hook.end(None)
    else:
        hook.end(None)


def test_whether_limits_are_over(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    limits = parts.leaving.Limits(leave_after_seconds=10, sigterm_grace_seconds=20)
    assert not limits.are_over(None)
    assert not limits.are_over(now - 5)
    assert limits.are_over(now - 15)
    assert not limits._replace(leave_after_seconds=None).are_over(now - 15)
    monkeypatch.setattr(parts.termination, "_came_at", now - 15)
    assert not limits.are_over(None)
    monkeypatch.setattr(parts.termination, "_came_at", now - 25)
    assert limits.are_over(None)
