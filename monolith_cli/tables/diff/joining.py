"""The join of one table's sides, cut into tasks."""

from __future__ import annotations

from contextlib import closing
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli import _native
from monolith_cli.tables.diff.held import load_all, shared_out

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from monolith_cli.execution.workers import Workers
    from monolith_cli.tables.diff.held import Held

__all__ = ["Fates", "JoinOptions", "TableJoin", "add_slots", "join_table", "total"]


class Fates(NamedTuple):
    """How many entries had which fate.

    Attributes
    ----------
    same
        Nothing of them differs.
    touched
        Their time alone differs.
    embedding, optimizer, both
        Changed: their embedding, their optimizer state, or both; and their time, perhaps.
    added, removed
        On one side only.
    again_a, again_b
        On either side, those whose feature id has come before in the table. They have a fate, too.
    """

    same: int = 0
    touched: int = 0
    embedding: int = 0
    optimizer: int = 0
    both: int = 0
    added: int = 0
    removed: int = 0
    again_a: int = 0
    again_b: int = 0

    @property
    def changed(self) -> int:
        """Whose values differ."""
        return self.embedding + self.optimizer + self.both

    @property
    def differing(self) -> int:
        """All that are not the same."""
        return self.touched + self.changed + self.added + self.removed

    @property
    def entries_a(self) -> int:
        """How many there are on the first side."""
        return self.same + self.touched + self.changed + self.removed

    @property
    def entries_b(self) -> int:
        """How many there are on the other side."""
        return self.same + self.touched + self.changed + self.added

    def tolerating(self, close: Fates) -> Fates:
        """The same where those that are close, or whose time alone differs, count as the same."""
        return self._replace(
            same=self.same + self.touched + close.changed,
            touched=0,
            embedding=self.embedding - close.embedding,
            optimizer=self.optimizer - close.optimizer,
            both=self.both - close.both,
        )

    def plus(self, other: Fates) -> Fates:
        """Both together."""
        return Fates(*(one + another for one, another in zip(self, other, strict=True)))


def total(all_fates: Iterable[Fates]) -> Fates:
    """The sum of several."""
    fates = Fates()
    for each in all_fates:
        fates = fates.plus(each)
    return fates


class JoinOptions(NamedTuple):
    """What a join is asked for.

    Attributes
    ----------
    fid_version
        1 or 2: which bits of a fid are its slot.
    sums
        Digests of both sides.
    bits
        Gets the fids of what is not the same.
    changes
        Called with what is not the same, packed as `_native.Join.changes`, in order of hash.
    """

    fid_version: int = 2
    sums: bool = False
    bits: _native.FidBits | None = None
    changes: Callable[[bytes], None] | None = None


class TableJoin(NamedTuple):
    """What came of a join: fates by slot, and digests of both sides if they were asked for."""

    slots: dict[int, Fates]
    sum_a: int
    sum_b: int


def join_table(
    a: Sequence[Held], b: Sequence[Held], options: JoinOptions, workers: Workers, memory_bytes: int
) -> TableJoin:
    """Join two sides of a table.

    Parameters
    ----------
    workers
        Threads of this process.
    memory_bytes
        How much may be loaded at a time of what was spilled.

    Raises
    ------
    WriteError
        What was spilled cannot be read again.
    """
    slots: dict[int, Fates] = {}
    sum_a = sum_b = 0
    with closing(workers.in_order(_tasks(a, b, options, workers.jobs, memory_bytes))) as done:
        for _, join in done:
            add_slots(slots, join.slots)
            sum_a += join.sum_a
            sum_b += join.sum_b
            if options.changes is not None and join.changes:
                options.changes(join.changes)
    mask = (1 << 64) - 1
    return TableJoin(dict(sorted(slots.items())), sum_a & mask, sum_b & mask)


def add_slots(
    slots: dict[int, Fates], found: Iterable[tuple[int, tuple[int, ...], int, int]]
) -> None:
    """Add what became of entries, as `_native.Join.slots` has it."""
    for slot, counts, again_a, again_b in found:
        fates = Fates(*counts)._replace(again_a=again_a, again_b=again_b)
        slots[slot] = slots[slot].plus(fates) if slot in slots else fates


class _JoinTask(NamedTuple):
    """The join of the parts [first, last)."""

    a: Sequence[Held]
    b: Sequence[Held]
    options: JoinOptions
    first: int
    last: int

    def run(self) -> _native.Join:
        options = self.options
        join = _native.Join(
            options.fid_version, options.sums, options.bits, options.changes is not None
        )
        a, b = (load_all(side, self.first, self.last) for side in (self.a, self.b))
        join.run(a, b, self.first, self.last)
        return join


def _tasks(
    a: Sequence[Held], b: Sequence[Held], options: JoinOptions, jobs: int, memory_bytes: int
) -> Iterator[_JoinTask]:
    for first, last in pairwise(shared_out([*a, *b], jobs, memory_bytes)):
        yield _JoinTask(a, b, options, first, last)
