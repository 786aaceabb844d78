"""Setting an iterator to where a worker's input was, in any program: a notebook, an evaluation.

In a job `ckpt_hooks.WorkerCkptHelper` does that by itself.
"""

from __future__ import annotations

from monolith_cli.training.inputs.restore import Restored, prepare_restore, restore_iterator

__all__ = ["Restored", "prepare_restore", "restore_iterator"]
