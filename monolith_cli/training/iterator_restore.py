"""Sets an iterator to a worker's iterator state, in any program: a notebook, an evaluation.

In a job `ckpt_hooks.WorkerCkptHelper` does this itself.
"""

from __future__ import annotations

from monolith_cli.training.inputs.restore import Restored, prepare_restore, restore_iterator

__all__ = ["Restored", "prepare_restore", "restore_iterator"]
