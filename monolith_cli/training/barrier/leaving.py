"""How the processes of a job leave it: workers after the chief's last save.

Variables beside those of the barrier, initialised only by the chief:

============= =========== =====================================================================
variable      written by  what
============= =========== =====================================================================
chief_session chief       a number for each of its sessions; negated when it has saved for the
                          last time, 0 if there is no such information
stopping      chief       all processes are to end, once that save is over
leaving       worker i    element i: 0 while it trains, a counter that it raises while it waits
                          to leave, LEFT when it has left
============= =========== =====================================================================

A worker that was killed while it waits is known by a counter that does not change for the lease.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf
from absl import logging

from monolith_cli.errors import UnreachableError, UsageError
from monolith_cli.training.barrier import termination
from monolith_cli.training.barrier.lease import Heartbeat
from monolith_cli.training.barrier.run_state import ENDED
from monolith_cli.training.barrier.state import Status
from monolith_cli.training.graph.lost import SESSION_LOST
from monolith_cli.training.graph.shared import VariableFactory

__all__ = [
    "GOODBYE_SECONDS",
    "LEFT",
    "LeavingState",
    "LeavingWatch",
    "LeavingWorker",
    "Limits",
    "unknown_end",
]

v1 = tf.compat.v1

LEFT = -1
GRACE_SECONDS = 20.0
_AGAIN = "start the job again, and it goes on from its last commit"
_LOG_SECONDS = 60.0
GOODBYE_SECONDS = 5.0  # how long a chief that ends stays for workers that wait to leave


class LeavingState:
    """Makes the variables and the ops on them, and runs these: one round trip each.

    Locks nothing, checks nothing, and takes plain sessions.

    Parameters
    ----------
    capacity
        Elements of `leaving`, as many as the barrier has.
    variable
        From `shared_variables`, in whose scope this is made.

    Attributes
    ----------
    variables
        Session of the chief, stopping, leaving: to be read together with something else.
    """

    def __init__(self, capacity: int, variable: VariableFactory) -> None:
        chief = variable("chief_session", 0, tf.int64)
        stopping = variable("stopping", False, tf.bool)
        leaving = variable("leaving", [0] * capacity, tf.int64)
        self.variables = (chief, stopping, leaving)
        self._who = v1.placeholder(tf.int32, [], name="leaving_index_placeholder")
        self._number = v1.placeholder(tf.int64, [], name="leaving_placeholder")
        self._set_chief = chief.assign(self._number).op
        self._read_chief = chief.read_value()
        self._stop = stopping.assign(True).op
        self._set = leaving[self._who].assign(self._number).op
        self._read = leaving.read_value()

    def set_chief(self, session: Any, number: int) -> None:
        """Publish the number of the chief's TensorFlow session."""
        session.run(self._set_chief, {self._number: number})

    def get_chief(self, session: Any) -> int:
        """The number of the chief's session; negative after its last save."""
        return int(session.run(self._read_chief))

    def stop(self, session: Any) -> None:
        """Say that all are to end."""
        session.run(self._stop)

    def set(self, session: Any, index: int, count: int) -> None:
        """Say what a worker is at: 0, a counter, or LEFT."""
        session.run(self._set, {self._who: index, self._number: count})

    def get(self, session: Any) -> Sequence[int]:
        """What each worker is at."""
        return [int(count) for count in session.run(self._read)]


class Limits(NamedTuple):
    """How long a worker waits to leave, in seconds.

    Attributes
    ----------
    leave_after_seconds
        None: as long as the chief lives.
    sigterm_grace_seconds
        After SIGTERM.
    """

    leave_after_seconds: float | None
    sigterm_grace_seconds: float

    @classmethod
    def find(cls, leave_after_seconds: float | None, sigterm_grace_seconds: float | None) -> Limits:
        """What was given, else what the environment says, else the default.

        Raises
        ------
        UsageError
            A time that is not a valid number. It is a ValueError.
        """
        grace = _seconds("sigterm_grace_seconds", sigterm_grace_seconds)
        return cls(
            _seconds("leave_after_seconds", leave_after_seconds),
            GRACE_SECONDS if grace is None else grace,
        )

    def are_over(self, since: float | None) -> bool:
        """Whether a worker that waits since then, by `time.monotonic`, has waited long enough.

        None: it does not wait yet, and only SIGTERM limits it.
        """
        terminated = termination.seconds_since()
        if terminated is not None and terminated >= self.sigterm_grace_seconds:
            return True
        if since is None or self.leave_after_seconds is None:
            return False
        return time.monotonic() - since >= self.leave_after_seconds


def _seconds(name: str, given: float | None) -> float | None:
    if given is None:
        name = f"MONOLITH_{name.upper()}"
        text = os.environ.get(name, "")
        if not text:
            return None
        try:
            given = float(text)
        except ValueError:
            raise UsageError(f"{name} is not a number of seconds: {text!r}") from None
    if not (given >= 0 and math.isfinite(given)):
        raise UsageError(f"{name} must be a number of seconds that is not negative: {given}")
    return given


def unknown_end(what: str) -> UnreachableError:
    """The error of a worker that cannot know whether the chief has saved for the last time."""
    return UnreachableError(
        f"{what}: whether the chief's last save is made is not known", hint=_AGAIN
    )


class LeavingWorker:
    """Raises a worker's counter for as long as it waits to leave.

    Parameters
    ----------
    state, session, index
        The session is a plain one.
    lease_seconds
        The time within which the counter must change.

    Attributes
    ----------
    since
        When it began to wait, by `time.monotonic`.
    """

    def __init__(self, state: LeavingState, session: Any, index: int, lease_seconds: float) -> None:
        self.session = session
        self.since = time.monotonic()
        self._state = state
        self._index = index
        self._lease_seconds = lease_seconds
        self._count = 0
        self._raise(self)
        self._heartbeat = Heartbeat(session, lease_seconds, self._raise, lambda: None)
        self._heartbeat.start()

    def stop(self) -> None:
        """Stop raising it."""
        self._heartbeat.stop()
        self._heartbeat.join(GOODBYE_SECONDS)

    def leave(self) -> None:
        """Say that this worker has left."""
        self.stop()
        self._state.set(self.session, self._index, LEFT)

    def stay(
        self,
        *,
        read: Callable[[], Status],
        stand: Callable[[], object],
        run_id: str,
        is_over: Callable[[], bool],
        poll_seconds: float,
    ) -> bool:
        """Wait until the chief has saved for the last time; stand at the barrier of every save.

        Parameters
        ----------
        read, stand
            Look at the barrier; stand at it for as long as it is placed.
        run_id
            Of the caller's session, "" in TensorFlow's own.
        is_over
            Whether to wait no longer.

        Returns
        -------
        bool
            False if the chief had already ended.

        Raises
        ------
        UnreachableError
            The chief gave no sign of life for its lease, the barrier could not be read for as long,
            or the chief has begun a new run from its last commit. It is a ConnectionError.
        """
        chief, mark = 0, None
        lease_seconds = self._lease_seconds
        moved_at = logged_at = time.monotonic()
        while True:
            try:
                status, now = read(), time.monotonic()
            except SESSION_LOST as error:
                # If the chief had ended well, this worker would know: it waits for waiting workers.
                if is_over():
                    logging.warning("Worker %d leaves before the chief's last save.", self._index)
                    return True
                if time.monotonic() - moved_at >= lease_seconds:
                    raise unknown_end(
                        f"the barrier cannot be looked at for {lease_seconds:g} s"
                    ) from error
                time.sleep(poll_seconds)
                continue
            if status.chief < 0 or status.run_id == ENDED:
                return mark is not None
            if not status.chief and not chief and status.run_id == run_id:
                return True  # such a chief does not say when it has ended
            is_new = bool(chief) and status.chief not in (0, chief)
            if is_new or (run_id and status.run_id not in ("", run_id)):
                what = "the chief has begun a new run: this worker's part since the commit is lost"
                raise UnreachableError(what, hint="start this process again")
            chief = chief or status.chief
            if mark is None:
                logging.info("Worker %d waits for the chief's last save.", self._index)
            if status.mark != mark:
                mark, moved_at = status.mark, now
            # The chief's value counts; it comes with the chief's first request.
            request = status.request
            lease_seconds = request.lease_seconds if request.newest else self._lease_seconds
            if now - moved_at >= lease_seconds:
                what = f"no sign of life of the chief for {lease_seconds:g} s"
                raise UnreachableError(
                    f"{what}: its last save is not made",
                    hint=_AGAIN,
                )
            if is_over():
                logging.warning("Worker %d leaves before the chief's last save.", self._index)
                return True
            if now - logged_at >= _LOG_SECONDS:
                logged_at = now
                logging.info("Worker %d still waits for the chief's last save.", self._index)
            if status.placed:
                with contextlib.suppress(*SESSION_LOST):  # the next read notices it
                    stand()
            time.sleep(poll_seconds)

    def _raise(self, _: object) -> None:
        self._count += 1
        self._state.set(self.session, self._index, self._count)


class LeavingWatch:
    """Tells by the counters which workers wait to leave, have left, or were killed meanwhile."""

    def __init__(self, lease_seconds: float) -> None:
        self._lease_seconds = lease_seconds
        self._seen: dict[int, tuple[int, float, float]] = {}  # count, first and last look

    def note(self, leaving: Sequence[int]) -> None:
        """Note the counters. Costs nothing, and may be called from any thread."""
        now = time.monotonic()
        for index, count in enumerate(map(int, leaving)):
            seen = self._seen.get(index)
            first = seen[1] if seen and seen[0] == count else now
            self._seen[index] = count, first, now

    @property
    def gone(self) -> set[int]:
        """Who has left, or was killed while it waited."""
        return {
            index
            for index, (count, first, last) in list(self._seen.items())
            if count == LEFT or (count > 0 and last - first >= self._lease_seconds)
        }

    def gone_by(self, status: Status) -> set[int]:
        """Note the counters of this status, and say who is gone and not at the barrier."""
        self.note(status.leaving)
        # A worker may have come back and stand there without having said so.
        back = {i for i, count in enumerate(status.leaving) if count == LEFT and status.elements[i]}
        return self.gone - back

    @property
    def waiting(self) -> set[int]:
        """Who waits to leave."""
        seen = list(self._seen.items())
        return {index for index, (count, *_) in seen if count > 0} - self.gone
