"""Makes a worker's sessions."""

from __future__ import annotations

import time
from typing import Any

import tensorflow as tf

from monolith_cli.training.barrier.op import BarrierOp
from monolith_cli.training.barrier.run_state import ABSENT
from monolith_cli.training.graph.session_config import with_device_filters
from monolith_cli.training.run.closing import closed_aside
from monolith_cli.training.run.patience import GONE, POLL_SECONDS, Patience, fail_fast
from monolith_cli.training.run.restarts import join_run

__all__ = ["WorkerSessionCreator"]

v1 = tf.compat.v1


class WorkerSessionCreator(tf.compat.v1.train.SessionCreator):
    """Makes a worker's sessions: each waits until the chief has restored and published its run.

    Make it in the graph that its sessions are for.

    Parameters
    ----------
    barrier_op, scaffold, master, config, deadline_seconds
        As `monitored_session`.
    index
        The worker's number. If it is given, a chief that starts does not wait for an earlier
        process of this worker once this one is there.
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
        fail_fast()
        # A session that recovers is made in whatever scope its `run` is called.
        self._graph = v1.get_default_graph()
        self._barrier_op = barrier_op
        self._scaffold = scaffold or v1.train.Scaffold()
        self._master = master
        self._config = config
        self._deadline_seconds = deadline_seconds
        self._index = index

    def create_session(self) -> Any:
        """Wait for the chief, and initialise this worker's own variables.

        Raises
        ------
        UnreachableError
            The parameter server does not answer until the deadline, or the chief gives no sign of
            life.
        """
        with self._graph.as_default():
            self._scaffold.finalize()
        if self._master:
            self._config = with_device_filters(self._config, self._graph)
        patience = Patience(self._deadline_seconds)
        while True:
            session = closed_aside(v1.Session(self._master, graph=self._graph, config=self._config))
            try:
                while not self._is_ready(session, patience):
                    time.sleep(POLL_SECONDS)
                return session
            except GONE as error:
                session.close()
                patience.wait(error)
            except BaseException:
                session.close()
                raise

    def _is_ready(self, session: Any, patience: Patience) -> bool:
        """Whether the run is published; each sign of the chief's life extends the patience."""
        try:
            op = self._barrier_op
            missing, run_id, lease = session.run(
                [self._scaffold.ready_for_local_init_op, op.run.id_tensor, op.lease_tensor]
            )
            if not run_id and self._index is not None:
                # Said about an earlier process, because else a chief that starts would wait for it.
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
