"""What the chief does at the barrier: place it, ask for a save, and keep its lease."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from absl import logging

from monolith_cli.errors import BarrierAlreadyPlacedError
from monolith_cli.training.barrier.callbacks import Callbacks
from monolith_cli.training.barrier.lease import Heartbeat
from monolith_cli.training.barrier.leaving import LeavingWatch
from monolith_cli.training.barrier.state import BarrierState, Request
from monolith_cli.training.graph.lost import SESSION_LOST

__all__ = ["ChiefSide"]


class ChiefSide:
    """The placement and the request that a chief has, its lock, and the lease's thread.

    Its public methods are those of `BarrierOp`, which documents them and checks their arguments.
    These here take plain sessions.

    Parameters
    ----------
    state
        The barrier's variables.
    callbacks
        The chief's.
    watch
        Says which workers are gone.
    lease_seconds
        How long workers wait without a sign of life.
    tell_expired
        Called with a placement's generation when its time-to-live has ended, without the lock.

    Attributes
    ----------
    ending
        The newest placement's generation, and when it ends by `time.monotonic`. It stays after that
        end, because others may look at it late.
    heartbeat
        The thread that raises the lease; None while nothing is placed.
    """

    def __init__(
        self,
        state: BarrierState,
        callbacks: Callbacks,
        watch: LeavingWatch,
        lease_seconds: float,
        tell_expired: Callable[[int], object],
    ) -> None:
        self.ending: tuple[int, float | None] = (0, None)
        self.heartbeat: Heartbeat | None = None
        self._state = state
        self._callbacks = callbacks
        self._watch = watch
        self._lease_seconds = lease_seconds
        self._tell_expired = tell_expired
        self._lock = threading.Lock()  # waits for callbacks only while its own run
        self._held = False  # by a placement, while a request is open
        self._removal_due = False
        self._request: int | None = None
        self._ends_at: float | None = None

    # Placements.

    def place(self, session: Any, action: str, ttl_seconds: float | None) -> int:
        """Place the barrier and run the callbacks; return the generation."""
        with self._lock:
            status = self._state.read(session)
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
            self._set_end(generation, ttl_seconds)
            self._raise_generation(session, request, self._drop_placement)
        return generation

    def remove(self, session: Any) -> None:
        """Clear element 0; after the request if one is open."""
        with self._lock:
            self._drop_placement(session)

    def set_ttl(self, session: Any, ttl_seconds: float | None) -> bool:
        """Let the placement end after this time from now, or never; False if nothing is placed."""
        with self._lock:
            if not self._held or self._removal_due or not self._state.read(session).placed:
                return False
            self._set_end(self.ending[0], ttl_seconds)
        return True

    @property
    def expires_in_seconds(self) -> float | None:
        """How long the barrier stays by its time-to-live; None without one."""
        ends_at = self._ends_at
        return None if ends_at is None else max(0.0, ends_at - time.monotonic())

    # Requests.

    def begin_request(self, session: Any, action: str) -> tuple[int, bool]:
        """Raise a generation; place the barrier for it if it is not placed."""
        with self._lock:
            if self._request is not None:
                raise RuntimeError("another request is open at this barrier")
            status = self._state.read(session)
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
            self._raise_generation(session, request, self._end_request)
        return generation, not status.placed

    def wait_until_acknowledged(
        self, session: Any, generation: int, timeout_seconds: float, poll_seconds: float
    ) -> list[int]:
        """Wait for all workers that are not gone, and close the request; say who has finished."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            status = self._state.read(session)
            finished = status.finished(generation)
            workers = set(range(1, len(status.elements)))
            awaited = workers - set(finished) - self._watch.gone_by(status)
            left = deadline - time.monotonic()
            if not awaited or left <= 0:
                break
            time.sleep(min(poll_seconds, left))
        self.close_request(session, generation)
        return finished

    def close_request(self, session: Any, generation: int) -> None:
        """Let no worker begin its callbacks any more."""
        with self._lock:
            request = self._state.read(session).request
            if request.generation == generation != request.placement:
                self._state.write(session, request.closed())

    def end_request(self, session: Any) -> None:
        """Close the request, and remove the barrier unless somebody holds it."""
        with self._lock:
            self._end_request(session)

    def reset(self, session: Any, *, keep_own: bool) -> None:
        """Forget every placement and request, and leave no barrier placed."""
        with self._lock:
            if keep_own and self.heartbeat is not None and self.heartbeat.session is session:
                return
            self._forget()
            status = self._state.read(session)
            request = status.request._replace(placement=0, placement_action="").closed()
            if status.placed or request != status.request:
                self._state.remove(session, request)

    # Under the lock.

    def _raise_generation(
        self, session: Any, request: Request, undo: Callable[[Any], None]
    ) -> None:
        """Ask for the newest generation; on a failure leave no barrier."""
        try:
            self._start_heartbeat(session)
            self._state.place(session, request)
            with self._callbacks.lock:
                self._callbacks.run(session, 0, request, request.newest)
        except BaseException as error:
            if isinstance(error, SESSION_LOST):
                self._forget()  # nobody waits for that session
            else:
                undo(session)
            raise

    def _set_end(self, generation: int, ttl_seconds: float | None) -> None:
        self._ends_at = None if ttl_seconds is None else time.monotonic() + ttl_seconds
        self.ending = generation, self._ends_at

    def _drop_placement(self, session: Any) -> None:
        """Remove a placement, or note that it must go after the request."""
        self._ends_at = None
        if self._request is not None:
            generation, ends_at = self.ending
            now = time.monotonic()
            self.ending = generation, now if ends_at is None else min(ends_at, now)
            self._removal_due = True
            return
        self._held = False
        try:
            request = self._state.read(session).request
            request = request._replace(placement=0, placement_action="")
            self._state.remove(session, request.closed())
        finally:
            self._forget()

    def _end_request(self, session: Any) -> None:
        if self._request is None:
            return
        self._request = None
        if not self._held or self._removal_due:
            self._drop_placement(session)
        else:
            self._state.write(session, self._state.read(session).request.closed())

    def _forget(self) -> None:
        self._held = self._removal_due = False
        self._request = self._ends_at = None
        if self.heartbeat is not None:
            self.heartbeat.stop()
            self.heartbeat = None

    def _start_heartbeat(self, session: Any) -> None:
        if self.heartbeat is not None:
            if self.heartbeat.session is session and self.heartbeat.is_alive():
                return
            self.heartbeat.stop()
        self.heartbeat = Heartbeat(
            session, self._lease_seconds, self._beat, lambda: self.expires_in_seconds
        )
        self.heartbeat.start()

    # In the lease's thread.

    def _beat(self, heartbeat: Heartbeat) -> None:
        """Raise the lease, and end a placement whose time is over, without waiting for the lock."""
        self._state.raise_lease(heartbeat.session)
        ends_at = self._ends_at
        if ends_at is None or time.monotonic() < ends_at or not self._lock.acquire(blocking=False):
            return
        try:
            ends_at, generation = self._ends_at, self.ending[0]
            mine = self.heartbeat is heartbeat
            is_over = mine and ends_at is not None and time.monotonic() >= ends_at
            if is_over:
                logging.info("The barrier's time-to-live is over.")
                self._drop_placement(heartbeat.session)
        finally:
            self._lock.release()
        if is_over:
            self._tell_expired(generation)
