"""Those who run tasks: the caller's own thread, threads, or an executor that is handed in."""

from __future__ import annotations

import os
from threading import local
from typing import TYPE_CHECKING, TypeVar

from monolith_cli.errors import BrokenExecutorError, UsageError
from monolith_cli.execution.task import run_task

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from concurrent.futures import Executor, Future
    from threading import Event
    from types import TracebackType
    from typing import Any

    from monolith_cli.execution.protocols import Task

__all__ = ["ALONE", "Workers", "is_given_up", "to_ask_elsewhere", "usable_processors"]

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
        pickled if it needs that. It decides how many run at a time; twice `jobs` are given to it
        before the first result is waited for, with one as many as with None. More than there are
        processors here have to be asked for, where its own are elsewhere.

    Raises
    ------
    UsageError
        `jobs` < 1.
    """

    __slots__ = ("_executor", "_pool", "jobs")

    def __init__(self, jobs: int | None = 1, executor: Executor | None = None) -> None:
        if jobs is not None and jobs < 1:
            raise UsageError(f"{jobs} jobs: at least one task runs at a time")
        if jobs == 1 and executor is not None:
            jobs = None  # the default of most callers, with which the executor would be idle
        self.jobs = jobs or usable_processors()
        self._executor = executor
        self._pool: Any = None

    @property
    def alone(self) -> bool:
        """Whether the caller's own thread does the work."""
        return self.jobs == 1 and self._executor is None

    @property
    def elsewhere(self) -> bool:
        """Whether an executor that was handed in does it, perhaps in other processes."""
        return self._executor is not None

    def submit(self, task: Task[R]) -> Future[R]:
        """Have a task run by somebody else.

        Raises
        ------
        BrokenExecutorError
            The executor takes none any more, or no thread can be started.
        """
        try:
            future: Future[R] = self._running().submit(run_task, task)
        except RuntimeError as error:
            raise BrokenExecutorError(f"no task can be started: {error}") from error
        return future

    def run(self, task: Task[R]) -> R:
        """Have one task run, and wait for it. Raises what it raises, and as `in_order`."""
        return task.run() if self.alone else _result(self.submit(task))

    def in_order(self, tasks: Iterable[T]) -> Generator[tuple[T, Any], None, None]:
        """Tasks and their results in order, whoever is done first; errors come in it, too.

        Close it (`contextlib.closing`) where it may not be read to the end: what waits is then
        called off, and what runs is waited for.

        Raises
        ------
        BrokenExecutorError
            The executor takes no task any more, or has lost one.
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
                    yield first, _result(future)
            while waiting:
                first, future = waiting.popleft()
                yield first, _result(future)
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


def _result(future: Future[R]) -> R:
    try:
        return future.result()
    except Exception as error:
        from concurrent.futures import BrokenExecutor, CancelledError

        if isinstance(error, BrokenExecutor):
            raise BrokenExecutorError(f"the work was not done: {error}") from error
        if isinstance(error, CancelledError):
            raise BrokenExecutorError("the work was called off by its executor") from error
        raise


ALONE = Workers()
"""The caller's own thread."""


def is_given_up() -> bool:
    """Whether nobody waits any more for what this thread does: a long task looks now and then."""
    given_up: Event | None = getattr(here, "given_up", None)
    return given_up is not None and given_up.is_set()


def to_ask_elsewhere() -> Callable[[], bool]:
    """What says in any thread whether this one is to give up."""
    given_up: Event | None = getattr(here, "given_up", None)
    return _never if given_up is None else given_up.is_set


def _never() -> bool:
    return False


def usable_processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
