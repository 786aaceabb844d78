"""A hook that calls listeners when a session has been made, so that they can restore into it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import tensorflow as tf
from absl import logging

__all__ = ["CheckpointRestorerHook", "CheckpointRestorerListener"]


class CheckpointRestorerListener:
    """What `CheckpointRestorerHook` calls; methods that are not overridden do nothing."""

    def begin(self) -> None:
        """Build what is needed in the graph, which is finalized soon after."""

    def before_restore(self, session: Any) -> None:
        """There is a session, and no listener has restored anything into it yet."""

    def after_restore(self, session: Any) -> None:
        """Every listener's `before_restore` has been called."""

    def end(self, session: Any) -> None:
        """For the caller's own use; the hook never calls it."""


class CheckpointRestorerHook(tf.compat.v1.train.SessionRunHook):
    """Call listeners whenever a session has been made, again after each recovery.

    It restores nothing itself, does nothing in a training step, and locks nothing. An error of a
    listener ends the making of the session, and the listeners after it are not called.

    Parameters
    ----------
    listeners
        `CheckpointRestorerListener` objects, called in this order.
    """

    def __init__(self, listeners: Iterable[CheckpointRestorerListener] | None = None) -> None:
        logging.info("Create CheckpointRestorerHook.")
        self._listeners = list(listeners or ())

    def begin(self) -> None:
        """Call every listener's `begin`, while ops may still be made."""
        for listener in self._listeners:
            listener.begin()

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Call every `before_restore`, then every `after_restore`."""
        logging.info("Calling checkpoint restorer listeners.")
        for listener in self._listeners:
            listener.before_restore(session)
        for listener in self._listeners:
            listener.after_restore(session)
