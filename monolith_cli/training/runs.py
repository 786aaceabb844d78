"""Sessions of a job that outlive what happens to its processes.

A *run* is one session of the chief. Its id is empty while the chief restores, and published with
the restored step once everything is back. Workers begin only when it is there, and begin anew when
it changes; so what they still had under way from before never reaches a restored model. When the
chief has ended, the id says so, and they end as well.
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
