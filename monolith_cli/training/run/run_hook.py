"""The hook that keeps a process in step with the chief's run."""

from __future__ import annotations

import contextlib
import os
from typing import Any

import tensorflow as tf
from absl import logging

from monolith_cli.training.barrier.op import BarrierOp
from monolith_cli.training.barrier.run_state import ABSENT, ENDED, INPUT_ENDED, TRAINING
from monolith_cli.training.graph.shared import plain
from monolith_cli.training.run.patience import GONE
from monolith_cli.training.run.restarts import restart_of_graph

__all__ = ["RunHook"]

v1 = tf.compat.v1


class RunHook(tf.compat.v1.train.SessionRunHook):
    """In the chief, publishes the run; in a worker, makes sure that it is in the current run.

    In the chief it comes last, after everything has been restored. In a worker it comes before the
    `BarrierHook`.

    Costs a worker one fetch of a string per step, the chief nothing. That string also says whether
    the barrier is placed.

    Parameters
    ----------
    index
        0 for the chief, else the worker's number.
    barrier_op
        The process's `BarrierOp`.
    model_dir
        Where the chief restores from.
    """

    def __init__(
        self, index: int, barrier_op: BarrierOp, model_dir: str | os.PathLike[str]
    ) -> None:
        self._index = index
        self._model_dir = os.path.abspath(os.fspath(model_dir))
        self._run = barrier_op.run
        self._run_id = b""
        self._args = v1.train.SessionRunArgs(barrier_op.placed_and_run_id_tensor) if index else None
        self.is_placed = False
        """In a worker: whether the barrier was placed in the last step."""

    def after_create_session(self, session: Any, coord: Any) -> None:
        """In the chief, publish the run; in a worker, read it."""
        if self._index == 0:
            restart = restart_of_graph(plain(session).graph, self._model_dir)
            run_id = self._run.publish(session, restart.step or 0)
            logging.info("Run %s begins at step %d.", run_id, restart.step or 0)
            return
        run_id, step = self._run.get(session)
        self._run_id = run_id.encode()
        if run_id == ENDED:
            logging.info("The chief has ended: nothing left to do.")
            coord.request_stop()
            return
        self._run.set_presence(session, self._index, TRAINING)
        # Only from now on does a chief that starts again wait for this worker.
        if not run_id or self._run.get(session)[0] != run_id:
            self._leave(session)
        logging.info("Worker %d is in run %s, from step %d.", self._index, run_id, step)

    def before_run(self, run_context: Any) -> Any:
        """Ask for the run id, and for the barrier's first element."""
        return self._args

    def after_run(self, run_context: Any, run_values: Any) -> None:
        """Start over when the chief has started a new run, and end when it has ended.

        Raises
        ------
        tensorflow.errors.AbortedError
            The chief has begun a new run; the session then recovers.
        """
        if self._index == 0:
            return
        placed, _, run_id = run_values.results.partition(b" ")
        self.is_placed = placed == b"true"
        if run_id == self._run_id:
            return
        if run_id == ENDED.encode():
            run_context.request_stop()
            return
        self._leave(run_context.session)

    def end(self, session: Any) -> None:
        """Say that this process has ended."""
        with contextlib.suppress(*GONE):
            if self._index == 0:
                self._run.end(session)
            # A worker whose input has ended does not come back: the chief need not wait for it.
            elif self._run.get_presence(session)[self._index] != INPUT_ENDED:
                self._run.set_presence(session, self._index, ABSENT)

    def _leave(self, session: Any) -> None:
        self._run.set_presence(session, self._index, ABSENT)
        raise tf.errors.AbortedError(None, None, "the chief has begun a new run")
