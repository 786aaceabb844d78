"""`clip_by_global_norm` against TensorFlow's own, in a session, clipping and not.

Each side is a session over the same variables, run in turns; the medians are compared. Values are
consumed by an op each, and the optimizer that would leave out what nobody fetches is off. Runs by
itself, and judges nothing: at most 1.05 of TensorFlow's time is meant, and at most 0.7 when
nothing needs clipping.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from monolith_cli.training.clip_ops import clip_by_global_norm

CASES = [(100, 1_000_000, 21), (500, 2_000, 201)]
"""Tensors, elements of each, turns."""

OFF = 2  # of RewriterConfig.Toggle


def make_session(
    clip: Callable[[list[Any], Any], tuple[list[Any], Any]], count: int, size: int, limit: float
) -> tuple[Any, Any]:
    """A session, and what to run in it."""
    v1 = tf.compat.v1
    config = v1.ConfigProto()
    config.graph_options.rewrite_options.dependency_optimization = OFF
    with tf.Graph().as_default():
        variables = [v1.Variable(tf.random.normal([size])) for _ in range(count)]
        clipped, norm = clip([variable.read_value() for variable in variables], limit)
        consumed = tf.group(*[tf.identity(value) for value in clipped])
        session = v1.Session(config=config)
        session.run(v1.global_variables_initializer())
    return session, [consumed, norm]


def main() -> None:
    print("| tensors | elements | | ours, ms | TensorFlow, ms | ratio |")
    print("| --- | --- | --- | --- | --- | --- |")
    for count, size, turns in CASES:
        for what, limit in (("clipped", 1.0), ("not clipped", 1e9)):
            sides = [
                make_session(clip, count, size, limit)
                for clip in (clip_by_global_norm, tf.clip_by_global_norm)
            ]
            taken: list[list[float]] = [[], []]
            for turn in range(turns + 3):
                for (session, fetches), times in zip(sides, taken, strict=True):
                    start = time.perf_counter()
                    session.run(fetches)
                    if turn >= 3:
                        times.append(time.perf_counter() - start)
            for session, _ in sides:
                session.close()
            ours, theirs = (statistics.median(times) * 1e3 for times in taken)
            print(
                f"| {count} | {size} | {what} | {ours:.2f} | {theirs:.2f} | {ours / theirs:.2f} |"
            )


if __name__ == "__main__":
    main()
