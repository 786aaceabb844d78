"""What the saver hooks of one graph share."""

from __future__ import annotations

import threading
import weakref
from typing import Any

import tensorflow as tf

__all__ = ["GraphSaves"]


class GraphSaves:
    """One save at a time, whoever makes it, and which step is saved in full.

    Parameters
    ----------
    lock
        The reentrant lock to use; without it a new one.

    Attributes
    ----------
    lock
        Held for as long as a save takes.
    full_step
        The step that a hook with everything in it has saved last; None before the first.
    full_savers
        The `StepSaver` of each hook with everything in it.
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
