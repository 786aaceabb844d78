"""Waiting for what a running job has been asked for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from monolith_cli.errors import TimedOutError

if TYPE_CHECKING:
    from collections.abc import Callable

    from monolith_cli.control.client import JobClient, JobInfo

__all__ = ["time_left", "wait_until"]

_POLL_SECONDS = 0.2
_SHORTEST_SECONDS = 0.2  # that a call is given, however little time is left


def wait_until(
    client: JobClient,
    is_there: Callable[[JobInfo], bool],
    timeout_seconds: float,
    what: Callable[[JobInfo], str],
) -> JobInfo:
    """Ask a job five times a second until something is there.

    Raises
    ------
    TimedOutError
        The time is over; `what` says of what.
    MonolithError
        As `JobClient.info`.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        info = client.info(min(time_left(deadline), client.answer_seconds))
        if is_there(info):
            return info
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimedOutError(
                f"{what(info)} after {timeout_seconds:g} s", path=str(client.address)
            )
        time.sleep(min(_POLL_SECONDS, left))


def time_left(deadline: float) -> float:
    """The seconds that a call has until a time by `time.monotonic`; never too few for an answer."""
    return max(deadline - time.monotonic(), _SHORTEST_SECONDS)
