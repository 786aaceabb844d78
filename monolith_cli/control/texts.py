"""What errors and reports both say of a job's workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from monolith_cli.control.client import JobInfo

__all__ = ["unblocked_text", "workers_text"]

_MANY = 16  # workers by name; more are cut


def workers_text(workers: Iterable[int]) -> str:
    """`1, 2, 5`, or `none`; long lists are cut."""
    shown = [str(worker) for worker in workers]
    if len(shown) > _MANY:
        shown[_MANY:] = [f"... ({len(shown)} in all)"]
    return ", ".join(shown) or "none"


def unblocked_text(info: JobInfo) -> str:
    """What is missing until all workers stand: `workers 2, 3 are not blocked`."""
    if not info.placed:
        return "no barrier is placed"
    one = len(info.unblocked) == 1
    return f"worker{'' if one else 's'} {workers_text(info.unblocked)} {'is' if one else 'are'}" + (
        " not blocked"
    )
