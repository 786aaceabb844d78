"""The reading of data in a full check: who reads, how fast, and once more past the page cache."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING, Any, TypeVar

from monolith_cli.tables.ranges import RANGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from monolith_cli.execution.protocols import Task
    from monolith_cli.execution.workers import Workers

__all__ = ["Reading"]

T = TypeVar("T", bound="Task[Any]")

_BURST_SECONDS = 0.25
_NAP_SECONDS = 0.2


class Reading:
    """Who reads, and how much has been read.

    Parameters
    ----------
    workers
        Run the tasks.
    bytes_per_second
        How much is read in a second at most; None for as much as can be.
    total
        How many bytes there are to read, for `progress`.
    progress
        Called with the bytes read so far, and those to read.
    """

    def __init__(
        self,
        workers: Workers,
        bytes_per_second: int | None = None,
        total: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.workers = workers
        self.bytes_read = 0
        self.total = total
        self._rate = bytes_per_second
        self._progress = progress
        self._start = time.monotonic()

    @property
    def range_bytes(self) -> int:
        """The size of the ranges that tables are read in: small ones where reading is held back."""
        if self._rate is None:
            return RANGE_BYTES
        in_flight = 2 * self.workers.jobs
        return max(1 << 20, min(RANGE_BYTES, int(self._rate * _BURST_SECONDS) // in_flight))

    def took(self, size: int) -> None:
        """Count bytes that were read, and wait until more may be."""
        self.bytes_read += size
        if self._rate is not None:
            # In short naps: progress goes on, and a signal need not wait.
            while (ahead := self._seconds_ahead(self._rate)) > 0:
                self._tell(self.bytes_read - int(ahead * self._rate))
                time.sleep(min(ahead, _NAP_SECONDS))
        self._tell(self.bytes_read)

    def _seconds_ahead(self, rate: int) -> float:
        return self.bytes_read / rate - (time.monotonic() - self._start)

    def _tell(self, done: int) -> None:
        if self._progress:
            self._progress(done, max(self.total, self.bytes_read))

    def each(self, tasks: Sequence[T], sizes: Sequence[int]) -> Iterator[tuple[T, Any]]:
        """Tasks that read so many bytes, with what they return, in order."""
        if not tasks:
            return
        with closing(self.workers.in_order(tasks)) as done:
            for (task, result), size in zip(done, sizes, strict=True):
                self.took(size)
                yield task, result
