"""What a save does before the model: all workers come to the barrier and save iterator states."""

from __future__ import annotations

import contextlib
from typing import Any

import tensorflow as tf
from absl import logging

from monolith_cli import messages
from monolith_cli.training.barrier import termination
from monolith_cli.training.barrier.op import BarrierOp
from monolith_cli.training.inputs.meta import SAVE_ACTION, assign_ckpt_info, meta_of

__all__ = ["BarrierSaverListener"]

v1 = tf.compat.v1


class BarrierSaverListener(tf.compat.v1.train.CheckpointSaverListener):
    """Brings every worker to the barrier for a save, and lets them go after it.

    Before the save it stores the step, asks for `SAVE_ACTION` at the barrier, and waits until all
    workers have finished their callbacks, but at most for `max_pending_seconds`. A barrier that is
    already placed is used, and stays after the save.

    List it before the listeners that save what must not change meanwhile. It takes the barrier's
    lock when it asks and when it ends, not while it waits.

    Parameters
    ----------
    barrier_op
        The chief's `BarrierOp`.
    wait_seconds
        Seconds between two checks of who has finished, of which there are at least ten a second.
    max_pending_seconds
        How long to wait for workers. Those that have not finished then are logged and recorded.

    Attributes
    ----------
    finished_workers, unfinished_workers
        Of the last save: which workers had finished before the commit, and which had not.
    """

    def __init__(
        self, barrier_op: BarrierOp, wait_seconds: float = 1, max_pending_seconds: float = 30
    ) -> None:
        super().__init__()
        self._barrier_op = barrier_op
        self._wait_seconds = wait_seconds
        self._max_pending_seconds = max_pending_seconds
        self._generation: int | None = None
        self.finished_workers: list[int] = []
        self.unfinished_workers: list[int] = []
        meta_of(v1.get_default_graph())

    def begin(self) -> None:
        """Make the barrier's workers stay for the last save."""
        self._barrier_op.chief_end.begin_part(self)

    @property
    def barrier_op(self) -> BarrierOp:
        """The barrier."""
        return self._barrier_op

    def before_save(self, session: Any, global_step_value: int) -> None:
        """Ask, and wait.

        Raises
        ------
        Exception
            What a callback of the chief raises, or the session. The barrier is then removed.
        """
        self.release(session)  # after a failed save, after_save was not called
        info = messages.get_message("monolith.hooks.WorkerCkptInfo")
        assign_ckpt_info(session, info(global_step=int(global_step_value)))
        logging.info(
            "Place barrier for saving step %d: workers %s have %g s.",
            global_step_value,
            list(range(1, self._barrier_op.capacity)),
            self._max_pending_seconds,
        )
        self._generation, placed = self._barrier_op.begin_request(session, SAVE_ACTION)
        if not placed:
            logging.info("The barrier is placed already, and stays after this save.")
        seconds = self._pending_seconds
        try:
            self.finished_workers = self._barrier_op.wait_until_acknowledged(
                session, self._generation, seconds, min(self._wait_seconds, 0.1)
            )
            gone = self._barrier_op.get_gone_indices(session)
        except BaseException:
            with contextlib.suppress(Exception):  # of a session that is lost, for example
                self.release(session)
            raise
        self._set_unfinished()
        self._tell_unblocked()
        for workers, why in (
            ([i for i in self.unfinished_workers if i in gone], "they have left the job"),
            (
                [i for i in self.unfinished_workers if i not in gone],
                f"not finished within {seconds:g} s",
            ),
        ):
            if workers:
                logging.warning(
                    "Saving step %d without workers %s: %s.", global_step_value, workers, why
                )

    def check(self, session: Any) -> None:
        """Check again, right before a commit: a worker that no longer stands is unfinished."""
        if self._generation is None:
            return
        standing = self._barrier_op.get_acknowledged_indices(session, self._generation)
        gone = sorted(set(self.finished_workers) - set(standing))
        if gone:
            logging.warning("Workers %s have left the barrier during the save.", gone)
        self.finished_workers = [i for i in self.finished_workers if i in standing]
        self._set_unfinished()

    def has_chief_finished(self, session: Any) -> bool:
        """Whether the chief's own callbacks have done what this save asked for."""
        if self._generation is None:
            return False
        return self._barrier_op.has_chief_finished(session, self._generation)

    def after_save(self, session: Any, global_step_value: int) -> None:
        """Let the workers go, unless somebody else holds the barrier."""
        self.release(session)

    def release(self, session: Any) -> None:
        """Do what `after_save` does, for saves that failed; nothing if no save is going on."""
        if self._generation is not None:
            self._generation = None
            logging.info("Remove barrier for saving.")
            self._barrier_op.end_request(session)

    def end(self, session: Any, global_step_value: int) -> None:
        """Leave no barrier of a save behind; this was the last one."""
        self.release(session)
        self._barrier_op.chief_end.end_part(self, session)

    @property
    def _pending_seconds(self) -> float:
        """Less after SIGTERM: the job must have ended in time."""
        since = termination.seconds_since()
        if since is None:
            return self._max_pending_seconds
        left = self._barrier_op.limits.sigterm_grace_seconds - since
        return min(self._max_pending_seconds, max(1.0, left))

    def _tell_unblocked(self) -> None:
        """Log it in the original's words, because people search for them."""
        if self.unfinished_workers:
            logging.info("Unblocked worker indices: %s.", self.unfinished_workers)
        else:
            logging.info("All workers have been blocked.")

    def _set_unfinished(self) -> None:
        workers = range(1, self._barrier_op.capacity)
        self.unfinished_workers = [i for i in workers if i not in self.finished_workers]
