"""Sessions that are closed in threads of their own, all of them before the process ends."""

from __future__ import annotations

import atexit
import contextlib
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import tensorflow as tf

__all__ = ["closed_aside"]

_CLOSING_SECONDS = 20.0

# A session that is collected deletes itself right after its `close`, which must be over by then.
_unclosed: set[Any] = set()
_closing: weakref.WeakSet[threading.Thread] = weakref.WeakSet()


def closed_aside(session: Any) -> Any:
    """The same session, whose `close` returns at once.

    Closing one whose servers come and go sometimes takes up to 17 s, and recovery waits for it.
    """
    close = session.close
    _unclosed.add(session)

    def close_aside() -> None:
        try:
            _unclosed.remove(session)
        except KeyError:
            return
        thread = threading.Thread(target=_quietly, args=(close,), name="session-close", daemon=True)
        _closing.add(thread)
        thread.start()

    session.close = close_aside
    return session


@atexit.register
def _close_all() -> None:
    """Wait for all of them: a thread inside TensorFlow at the end would abort the interpreter.

    A session must not be left either: a server in this process would wait for it.
    """
    for session in list(_unclosed):
        session.close()
    deadline = time.monotonic() + _CLOSING_SECONDS
    for thread in list(_closing):
        thread.join(max(0.0, deadline - time.monotonic()))


def _quietly(close: Callable[[], None]) -> None:
    with contextlib.suppress(tf.errors.OpError, RuntimeError):
        close()
