"""How the chief tells the workers that it has saved for the last time."""

from __future__ import annotations

import time
import weakref
from typing import Any

from absl import logging

from monolith_cli.training.barrier.lease import Heartbeat
from monolith_cli.training.barrier.leaving import GOODBYE_SECONDS, LeavingState, LeavingWatch
from monolith_cli.training.barrier.state import BarrierState
from monolith_cli.training.graph.lost import SESSION_LOST
from monolith_cli.training.graph.shared import plain

__all__ = ["ChiefEnd"]

_POLL_SECONDS = 0.1


class ChiefEnd:
    """Says, for the chief's session, that it lives, and when it has saved for the last time.

    The last save is over when every part that may still save or hold the barrier has ended, in any
    order. Each of these parts calls `begin_part` and `end_part`.

    Parameters
    ----------
    state, watch
        Of the job.
    barrier
        Has the lease, and is where workers that are to stop stand.
    lease_seconds
        The lease.
    """

    def __init__(
        self,
        state: LeavingState,
        watch: LeavingWatch,
        barrier: BarrierState,
        lease_seconds: float,
    ) -> None:
        self._state = state
        self._watch = watch
        self._barrier = barrier
        self._lease_seconds = lease_seconds
        # Weakly: the hooks of a session that could not be made never end.
        self._parts: weakref.WeakSet[Any] = weakref.WeakSet()
        self._number = 0
        self._heartbeat: Heartbeat | None = None
        self.session: Any = None
        self.is_stopping = False

    def begin_part(self, part: Any) -> None:
        """Wait for this part's end too."""
        self._parts.add(part)

    def keep_alive(self, session: Any) -> None:
        """Raise the lease from now on, for as long as this plain session lives."""
        if self._heartbeat is not None:
            if self._heartbeat.session is session and self._heartbeat.is_alive():
                return
            self._heartbeat.stop()
        self._heartbeat = Heartbeat(session, self._lease_seconds, self._beat, lambda: None)
        self._heartbeat.start()

    def begin_session(self, session: Any) -> None:
        """Let workers stay for the last save of this plain session."""
        self.is_stopping = False
        self.session = session
        self._number = max(self._number + 1, time.time_ns() // 1000)
        self.keep_alive(session)
        self._state.set_chief(session, self._number)

    def stop_all(self, session: Any) -> None:
        """Let every process end once the last save is over."""
        self.is_stopping = True
        self._state.stop(session)

    def end_part(self, part: Any, session: Any) -> None:
        """End a part; after the last one, say that no save will follow.

        That takes as long as the waiting workers need, a poll or two, and at most five seconds.
        Nothing is said through a session that is lost. The session need not be a plain one.
        """
        self._parts.discard(part)
        if self.session is None or self._parts:
            return
        raw = plain(session)
        try:
            is_stopping = self.is_stopping
            self._end_session(raw)
            if is_stopping and 0 in self._barrier.read(raw).leaving[1:]:
                self._barrier.set(raw, 0)  # workers that still train learn of it there
        except SESSION_LOST as error:
            logging.info("The workers are not told that the chief has ended: %s", error)

    def close(self) -> None:
        """Give no more signs of life."""
        self.session = None
        if self._heartbeat is not None:
            self._heartbeat.stop()
            self._heartbeat = None

    def _end_session(self, session: Any) -> None:
        """Say that the last save is over, and let the workers that wait for it leave."""
        try:
            self._state.set_chief(session, -self._number)
            deadline = time.monotonic() + GOODBYE_SECONDS
            while True:
                self._watch.note(self._state.get(session))
                if not self._watch.waiting or time.monotonic() >= deadline:
                    return
                time.sleep(_POLL_SECONDS)
        finally:
            self.close()

    def _beat(self, heartbeat: Heartbeat) -> None:
        self._barrier.raise_lease(heartbeat.session)
        self._watch.note(self._state.get(heartbeat.session))
