"""What a look at the barrier tells those who ask."""

from __future__ import annotations

from typing import NamedTuple

from monolith_cli.training.barrier.state import Status

__all__ = ["BarrierView", "view_of"]


class BarrierView(NamedTuple):
    """One look at a barrier.

    Attributes
    ----------
    placed
        Element 0: by a placement, or for as long as a save takes.
    action
        Whose callbacks are to run now; of the placement if there is one.
    generation
        The newest; 0 before the first.
    placement
        The generation of what is placed; 0 if nothing is, but perhaps for a save.
    blocked_workers, unblocked_workers
        By their elements; 1 and up.
    run_id
        The chief's run, "" while it restores.
    ends_at
        When its time-to-live ends, by `time.monotonic`; also when that is over, as long as it is
        placed. None: never, or this process has not placed it.
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
