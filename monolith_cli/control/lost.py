"""Barriers that went before the command that they were held for, or stayed behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monolith_cli.errors import RefusedError

if TYPE_CHECKING:
    from monolith_cli.control.hold import Held

__all__ = ["lost_error"]


def lost_error(held: Held, address: str, *, end: str, log: str = "") -> RefusedError | None:
    """What has gone wrong with a barrier that was held, if anything.

    Parameters
    ----------
    address
        Where the job listens.
    end
        How the barrier ends if it is still placed: what follows "the barrier ".
    log
        The command line that shows who has removed it; empty if there is none.
    """
    ended = "" if held.problem else f"the command has ended with {held.code}; "
    if held.is_lost and not held.problem:
        see = f"; see '{log}'" if log else ""
        return RefusedError(
            "the barrier was lost while the command ran: it was removed, or the chief has started"
            " again",
            path=address,
            hint=f"{ended}run it again if it needed the pause{see}",
        )
    if held.not_removed is None:
        return None
    why = "the barrier "
    if held.is_lost is None and not held.problem:
        why += "may have been lost while the command ran, and "
    why += f"could not be removed: {held.not_removed.what}"
    if held.not_removed.kind == "nobody_listens" and held.ends_in_seconds:
        end = "ends when the workers see that the chief is dead, or join the run of another"
    return RefusedError(why, path=address, hint=f"{ended}the barrier {end}")
