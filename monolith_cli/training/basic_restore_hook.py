"""A hook that calls listeners when a session has been made, so that they can restore into it."""

from __future__ import annotations

from monolith_cli.training.run.restorer_hook import (
    CheckpointRestorerHook,
    CheckpointRestorerListener,
)

__all__ = ["CheckpointRestorerHook", "CheckpointRestorerListener"]
