"""Saves of a training job: in order, committed by one rename, and never half taken for whole.

A save of step S goes through the barrier and the inputs' states, the tables, `ckpt.info-S`, the
dense variables, `ckpt.inputs-S`, `ckpt.manifest-S`, and last `checkpoint`, which alone commits. The
barrier, tables and counts are listeners; the hook has the rest.
"""

from __future__ import annotations

from monolith_cli.training.saves.hook import NoFirstSaveCheckpointSaverHook
from monolith_cli.training.saves.requests import SaveResult

__all__ = ["NoFirstSaveCheckpointSaverHook", "SaveResult"]
