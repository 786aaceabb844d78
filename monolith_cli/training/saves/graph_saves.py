"""What the saver hooks of one graph share."""

from __future__ import annotations

import threading
import weakref
from typing import Any

import tensorflow as tf

__all__ = ["GraphSaves"]


class GraphSaves:
    """Makes sure of one save at a time, and knows which step was saved in full.

    Parameters
    ----------
    lock
        The reentrant lock to use; by default a new one.

    Attributes
    ----------
    lock
        Held for as long as a save takes.
    full_step
        The last step saved by a hook that saves everything; None before the first.
    full_savers
        The `StepSaver` of each hook that saves everything.
    """

    def __init__(self, lock: Any = None) -> None:
        self.lock: Any = lock or threading.RLock()
        self.full_step: int | None = None
        self.full_savers: weakref.WeakSet[Any] = weakref.WeakSet()

    @staticmethod
    def of(graph: tf.Graph, lock: Any = None) -> GraphSaves:
        """The graph's; if it has none yet, a new one with this lock."""
        return _of_graph.setdefault(graph, GraphSaves(lock))


_of_graph: weakref.WeakKeyDictionary[tf.Graph, GraphSaves] = weakref.WeakKeyDictionary()
