"""What the running session of a graph was restored from; the same for all of its hooks."""

from __future__ import annotations

import os
import weakref

import tensorflow as tf

from monolith_cli.checkpoint.restart import RestartPoint, restart_point

__all__ = ["begin_restart", "join_run", "restart_of_graph"]

_points: weakref.WeakKeyDictionary[tf.Graph, dict[str, RestartPoint]] = weakref.WeakKeyDictionary()
_run_steps: weakref.WeakKeyDictionary[tf.Graph, int] = weakref.WeakKeyDictionary()


def begin_restart(graph: tf.Graph, model_dir: str | os.PathLike[str]) -> RestartPoint:
    """Read a directory's restart point, and keep it for a graph.

    Whoever restores dense variables calls it each time a session is made. So tables and dense
    variables come from the same step, even if a rollback is written meanwhile.
    """
    point = restart_point(model_dir)
    _points.setdefault(graph, {})[_key(model_dir)] = point
    return point


def join_run(graph: tf.Graph, run_step: int) -> None:
    """Say from which step the run has gone on that a worker's session joins."""
    _run_steps[graph] = run_step


def restart_of_graph(graph: tf.Graph, model_dir: str | os.PathLike[str]) -> RestartPoint:
    """The restart point that was kept for a graph, else the one that the directory has now."""
    kept = _points.get(graph, {}).get(_key(model_dir))
    return kept or restart_point(model_dir, run_step=_run_steps.get(graph))


def _key(model_dir: str | os.PathLike[str]) -> str:
    return os.path.realpath(os.fspath(model_dir))
