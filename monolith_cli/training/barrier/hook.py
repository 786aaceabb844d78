"""The hook that stops a process of the job at the barrier."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from absl import logging

from monolith_cli.training.barrier import termination
from monolith_cli.training.barrier.leaving import Limits, unknown_end
from monolith_cli.training.barrier.op import BarrierOp
from monolith_cli.training.barrier.run_state import ABSENT, ENDED
from monolith_cli.training.barrier.worker_side import Outcome
from monolith_cli.training.graph.lost import SESSION_LOST
from monolith_cli.training.graph.shared import plain

__all__ = ["BarrierHook"]

v1 = tf.compat.v1


class BarrierHook(tf.compat.v1.train.SessionRunHook):
    """Stop a worker at the barrier between two steps, and before the first one of a session.

    Costs a worker one more fetch of one bool per step, like any hook that reads a variable; the
    chief nothing. It may be listed before or after the hooks that restore, because it waits only
    when all of them have restored. The chief's hook never blocks. When a session begins, it removes
    a barrier that an earlier one has left, and when it ends, its own.

    In its `end` a worker's hook waits until the chief has saved for the last time, and stands at
    the barrier of every save until then, in TensorFlow's own sessions too. It does not wait if the
    chief has no `BarrierHook`, because that hook tells the workers when the last save is over.

    SIGTERM ends a process as if it ended by itself, after its step: the chief saves, and lets the
    workers end too. That holds in the main thread, while there is a session, unless the process has
    a handler of its own. A second SIGTERM ends the process at once.

    Parameters
    ----------
    index
        0 for the chief, else the worker's number, below the barrier's capacity.
    barrier_op
        The process's `BarrierOp`.
    leave_after_seconds
        How long a worker waits for the chief's last save while the chief lives. Default: what
        MONOLITH_LEAVE_AFTER_SECONDS says, else without limit.
    sigterm_grace_seconds
        How long it waits after SIGTERM. Default: what MONOLITH_SIGTERM_GRACE_SECONDS says, else 20.

    Raises
    ------
    ValueError
        If the index is outside the barrier, or a time is not a valid number.
    tensorflow.errors.AbortedError
        From the session, which then recovers, when a worker at the barrier learns that the chief
        has begun a new run.
    UnreachableError
        From a worker's `end`: the chief gave no sign of life for its lease, the barrier's server
        did not answer for as long, or the chief has begun a new run. It is a ConnectionError. What
        the worker has trained since the last commit is not saved.
    """

    def __init__(
        self,
        index: int,
        barrier_op: BarrierOp,
        *,
        leave_after_seconds: float | None = None,
        sigterm_grace_seconds: float | None = None,
    ) -> None:
        if not 0 <= index < barrier_op.capacity:
            raise ValueError(
                f"index {index} is outside the barrier, whose capacity is {barrier_op.capacity}"
            )
        self._barrier_index = index
        self._barrier_op = barrier_op
        barrier_op.limits = Limits.find(leave_after_seconds, sigterm_grace_seconds)
        self._run_id = ""
        self._coord: Any = None
        self._has_run = True
        self._runs = 0  # since it stood at the barrier
        placed = barrier_op.barrier_placed_tensor if index else None  # the chief never blocks
        self._run_args = None if placed is None else v1.train.SessionRunArgs(placed)
        self._read: Callable[[], bool] | None = None

    @property
    def is_live(self) -> bool:
        """Whether there is a session that can end in good order."""
        return self._coord is not None and not self._coord.should_stop()

    def take_from(self, read: Callable[[], bool]) -> None:
        """Take from an earlier hook, which reads it anyway, whether the barrier is placed."""
        self._read = read
        self._run_args = None

    def begin(self) -> None:
        """Start to handle SIGTERM."""
        if self._barrier_index == 0:
            self._barrier_op.chief_end.begin_part(self)
        termination.watch(self)

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Forget the previous session; hooks that restore may not have run yet in this one."""
        if self._barrier_index == 0:
            self._barrier_op.reset(session, keep_own=True)
            self._barrier_op.chief_end.begin_session(plain(session))
        else:
            self._run_id, _ = self._barrier_op.run.get(session)
            self._barrier_op.worker_side.come_back(session, self._barrier_index)
            self._has_run = False
        self._coord = coord

    def before_run(self, run_context: Any) -> Any:
        """Ask for the barrier's first element.

        Before a session's first step wait here: a worker that arrives at a placed barrier trains no
        step, but has restored what its callbacks save.

        Raises
        ------
        tensorflow.errors.OutOfRangeError
            The job has ended meanwhile. As at the end of the input, no step is trained.
        """
        if not self._has_run and not self._wait(run_context.session):
            self._coord.request_stop()
            raise tf.errors.OutOfRangeError(None, None, "the job has ended: no step is trained")
        self._has_run = True
        return self._run_args

    def after_run(self, run_context: Any, run_values: Any) -> None:
        """In a worker, wait if the barrier is placed; stop if the job is to end."""
        self._runs += 1
        chief = self._barrier_op.chief_end
        is_terminated = termination.seconds_since() is not None
        if self._barrier_index > 0:
            is_placed = self._read() if self._read else run_values.results
            is_over = is_placed and not self._wait(run_context.session)
        else:
            if is_terminated and not chief.is_stopping:
                logging.info("Terminated: the job is to end after a last save.")
                self._barrier_op.stop_all(run_context.session)
            is_over = chief.is_stopping
        if is_over or is_terminated:
            run_context.request_stop()

    def end(self, session: Any) -> None:
        """Leave no barrier behind; in a worker, first wait until the chief has saved last."""
        try:
            if self._barrier_index == 0:
                self._barrier_op.reset(session)
                self._barrier_op.chief_end.end_part(self, session)
            elif (
                not self._barrier_op.worker_side.stay(session, self._barrier_index, self._run_id)
                and self._runs > 1  # one may have been under way
            ):
                logging.warning(
                    "The chief has ended before worker %d: what this one has trained since the"
                    " chief's last save is in no checkpoint.",
                    self._barrier_index,
                )
        except SESSION_LOST as error:
            if self._barrier_index == 0:
                raise
            if self._runs > 1:
                raise unknown_end("the barrier cannot be looked at") from error
            # The chief may have ended, and its servers; this worker has nothing left to save.
            logging.info("Worker %d leaves a lost session: %s", self._barrier_index, error)
        finally:
            termination.forget(self)

    def _wait(self, session: Any) -> bool:
        """Returns False if the job is to end."""
        outcome = self._barrier_op.worker_side.stand(session, self._barrier_index, self._run_id)
        self._runs = 0
        if outcome is not Outcome.NEW_RUN:
            return outcome is Outcome.GO_ON
        run = self._barrier_op.run
        if run.get(session)[0] == ENDED:
            return False
        # A chief that starts a new run need not wait for this worker.
        run.set_presence(session, self._barrier_index, ABSENT)
        raise tf.errors.AbortedError(None, None, "the chief has begun a new run")
