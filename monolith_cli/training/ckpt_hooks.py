"""What a save does besides the model: all workers at the barrier, each with its iterator state.

The chief writes the step into a variable on the parameter server, `WorkerCkptMetaInfo`, and asks at
the barrier; the workers' callbacks write the iterator states and acknowledge.
"""

from __future__ import annotations

from monolith_cli.training.inputs.meta import (
    SAVE_ACTION,
    assign_ckpt_info,
    get_ckpt_info,
    get_fingerprints,
)
from monolith_cli.training.inputs.worker import WorkerCkptHelper, disable_iterator_save_restore
from monolith_cli.training.saves.barrier_listener import BarrierSaverListener

__all__ = [
    "SAVE_ACTION",
    "BarrierSaverListener",
    "WorkerCkptHelper",
    "assign_ckpt_info",
    "disable_iterator_save_restore",
    "get_ckpt_info",
    "get_fingerprints",
]
