"""The barrier's variables and the ops on them; `barrier_ops` says what they mean together."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from monolith_cli.training.graph.shared import VariableFactory

__all__ = [
    "LEASE_SECONDS",
    "BarrierState",
    "Request",
    "Status",
]

v1 = tf.compat.v1

LEASE_SECONDS = 30.0


class Request(NamedTuple):
    """What `request` holds, as JSON. Generations start at 1; 0 means none."""

    newest: int = 0
    generation: int = 0
    action: str = ""
    placement: int = 0
    placement_action: str = ""
    lease_seconds: float = LEASE_SECONDS

    @classmethod
    def parse(cls, text: bytes) -> Request:
        return cls(**json.loads(text)) if text else cls()

    def format(self) -> str:
        return json.dumps(self._asdict())

    def next_generation(self) -> int:
        return self.newest + 1 if self.newest else time.time_ns() // 1000

    def closed(self) -> Request:
        """The same, with only the callbacks of its placement to run, if there is a placement."""
        return self._replace(generation=self.placement, action=self.placement_action)


class Status(NamedTuple):
    """The variables, as one read has found them."""

    request: Request
    lease: int
    run_id: str
    elements: Sequence[bool]
    acknowledged: Sequence[int]
    placed: bool
    chief: int = 0
    stopping: bool = False
    leaving: Sequence[int] = ()

    def acknowledged_by(self, index: int) -> int:
        """The newest generation that a worker need not run again, 0 for none."""
        generation = abs(int(self.acknowledged[index]))
        return generation if generation <= self.request.newest else 0

    def has_finished(self, index: int, generation: int) -> bool:
        """Whether a worker has finished a generation, or a later one, and still stands."""
        acknowledged = int(self.acknowledged[index])
        return bool(self.elements[index]) and generation <= acknowledged <= self.request.newest

    def finished(self, generation: int) -> list[int]:
        """The workers of which `has_finished` is true."""
        return [i for i in range(1, len(self.elements)) if self.has_finished(i, generation)]

    @property
    def mark(self) -> tuple[int, int, str]:
        """Does not change while nobody gives a sign of life."""
        return self.request.newest, self.lease, self.run_id


class BarrierState:
    """Makes the variables and all ops on them, and runs the ops: one round trip each.

    Locks nothing, checks nothing, and takes plain sessions.

    Parameters
    ----------
    capacity
        Number of elements.
    variable
        From `shared_variables`, in whose scope this is made.
    run_id
        The variable of the run id, which is read with the others.
    leaving
        The variables of `LeavingState`, which are too.

    Attributes
    ----------
    capacity
        Number of elements.
    placed_tensor
        Element 0, a bool scalar.
    lease_tensor
        The lease's counter, an int64 scalar.
    """

    def __init__(
        self, capacity: int, variable: VariableFactory, run_id: Any, leaving: Sequence[Any]
    ) -> None:
        self.capacity = capacity
        barrier = variable("barrier_var", [False] * capacity, tf.bool)
        action = variable("barrier_op_action", "", tf.string)
        request = variable("request", "", tf.string)
        acknowledged = variable("acknowledged", [0] * capacity, tf.int64)
        lease = variable("lease", 0, tf.int64)

        self._index = v1.placeholder(tf.int32, [], name="index_placeholder")
        self._action = v1.placeholder(tf.string, [], name="barrier_op_action_placeholder")
        self._request = v1.placeholder(tf.string, [], name="request_placeholder")
        self._generation = v1.placeholder(tf.int64, [], name="generation_placeholder")

        # One op in a step where barrier[0] would be several.
        self.placed_tensor = tf.raw_ops.ResourceGather(
            resource=barrier.handle, indices=0, dtype=tf.bool
        )
        self._elements = barrier.read_value()
        self._set = barrier[self._index].assign(True).op
        self._clear = barrier[self._index].assign(False).op
        self._acknowledge = acknowledged[self._index].assign(self._generation).op
        with tf.control_dependencies([self._acknowledge]):
            self._leave = barrier[self._index].assign(False).op

        assign_action = action.assign(self._action).op
        self._assign_request = request.assign(self._request).op
        with tf.control_dependencies([assign_action, self._assign_request]):
            self._place = barrier[0].assign(True).op
        with tf.control_dependencies([self._assign_request]):
            self._remove = barrier[0].assign(False).op
        self._raise_lease = lease.assign_add(1).op
        self.lease_tensor = lease.read_value()

        # Element 0 before the request: see barrier_ops.
        placed = barrier[0]
        with tf.control_dependencies([placed]):
            request_read = request.read_value()
        with tf.control_dependencies([request_read]):
            self._status = (
                request_read,
                lease.read_value(),
                run_id.read_value(),
                barrier.read_value(),
                acknowledged.read_value(),
                tf.identity(placed),
                *(each.read_value() for each in leaving),
            )

    def read(self, session: Any) -> Status:
        """Element 0, then the request, then the rest."""
        request, lease, run_id, elements, acknowledged, placed, *rest = session.run(self._status)
        chief, stopping, leaving = rest
        return Status(
            Request.parse(request),
            int(lease),
            run_id.decode(),
            elements,
            acknowledged,
            bool(placed),
            int(chief),
            bool(stopping),
            leaving,
        )

    def is_placed(self, session: Any) -> bool:
        """Element 0."""
        return bool(session.run(self.placed_tensor))

    def elements(self, session: Any) -> list[bool]:
        """All elements."""
        return [bool(element) for element in session.run(self._elements)]

    def place(self, session: Any, request: Request) -> None:
        """Write the request and its action, then set element 0."""
        feeds = {self._request: request.format(), self._action: request.action}
        session.run(self._place, feeds)

    def remove(self, session: Any, request: Request) -> None:
        """Write the request, then clear element 0."""
        session.run(self._remove, {self._request: request.format()})

    def write(self, session: Any, request: Request) -> None:
        """Write the request alone."""
        session.run(self._assign_request, {self._request: request.format()})

    def raise_lease(self, session: Any) -> None:
        """Raise the lease's counter."""
        session.run(self._raise_lease)

    def set(self, session: Any, index: int) -> None:
        """Set an element."""
        session.run(self._set, {self._index: index})

    def clear(self, session: Any, index: int) -> None:
        """Clear an element."""
        session.run(self._clear, {self._index: index})

    def acknowledge(self, session: Any, index: int, generation: int) -> None:
        """Write an acknowledgement."""
        session.run(self._acknowledge, {self._index: index, self._generation: generation})

    def leave(self, session: Any, index: int, generation: int) -> None:
        """Write an acknowledgement, then clear the element."""
        session.run(self._leave, {self._index: index, self._generation: generation})
