"""What makes a job's sessions, and keeps them in step with the chief's run; see `runs`."""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import tensorflow as tf
from absl import logging

from monolith_cli.errors import UnreachableError
from monolith_cli.training.barrier.hook import BarrierHook
from monolith_cli.training.barrier.op import BarrierOp
from monolith_cli.training.barrier.run_state import ABSENT, ENDED, INPUT_ENDED, TRAINING
from monolith_cli.training.graph.paths import check_save_path
from monolith_cli.training.graph.session_config import with_device_filters
from monolith_cli.training.graph.shared import plain
from monolith_cli.training.run.restarts import begin_restart, join_run, restart_of_graph

__all__ = [
    "ChiefSessionCreator",
    "RunHook",
    "WorkerSessionCreator",
    "monitored_session",
    "run_until_inputs_end",
]

v1 = tf.compat.v1

_RETRY_SECONDS = 0.5
_POLL_SECONDS = 0.2
_FENCE_SECONDS = 10.0
_CLOSING_SECONDS = 20.0
# What is behind the address and port in an error of grpc's.
_TARGET = re.compile(r"remote target /job:([^/\s]+)/replica:\d+/task:(\d+)")
_GONE = (tf.errors.AbortedError, tf.errors.UnavailableError)


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
    publishes the run. A worker waits for that. Both recover from the loss of other processes:
    whoever cannot reach a parameter server tries again until the deadline. Do not add a
    `BarrierHook`: it is in here, at the right place.

    Sets `GRPC_FAIL_FAST=true` in the environment unless it is set: without it TensorFlow waits for
    a lost server for ever. Costs two fetches a step, the barrier's and the run id.

    Parameters
    ----------
    barrier_op
        This process's.
    index
        0 for the chief, else the worker's number.
    model_dir
        Where the job saves.
    master
        The process's own server, as `tf.distribute.Server.target`; "" without processes.
    config
        A `ConfigProto`. Without `device_filters` it gets some: the parameter servers, and what else
        the graph names. So nobody waits for processes that he does not need, and may be dead.
    hooks
        In this order: what restores, then what saves, then the rest.
    deadline_seconds
        How long to wait for a parameter server, and for a chief that gives no sign of life.
    leave_after_seconds, sigterm_grace_seconds
        As `BarrierHook`: how long a worker stays for the chief's last save.

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

    Who stays runs the hooks, so that saves find everybody at the barrier, the last save too. The
    chief returns when all workers have come to their end, workers when the chief has ended, or
    after the `leave_after_seconds` of their `BarrierHook`.

    Parameters
    ----------
    session
        From `monitored_session`, or TensorFlow's own with a `BarrierHook` in every process.
    step
        One training step; raises `tf.errors.OutOfRangeError` when the input has ended.
    deadline_seconds
        How long a worker stays without a sign of the chief's life, and the chief for workers
        while nobody's training goes on: some may be gone for good.

    Raises
    ------
    UnreachableError
        The deadline is over. It is a ConnectionError.
    Exception
        What `step` raises, or the session.
    """
    run = barrier_op.run
    life = barrier_op.lease_tensor if index else v1.train.get_global_step(session.graph)
    patience: _Patience | None = None
    while not session.should_stop():
        try:
            step()
            patience = None  # a session that is made anew has input again
            continue
        except tf.errors.OutOfRangeError:
            if patience is None:
                logging.info("The input has ended; staying for the saves of others.")
                patience = _Patience(deadline_seconds)
        patience.note_life(int(session.run(life)))
        with contextlib.suppress(*_GONE):  # the next run notices
            if index:
                run.set_presence(session, index, INPUT_ENDED)
                if barrier_op.wait_to_leave(session, index):
                    return
            elif all(at == INPUT_ENDED for at in run.get_presence(session)[1:]):
                return
        patience.check("the chief still trains" if index else "some worker still trains")
        time.sleep(_POLL_SECONDS)


class ChiefSessionCreator(tf.compat.v1.train.SessionCreator):
    """Makes the chief's sessions: fenced off from workers of earlier ones, and restored.

    Make it in the graph that its sessions are for.

    Parameters
    ----------
    barrier_op, model_dir, scaffold, master, config, deadline_seconds
        As `monitored_session`.
    """

    def __init__(
        self,
        barrier_op: BarrierOp,
        model_dir: str | os.PathLike[str],
        scaffold: Any = None,
        master: str = "",
        config: Any = None,
        deadline_seconds: float = 600,
    ) -> None:
        _fail_fast()
        # A session that recovers is made wherever its `run` is called.
        self._graph = v1.get_default_graph()
        self._barrier_op = barrier_op
        self._model_dir = os.path.abspath(os.fspath(model_dir))
        self._scaffold = scaffold or v1.train.Scaffold()
        self._master = master
        self._config = config
        self._deadline_seconds = deadline_seconds

    def create_session(self) -> Any:
        """Restore the committed step's dense variables, and initialise what is local.

        Raises
        ------
        UnreachableError
            No parameter server until the deadline.
        MonolithError
            The model directory does not say what to restore.
        """
        with self._graph.as_default():
            self._scaffold.finalize()
        if self._master:
            self._config = with_device_filters(self._config, self._graph)
        patience = _Patience(self._deadline_seconds)
        while True:
            try:
                return self._create()
            except _GONE as error:
                patience.wait(error)

    def _create(self) -> Any:
        self._fence()
        restart = begin_restart(self._graph, self._model_dir)
        manager = v1.train.SessionManager(
            local_init_op=self._scaffold.local_init_op,
            local_init_feed_dict=self._scaffold.local_init_feed_dict,
            ready_op=self._scaffold.ready_op,
            ready_for_local_init_op=self._scaffold.ready_for_local_init_op,
            graph=self._graph,
        )
        session = manager.prepare_session(
            self._master,
            saver=self._scaffold.saver,
            checkpoint_filename_with_path=restart.prefix,
            config=self._config,
            init_op=self._scaffold.init_op,
            init_feed_dict=self._scaffold.init_feed_dict,
            init_fn=self._scaffold.init_fn,
        )
        if restart.step is None:
            logging.info("The chief starts anew.")
        else:
            logging.info("The chief goes on from step %d.", restart.step)
        return _closed_aside(session)

    def _fence(self) -> None:
        """Empty the run id, and wait until workers of the last run have noticed."""
        run = self._barrier_op.run
        session = _closed_aside(v1.Session(self._master, graph=self._graph, config=self._config))
        try:
            run.empty(session)
            deadline = time.monotonic() + _FENCE_SECONDS
            while True:
                try:
                    there = run.get_presence(session)
                except tf.errors.FailedPreconditionError:
                    return  # nothing is initialised: a new parameter server
                training = [worker for worker, at in enumerate(there) if at == TRAINING]
                if not training:
                    return
                if time.monotonic() >= deadline:
                    break
                time.sleep(_POLL_SECONDS / 2)
        finally:
            session.close()
        logging.warning("Workers %s have not left the last run: taken for dead.", training)


class WorkerSessionCreator(tf.compat.v1.train.SessionCreator):
    """Makes a worker's sessions: each waits until the chief has restored and published its run.

    Make it in the graph that its sessions are for.

    Parameters
    ----------
    barrier_op, scaffold, master, config, deadline_seconds
        As `monitored_session`.
    index
        The worker's number. With it, a chief that starts does not wait for an earlier process of
        this worker once this one is there.
    """

    def __init__(
        self,
        barrier_op: BarrierOp,
        scaffold: Any = None,
        master: str = "",
        config: Any = None,
        deadline_seconds: float = 600,
        *,
        index: int | None = None,
    ) -> None:
        _fail_fast()
        # A session that recovers is made wherever its `run` is called.
        self._graph = v1.get_default_graph()
        self._barrier_op = barrier_op
        self._scaffold = scaffold or v1.train.Scaffold()
        self._master = master
        self._config = config
        self._deadline_seconds = deadline_seconds
        self._index = index

    def create_session(self) -> Any:
        """Wait for the chief, and initialise what is this worker's own.

        Raises
        ------
        UnreachableError
            No parameter server until the deadline, or no sign of life of a chief.
        """
        with self._graph.as_default():
            self._scaffold.finalize()
        if self._master:
            self._config = with_device_filters(self._config, self._graph)
        patience = _Patience(self._deadline_seconds)
        while True:
            session = _closed_aside(
                v1.Session(self._master, graph=self._graph, config=self._config)
            )
            try:
                while not self._is_ready(session, patience):
                    time.sleep(_POLL_SECONDS)
                return session
            except _GONE as error:
                session.close()
                patience.wait(error)
            except BaseException:
                session.close()
                raise

    def _is_ready(self, session: Any, patience: _Patience) -> bool:
        """Whether the run is there; patience grows with each sign of the chief's life."""
        try:
            op = self._barrier_op
            missing, run_id, lease = session.run(
                [self._scaffold.ready_for_local_init_op, op.run.id_tensor, op.lease_tensor]
            )
            if not run_id and self._index is not None:
                # Said of a process that is gone, else a chief that starts would wait for it.
                op.run.set_presence(session, self._index, ABSENT)
        except tf.errors.FailedPreconditionError:
            patience.check("the chief has not initialised anything")
            return False
        if len(missing) > 0 or not run_id:
            patience.note_life(int(lease))
            patience.check("the chief is not ready")
            return False
        if self._scaffold.local_init_op is not None:
            session.run(self._scaffold.local_init_op, self._scaffold.local_init_feed_dict)
        try:
            missing = session.run(self._scaffold.ready_op)
        except tf.errors.FailedPreconditionError:
            missing = ["variables"]
        if len(missing) > 0:
            patience.check(f"not initialised: {missing}")
            return False
        join_run(session.graph, op.run.get(session)[1])
        return True


class RunHook(tf.compat.v1.train.SessionRunHook):
    """Publishes the run, in the chief; in a worker sees to it that it is in the current one.

    In the chief it comes last, after everything has been restored. In a worker it comes before the
    `BarrierHook`.

    Costs a worker one fetch of a string a step, the chief nothing.

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
        self._args = v1.train.SessionRunArgs(self._run.id_tensor) if index else None

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Publish, or find the run."""
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
        # Only now does a chief that starts again wait for this worker.
        if not run_id or self._run.get(session)[0] != run_id:
            self._leave(session)
        logging.info("Worker %d is in run %s, from step %d.", self._index, run_id, step)

    def before_run(self, run_context: Any) -> Any:
        """Ask for the run id."""
        return self._args

    def after_run(self, run_context: Any, run_values: Any) -> None:
        """Begin anew when the chief has, and end when it has.

        Raises
        ------
        tensorflow.errors.AbortedError
            The chief has begun a new run; the session then recovers.
        """
        if self._index == 0 or run_values.results == self._run_id:
            return
        if run_values.results == ENDED.encode():
            run_context.request_stop()
            return
        self._leave(run_context.session)

    def end(self, session: Any) -> None:
        """Say that this process has ended."""
        with contextlib.suppress(*_GONE):
            if self._index == 0:
                self._run.end(session)
            # Whose input has ended does not come back: the chief need not wait for it.
            elif self._run.get_presence(session)[self._index] != INPUT_ENDED:
                self._run.set_presence(session, self._index, ABSENT)

    def _leave(self, session: Any) -> None:
        self._run.set_presence(session, self._index, ABSENT)
        raise tf.errors.AbortedError(None, None, "the chief has begun a new run")


class _SignOfLife(tf.compat.v1.train.SessionRunHook):
    """Raises the lease's counter for as long as a session of the chief lives; comes first."""

    def __init__(self, barrier_op: BarrierOp) -> None:
        self._barrier_op = barrier_op

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Begin, before anything is restored: that may take long. `BarrierHook` ends it."""
        self._barrier_op.chief_end.keep_alive(plain(session))


class _Patience:
    """How long to wait for others without a sign of life."""

    def __init__(self, deadline_seconds: float) -> None:
        self._deadline_seconds = deadline_seconds
        self._since = time.monotonic()
        self._life: int | None = None
        self._told = False

    def note_life(self, life: int) -> None:
        """A number that changes as long as somebody lives."""
        if life != self._life:
            self._life, self._since = life, time.monotonic()

    def wait(self, error: Exception) -> None:
        """Pause after a failure to reach somebody."""
        message = str(getattr(error, "message", error))
        found = _TARGET.search(message)
        self.check(f"/job:{found[1]}/task:{found[2]} does not answer" if found else message)
        time.sleep(_RETRY_SECONDS)

    def check(self, why: str) -> None:
        """Give up if the time is over."""
        if not self._told:
            logging.info("Waiting for the job: %s", why)
            self._told = True
        if time.monotonic() - self._since >= self._deadline_seconds:
            raise UnreachableError(
                f"the job has not come (back) within {self._deadline_seconds:g} s: {why}",
                hint="see whether its parameter servers and its chief are alive",
            )


def _fail_fast() -> None:
    os.environ.setdefault("GRPC_FAIL_FAST", "true")


# A session that is collected deletes itself right after its `close`, which must be over by then.
_unclosed: set[Any] = set()
_closing: weakref.WeakSet[threading.Thread] = weakref.WeakSet()


def _closed_aside(session: Any) -> Any:
    """The same session, whose `close` returns at once.

    Closing one whose servers come and go takes up to 17 s now and then, and recovery waits for it.
    """
    close = session.close
    _unclosed.add(session)

    def close_aside() -> None:
        try:
            _unclosed.remove(session)
        except KeyError:
            return
        thread = threading.Thread(target=_quietly, args=(close,), name="session-close", daemon=True)
        _closing.add(thread)
        thread.start()

    session.close = close_aside
    return session


@atexit.register
def _close_all() -> None:
    """A thread inside TensorFlow must not outlive the interpreter, which would abort.

    Nor must a session: a server in this process would wait for it.
    """
    for session in list(_unclosed):
        session.close()
    deadline = time.monotonic() + _CLOSING_SECONDS
    for thread in list(_closing):
        thread.join(max(0.0, deadline - time.monotonic()))


def _quietly(close: Callable[[], None]) -> None:
    with contextlib.suppress(tf.errors.OpError, RuntimeError):
        close()
