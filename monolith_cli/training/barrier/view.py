"""What is known of a barrier at one moment."""

from __future__ import annotations

from typing import NamedTuple

from monolith_cli.training.barrier.state import Status

__all__ = ["BarrierView", "view_of"]


class BarrierView(NamedTuple):
    """A barrier at one moment.

    Attributes
    ----------
    placed
        Element 0: set by a placement, or for as long as a save takes.
    action
        The action whose callbacks are to run now; that of the placement if there is one.
    generation
        The newest one; 0 before the first.
    placement
        The generation of the placement; 0 if there is none, also while only a save has placed it.
    blocked_workers, unblocked_workers
        By their elements, from 1 on.
    run_id
        The chief's run; "" while the chief restores.
    ends_at
        When its time-to-live ends, by `time.monotonic`; it stays here after that, as long as the
        barrier is placed. None: never, or this process has not placed it.
    """

    placed: bool
    action: str
    generation: int
    placement: int
    blocked_workers: list[int]
    unblocked_workers: list[int]
    run_id: str
    ends_at: float | None = None


def view_of(status: Status, ending: tuple[int, float | None]) -> BarrierView:
    """What this status shows.

    Parameters
    ----------
    ending
        Of this process's newest placement: its generation, and when it ends.
    """
    workers = range(1, len(status.elements))
    request = status.request
    placement = request.placement if status.placed else 0
    action = request.placement_action if placement else request.action
    generation, ends_at = ending
    return BarrierView(
        placed=status.placed,
        action=action if status.placed else "",
        generation=request.newest,
        placement=placement,
        blocked_workers=[i for i in workers if status.elements[i]],
        unblocked_workers=[i for i in workers if not status.elements[i]],
        run_id=status.run_id,
        ends_at=ends_at if placement == generation else None,
    )
