"""Those who run tasks: the caller's own thread, threads, or an executor that is handed in."""

from __future__ import annotations

import os
from threading import local
from typing import TYPE_CHECKING, TypeVar

from monolith_cli.errors import UsageError
from monolith_cli.execution.task import run_task

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from concurrent.futures import Executor, Future
    from threading import Event
    from types import TracebackType
    from typing import Any

    from monolith_cli.execution.protocols import Task

__all__ = ["ALONE", "Workers", "is_given_up", "usable_processors"]

R = TypeVar("R")
T = TypeVar("T", bound="Task[Any]")

here = local()
"""Of a thread that was started here: whether it is to give up."""


class Workers:
    """Whoever runs tasks; a context manager that ends the threads which it has started.

    Parameters
    ----------
    jobs
        How many tasks run at a time; None for as many as there are processors to use. With one and
        no executor the caller's own thread runs them. What is held at a time is the results of
        twice as many.
    executor
        Runs the tasks in place of threads of our own, and is not shut down. Tasks and results are
        pickled if it needs that.

    Raises
    ------
    UsageError
        `jobs` < 1.
    """

    __slots__ = ("_executor", "_pool", "jobs")

    def __init__(self, jobs: int | None = 1, executor: Executor | None = None) -> None:
        if jobs is not None and jobs < 1:
            raise UsageError(f"{jobs} jobs: at least one task runs at a time")
        self.jobs = jobs or usable_processors()
        self._executor = executor
        self._pool: Any = None

    @property
    def alone(self) -> bool:
        """Whether the caller's own thread does the work."""
        return self.jobs == 1 and self._executor is None

    def submit(self, task: Task[R]) -> Future[R]:
        """Have a task run by somebody else."""
        future: Future[R] = self._running().submit(run_task, task)
        return future

    def run(self, task: Task[R]) -> R:
        """Have one task run, and wait for it."""
        return task.run() if self.alone else self.submit(task).result()

    def in_order(self, tasks: Iterable[T]) -> Generator[tuple[T, Any], None, None]:
        """Tasks and their results in order, whoever is done first; errors come in it, too.

        Close it (`contextlib.closing`) where it may not be read to the end: what waits is then
        called off, and what runs is waited for.
        """
        if self.alone:
            for task in tasks:
                yield task, task.run()
            return
        from collections import deque

        waiting: deque[tuple[T, Future[Any]]] = deque()
        try:
            for task in tasks:
                waiting.append((task, self.submit(task)))
                if len(waiting) == 2 * self.jobs:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            if waiting:
                self._call_off([future for _, future in waiting])

    def _call_off(self, futures: list[Future[Any]]) -> None:
        if self._executor is None:
            self.close()  # tells those that run to give up, which no other executor can
            return
        from concurrent.futures import wait

        wait([future for future in futures if not future.cancel()])

    def _running(self) -> Executor:
        if self._executor is not None:
            return self._executor
        if self._pool is None:
            from monolith_cli.execution.threads import Threads

            self._pool = Threads(self.jobs)
        pool: Executor = self._pool
        return pool

    def close(self) -> None:
        """End the threads that were started here; an executor that was handed in stays."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


ALONE = Workers()
"""The caller's own thread."""


def is_given_up() -> bool:
    """Whether nobody waits any more for what this thread does: a long task looks now and then."""
    given_up: Event | None = getattr(here, "given_up", None)
    return given_up is not None and given_up.is_set()


def usable_processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
