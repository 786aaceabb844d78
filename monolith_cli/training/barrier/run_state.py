"""The variables of the chief's run, and the ops on them; `monolith_cli.training.run_state` has a
table of them."""

from __future__ import annotations

import uuid
from typing import Any

import tensorflow as tf

from monolith_cli.training.graph.shared import VariableFactory, plain

__all__ = ["ABSENT", "ENDED", "INPUT_ENDED", "TRAINING", "RunState"]

v1 = tf.compat.v1

ENDED = "ended"

ABSENT = 0
TRAINING = 1
INPUT_ENDED = 2


class RunState:
    """The run id, the step that belongs to it, and the workers' presence.

    `BarrierOp` makes it; its attribute `run` has it. Every method takes a session like the
    barrier's methods, is one round trip to the parameter server unless said otherwise, and locks
    nothing.

    Parameters
    ----------
    capacity
        Number of elements of `presence`, as many as the barrier has.
    variable
        Makes each variable, in the current scope and on the current device.

    Attributes
    ----------
    id_tensor, step_tensor
        The run id, a string scalar, and its step, an int64 scalar that is read after the id.
    variable_of_id
        To read the id together with something else.
    """

    def __init__(self, capacity: int, variable: VariableFactory) -> None:
        self._capacity = capacity
        run_id = variable("run_id", "", tf.string)
        run_step = variable("run_step", 0, tf.int64)
        presence = variable("presence", [ABSENT] * capacity, tf.int64)
        self.variable_of_id = run_id

        self._new_id = v1.placeholder(tf.string, [], name="run_id_placeholder")
        self._new_step = v1.placeholder(tf.int64, [], name="run_step_placeholder")
        self._who = v1.placeholder(tf.int32, [], name="presence_index_placeholder")
        self._new_presence = v1.placeholder(tf.int64, [], name="presence_placeholder")

        self.id_tensor = run_id.read_value()
        with tf.control_dependencies([self.id_tensor]):
            self.step_tensor = run_step.read_value()
        with tf.control_dependencies([self.step_tensor]):
            self._get = (self.id_tensor, self.step_tensor, run_id.read_value())
        self._assign_id = run_id.assign(self._new_id).op
        step_assigned = run_step.assign(self._new_step).op
        with tf.control_dependencies([step_assigned]):
            self._publish = run_id.assign(self._new_id).op

        self._presence = presence.read_value()
        self._set_presence = presence[self._who].assign(self._new_presence).op

    def empty(self, session: Any) -> None:
        """Say that the chief is restoring, so that workers wait for it.

        Workers at the barrier leave it.
        """
        plain(session).run(self._assign_id, {self._new_id: ""})

    def publish(self, session: Any, step: int, run_id: str | None = None) -> str:
        """Say that all is restored, and at which step; return the run id, by default a new one."""
        run_id = run_id or uuid.uuid4().hex
        plain(session).run(self._publish, {self._new_step: step, self._new_id: run_id})
        return run_id

    def end(self, session: Any) -> None:
        """Say that the chief has ended for good: the run id is ENDED, the step stays.

        Workers at the barrier leave it.
        """
        plain(session).run(self._assign_id, {self._new_id: ENDED})

    def get(self, session: Any) -> tuple[str, int]:
        """The run id and the step that this run has restored; ("", 0) while it restores.

        Reads again if the run id changes meanwhile, at most ten times; then it also is ("", 0).
        """
        raw = plain(session)
        for _ in range(10):
            before, step, after = raw.run(self._get)
            if before == after:
                break
        else:
            before = b""
        return (before.decode(), int(step)) if before else ("", 0)

    def set_presence(self, session: Any, index: int, presence: int) -> None:
        """Say what a worker is doing: ABSENT, TRAINING or INPUT_ENDED.

        Raises
        ------
        ValueError
            If the index is outside the barrier, or the presence is something else.
        """
        if not 0 <= index < self._capacity:
            raise ValueError(
                f"index {index} is outside the barrier, whose capacity is {self._capacity}"
            )
        if presence not in (ABSENT, TRAINING, INPUT_ENDED):
            raise ValueError(f"presence {presence} is not one of ABSENT, TRAINING and INPUT_ENDED")
        plain(session).run(self._set_presence, {self._who: index, self._new_presence: presence})

    def get_presence(self, session: Any) -> list[int]:
        """What each worker is doing, by index: ABSENT if it has said nothing."""
        return [int(presence) for presence in plain(session).run(self._presence)]
