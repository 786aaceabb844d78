"""Makes the chief's sessions."""

from __future__ import annotations

import os
import time
from typing import Any

import tensorflow as tf
from absl import logging

from monolith_cli.training.barrier.op import BarrierOp
from monolith_cli.training.barrier.run_state import TRAINING
from monolith_cli.training.graph.session_config import with_device_filters
from monolith_cli.training.run.closing import closed_aside
from monolith_cli.training.run.patience import GONE, POLL_SECONDS, Patience, fail_fast
from monolith_cli.training.run.restarts import begin_restart

__all__ = ["ChiefSessionCreator"]

v1 = tf.compat.v1

_FENCE_SECONDS = 10.0


class ChiefSessionCreator(tf.compat.v1.train.SessionCreator):
    """Makes the chief's sessions: cut off from workers of earlier ones, and restored.

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
        fail_fast()
        # A session that recovers is made in whatever scope its `run` is called.
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
            The parameter server does not answer until the deadline.
        MonolithError
            The model directory does not say what to restore.
        """
        with self._graph.as_default():
            self._scaffold.finalize()
        if self._master:
            self._config = with_device_filters(self._config, self._graph)
        patience = Patience(self._deadline_seconds)
        while True:
            try:
                return self._create()
            except GONE as error:
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
        return closed_aside(session)

    def _fence(self) -> None:
        """Empty the run id, and wait until workers of the last run have noticed."""
        run = self._barrier_op.run
        session = closed_aside(v1.Session(self._master, graph=self._graph, config=self._config))
        try:
            run.empty(session)
            deadline = time.monotonic() + _FENCE_SECONDS
            while True:
                try:
                    there = run.get_presence(session)
                except tf.errors.FailedPreconditionError:
                    return  # nothing is initialised, so the parameter server is new
                training = [worker for worker, at in enumerate(there) if at == TRAINING]
                if not training:
                    return
                if time.monotonic() >= deadline:
                    break
                time.sleep(POLL_SECONDS / 2)
        finally:
            session.close()
        logging.warning("Workers %s have not left the last run: taken for dead.", training)
