"""What `BarrierHook` adds to a step while no barrier is placed, in microseconds.

Sessions with and without the hook take their steps in turns of 200; the medians of the turns are
compared. Runs by itself, and judges nothing: at most 30 µs are meant.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import tensorflow as tf

from monolith_cli.training.barrier_ops import BarrierHook, BarrierOp

STEPS = 200
TURNS = 60


def make_session(with_hook: bool) -> tuple[Any, Any]:
    """A monitored session of a worker, and the op of its step."""
    v1 = tf.compat.v1
    with tf.Graph().as_default():
        hooks = [BarrierHook(1, BarrierOp(4))] if with_hook else []
        train = v1.get_variable("counter", initializer=0).assign_add(1).op
        return v1.train.SingularMonitoredSession(hooks=hooks), train


def microseconds(session: Any, train: Any) -> float:
    """Of a step, over one turn."""
    start = time.perf_counter()
    for _ in range(STEPS):
        session.run(train)
    return (time.perf_counter() - start) / STEPS * 1e6


def main() -> None:
    sides = [make_session(False), make_session(True)]
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(TURNS + 2):
        for side, taken in zip(sides, times, strict=True):
            value = microseconds(*side)
            if turn >= 2:
                taken.append(value)
    without, with_hook = (statistics.median(taken) for taken in times)
    print(f"without {without:.1f} µs, with {with_hook:.1f} µs: {with_hook - without:.1f} µs more")


if __name__ == "__main__":
    main()
