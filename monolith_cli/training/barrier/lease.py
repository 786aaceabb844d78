"""The thread that raises a lease's counter, and its end with the interpreter."""

from __future__ import annotations

import atexit
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from absl import logging

__all__ = ["Heartbeat"]


class Heartbeat(threading.Thread):
    """Calls `beat` until it is stopped or its session is gone.

    Parameters
    ----------
        A plain session, which `beat` uses.
        A plain session, that `beat` uses.
    lease_seconds
        The lease's time. `beat` is called six times in it, and at least once a second; if it fails
        for that long, the thread ends.
    beat
        Called with this thread's object; raises the counter, and does whatever else is due.
    seconds_left
        Seconds until `beat` has something else to do; None if it has nothing.
    """

    def __init__(
        self,
        session: Any,
        lease_seconds: float,
        beat: Callable[[Heartbeat], object],
        seconds_left: Callable[[], float | None],
    ) -> None:
        super().__init__(name="barrier-lease", daemon=True)
        self.session = session
        self._lease_seconds = lease_seconds
        self._beat = beat
        self._seconds_left = seconds_left
        self._stopped = threading.Event()
        _heartbeats.add(self)

    def stop(self) -> None:
        """Ask the thread to end; it does so at once, unless it waits for the parameter server."""
        self._stopped.set()

    def run(self) -> None:
        last = time.monotonic()
        while not self._stopped.wait(self._pause()):
            try:
                self._beat(self)
                last = time.monotonic()
            except tf.errors.OpError as error:
                # A short break of the network does not mean that the session is lost.
                gone = isinstance(error, tf.errors.CancelledError)
                if gone or time.monotonic() - last >= self._lease_seconds:
                    logging.warning("The barrier's lease is raised no more: %s", error)
                    return
            except RuntimeError as error:
                logging.info("The barrier's session is closed: %s", error)
                return

    def _pause(self) -> float:
        interval = min(1.0, self._lease_seconds / 6)
        left = self._seconds_left()
        return interval if left is None else min(interval, max(left, 0.01))


_heartbeats: weakref.WeakSet[Heartbeat] = weakref.WeakSet()


@atexit.register
def _stop_heartbeats() -> None:
    """A thread inside TensorFlow must not outlive the interpreter, which would abort."""
    for heartbeat in list(_heartbeats):
        heartbeat.stop()
    for heartbeat in list(_heartbeats):
        if heartbeat.is_alive():
            heartbeat.join(1)
