"""How to see that another process of the job does not answer, and how long to wait for it."""

from __future__ import annotations

import os
import re
import time

import tensorflow as tf
from absl import logging

from monolith_cli.errors import UnreachableError

__all__ = ["GONE", "POLL_SECONDS", "Patience", "fail_fast"]

GONE = (tf.errors.AbortedError, tf.errors.UnavailableError)
"""What a session raises if a process has gone, or lost its memory."""

POLL_SECONDS = 0.2
"""Between two checks of what others have done."""

_RETRY_SECONDS = 0.5
# What follows the address and port in an error of grpc.
_TARGET = re.compile(r"remote target /job:([^/\s]+)/replica:\d+/task:(\d+)")


def fail_fast() -> None:
    """Make a lost server an error; without it TensorFlow waits for ever."""
    os.environ.setdefault("GRPC_FAIL_FAST", "true")


class Patience:
    """How long to wait for others without a sign of life."""

    def __init__(self, deadline_seconds: float) -> None:
        self._deadline_seconds = deadline_seconds
        self._since = time.monotonic()
        self._life: int | None = None
        self._told = False

    def note_life(self, life: int) -> None:
        """Note a number that changes as long as somebody lives."""
        if life != self._life:
            self._life, self._since = life, time.monotonic()

    def wait(self, error: Exception) -> None:
        """Pause after a failure to reach somebody."""
        message = str(getattr(error, "message", error))
        found = _TARGET.search(message)
        self.check(f"/job:{found[1]}/task:{found[2]} does not answer" if found else message)
        time.sleep(_RETRY_SECONDS)

    def check(self, why: str) -> None:
        """Give up if the time is over."""
        if not self._told:
            logging.info("Waiting for the job: %s", why)
            self._told = True
        if time.monotonic() - self._since >= self._deadline_seconds:
            raise UnreachableError(
                f"the job has not come (back) within {self._deadline_seconds:g} s: {why}",
                hint="see whether its parameter servers and its chief are alive",
            )
