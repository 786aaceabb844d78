"""Saves that clients of the Controller service ask for and wait for."""

from __future__ import annotations

import threading
from typing import Any

import grpc

from monolith_cli.errors import UnfinishedWorkersError
from monolith_cli.training.control.refusals import CallRefusedError

__all__ = ["AskedSaves"]

_MOST_SAVES = 4  # that may wait at once, so that other calls are still answered
_TIMEOUT_MARGIN_SECONDS = 0.1
_DEADLINE_SECONDS = 600.0  # for calls without a deadline, as original clients make them
_NO_DEADLINE_SECONDS = 10 * 365 * 86_400.0  # above this, grpc means that there is no deadline


class AskedSaves:
    """Lets a few calls at once wait for saves of the chief's hook.

    Parameters
    ----------
    saver_hook
        It needs `trigger_save`.
    session
        The chief's plain session.
    """

    def __init__(self, saver_hook: Any, session: Any) -> None:
        self._saver_hook = saver_hook
        self._session = session
        self._waiting = threading.BoundedSemaphore(_MOST_SAVES)

    def save(self, context: Any, *, require_all: bool | None) -> Any:
        """What `trigger_save` returns, if it does so before the deadline of grpc's context.

        A save that it refuses is a `CallRefusedError`; other errors are raised as they are.
        """
        if not self._waiting.acquire(blocking=False):
            raise CallRefusedError(
                grpc.StatusCode.RESOURCE_EXHAUSTED, f"{_MOST_SAVES} saves are waited for already"
            )
        try:
            return self._saver_hook.trigger_save(
                self._session,
                require_all=require_all,
                timeout_seconds=_seconds_left(context.time_remaining()),
            )
        except UnfinishedWorkersError as error:
            raise CallRefusedError(grpc.StatusCode.FAILED_PRECONDITION, error.what) from error
        except TimeoutError as error:
            raise CallRefusedError(grpc.StatusCode.DEADLINE_EXCEEDED, str(error)) from error
        finally:
            self._waiting.release()


def _seconds_left(left: float | None) -> float:
    """How long a save may take, so that its caller still gets the result."""
    if left is None or left > _NO_DEADLINE_SECONDS:
        left = _DEADLINE_SECONDS
    return max(left - _TIMEOUT_MARGIN_SECONDS, _TIMEOUT_MARGIN_SECONDS)
