"""Waits that somebody should hear of: the library says what it waits for, its user listens.

Without a listener nothing is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["heard_by", "say"]

_listener: ContextVar[Callable[[str], None] | None] = ContextVar("listener", default=None)


@contextmanager
def heard_by(listener: Callable[[str], None]) -> Iterator[None]:
    """Have waits told to somebody, in a sentence each, before they begin."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def say(what: str) -> None:
    """Tell that something is waited for."""
    listener = _listener.get()
    if listener is not None:
        listener(what)
