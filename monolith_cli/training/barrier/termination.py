"""SIGTERM, which lets a process end as it would by itself: after its step, with its last save."""

from __future__ import annotations

import os
import signal
import threading
import time
import weakref
from typing import Any, Protocol

__all__ = ["forget", "seconds_since", "watch"]


class Watcher(Protocol):
    """Something that ends a session in good order once SIGTERM has come."""

    @property
    def is_live(self) -> bool:
        """Whether there is a session to end."""


_watchers: weakref.WeakSet[Any] = weakref.WeakSet()
_came_at: float | None = None


def watch(watcher: Watcher) -> None:
    """Let SIGTERM only be noted, for `seconds_since`, while this watcher or another one is live.

    Otherwise, and the second time, it ends the process at once. Does nothing if the process has a
    handler of its own, or outside of the main thread, where Python does not allow setting one.
    """
    _watchers.add(watcher)
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _note)


def forget(watcher: Watcher) -> None:
    """This one's session has ended. After the last one SIGTERM does what it did before."""
    _watchers.discard(watcher)
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and not _watchers and signal.getsignal(signal.SIGTERM) is _note:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def seconds_since() -> float | None:
    """How long ago SIGTERM came; None if it has not."""
    return None if _came_at is None else time.monotonic() - _came_at


def _note(number: int, frame: object) -> None:
    global _came_at
    if _came_at is None and any(watcher.is_live for watcher in list(_watchers)):
        _came_at = time.monotonic()
        return
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)
