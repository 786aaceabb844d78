"""The object that a process has for the barrier; `barrier_ops` says how it all works together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import tensorflow as tf

from monolith_cli.training.barrier.callbacks import BarrierCallback, Callbacks
from monolith_cli.training.barrier.chief_end import ChiefEnd
from monolith_cli.training.barrier.chief_side import ChiefSide
from monolith_cli.training.barrier.leaving import LeavingState, LeavingWatch, Limits
from monolith_cli.training.barrier.run_state import RunState
from monolith_cli.training.barrier.state import LEASE_SECONDS, BarrierState
from monolith_cli.training.barrier.view import BarrierView, view_of
from monolith_cli.training.barrier.worker_side import WorkerSide
from monolith_cli.training.graph.shared import plain, shared_variables

__all__ = ["BarrierOp"]


class BarrierOp:
    """The barrier's variables and all ops on them; one for each process of a job.

    Build it before the graph is finalized, with the same arguments and at the same place in
    every process. If variables have their own servers in this graph
    (`tf.compat.v1.train.replica_device_setter`), the first task of these holds the barrier's;
    otherwise they are where the surrounding `tf.device` puts them.

    Every method takes a session: a `tf.compat.v1.Session`, or a monitored one, whose hooks are then
    not run. A call is one round trip to the parameter server, 0.2 ms on one machine, unless said
    otherwise. Methods that read lock nothing and may be called from callbacks. Callbacks must not
    call the others, which hold a lock: callbacks run one at a time, the chief's inside that lock.
    Chief and workers may share one object, each in its own thread. A worker's callback then delays
    neither a removal nor the end of the chief's wait.

    While the barrier is held, a thread raises the lease's counter through the session that placed
    it. The thread ends with the barrier, or when that session is closed.

    Parameters
    ----------
    capacity
        Number of elements: the workers, and one for the chief's flag.
    is_chief
        Whether this process initialises the variables. In the chief they are local, and so in no
        checkpoint; in workers they are global, and a session waits for them.
    wait_seconds
        Time between two polls of a blocked worker.
    name_prefix
        Of the name scope `<name_prefix>_barrier_op`.
    barrier_callbacks
        Each is called `(action, session)` with a plain session: in the chief when a generation is
        raised, in a worker when it sees one at the barrier. A callback that returns False (not
        just something false) says that it has not finished what it was asked for. The others still
        run; the generation is not acknowledged, and they are not run for it again.
    lease_seconds
        How long a worker waits without a sign of life from the chief. The chief's value counts.

    Attributes
    ----------
    run
        The job's `RunState`: the chief's run id with its step, and the workers' presence.
    barrier_placed_tensor
        Element 0, a bool scalar.
    placed_and_run_id_tensor
        Element 0 as `true` or `false`, a blank, and the run id: a string scalar, to read both at
        each step with one fetch.
    when_expired
        Called with a placement's generation when its time-to-live has ended, in the thread that
        raises the lease's counter; None by default.
    limits
        How long this process's worker waits to leave. `BarrierHook` uses it.
    chief_end
        The chief's signs of life, and whether it has saved for the last time.
    worker_side
        How this process's worker stands at the barrier, and waits to leave. `BarrierHook` uses it.

    Raises
    ------
    ValueError
        If capacity < 1, wait_seconds < 0 or lease_seconds <= 0.
    UsageError
        There is a barrier of this prefix in the graph, or a name scope is open, so it would not be
        the barrier of the other processes. It is a ValueError.
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
        self.when_expired: Callable[[int], object] | None = None
        callbacks = list(barrier_callbacks or ())
        with shared_variables(name_prefix, is_chief) as variable:
            self.run = RunState(capacity, variable)
            self._leaving = LeavingState(capacity, variable)
            self._state = BarrierState(
                capacity, variable, self.run.variable_of_id, self._leaving.variables
            )
            placed = tf.strings.as_string(self._state.placed_tensor)
            self.placed_and_run_id_tensor = tf.strings.join([placed, self.run.id_tensor], " ")
        self.barrier_placed_tensor = self._state.placed_tensor
        self._callbacks = Callbacks(self, self._state, callbacks)
        self._watch = LeavingWatch(self._lease_seconds)
        self._chief_side = ChiefSide(
            self._state, self._callbacks, self._watch, self._lease_seconds, self._tell_expired
        )
        self.chief_end = ChiefEnd(self._leaving, self._watch, self._state, self._lease_seconds)
        self.limits = Limits.find(None, None)
        self.worker_side = WorkerSide(
            self._state,
            self._leaving,
            self._callbacks,
            self.chief_end,
            wait_seconds=wait_seconds,
            lease_seconds=self._lease_seconds,
            is_over=lambda since: self.limits.are_over(since),
        )

    @property
    def capacity(self) -> int:
        """The number of elements: the workers, and one for the chief's flag."""
        return self._capacity

    # The chief's side.

    def place_barrier(
        self, session: Any, action: str = "", *, ttl_seconds: float | None = None
    ) -> int:
        """Place the barrier and run the callbacks; return the generation.

        This also works during a request (a save's, for example) that placed the barrier for itself.
        The barrier then stays after the request, and workers get the action when the request ends.

        Parameters
        ----------
        ttl_seconds
            The barrier is removed after this time. None: it stays. The session must live as long
            as the barrier.

        Raises
        ------
        BarrierAlreadyPlacedError
            If it is placed.
        Exception
            What a callback raises; the barrier is removed first.
        """
        _check_ttl(ttl_seconds)
        action = tf.compat.as_str(action)
        return self._chief_side.place(plain(session), action, ttl_seconds)

    def remove_barrier(self, session: Any) -> None:
        """Clear element 0, whether it is set or not; if a request is open, after it."""
        self._chief_side.remove(plain(session))

    def set_ttl(self, session: Any, ttl_seconds: float | None) -> bool:
        """End the placed barrier after this time from now, or never; False if none is held.

        Only a barrier that this object has placed can have a time-to-live.
        """
        _check_ttl(ttl_seconds)
        return self._chief_side.set_ttl(plain(session), ttl_seconds)

    @property
    def lease_seconds(self) -> float:
        """How long this object lets workers wait without a sign of life from the chief."""
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
        """How long the barrier stays before its time-to-live ends; None if it has none."""
        return self._chief_side.expires_in_seconds

    def begin_request(self, session: Any, action: str) -> tuple[int, bool]:
        """Raise a generation for something that workers must do at the barrier, such as a save.

        Places the barrier if it is not placed, and runs the callbacks. `end_request` must follow,
        whatever happens. Only one request can be open at a time.

        Returns
        -------
        generation, placed
            `placed`: whether the request had to place the barrier.

        Raises
        ------
        RuntimeError
            If a request is open.
        Exception
            What a callback raises; the request is ended first.
        """
        action = tf.compat.as_str(action)
        return self._chief_side.begin_request(plain(session), action)

    def wait_until_acknowledged(
        self,
        session: Any,
        generation: int,
        timeout_seconds: float = 30,
        poll_seconds: float | None = None,
    ) -> list[int]:
        """Wait for all workers, or until the time is over, and close the request.

        After that no worker begins the request's callbacks. One that has begun may still finish
        them, but does not count. Takes as long as the slowest worker, at most the timeout, plus one
        poll; the whole timeout if a worker's callback returns False. Does not wait for workers that
        have left the job, or were killed while they waited to leave. Holds no lock meanwhile.

        Returns
        -------
        list of int
            The workers that finished; they have stood still since before the request was closed.
            Before a commit, keep only those that are also in `get_acknowledged_indices`.
        """
        raw = plain(session)
        poll = min(self._wait_seconds, 0.1) if poll_seconds is None else poll_seconds
        return self._chief_side.wait_until_acknowledged(raw, generation, timeout_seconds, poll)

    def close_request(self, session: Any, generation: int) -> None:
        """Let no more workers begin this request's callbacks; the barrier stays.

        The callbacks of a placement run as long as it is placed.
        """
        self._chief_side.close_request(plain(session), generation)

    def end_request(self, session: Any) -> None:
        """Close the request, and remove the barrier unless somebody holds it.

        A removal, or the end of a time-to-live, that came after `begin_request` takes effect now.
        Does nothing if no request is open.
        """
        self._chief_side.end_request(plain(session))

    def get_acknowledged_indices(self, session: Any, generation: int) -> list[int]:
        """The workers that have finished this generation, or a later one, and still stand."""
        return self._state.read(plain(session)).finished(generation)

    def get_unacknowledged_indices(self, session: Any, generation: int) -> list[int]:
        """The other workers."""
        finished = self.get_acknowledged_indices(session, generation)
        return sorted(set(range(1, self._capacity)) - set(finished))

    def get_gone_indices(self, session: Any) -> list[int]:
        """The workers that have left the job, or were killed while they waited to leave."""
        return sorted(self._watch.gone_by(self._state.read(plain(session))))

    def stop_all(self, session: Any) -> None:
        """Let every process of the job end, once the chief has saved for the last time.

        The chief's `BarrierHook` ends its training after this step. Workers learn of it at the
        barrier, of the chief's last save or of its end.
        """
        self.chief_end.stop_all(plain(session))

    def has_chief_finished(self, session: Any, generation: int) -> bool:
        """Whether the chief's own callbacks have finished this generation, or a later one.

        If a callback of the chief returned False for a generation, later generations do not count
        for it while its request is open, or its barrier placed.
        """
        if self._callbacks.has_not_finished(0, generation):
            return False
        return generation <= self._state.read(plain(session)).acknowledged_by(0)

    def look(self, session: Any) -> BarrierView:
        """Everything about the barrier, in one round trip."""
        status = self._state.read(plain(session))
        return view_of(status, self._chief_side.ending)

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
        """Forget every placement and request of this object, and leave no barrier placed.

        For a chief whose session has just been made, or ends.

        Parameters
        ----------
        keep_own
            Keep a barrier that this object has placed through this same session.
        """
        self._chief_side.reset(plain(session), keep_own=keep_own)

    # The workers' side.

    def wait_until_barrier_removed(self, session: Any, index: int) -> None:
        """Stand at the barrier until it is removed, if it is placed.

        Sets this worker's element, runs the callbacks of a generation that it has not acknowledged,
        polls every `wait_seconds`, and clears the element at the end. It also ends when the run id
        changes, and when the chief has given no sign of life for the lease; that placement is
        ignored from then on. A lock is held while the element is set and callbacks run, not during
        the wait.

        Raises
        ------
        ValueError
            If the index is not that of a worker, 1 to capacity - 1.
        Exception
            What a callback or the session raises.
        """
        self.worker_side.stand(session, index, "")

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
        """Say that a worker only waits for the chief's last save; whether the wait is over.

        It is over when the chief has ended, or after `leave_after_seconds`. For a worker whose
        steps go on meanwhile, for example to check for the end; otherwise `BarrierHook` calls it.
        """
        return self.worker_side.wait_to_leave(session, index)

    def _tell_expired(self, generation: int) -> None:
        if self.when_expired is not None:
            self.when_expired(generation)


def _check_ttl(ttl_seconds: float | None) -> None:
    if ttl_seconds is not None and not ttl_seconds > 0:
        raise ValueError(f"ttl_seconds must be positive, not {ttl_seconds}")
