"""The whole plan of what a step's tables are made into: what stays, a delta, the servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monolith_cli.tables.rewrite.plan import plan_rewrite

if TYPE_CHECKING:
    from collections.abc import Callable

    from monolith_cli.execution.workers import Workers
    from monolith_cli.tables.diff.read_delta import Delta
    from monolith_cli.tables.found import FoundTables
    from monolith_cli.tables.rewrite.plan import RewriteOptions, RewritePlan

__all__ = ["plan_tables"]


def plan_tables(
    found: FoundTables,
    options: RewriteOptions,
    workers: Workers,
    progress: Callable[[int], None],
    delta: Delta | None = None,
) -> RewritePlan:
    """Plan it. Tables are read only where entries have to tell something.

    Parameters
    ----------
    progress
        Called with how many more bytes were read, uncompressed.
    delta
        What is applied before all else.

    Raises
    ------
    MonolithError
        As `plan_rewrite`, `with_delta` and `spread_plan`.
    """
    plan = plan_rewrite(found, options, workers)
    if delta is not None:
        from monolith_cli.tables.rewrite.deltas import with_delta

        plan = with_delta(plan, delta, options, workers, progress)
    if options.spreads:
        from monolith_cli.tables.rewrite.servers import spread_plan

        plan = spread_plan(plan, options, workers, progress)
    return plan
