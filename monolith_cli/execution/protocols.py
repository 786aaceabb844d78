"""What a task is, and what its result has to do. For types alone: no command imports it."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

__all__ = ["Merges", "Task"]

R_co = TypeVar("R_co", covariant=True)


class Task(Protocol[R_co]):
    """A piece of work that can be sent to another thread or process."""

    def run(self) -> R_co:
        """Do it."""


class Merges(Protocol):
    """What a part of the data gave, to be merged with what the next part gave."""

    def merge(self, other: Any, /) -> None:
        """Add what follows; `other`, of the same class, is not used again."""
