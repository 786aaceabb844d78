"""What a worker does at the barrier: stand there, and wait there to leave the job."""

from __future__ import annotations

import contextlib
import enum
import time
from collections.abc import Callable
from typing import Any

from absl import logging

from monolith_cli.training.barrier.callbacks import Callbacks
from monolith_cli.training.barrier.chief_end import ChiefEnd
from monolith_cli.training.barrier.leaving import LeavingState, LeavingWorker
from monolith_cli.training.barrier.state import BarrierState, Status
from monolith_cli.training.graph.lost import SESSION_LOST
from monolith_cli.training.graph.shared import plain

__all__ = ["Outcome", "WorkerSide"]

_LOG_SECONDS = 60.0
_STAY_POLL_SECONDS = 0.2


class Outcome(enum.Enum):
    """What a worker does after it has stood at the barrier."""

    GO_ON = enum.auto()
    NEW_RUN = enum.auto()
    STOP = enum.auto()


class WorkerSide:
    """What the workers of this process do at the barrier, each named by its element.

    The methods take any session.

    Parameters
    ----------
    state, leaving
        The barrier's variables, and those about leaving.
    callbacks
        This process's.
    chief_end
        Of a chief in this process, if there is one.
    wait_seconds
        Time between two polls.
    lease_seconds
        For a worker that waits to leave; at the barrier the chief's value counts.
    is_over
        Called with the time since when a worker waits to leave, or None; says whether that is
        enough.
    """

    def __init__(
        self,
        state: BarrierState,
        leaving: LeavingState,
        callbacks: Callbacks,
        chief_end: ChiefEnd,
        *,
        wait_seconds: float,
        lease_seconds: float,
        is_over: Callable[[float | None], bool],
    ) -> None:
        self._state = state
        self._leaving = leaving
        self._callbacks = callbacks
        self._chief_end = chief_end
        self._wait_seconds = wait_seconds
        self._lease_seconds = lease_seconds
        self._is_over = is_over
        self._waiting: dict[int, LeavingWorker] = {}
        # The mark of a dead chief, and until when not to check whether it has changed.
        self._ignored: dict[int, tuple[tuple[int, int, str], float]] = {}

    def come_back(self, session: Any, index: int) -> None:
        """For a worker's new session: it trains, and does not stand at the barrier."""
        waiting = self._waiting.pop(index, None)
        if waiting is not None:
            waiting.stop()
        raw = plain(session)
        self._leaving.set(raw, index, 0)
        # At a placed barrier the element stays: what a process that died there finished stays true.
        status = self._state.read(raw)
        if status.elements[index] and not status.placed:
            self._state.clear(raw, index)

    # At the barrier.

    def stand(
        self, session: Any, index: int, run_id: str, *, since: float | None = None
    ) -> Outcome:
        """Stand at the barrier until it is removed, if it is placed.

        Parameters
        ----------
        run_id
            Of the caller's session, "" for the first one seen.
        since
            Since when the worker waits to leave, by `time.monotonic`, if it does.

        Raises
        ------
        ValueError
            If the index is not that of a worker.
        Exception
            What a callback or the session raises.
        """
        capacity = self._state.capacity
        if not 1 <= index < capacity:
            raise ValueError(
                f"index {index} is outside the barrier: workers are 1 to {capacity - 1}"
                f" with capacity {capacity}"
            )
        ignored = self._ignored.get(index)
        if ignored is not None and time.monotonic() < ignored[1]:
            return Outcome.GO_ON
        raw = plain(session)
        status = self._state.read(raw)
        same_run = not run_id or status.run_id == run_id
        if ignored is not None and status.placed and status.mark == ignored[0] and same_run:
            self._ignore(index, status)
            return Outcome.GO_ON
        self._ignored.pop(index, None)
        moved_at = logged = time.monotonic()
        mark = status.mark
        # A barrier that is placed after the chief's end says that all are to end.
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
                return Outcome.GO_ON
            if status.placed and self._is_over(since):
                logging.warning("Worker %d leaves the barrier, because it is to end.", index)
                self._take_back(raw, index, status)
                return Outcome.STOP
            if now - logged >= _LOG_SECONDS:
                logged = now
                logging.info("Worker %d still waits until the barrier is removed.", index)
        if status.elements[index]:
            self._state.clear(raw, index)
        if not same_run:
            return Outcome.NEW_RUN
        return Outcome.STOP if status.stopping else Outcome.GO_ON

    def _announce(self, raw: Any, index: int, status: Status) -> None:
        """Set the element, and run the callbacks of an open generation."""
        with self._callbacks.lock:
            if not status.elements[index]:
                self._state.set(raw, index)
            generation = status.request.generation
            if generation <= status.acknowledged_by(index):
                return
            if self._callbacks.has_not_finished(index, generation):
                return
            try:
                self._callbacks.run(raw, index, status.request, generation)
            except Exception as error:
                if not isinstance(error, SESSION_LOST):
                    self._state.clear(raw, index)
                raise

    def _leave_dead_chief(self, raw: Any, index: int, status: Status) -> None:
        logging.warning(
            "Worker %d leaves the barrier: no sign of life of the chief for %g s.",
            index,
            status.request.lease_seconds,
        )
        self._take_back(raw, index, status)
        self._ignore(index, status)

    def _take_back(self, raw: Any, index: int, status: Status) -> None:
        """Clear the element of a worker that leaves a placed barrier."""
        # If it stayed positive, the steps that follow would count as part of what was acknowledged.
        self._state.leave(raw, index, -status.request.newest)

    def _ignore(self, index: int, status: Status) -> None:
        self._ignored[index] = (status.mark, time.monotonic() + self._wait_seconds)

    # On the way out.

    def wait_to_leave(self, session: Any, index: int) -> bool:
        """Say that a worker only waits for the chief's last save; whether the wait is over."""
        raw = plain(session)
        waiting = self._begin_to_leave(raw, index)
        return self._leaving.get_chief(raw) < 0 or self._is_over(waiting.since)

    def stay(self, session: Any, index: int, run_id: str) -> bool:
        """Wait for the chief's last save, with a session that is about to close; then leave.

        Returns
        -------
        bool
            False if that save was already over.

        Raises
        ------
        UnreachableError
            The chief gave no sign of life for its lease, its barrier could not be read for as
            long, or the chief has begun a new run. It is a ConnectionError.
        tensorflow.errors.OpError
            The session was already lost.
        """
        raw = plain(session)
        waiting = self._begin_to_leave(raw, index)
        try:
            if self._chief_end.session is raw:  # both end in one thread
                return True
            return waiting.stay(
                read=lambda: self._state.read(raw),
                stand=lambda: self.stand(raw, index, run_id, since=waiting.since),
                run_id=run_id,
                is_over=lambda: self._is_over(waiting.since),
                poll_seconds=min(self._wait_seconds, _STAY_POLL_SECONDS),
            )
        finally:
            self._waiting.pop(index, None)
            waiting.stop()
            # Nothing can be said through a session that is lost.
            with contextlib.suppress(*SESSION_LOST):
                self._step_back(raw, index)
                waiting.leave()

    def _begin_to_leave(self, raw: Any, index: int) -> LeavingWorker:
        waiting = self._waiting.get(index)
        if waiting is None:
            waiting = LeavingWorker(self._leaving, raw, index, self._lease_seconds)
            self._waiting[index] = waiting
        return waiting

    def _step_back(self, raw: Any, index: int) -> None:
        """Clear a worker's element if it is set."""
        if self._state.read(raw).elements[index]:
            self._state.clear(raw, index)
