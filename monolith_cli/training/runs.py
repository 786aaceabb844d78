"""Sessions of a job that survive the loss of its other processes.

A *run* is one session of the chief. Its id is empty while the chief restores. When everything is
restored, the id is published with the restored step. Workers begin only then, and start over when
the id changes, so that updates from before never reach a restored model. When the chief has ended,
the id says so, and workers end as well.
"""

from __future__ import annotations

from monolith_cli.training.run.chief_session import ChiefSessionCreator
from monolith_cli.training.run.run_hook import RunHook
from monolith_cli.training.run.sessions import monitored_session, run_until_inputs_end
from monolith_cli.training.run.worker_session import WorkerSessionCreator

__all__ = [
    "ChiefSessionCreator",
    "RunHook",
    "WorkerSessionCreator",
    "monitored_session",
    "run_until_inputs_end",
]
