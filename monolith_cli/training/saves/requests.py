"""Saves that are asked for in other threads than the one that trains."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf
from absl import logging

from monolith_cli.errors import DirectoryInUseError
from monolith_cli.training.graph.lost import SESSION_LOST

__all__ = ["SaveRequest", "SaveRequests", "SaveResult"]


_POLL_SECONDS = 0.2
_GRACE_SECONDS = 30.0
_STEP_SECONDS = 0.5  # to wait for the thread that trains
_RUN_SECONDS = 5.0  # to wait for its run to end


class SaveResult(NamedTuple):
    """A committed step.

    Attributes
    ----------
    step
        The number in the names of its files.
    path
        The prefix of its tensor bundle.
    finished_workers, unfinished_workers
        The workers whose iterator states belong to the step, and those with older ones. 0 is the
        chief, if it has an input whose state is saved.
    """

    step: int
    path: str
    finished_workers: tuple[int, ...]
    unfinished_workers: tuple[int, ...]


class SaveRequests:
    """Passes saves to the thread that trains, and results and errors back.

    If that thread does not come by, the thread that asks saves in its place. A lock is held only
    for moments: neither while somebody waits nor during a save.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[SaveRequest] = []
        self._thread: threading.Thread | None = None
        self._coord: Any = None
        self._has_ended = False

    def open(self, coord: Any) -> None:
        """A session has been made in this thread. Earlier requests stay."""
        self._coord, self._has_ended = coord, False
        self.note_thread()

    def note_thread(self) -> None:
        """This thread trains."""
        self._thread = threading.current_thread()

    @property
    def is_elsewhere(self) -> bool:
        """Whether another thread than this one trains.

        Raises
        ------
        tensorflow.errors.AbortedError
            The session has ended.
        """
        if self._has_ended:
            raise _ended()
        return self._thread not in (None, threading.current_thread())

    def ask(
        self,
        require_all: bool | None,
        timeout_seconds: float | None,
        stand_in: Callable[[SaveRequest, bool], object],
    ) -> SaveResult | None:
        """Hand in a request, and wait until it has been served.

        Parameters
        ----------
        stand_in
            Called now and then, in this thread, with the request and whether a run of the chief
            has had its time. It may `take` the request, and must then serve it.

        Raises
        ------
        TimeoutError
            The time is over. A save that has not begun by then is not made.
        tensorflow.errors.AbortedError
            The session has ended; or it failed half a minute ago, and has not recovered.
        Exception
            The error of the save.
        """
        request = SaveRequest(require_all)
        with self._lock:
            if self._has_ended:
                raise _ended()
            self._waiting.append(request)
        try:
            self._wait(request, timeout_seconds, stand_in)
        finally:
            with self._lock, contextlib.suppress(ValueError):
                self._waiting.remove(request)
        return request.get()

    def take(self, request: SaveRequest) -> bool:
        """Take a request out in order to serve it; False if somebody else has."""
        with self._lock:
            if request not in self._waiting:
                return False
            self._waiting.remove(request)
            return True

    def serve(self, save: Callable[[bool | None], tuple[SaveResult | None, bool]]) -> bool:
        """Save for all who wait, in the thread that trains; each gets the error of its own save.

        Parameters
        ----------
        save
            Gets `require_all`; returns the result, and whether to stop training.

        Returns
        -------
        bool
            Whether to stop training.

        Raises
        ------
        tensorflow.errors.OpError
            The session is lost.
        DirectoryInUseError
            Another chief has taken the directory.
        """
        if not self._waiting:
            return False
        with self._lock:
            waiting, self._waiting = self._waiting, []
        should_stop = False
        for request in waiting:
            try:
                result, stop = save(request.require_all)
                should_stop = should_stop or stop
                request.succeed(result)
            except Exception as error:
                request.fail(error)
                if isinstance(error, (*SESSION_LOST, DirectoryInUseError)):
                    _fail_all(waiting, error)
                    raise
                logging.error("A save that was asked for has failed: %s", error)
            except BaseException:
                _fail_all(waiting, _ended())
                raise
        return should_stop

    def end(self) -> None:
        """The session ends: let nobody wait any longer."""
        with self._lock:
            self._has_ended = True
            waiting, self._waiting = self._waiting, []
        _fail_all(waiting, _ended())

    def _wait(
        self,
        request: SaveRequest,
        timeout_seconds: float | None,
        stand_in: Callable[[SaveRequest, bool], object],
    ) -> None:
        began = time.monotonic()
        deadline = None if timeout_seconds is None else began + timeout_seconds
        stopped_at: float | None = None
        while not request.done.wait(_until(deadline)):
            now = time.monotonic()
            if deadline is not None and now >= deadline:
                raise TimeoutError(f"no checkpoint was saved within {timeout_seconds:g} s")
            # A session that fails does not call `end`.
            stopped = self._coord is not None and self._coord.should_stop()
            stopped_at = (stopped_at or now) if stopped else None
            alive = self._thread is not None and self._thread.is_alive()
            if not alive or (stopped_at is not None and now - stopped_at >= _GRACE_SECONDS):
                raise _ended()
            if not stopped and now - began >= _STEP_SECONDS:
                stand_in(request, now - began >= _RUN_SECONDS)


class SaveRequest:
    """A save that another thread waits for."""

    def __init__(self, require_all: bool | None) -> None:
        self.require_all = require_all
        self.done = threading.Event()
        self._result: SaveResult | None = None
        self._error: Exception | None = None

    def succeed(self, result: SaveResult | None) -> None:
        self._result = result
        self.done.set()

    def fail(self, error: Exception) -> None:
        if not self.done.is_set():
            self._error = error
            self.done.set()

    def get(self) -> SaveResult | None:
        if self._error is not None:
            raise self._error
        return self._result


def _until(deadline: float | None) -> float:
    left = _POLL_SECONDS if deadline is None else deadline - time.monotonic()
    return max(0.0, min(_POLL_SECONDS, left))


def _fail_all(requests: list[SaveRequest], error: Exception) -> None:
    for request in requests:
        request.fail(error)


def _ended() -> Exception:
    error: Exception = tf.errors.AbortedError(None, None, "the session has ended: nothing is saved")
    return error
