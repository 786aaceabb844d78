"""Threads that run tasks. Imported where some are started: it costs more than counting a little."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event

from monolith_cli.execution.workers import here

__all__ = ["Threads"]


class Threads(ThreadPoolExecutor):
    """Threads whose tasks may see that nobody waits for them any more (`is_given_up`)."""

    def __init__(self, jobs: int) -> None:
        self._given_up = Event()
        super().__init__(jobs, initializer=_enter, initargs=(self._given_up,))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As of any executor; with `cancel_futures` nobody waits for an answer any more."""
        if cancel_futures:
            self._given_up.set()
        super().shutdown(wait=wait, cancel_futures=cancel_futures)


def _enter(given_up: Event) -> None:
    here.given_up = given_up
