"""Saves of a training job: in a fixed order, committed by one rename, whole or not at all.

A save of step S goes through the barrier and the iterator states, the tables, `ckpt.info-S`, the
dense variables, `ckpt.inputs-S`, `ckpt.manifest-S`, and last `checkpoint`, which alone commits. The
barrier, tables and counts are listeners; the hook does the rest.
"""

from __future__ import annotations

from monolith_cli.training.saves.hook import NoFirstSaveCheckpointSaverHook
from monolith_cli.training.saves.requests import SaveResult

__all__ = ["NoFirstSaveCheckpointSaverHook", "SaveResult"]
