"""Stopping and saving by ops: for a job without a port, or from inside the graph."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from absl import logging

from monolith_cli.errors import BarrierAlreadyPlacedError
from monolith_cli.training.barrier.op import BarrierOp
from monolith_cli.training.graph.shared import job_scope, plain, shared_device

__all__ = ["STOP_ACTION", "ControllerHook", "StopHelper"]

v1 = tf.compat.v1

STOP_ACTION = "Stop"

_STOP_WAIT_SECONDS = 30.0
_POLL_SECONDS = 0.1


class ControllerHook(tf.compat.v1.train.SessionRunHook):
    """Carries out in the chief what some process has asked for by an op: a stop or a save.

    A stop ends the training of every process that has a `BarrierHook`, after a last save by all.

    Costs one fetch of two bools a step.

    Parameters
    ----------
    num_ps
        If there are parameter servers, the flags are on the first of them.
    barrier_op
        The barrier where all workers learn of a stop; None: the stop is only noted.
    trigger_save
        Called without arguments; `saver_hook.timer.reset` makes the next step save.

    Raises
    ------
    UsageError
        There is a ControllerHook in the graph, or a name scope is open, so other processes would
        not find its flags. It is a ValueError.
    """

    def __init__(
        self,
        num_ps: int = 0,
        barrier_op: BarrierOp | None = None,
        trigger_save: Callable[[], object] | None = None,
    ) -> None:
        self._barrier_op = barrier_op
        self._trigger_save = trigger_save
        device = "/job:ps/task:0/device:CPU:0" if num_ps else shared_device()
        with job_scope("monolith_controller_hook", "a ControllerHook"), v1.device(device):
            flags = v1.Variable(
                [False, False],
                name="control_var",
                trainable=False,
                collections=[v1.GraphKeys.LOCAL_VARIABLES],
                use_resource=True,
            )
            self._stop_op = flags[0].assign(True).op
            self._save_op = flags[1].assign(True).op
            self._clear_stop = flags[0].assign(False).op
            self._clear_save = flags[1].assign(False).op
            self._args = v1.train.SessionRunArgs(flags.read_value())

    @property
    def stop_op(self) -> Any:
        """Asks for a stop."""
        return self._stop_op

    @property
    def trigger_save_op(self) -> Any:
        """Asks for a save."""
        return self._save_op

    def before_run(self, run_context: Any) -> Any:
        """Ask for the flags."""
        return self._args

    def after_run(self, run_context: Any, run_values: Any) -> None:
        """Do what is asked for."""
        stop, save = run_values.results
        session = run_context.session
        if stop:
            plain(session).run(self._clear_stop)
            self._stop(session)
        if save:
            plain(session).run(self._clear_save)
            if self._trigger_save is not None:
                self._trigger_save()

    def _stop(self, session: Any) -> None:
        if self._barrier_op is None:
            return
        barrier = self._barrier_op
        logging.info("Trying to stop all workers, for up to %g s.", _STOP_WAIT_SECONDS)
        barrier.stop_all(session)
        try:
            generation = barrier.place_barrier(session, STOP_ACTION)
        except BarrierAlreadyPlacedError:
            # Whoever holds the barrier keeps it; its workers learn of the stop as of a save.
            generation, _ = barrier.begin_request(session, STOP_ACTION)
            try:
                barrier.wait_until_acknowledged(session, generation, _STOP_WAIT_SECONDS)
            finally:
                barrier.end_request(session)
            return
        try:
            deadline = time.monotonic() + _STOP_WAIT_SECONDS
            while True:
                late = set(barrier.get_unacknowledged_indices(session, generation))
                late -= set(barrier.get_gone_indices(session))
                if not late:
                    return
                if time.monotonic() >= deadline:
                    break
                time.sleep(_POLL_SECONDS)
            logging.warning("Workers %s have not learnt of the stop.", sorted(late))
        finally:
            barrier.remove_barrier(session)


class StopHelper:
    """Ends a process when it gets a stop at the barrier: a callback and a hook."""

    def __init__(self) -> None:
        self._asked = False

    def create_barrier_callback(self) -> Callable[[str, Any], None]:
        """For `BarrierOp`: notes a `STOP_ACTION`."""

        def note(action: str, session: Any) -> None:
            if action == STOP_ACTION:
                self._asked = True
                logging.info("Asked at the barrier to stop the training.")

        return note

    def create_stop_hook(self) -> tf.compat.v1.train.SessionRunHook:
        """Ends the training after the step in which the stop was noted."""
        return _StopHook(self)


class _StopHook(tf.compat.v1.train.SessionRunHook):
    def __init__(self, helper: StopHelper) -> None:
        self._helper = helper

    def after_run(self, run_context: Any, run_values: Any) -> None:
        if self._helper._asked:
            run_context.request_stop()
