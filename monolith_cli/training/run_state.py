"""What the processes of a job know about the chief's run, and the chief about its workers.

Variables beside those of the barrier, which only the chief initialises:

======== =========== ====================================================
variable written by  what
======== =========== ====================================================
run_id   chief       its session: "" while it restores, ENDED after it
run_step chief       the step that its TensorFlow session has restored
presence worker i    element i: ABSENT, TRAINING or INPUT_ENDED
======== =========== ====================================================
"""

from __future__ import annotations

from monolith_cli.training.barrier.run_state import ABSENT, ENDED, INPUT_ENDED, TRAINING, RunState

__all__ = ["ABSENT", "ENDED", "INPUT_ENDED", "TRAINING", "RunState"]
