"""A barrier in one process: its workers are threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tf_support import tensorflow

POLL = 0.02


class Job:
    """A barrier and a session on it, with whatever callbacks saw."""

    def __init__(self, ops: Any, capacity: int = 3, **options: Any) -> None:
        tf = tensorflow()
        self.seen: list[str] = []
        self.callback: Callable[[str, Any], object] = lambda action, session: None
        self.last: list[str] = []  # as a second callback saw it
        self.graph = tf.Graph()
        with self.graph.as_default():
            self.op = ops.BarrierOp(
                capacity,
                wait_seconds=options.pop("wait_seconds", POLL),
                barrier_callbacks=[self._called, self._called_last],
                **options,
            )
            self.session = tf.compat.v1.Session(graph=self.graph)
            self.session.run(tf.compat.v1.local_variables_initializer())
            self.graph.finalize()
        self.threads: list[threading.Thread] = []

    def _called(self, action: str, session: Any) -> object:
        self.seen.append(f"{threading.current_thread().name} {action}")
        return self.callback(action, session)

    def _called_last(self, action: str, session: Any) -> object:
        self.last.append(f"{threading.current_thread().name} {action}")
        return 0  # equals False, and is not

    def worker(self, index: int) -> threading.Thread:
        """A thread that stands at the barrier, as worker `index`."""
        thread = threading.Thread(
            target=self.op.wait_until_barrier_removed, args=(self.session, index), name=f"w{index}"
        )
        thread.start()
        self.threads.append(thread)
        return thread

    def close(self) -> None:
        self.op.reset(self.session)
        for thread in self.threads:
            thread.join(5)
            assert not thread.is_alive()
        self.session.close()


@contextmanager
def job(ops: Any, **options: Any) -> Iterator[Job]:
    made = Job(ops, **options)
    try:
        yield made
    finally:
        made.close()


class Boom(Exception):
    pass


def raise_boom(action: str, session: Any) -> None:
    raise Boom
