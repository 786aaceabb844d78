"""What a call of a session raises when the session has ended, or a server of the job is gone."""

from __future__ import annotations

import tensorflow as tf

__all__ = ["SESSION_LOST"]

SESSION_LOST = (tf.errors.AbortedError, tf.errors.UnavailableError, tf.errors.CancelledError)
