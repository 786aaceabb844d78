"""A process's session with its hooks, and how it ends; see `runs`."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable
from typing import Any

import tensorflow as tf
from absl import logging

from monolith_cli.training.barrier.hook import BarrierHook
from monolith_cli.training.barrier.op import BarrierOp
from monolith_cli.training.barrier.run_state import INPUT_ENDED
from monolith_cli.training.graph.paths import check_save_path
from monolith_cli.training.graph.shared import plain
from monolith_cli.training.run.chief_session import ChiefSessionCreator
from monolith_cli.training.run.patience import GONE, POLL_SECONDS, Patience
from monolith_cli.training.run.run_hook import RunHook
from monolith_cli.training.run.worker_session import WorkerSessionCreator

__all__ = ["monitored_session", "run_until_inputs_end"]

v1 = tf.compat.v1


def monitored_session(
    barrier_op: BarrierOp,
    index: int,
    model_dir: str | os.PathLike[str],
    *,
    master: str = "",
    hooks: Iterable[Any] = (),
    scaffold: Any = None,
    config: Any = None,
    deadline_seconds: float = 600,
    leave_after_seconds: float | None = None,
    sigterm_grace_seconds: float | None = None,
) -> Any:
    """A `MonitoredSession` of one process of a job, chief or worker.

    The chief restores the committed step, dense variables first, then what `hooks` restore, and
    publishes the run. A worker waits for that. Both recover from the loss of other processes: a
    process that cannot reach a parameter server tries again until the deadline. Do not add a
    `BarrierHook`: the session has one, at the right place.

    Sets `GRPC_FAIL_FAST=true` in the environment unless it is set, because without it TensorFlow
    waits for a lost server for ever. Costs a worker one fetch per step, of the barrier and the run
    id together.

    Parameters
    ----------
    barrier_op
        This process's.
    index
        0 for the chief, else the worker's number.
    model_dir
        Where the job saves.
    master
        The process's own server, as `tf.distribute.Server.target`; "" if there is only one process.
    config
        A `ConfigProto`. If it has no `device_filters`, they are set to the parameter servers and
        the other processes that the graph names. So nobody waits for processes that it does not
        need, and that may be dead.
    hooks
        In this order: those that restore, those that save, the rest.
    deadline_seconds
        How long to wait for a parameter server, and for a chief that gives no sign of life.
    leave_after_seconds, sigterm_grace_seconds
        As for `BarrierHook`: how long a worker stays for the chief's last save.

    Raises
    ------
    UsageError
        The directory is a URL or a pattern. It is a ValueError.
    UnreachableError
        The deadline is over. It is a ConnectionError, here and in every `run`.
    """
    check_save_path(os.fspath(model_dir))
    model_dir = os.path.abspath(os.fspath(model_dir))
    hooks = list(hooks)
    run_hook = RunHook(index, barrier_op, model_dir)
    barrier_hook = BarrierHook(
        index,
        barrier_op,
        leave_after_seconds=leave_after_seconds,
        sigterm_grace_seconds=sigterm_grace_seconds,
    )
    creator: Any
    if index == 0:
        creator = ChiefSessionCreator(
            barrier_op, model_dir, scaffold, master, config, deadline_seconds
        )
        hooks = [_SignOfLife(barrier_op), *hooks, barrier_hook, run_hook]
    else:
        creator = WorkerSessionCreator(
            barrier_op, scaffold, master, config, deadline_seconds, index=index
        )
        barrier_hook.take_from(lambda: run_hook.is_placed)
        hooks += [run_hook, barrier_hook]
    return v1.train.MonitoredSession(session_creator=creator, hooks=hooks)


def run_until_inputs_end(
    session: Any,
    index: int,
    barrier_op: BarrierOp,
    step: Callable[[], object],
    *,
    deadline_seconds: float = 3600,
) -> None:
    """Call `step` until the input has ended, then stay until every process's input has.

    A process whose input has ended still runs the hooks, so that every save, also the last one,
    finds all workers at the barrier. The chief returns when all workers have come to their end; a
    worker when the chief has ended, or after the `leave_after_seconds` of its `BarrierHook`.

    Parameters
    ----------
    session
        From `monitored_session`, or TensorFlow's own with a `BarrierHook` in every process.
    step
        One training step; raises `tf.errors.OutOfRangeError` when the input has ended.
    deadline_seconds
        How long a worker stays without a sign of life from the chief; and how long the chief stays
        for workers while nobody trains any more, because some may be gone for good.

    Raises
    ------
    UnreachableError
        The deadline is over. It is a ConnectionError.
    Exception
        What `step` raises, or the session.
    """
    run = barrier_op.run
    life = barrier_op.lease_tensor if index else v1.train.get_global_step(session.graph)
    patience: Patience | None = None
    while not session.should_stop():
        try:
            step()
            patience = None  # a session that is made again has its input again
            continue
        except tf.errors.OutOfRangeError:
            if patience is None:
                logging.info("The input has ended; staying for the saves of others.")
                patience = Patience(deadline_seconds)
        patience.note_life(int(session.run(life)))
        with contextlib.suppress(*GONE):  # the next run notices it
            if index:
                run.set_presence(session, index, INPUT_ENDED)
                if barrier_op.wait_to_leave(session, index):
                    return
            elif all(at == INPUT_ENDED for at in run.get_presence(session)[1:]):
                return
        patience.check("the chief still trains" if index else "some worker still trains")
        time.sleep(POLL_SECONDS)


class _SignOfLife(tf.compat.v1.train.SessionRunHook):
    """Raises the lease's counter for as long as a session of the chief lives; comes first."""

    def __init__(self, barrier_op: BarrierOp) -> None:
        self._barrier_op = barrier_op

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Begin before anything is restored, because that may take long. `BarrierHook` ends it."""
        self._barrier_op.chief_end.keep_alive(plain(session))
