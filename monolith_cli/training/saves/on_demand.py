"""Saves on request, in the thread that trains or in another one."""

from __future__ import annotations

import contextlib
from typing import Any

from absl import logging

from monolith_cli.training.graph.shared import plain
from monolith_cli.training.run.chief_step import ChiefStep, beside_a_run, is_being_made
from monolith_cli.training.saves.requests import SaveRequest, SaveRequests, SaveResult
from monolith_cli.training.saves.step_saver import StepSaver

__all__ = ["OnDemand"]


class OnDemand:
    """Serves requests between two runs of the chief, and beside a run that does not end.

    The chief's thread says when it is in a run. Between two runs it saves for those who wait. If it
    does not come by, the thread that asks saves itself.

    Parameters
    ----------
    saver
        What saves.

    Attributes
    ----------
    is_stop_due
        Whether a listener of a save in another thread wants training to stop.
    """

    def __init__(self, saver: StepSaver) -> None:
        self._saver = saver
        self._requests = SaveRequests()
        self._chief: ChiefStep | None = None
        self._has_begun_run = False
        self.is_stop_due = False

    def begin(self) -> None:
        """A session may be about to be made by this thread."""
        if is_being_made():
            self._requests.note_thread()

    def open(self, session: Any, coord: Any) -> None:
        """A session has been made by this thread."""
        self._chief = ChiefStep(session, coord)
        self._requests.open(coord)
        self._has_begun_run = False

    def note_thread(self) -> None:
        """This thread runs the session."""
        self._requests.note_thread()
        if self._chief is not None:
            self._chief.note_thread()

    def begin_run(self, session: Any) -> bool:
        """A run begins; returns whether to stop training.

        After a run that failed, for example because its input has ended, nobody has been served.
        """
        should_stop = self._has_begun_run and self.serve(session)
        self._has_begun_run = True
        return should_stop

    def end_run(self) -> None:
        """A run has ended well."""
        self._has_begun_run = False

    def serve(self, session: Any) -> bool:
        """Save for all who wait; returns whether to stop training."""
        return self._requests.serve(lambda require_all: self._saver.save_now(session, require_all))

    def end(self) -> None:
        """Let nobody wait any longer."""
        self._requests.end()

    def save(
        self, session: Any, require_all: bool | None, timeout_seconds: float | None
    ) -> SaveResult | None:
        """Save now, or have it done; raises as `SaveRequests.ask` and `StepSaver.save_now`."""
        if self._requests.is_elsewhere:
            return self._requests.ask(require_all, timeout_seconds, self._stand_in)
        result, _ = self._saver.save_now(plain(session), require_all)
        return result

    def _stand_in(self, request: SaveRequest, has_waited: bool) -> None:
        """Save in this thread, if the chief's is in no run, or its run has had its time."""
        chief, lock = self._chief, self._saver.lock
        if chief is None or not lock.acquire(blocking=False):
            return
        try:
            # A run that begins from here on waits for the lock.
            is_inside, session = chief.is_inside, chief.session
            if not chief.is_live or (is_inside and not has_waited):
                return
            if not self._requests.take(request):
                return
            with contextlib.ExitStack() as stack:
                if is_inside:
                    logging.warning(
                        "The chief's step has not ended: saving beside it, without its own input."
                    )
                    stack.enter_context(beside_a_run())
                try:
                    result, should_stop = self._saver.save_now(session, request.require_all)
                except Exception as error:
                    request.fail(error)
                    return
                except BaseException:
                    request.fail(RuntimeError("the save was broken off"))
                    raise
            self.is_stop_due = self.is_stop_due or should_stop
            request.succeed(result)
        finally:
            lock.release()
