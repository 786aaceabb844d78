"""What a process runs when a generation is raised, and which generations it has not finished."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from monolith_cli.training.barrier.state import BarrierState, Request

if TYPE_CHECKING:
    from monolith_cli.training.barrier.op import BarrierOp

__all__ = ["BarrierCallback", "Callbacks", "RunningRequest", "running_request"]

BarrierCallback = Callable[[str, Any], object]


class RunningRequest(NamedTuple):
    """What a callback is run for."""

    barrier_op: BarrierOp
    generation: int


def running_request() -> RunningRequest | None:
    """Inside a callback, in the thread that runs it, the request it is run for; elsewhere None."""
    running: RunningRequest | None = getattr(_running, "request", None)
    return running


_running = threading.local()


class Callbacks:
    """Runs the callbacks of a process, the chief's or a worker's.

    Parameters
    ----------
    barrier_op
        The barrier that they are run for, as `running_request` says.
    state
        Where a generation is acknowledged.
    callbacks
        Each is called `(action, session)`; one that returns False has not finished.

    Attributes
    ----------
    lock
        Hold it to run them, so that they run one at a time. The chief takes it inside its own lock,
        and so waits for the callback of a worker in the same process. A worker takes this one
        alone, so it does not delay a removal.
    """

    def __init__(
        self, barrier_op: BarrierOp, state: BarrierState, callbacks: Iterable[BarrierCallback]
    ) -> None:
        self.lock = threading.Lock()
        self._barrier_op = barrier_op
        self._state = state
        self._callbacks = list(callbacks)
        self._unfinished: dict[int, frozenset[int]] = {}  # generations, by element

    def run(self, session: Any, index: int, request: Request, generation: int) -> None:
        """Under the lock: run all of them, and acknowledge the generation if all have finished.

        Parameters
        ----------
        session
            A plain one.
        index
            The element of the process that runs them.
        generation
            The request's open one or its placement; the request has the action of each.
        """
        is_open = generation == request.generation
        action = request.action if is_open else request.placement_action
        finished = True
        before = running_request()
        _running.request = RunningRequest(self._barrier_op, generation)
        try:
            for callback in self._callbacks:
                if callback(action, session) is False:
                    finished = False
        finally:
            _running.request = before
        if finished:
            self._state.acknowledge(session, index, generation)
        else:
            # Only these older ones can still be asked for, or asked about.
            older = {request.generation, request.placement} & self._unfinished.get(
                index, frozenset()
            )
            self._unfinished[index] = frozenset({generation, *older})

    def has_not_finished(self, index: int, generation: int) -> bool:
        """Whether one of them has said so about exactly this generation."""
        return generation in self._unfinished.get(index, ())
