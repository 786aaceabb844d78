"""The object that a process has of the barrier; `barrier_ops` says how it all works together."""

from __future__ import annotations

import enum
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import tensorflow as tf
from absl import logging

from monolith_cli.training.barrier import termination
from monolith_cli.training.barrier.lease import Heartbeat
from monolith_cli.training.barrier.leaving import (
    LEFT,
    ChiefEnd,
    LeavingState,
    LeavingWatch,
    LeavingWorker,
    Limits,
)
from monolith_cli.training.barrier.run_state import RunState
from monolith_cli.training.barrier.state import LEASE_SECONDS, BarrierState, Request, Status
from monolith_cli.training.graph.shared import plain, shared_variables

__all__ = [
    "BarrierAlreadyPlacedError",
    "BarrierOp",
    "BarrierView",
    "RunningRequest",
    "running_request",
]

v1 = tf.compat.v1

_LOG_SECONDS = 60.0
_STAY_POLL_SECONDS = 0.2
_SESSION_LOST = (tf.errors.AbortedError, tf.errors.UnavailableError, tf.errors.CancelledError)

BarrierCallback = Callable[[str, Any], object]


class BarrierAlreadyPlacedError(Exception):
    """The barrier is placed already."""


class BarrierView(NamedTuple):
    """One look at a barrier.

    Attributes
    ----------
    placed
        Element 0: by a placement, or for as long as a save takes.
    action
        Whose callbacks are to run now; of the placement if there is one.
    generation
        The newest; 0 before the first.
    placement
        The generation of what is placed; 0 if nothing is, but perhaps for a save.
    blocked_workers, unblocked_workers
        By their elements; 1 and up.
    run_id
        The chief's run, "" while it restores.
    ends_at
        When its time-to-live ends, by `time.monotonic`; also when that is over, as long as it is
        placed. None: never, or this process has not placed it.
    """

    placed: bool
    action: str
    generation: int
    placement: int
    blocked_workers: list[int]
    unblocked_workers: list[int]
    run_id: str
    ends_at: float | None = None


class RunningRequest(NamedTuple):
    """What a callback is run for."""

    barrier_op: BarrierOp
    generation: int


def running_request() -> RunningRequest | None:
    """Inside a callback, in the thread that runs it: what it is run for. None elsewhere."""
    running: RunningRequest | None = getattr(_running, "request", None)
    return running


_running = threading.local()


class _Outcome(enum.Enum):
    """What a worker does after it has stood at the barrier."""

    GO_ON = enum.auto()
    NEW_RUN = enum.auto()
    STOP = enum.auto()


class BarrierOp:
    """The barrier's variables and all ops on them; one for each process of a job.

    Build it before the graph is finalized, with the same arguments and at the same place in
    every process. A variable server's first task holds the variables if the graph has one
    (`tf.compat.v1.train.replica_device_setter`), else they are where the surrounding
    `tf.device` puts them.

    Every method takes a session: a `tf.compat.v1.Session`, or a monitored one, whose hooks are
    then not run. One is a round trip to the parameter server, 0.2 ms on one machine, unless said
    otherwise. Reading methods lock nothing and may be called from callbacks; a callback must not
    call the others: those that change something hold a lock, and callbacks run one at a time,
    the chief's inside that lock. Chief and workers may share one object, each in its thread; a
    worker's callback then never holds up a removal, nor the time that the chief waits.

    While a barrier is held, a thread raises the lease's counter through the session that placed
    it. The thread ends with the barrier, or when that session is closed.

    Parameters
    ----------
    capacity
        Number of elements, the chief's flag included: one more than there are workers.
    is_chief
        Whether this process initialises the variables. For the chief they are local, and so in no
        checkpoint; elsewhere they are global ones that a session waits for.
    wait_seconds
        Time between two polls of a blocked worker.
    name_prefix
        Of the name scope `<name_prefix>_barrier_op`.
    barrier_callbacks
        Each is called `(action, session)` with a plain session: in the chief when a generation is
        raised, in a worker when it learns of one at the barrier. One that returns False, exactly,
        says that it has not finished what it was asked for: the others still run, the generation
        is not acknowledged, and they are not run for it again.
    lease_seconds
        How long a worker waits without a sign of life of the chief. The chief's value counts.

    Attributes
    ----------
    run
        The job's `RunState`: the chief's run id with its step, and the workers' presence.
    barrier_placed_tensor
        Element 0, a bool scalar.
    when_expired
        Called with a placement's generation when its time-to-live has ended, in the thread that
        raises the lease's counter; None by default.
    limits
        How long this process's worker waits to leave; of its `BarrierHook`.
    chief_end
        The chief's signs of life, and when it says that it has saved for the last time.

    Raises
    ------
    ValueError
        If capacity < 1, wait_seconds < 0 or lease_seconds <= 0.
    UsageError
        There is a barrier of this prefix in the graph, or a name scope is open: it would silently
        be another barrier than that of other processes. It is a ValueError.
    """

    def __init__(
        self,
        capacity: int,
        is_chief: bool = True,
        wait_seconds: float = 1,
        name_prefix: str = "default",
        barrier_callbacks: Iterable[BarrierCallback] | None = None,
        *,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, not {capacity}")
        if wait_seconds < 0:
            raise ValueError(f"wait_seconds must not be negative: {wait_seconds}")
        if not lease_seconds > 0:
            raise ValueError(f"lease_seconds must be positive, not {lease_seconds}")
        self._capacity = capacity
        self._wait_seconds = wait_seconds
        self._lease_seconds = float(lease_seconds)
        self._callbacks = list(barrier_callbacks or ())
        self._lock = threading.Lock()  # the chief's state; never waits for a worker's callback
        self._callback_lock = threading.Lock()  # inside the other one, where both are held
        self._heartbeat: Heartbeat | None = None
        self._held = False  # by a placement, while a request is open
        self._removal_due = False
        self._request: int | None = None
        self._ends_at: float | None = None
        # Of the newest placement, also after its end: those who look see it late.
        self._ending: tuple[int, float | None] = (0, None)
        self.when_expired: Callable[[int], object] | None = None
        self._unfinished: dict[int, frozenset[int]] = {}  # generations, by element
        self._ignored: dict[int, tuple[tuple[int, int, str], float]] = {}
        with shared_variables(name_prefix, is_chief) as variable:
            self.run = RunState(capacity, variable)
            self._leaving = LeavingState(capacity, variable)
            self._state = BarrierState(
                capacity, variable, self.run.variable_of_id, self._leaving.variables
            )
        self.barrier_placed_tensor = self._state.placed_tensor
        self._watch = LeavingWatch(self._lease_seconds)
        self.chief_end = ChiefEnd(
            self._leaving, self._watch, self._state.raise_lease, self._lease_seconds
        )
        self.limits = Limits.find(None, None)
        self._waiting: dict[int, LeavingWorker] = {}

    @property
    def capacity(self) -> int:
        """The number of elements: the workers, and one for the chief's flag."""
        return self._capacity

    # The chief's side.

    def place_barrier(
        self, session: Any, action: str = "", *, ttl_seconds: float | None = None
    ) -> int:
        """Place the barrier and run the callbacks; return the generation.

        During a request that placed the barrier for itself (a save's) this succeeds, and the
        barrier outlives the request; workers get the action when that ends.

        Parameters
        ----------
        ttl_seconds
            The barrier is removed by itself after this time. None: it stays. The session must
            live as long as the barrier.

        Raises
        ------
        BarrierAlreadyPlacedError
            If it is placed.
        Exception
            What a callback raises; the barrier is removed before.
        """
        if ttl_seconds is not None and not ttl_seconds > 0:
            raise ValueError(f"ttl_seconds must be positive, not {ttl_seconds}")
        action = tf.compat.as_str(action)
        raw = plain(session)
        with self._lock:
            status = self._state.read(raw)
            during_request = self._request is not None
            if status.placed and not (during_request and (not self._held or self._removal_due)):
                raise BarrierAlreadyPlacedError(
                    "the barrier is placed already, with action"
                    f" {status.request.placement_action or status.request.action!r}"
                )
            generation = status.request.next_generation()
            request = status.request._replace(
                newest=generation,
                placement=generation,
                placement_action=action,
                lease_seconds=self._lease_seconds,
            )
            if not during_request:
                request = request._replace(generation=generation, action=action)
            self._held, self._removal_due = True, False
            self._ends_at = None if ttl_seconds is None else time.monotonic() + ttl_seconds
            self._ending = generation, self._ends_at
            try:
                self._start_heartbeat(raw)
                self._state.place(raw, request)
                with self._callback_lock:
                    self._run_callbacks(raw, 0, request, generation)
            except BaseException as error:
                self._give_up(raw, error, self._drop_placement)
                raise
        return generation

    def remove_barrier(self, session: Any) -> None:
        """Clear element 0, whether it is set or not; after the request if one is open."""
        raw = plain(session)
        with self._lock:
            self._drop_placement(raw)

    def set_ttl(self, session: Any, ttl_seconds: float | None) -> bool:
        """Let a placed barrier end after this time from now, or never; False if none is held.

        Only one that this object has placed can have a time-to-live.
        """
        if ttl_seconds is not None and not ttl_seconds > 0:
            raise ValueError(f"ttl_seconds must be positive, not {ttl_seconds}")
        raw = plain(session)
        with self._lock:
            if not self._held or self._removal_due or not self._state.read(raw).placed:
                return False
            self._ends_at = None if ttl_seconds is None else time.monotonic() + ttl_seconds
            self._ending = self._ending[0], self._ends_at
        return True

    @property
    def lease_seconds(self) -> float:
        """How long this object lets workers wait without a sign of life."""
        return self._lease_seconds

    @property
    def lease_tensor(self) -> Any:
        """The lease's counter, an int64 scalar: it changes as long as the chief lives."""
        return self._state.lease_tensor

    def raise_lease(self, session: Any) -> None:
        """Give a sign of life."""
        self._state.raise_lease(plain(session))

    @property
    def expires_in_seconds(self) -> float | None:
        """How long the barrier stays by its time-to-live; None without one."""
        ends_at = self._ends_at
        return None if ends_at is None else max(0.0, ends_at - time.monotonic())

    def begin_request(self, session: Any, action: str) -> tuple[int, bool]:
        """Raise a generation for something the workers shall do at the barrier, a save say.

        Places the barrier if it isn't, and runs the callbacks. `end_request` must follow,
        whatever happens; one request at a time.

        Returns
        -------
        generation, placed
            `placed`: whether the request had to place the barrier.

        Raises
        ------
        RuntimeError
            If a request is open.
        Exception
            What a callback raises; the request is ended before.
        """
        action = tf.compat.as_str(action)
        raw = plain(session)
        with self._lock:
            if self._request is not None:
                raise RuntimeError("another request is open at this barrier")
            status = self._state.read(raw)
            generation = status.request.next_generation()
            request = status.request._replace(
                newest=generation,
                generation=generation,
                action=action,
                lease_seconds=self._lease_seconds,
            )
            if not status.placed:
                request = request._replace(placement=0, placement_action="")
                self._ends_at = None
            self._request = generation
            self._held, self._removal_due = status.placed, False
            try:
                self._start_heartbeat(raw)
                self._state.place(raw, request)
                with self._callback_lock:
                    self._run_callbacks(raw, 0, request, generation)
            except BaseException as error:
                self._give_up(raw, error, self._end_request)
                raise
        return generation, not status.placed

    def wait_until_acknowledged(
        self,
        session: Any,
        generation: int,
        timeout_seconds: float = 30,
        poll_seconds: float | None = None,
    ) -> list[int]:
        """Wait for all workers, or until the time is over, and close the request.

        From then on no worker begins the request's callbacks; one that has begun may still
        finish them, and does not count. Takes as long as the slowest worker, up to the timeout,
        and one poll; the whole timeout if a worker's callback returns False. Does not wait for
        workers that have left the job, or were killed while they waited to. Does not hold the lock
        meanwhile.

        Returns
        -------
        list of int
            The workers that finished: they stand still since before the request was closed.
            Before a commit, keep those that are in `get_acknowledged_indices` too.
        """
        raw = plain(session)
        poll = min(self._wait_seconds, 0.1) if poll_seconds is None else poll_seconds
        deadline = time.monotonic() + timeout_seconds
        while True:
            status = self._state.read(raw)
            finished = self._finished_of(status, generation)
            awaited = set(range(1, self._capacity)) - set(finished) - self._gone(status)
            left = deadline - time.monotonic()
            if not awaited or left <= 0:
                break
            time.sleep(min(poll, left))
        self.close_request(raw, generation)
        return finished

    def close_request(self, session: Any, generation: int) -> None:
        """Let no worker begin this request's callbacks any more; the barrier stays.

        A placement's own callbacks run as long as it is placed.
        """
        raw = plain(session)
        with self._lock:
            request = self._state.read(raw).request
            if request.generation == generation != request.placement:
                self._state.write(raw, request.closed())

    def end_request(self, session: Any) -> None:
        """Close the request, and remove the barrier unless somebody holds it.

        A removal, or the end of a time-to-live, that came in since `begin_request` takes effect
        now. Does nothing if no request is open.
        """
        raw = plain(session)
        with self._lock:
            self._end_request(raw)

    def get_acknowledged_indices(self, session: Any, generation: int) -> list[int]:
        """The workers that have finished this generation, or a later one, and still stand."""
        return self._finished(plain(session), generation)

    def get_unacknowledged_indices(self, session: Any, generation: int) -> list[int]:
        """The other workers."""
        finished = self._finished(plain(session), generation)
        return sorted(set(range(1, self._capacity)) - set(finished))

    def get_gone_indices(self, session: Any) -> list[int]:
        """The workers that have left the job, or were killed while they waited to."""
        return sorted(self._gone(self._state.read(plain(session))))

    def stop_all(self, session: Any) -> None:
        """Let every process of the job end, once the chief has saved for the last time.

        The chief's `BarrierHook` ends its training after this step. Workers learn of it at the
        barrier: of the chief's last save, or of its end.
        """
        self.chief_end.stop_all(plain(session))

    def has_chief_finished(self, session: Any, generation: int) -> bool:
        """Whether the chief's own callbacks have finished this generation, or a later one.

        In the chief a later one does not count for a generation of which a callback returned
        False, as long as that one's request is open, or its barrier placed.
        """
        if generation in self._unfinished.get(0, ()):
            return False
        return generation <= self._state.read(plain(session)).acknowledged_by(0)

    def look(self, session: Any) -> BarrierView:
        """All at once, in one round trip."""
        status = self._state.read(plain(session))
        workers = range(1, self._capacity)
        request = status.request
        placement = request.placement if status.placed else 0
        generation, ends_at = self._ending
        return BarrierView(
            placed=status.placed,
            action=(request.placement_action if placement else request.action)
            if status.placed
            else "",
            generation=request.newest,
            placement=placement,
            blocked_workers=[i for i in workers if status.elements[i]],
            unblocked_workers=[i for i in workers if not status.elements[i]],
            run_id=status.run_id,
            ends_at=ends_at if placement == generation else None,
        )

    def get_generation(self, session: Any) -> int:
        """The newest generation, 0 before the first."""
        return self._state.read(plain(session)).request.newest

    def get_action(self, session: Any) -> str:
        """The action whose callbacks are to run now, "" if there is none."""
        return self._state.read(plain(session)).request.action

    def is_request_open(self, session: Any, generation: int) -> bool:
        """Whether workers are still asked to run this generation's callbacks."""
        return self._state.read(plain(session)).request.generation == generation

    def open_generation(self, session: Any) -> int:
        """The generation whose callbacks are to run now, 0 if there is none."""
        return self._state.read(plain(session)).request.generation

    def reset(self, session: Any, *, keep_own: bool = False) -> None:
        """Forget every placement and request of this object, and have no barrier placed.

        For a chief whose session has just been made, or ends.

        Parameters
        ----------
        keep_own
            Leave one alone that this object has placed through this very session.
        """
        raw = plain(session)
        with self._lock:
            if keep_own and self._heartbeat is not None and self._heartbeat.session is raw:
                return
            self._forget()
            status = self._state.read(raw)
            request = status.request._replace(placement=0, placement_action="").closed()
            if status.placed or request != status.request:
                self._state.remove(raw, request)

    # The workers' side.

    def wait_until_barrier_removed(self, session: Any, index: int) -> None:
        """Stand at the barrier until it is removed, if it is placed.

        Sets this worker's element, runs the callbacks of a generation that it has not
        acknowledged, and polls every wait_seconds; clears the element at the end. Also ends when
        the chief has given no sign of life for the lease's time, and ignores that placement from
        then on, and when the run id changes. A lock is held while the element is set and callbacks
        run, not during the wait.

        Raises
        ------
        ValueError
            If the index is not one of a worker, 1 to capacity - 1.
        Exception
            What a callback or the session raises.
        """
        self._wait(session, index, "")

    def is_barrier_placed(self, session: Any) -> bool:
        """Whether element 0 is set."""
        return self._state.is_placed(plain(session))

    def is_barrier_removed(self, session: Any) -> bool:
        """Whether element 0 is clear."""
        return not self.is_barrier_placed(session)

    def is_all_blocked(self, session: Any) -> bool:
        """Whether all elements are set, the chief's too. Callbacks may still be running."""
        return len(self.get_blocked_indices(session)) == self._capacity

    def is_none_blocked(self, session: Any) -> bool:
        """Whether no element is set."""
        return not self.get_blocked_indices(session)

    def get_blocked_indices(self, session: Any) -> list[int]:
        """The elements that are set; 0 is the placed flag."""
        return [i for i, blocked in enumerate(self._state.elements(plain(session))) if blocked]

    def get_unblocked_indices(self, session: Any) -> list[int]:
        """The elements that are clear; 0 is the placed flag."""
        return [i for i, blocked in enumerate(self._state.elements(plain(session))) if not blocked]

    def wait_to_leave(self, session: Any, index: int) -> bool:
        """Say that a worker only waits for the chief's last save; whether it waits no longer.

        That is when the chief has ended, or `leave_after_seconds` are over. For a worker whose
        steps go on meanwhile, say to look for the end; else `BarrierHook` does it.
        """
        raw = plain(session)
        waiting = self._begin_to_leave(raw, index)
        return self._leaving.get_chief(raw) < 0 or self._is_over(waiting.since)

    def _begin_to_leave(self, raw: Any, index: int) -> LeavingWorker:
        waiting = self._waiting.get(index)
        if waiting is None:
            waiting = LeavingWorker(self._leaving, raw, index, self._lease_seconds)
            self._waiting[index] = waiting
        return waiting

    def _come_back(self, session: Any, index: int) -> None:
        """For a worker's new session: it trains, and stands nowhere."""
        waiting = self._waiting.pop(index, None)
        if waiting is not None:
            waiting.stop()
        raw = plain(session)
        self._leaving.set(raw, index, 0)
        # At a placed barrier it stays: what a process that died there had finished stays true.
        status = self._state.read(raw)
        if status.elements[index] and not status.placed:
            self._state.clear(raw, index)

    def _stay(self, session: Any, index: int, run_id: str) -> bool:
        """Wait for the chief's last save, with a worker's session that is about to close; leave.

        Returns False if that was over before.
        """
        raw = plain(session)
        waiting = self._begin_to_leave(raw, index)
        try:
            if self.chief_end.session is raw:  # both end in one thread
                return True
            return waiting.stay(
                read=lambda: self._state.read(raw),
                stand=lambda: self._wait(raw, index, run_id, since=waiting.since),
                run_id=run_id,
                is_over=lambda: self._is_over(waiting.since),
                poll_seconds=min(self._wait_seconds, _STAY_POLL_SECONDS),
            )
        finally:
            self._waiting.pop(index, None)
            waiting.stop()
            self._step_back(raw, index)
            waiting.leave()

    def _is_over(self, since: float | None) -> bool:
        """Whether a worker that waits to leave since then, or not at all, has waited enough."""
        terminated = termination.seconds_since()
        if terminated is not None and terminated >= self.limits.sigterm_grace_seconds:
            return True
        limit = self.limits.leave_after_seconds
        if since is None or limit is None:
            return False
        return time.monotonic() - since >= limit

    def _end_chief(self, session: Any, part: Any) -> None:
        """A part of the chief has ended: after the last one there is no save any more."""
        if not self.chief_end.end_part(part):
            return
        raw = plain(session)
        try:
            is_stopping = self.chief_end.is_stopping
            self.chief_end.end_session(raw)
            if is_stopping and 0 in self._state.read(raw).leaving[1:]:
                self._state.set(raw, 0)  # whoever still trains learns of it there
        except _SESSION_LOST as error:
            logging.info("The workers are not told that the chief has ended: %s", error)

    def _gone(self, status: Status) -> set[int]:
        self._watch.note(status.leaving)
        # Somebody may stand there who does not say that he is back.
        back = {i for i, count in enumerate(status.leaving) if count == LEFT and status.elements[i]}
        return self._watch.gone - back

    def _finished(self, raw: Any, generation: int) -> list[int]:
        return self._finished_of(self._state.read(raw), generation)

    def _finished_of(self, status: Status, generation: int) -> list[int]:
        return [i for i in range(1, self._capacity) if status.has_finished(i, generation)]

    def _run_callbacks(self, raw: Any, index: int, request: Request, generation: int) -> None:
        """Under the callbacks' lock: run all of them, and acknowledge the generation.

        The generation is the request's open one or its placement.
        """
        is_open = generation == request.generation
        action = request.action if is_open else request.placement_action
        finished = True
        before = running_request()
        _running.request = RunningRequest(self, generation)
        try:
            for callback in self._callbacks:
                if callback(action, raw) is False:
                    finished = False
        finally:
            _running.request = before
        if finished:
            self._state.acknowledge(raw, index, generation)
        else:
            # Of the older ones only these can be asked for, or about, again.
            older = {request.generation, request.placement} & self._unfinished.get(
                index, frozenset()
            )
            self._unfinished[index] = frozenset({generation, *older})

    def _drop_placement(self, raw: Any) -> None:
        """Under the lock: remove a placement, or note that it shall go after the request."""
        self._ends_at = None
        if self._request is not None:
            generation, ends_at = self._ending
            now = time.monotonic()
            self._ending = generation, now if ends_at is None else min(ends_at, now)
            self._removal_due = True
            return
        self._held = False
        try:
            request = self._state.read(raw).request._replace(placement=0, placement_action="")
            self._state.remove(raw, request.closed())
        finally:
            self._forget()

    def _give_up(self, raw: Any, error: BaseException, undo: Callable[[Any], None]) -> None:
        """Leave no barrier of something that failed, nor wait for a session that is lost."""
        if isinstance(error, _SESSION_LOST):
            self._forget()
        else:
            undo(raw)

    def _end_request(self, raw: Any) -> None:
        if self._request is None:
            return
        self._request = None
        if not self._held or self._removal_due:
            self._drop_placement(raw)
        else:
            self._state.write(raw, self._state.read(raw).request.closed())

    def _forget(self) -> None:
        self._held = self._removal_due = False
        self._request = self._ends_at = None
        if self._heartbeat is not None:
            self._heartbeat.stop()
            self._heartbeat = None

    def _start_heartbeat(self, raw: Any) -> None:
        if self._heartbeat is not None:
            if self._heartbeat.session is raw and self._heartbeat.is_alive():
                return
            self._heartbeat.stop()
        self._heartbeat = Heartbeat(
            raw, self._lease_seconds, self._beat, lambda: self.expires_in_seconds
        )
        self._heartbeat.start()

    def _beat(self, heartbeat: Heartbeat) -> None:
        """Raise the lease, and end a placement whose time is over; without waiting for the lock."""
        self._state.raise_lease(heartbeat.session)
        ends_at = self._ends_at
        if ends_at is None or time.monotonic() < ends_at or not self._lock.acquire(blocking=False):
            return
        try:
            ends_at, generation = self._ends_at, self._ending[0]
            mine = self._heartbeat is heartbeat
            is_over = mine and ends_at is not None and time.monotonic() >= ends_at
            if is_over:
                logging.info("The barrier's time-to-live is over.")
                self._drop_placement(heartbeat.session)
        finally:
            self._lock.release()
        if is_over and self.when_expired is not None:
            self.when_expired(generation)

    def _wait(
        self, session: Any, index: int, run_id: str, *, since: float | None = None
    ) -> _Outcome:
        """Wait; `run_id` is the caller's session's, "" for the first one seen.

        `since` is when the worker has begun to wait to leave, if it has.
        """
        if not 1 <= index < self._capacity:
            raise ValueError(
                f"index {index} is outside the barrier: workers are 1 to {self._capacity - 1}"
                f" with capacity {self._capacity}"
            )
        ignored = self._ignored.get(index)
        if ignored is not None and time.monotonic() < ignored[1]:
            return _Outcome.GO_ON
        raw = plain(session)
        status = self._state.read(raw)
        same_run = not run_id or status.run_id == run_id
        if ignored is not None and status.placed and status.mark == ignored[0] and same_run:
            self._ignored[index] = (status.mark, time.monotonic() + self._wait_seconds)
            return _Outcome.GO_ON
        self._ignored.pop(index, None)
        moved_at = logged = time.monotonic()
        mark = status.mark
        # What is placed after the chief's end says that all are to end.
        if status.placed and same_run and status.chief >= 0:
            logging.info("Worker %d waits until the barrier is removed.", index)
        while status.placed and same_run and status.chief >= 0:
            self._announce(raw, index, status)
            time.sleep(self._wait_seconds)
            run_id = run_id or status.run_id
            status = self._state.read(raw)
            now = time.monotonic()
            same_run = not run_id or status.run_id == run_id
            if status.mark != mark:
                mark, moved_at = status.mark, now
            elif status.placed and now - moved_at >= status.request.lease_seconds:
                self._leave_dead_chief(raw, index, status)
                return _Outcome.GO_ON
            if status.placed and self._is_over(since):
                logging.warning("Worker %d leaves the barrier, as it is to end.", index)
                self._state.leave(raw, index, -status.request.newest)
                return _Outcome.STOP
            if now - logged >= _LOG_SECONDS:
                logged = now
                logging.info("Worker %d still waits until the barrier is removed.", index)
        if status.elements[index]:
            self._state.clear(raw, index)
        if not same_run:
            return _Outcome.NEW_RUN
        return _Outcome.STOP if status.stopping else _Outcome.GO_ON

    def _step_back(self, raw: Any, index: int) -> None:
        """Clear a worker's element if it is set."""
        if self._state.read(raw).elements[index]:
            self._state.clear(raw, index)

    def _announce(self, raw: Any, index: int, status: Status) -> None:
        """Have the element set, and the callbacks of an open generation run."""
        with self._callback_lock:
            if not status.elements[index]:
                self._state.set(raw, index)
            generation = status.request.generation
            if generation <= status.acknowledged_by(index):
                return
            if generation in self._unfinished.get(index, ()):
                return
            try:
                self._run_callbacks(raw, index, status.request, generation)
            except Exception as error:
                if not isinstance(error, _SESSION_LOST):
                    self._state.clear(raw, index)
                raise

    def _leave_dead_chief(self, raw: Any, index: int, status: Status) -> None:
        logging.warning(
            "Worker %d leaves the barrier: no sign of life of the chief for %g s.",
            index,
            status.request.lease_seconds,
        )
        # Were it positive, the steps that follow would count as part of what was acknowledged.
        self._state.leave(raw, index, -status.request.newest)
        self._ignored[index] = (status.mark, time.monotonic() + self._wait_seconds)
