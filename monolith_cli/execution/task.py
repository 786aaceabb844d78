"""Work as data: a task says what is read and what is done to it, and nothing of who does it.

Tasks and what they return can be pickled, and give the same in another process: no task holds an
open file, a lock, a progress bar or a function of its caller's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monolith_cli.execution.protocols import Merges, Task

__all__ = ["Partial", "run_task"]

R = TypeVar("R")
D = TypeVar("D")
V = TypeVar("V", bound="Merges")


class Partial(Generic[V, D]):
    """What a task over a range of records gave.

    Attributes
    ----------
    value
        What was asked for.
    first, stop
        Its ends: where its first record starts, and where the first one behind it does. Of two
        ranges end to end both are right if the second one's `first` is the first one's `stop`.
    damage
        What was met of it.
    failed
        Whether reading stopped there.
    """

    __slots__ = ("damage", "failed", "first", "stop", "value")

    def __init__(self, value: V, first: int, stop: int, damage: Sequence[D], failed: bool) -> None:
        self.value = value
        self.first = first
        self.stop = stop
        self.damage = damage
        self.failed = failed

    def merge(self, other: Partial[V, D], /) -> None:
        """Add the range behind this one.

        Raises
        ------
        ValueError
            `other` does not start where this one stops, or this one failed.
        """
        if self.failed or other.first != self.stop:
            raise ValueError(f"a range from {other.first} behind one that stops at {self.stop}")
        self.value.merge(other.value)
        self.stop = other.stop
        self.damage = [*self.damage, *other.damage]
        self.failed = other.failed


def run_task(task: Task[R]) -> R:
    """Do a task: what an executor is asked to call."""
    return task.run()
