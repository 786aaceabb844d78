"""The listeners of a save, and the order in which they are called."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from absl import logging

from monolith_cli.training.graph.lost import SESSION_LOST
from monolith_cli.training.saves.barrier_listener import BarrierSaverListener

__all__ = ["SaveListeners"]


class SaveListeners:
    """Listeners, called before and after the save, and guards, which surround both.

    Parameters
    ----------
    listeners
        Those that save something, or prepare that. The list is kept, not copied.
    guards
        Those that are called around a save whatever happens in it.
    """

    def __init__(self, listeners: list[Any], guards: list[Any]) -> None:
        self._listeners = listeners
        self._guards = guards

    @property
    def barriers(self) -> list[BarrierSaverListener]:
        """Those that bring workers to a barrier. Guards first: theirs is the save's barrier."""
        return _barriers([*self._guards, *self._listeners])

    def begin_guards(self) -> None:
        """Let guards build what they need. TensorFlow's hook does so for the listeners."""
        for guard in self._guards:
            guard.begin()

    def end(self, session: Any, step: int) -> None:
        """Tell everyone that the session ends."""
        for listener in (*self._listeners, *self._guards):
            listener.end(session, step)

    def release(self, session: Any) -> None:
        """Leave no barrier of a save behind."""
        for barrier in self.barriers:
            barrier.release(session)

    # --- a save -------------------------------------------------------------------------------

    @contextlib.contextmanager
    def guarded(self, session: Any, step: int) -> Iterator[list[Any]]:
        """Inside this, the guards have been entered; they are left whatever happens.

        Guards that ask for the end of training are put into the list.
        """
        wanting: list[Any] = []

        def leave(guard: Any) -> None:
            if guard.after_save(session, step):
                logging.info("A listener requested that training be stopped: %s", guard)
                wanting.append(guard)

        with contextlib.ExitStack() as stack:
            for guard in self._guards:
                guard.before_save(session, step)
                stack.callback(leave, guard)
            yield wanting

    def before_save(self, session: Any, step: int, at_barrier: Callable[[], object]) -> None:
        """Call the listeners, inside the guards.

        Parameters
        ----------
        at_barrier
            Called each time workers have been brought to a barrier. If it raises, the save ends
            before the next listener begins something long.
        """
        if _barriers(self._guards):
            at_barrier()
        for listener in self._listeners:
            listener.before_save(session, step)
            if isinstance(listener, BarrierSaverListener):
                at_barrier()

    def after_save(self, session: Any, step: int) -> bool:
        """Call all of them, then raise the first failure; returns whether to stop training."""
        should_stop = False
        failure: BaseException | None = None
        for listener in self._listeners:
            try:
                if listener.after_save(session, step):
                    logging.info("A listener requested that training be stopped: %s", listener)
                    should_stop = True
            except BaseException as error:  # the others must still release what they hold
                failure = failure or error
        if failure is not None:
            raise failure
        return should_stop

    def after_failure(self, session: Any) -> None:
        """Nothing was saved. TensorFlow's listeners have no call for that; barriers need one."""
        with contextlib.suppress(*SESSION_LOST):
            for barrier in _barriers(self._listeners):
                barrier.release(session)

    def run_alone(self, session: Any, step: int) -> bool:
        """Call all of them without saving anything; returns whether to stop training."""
        should_stop = False
        with self.guarded(session, step) as wanting:
            for listener in self._listeners:
                listener.before_save(session, step)
            for listener in self._listeners:
                should_stop = bool(listener.after_save(session, step)) or should_stop
        return should_stop or bool(wanting)

    def saved_entries(self, step: int) -> dict[str, int]:
        """How many entries each dump of a step holds, from the listeners that know."""
        entries: dict[str, int] = {}
        for listener in self._listeners:
            count = getattr(listener, "saved_entries", None)
            if callable(count):
                entries.update(count(step))
        return entries


def _barriers(listeners: list[Any]) -> list[BarrierSaverListener]:
    return [listener for listener in listeners if isinstance(listener, BarrierSaverListener)]
