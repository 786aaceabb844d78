"""Whether the chief is inside a step of its own, as other threads see it.

TensorFlow tells hooks neither that a session has been made, nor that one of its runs has failed.
Both can be seen from outside: the first in what the monitored session holds, the second in the
thread's stack.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import weakref
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import tensorflow as tf

from monolith_cli.training.graph.shared import plain

__all__ = ["ChiefStep", "beside_a_run", "is_being_made", "is_beside_a_run"]

_FILE = tf.compat.v1.train.MonitoredSession.run.__code__.co_filename

_beside: ContextVar[bool] = ContextVar("beside_a_run", default=False)


def is_beside_a_run() -> bool:
    """In the thread that saves: whether the chief is in a run meanwhile, and may use its input."""
    return _beside.get()


@contextlib.contextmanager
def beside_a_run() -> Iterator[None]:
    """Save beside a run of the chief."""
    mark = _beside.set(True)
    try:
        yield
    finally:
        _beside.reset(mark)


def is_being_made() -> bool:
    """Whether this thread makes or runs a monitored session; in a hook's `begin` it makes one."""
    return _outermost(sys._getframe()) is not None


class ChiefStep:
    """Of one session. Make it in `after_create_session`, in the thread that makes the session.

    Reading it locks nothing, and costs some 10 µs.

    Parameters
    ----------
    session, coord
        As hooks get them.
    """

    def __init__(self, session: Any, coord: Any) -> None:
        self._session = weakref.ref(plain(session))
        self._coord = coord
        self._thread = threading.current_thread()
        monitored = _outermost(sys._getframe())
        self._monitored = None if monitored is None else weakref.ref(monitored)

    def note_thread(self) -> None:
        """This thread runs the session."""
        self._thread = threading.current_thread()

    @property
    def session(self) -> Any:
        """The plain session; None when nobody holds it any more."""
        return self._session()

    @property
    def is_inside(self) -> bool:
        """Whether the thread is in TensorFlow's monitored session: makes, runs or closes it."""
        frame = sys._current_frames().get(self._thread.ident or 0)
        while frame is not None:
            if frame.f_code.co_filename == _FILE:
                return True
            frame = frame.f_back
        return False

    @property
    def is_live(self) -> bool:
        """Whether the session has been made, all hooks included, and is not about to close."""
        session = self._session()
        if session is None or self._coord.should_stop():
            return False
        if self._monitored is None:  # made by hand
            return True
        inner = self._monitored()
        while inner is not None and inner is not session:
            # Each layer gets the one below when that has been made, and loses it on a failure.
            inner = getattr(inner, "_sess", None)
        return inner is session


def _outermost(frame: Any) -> Any:
    """The monitored session that is being made, or run, in a frame."""
    monitored = None
    while frame is not None:
        if frame.f_code.co_filename == _FILE:
            monitored = frame.f_locals.get("self", monitored)
        frame = frame.f_back
    return monitored
