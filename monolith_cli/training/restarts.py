"""What the running session of a graph was restored from; the same for all of its hooks."""

from __future__ import annotations

from monolith_cli.training.run.restarts import begin_restart, join_run, restart_of_graph

__all__ = ["begin_restart", "join_run", "restart_of_graph"]
