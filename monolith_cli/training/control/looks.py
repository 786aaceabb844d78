"""The calls of the Controller service that only look at the job."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from monolith_cli.control.service import response
from monolith_cli.training.barrier.view import BarrierView
from monolith_cli.training.control.holder import HeldBarrier, Holder
from monolith_cli.training.control.refusals import failing

__all__ = ["Look", "Looks"]


class Look(NamedTuple):
    """What callers see who look at the same time."""

    view: BarrierView
    holder: Holder | None
    step: int


class Looks:
    """Reads the state of a job, and makes answers from it.

    Failures are a `CallRefusedError`.

    Parameters
    ----------
    barrier
        The job's.
    saver_hook
        The chief's; asked for `last_saved_step` and `is_saving`, if it has them.
    session
        The chief's plain session.
    global_step
        The tensor of the global step.
    model_dir
        Absolute, because clients get it.
    """

    def __init__(
        self, barrier: HeldBarrier, saver_hook: Any, session: Any, global_step: Any, model_dir: str
    ) -> None:
        self._barrier = barrier
        self._saver_hook = saver_hook
        self._session = session
        self._global_step = global_step
        self._model_dir = model_dir
        self._run_id = secrets.token_hex(8)  # until the barrier has one
        self._answers: dict[str, Callable[[Look], Any]] = {
            "GetBlockStatus": self._get_block_status,
            "GetTrainingStatus": self._get_training_status,
            "GetInfo": self._get_info,
        }

    def take(self) -> Look:
        """Read the barrier and the step."""
        with failing("A look"):
            view, holder = self._barrier.look()
            return Look(view, holder, int(self._session.run(self._global_step)))

    def answer(self, method: str, look: Look) -> Any:
        """The response of a method, made from what was read."""
        with failing(method):
            return self._answers[method](look)

    def _get_block_status(self, look: Look) -> Any:
        view = look.view
        # The chief's element is the barrier itself.
        blocked, unblocked = ([0], []) if view.placed else ([], [0])
        return response("GetBlockStatus")(
            blocked_indices=[*blocked, *view.blocked_workers],
            unblocked_indices=[*unblocked, *view.unblocked_workers],
        )

    def _get_training_status(self, look: Look) -> Any:
        return response("GetTrainingStatus")(global_step=look.step)

    def _get_info(self, look: Look) -> Any:
        view, holder = look.view, look.holder
        said = response("GetInfo")(
            run_id=view.run_id or self._run_id,
            model_dir=self._model_dir,
            capacity=self._barrier.capacity,
            placed=view.placed,
            action=view.action,
            blocked_workers=view.blocked_workers,
            unblocked_workers=view.unblocked_workers,
            global_step=look.step,
            last_saved_step=getattr(self._saver_hook, "last_saved_step", None),
            saving=bool(getattr(self._saver_hook, "is_saving", False)),
            generation=view.generation,
        )
        now = time.monotonic()
        if holder:
            said.reason, said.owner = holder.reason, holder.owner
            said.placed_ms_ago = round((now - holder.placed_at) * 1000)
        if view.ends_at is not None:  # 0 means never
            said.expires_in_ms = max(1, round((view.ends_at - now) * 1000))
        return said
