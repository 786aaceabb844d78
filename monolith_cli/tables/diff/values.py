"""The values of entries that differ: how far they have moved, and a delta of them.

A second pass over both sides collects these entries whole, in parts as the first pass did with
their digests; each part is then gone through by fid.
"""

from __future__ import annotations

import math
from contextlib import closing
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli import _native
from monolith_cli.tables.diff.held import load_all, shared_out
from monolith_cli.tables.diff.joining import add_slots

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from monolith_cli.execution.workers import Workers
    from monolith_cli.tables.diff.held import Held
    from monolith_cli.tables.diff.joining import Fates

__all__ = ["Move", "ValueOptions", "ValuesDiff", "bits_for", "diff_values"]

_BITS_AN_ENTRY = 8
_LEAST_LOG_BITS = 16


class ValueOptions(NamedTuple):
    """What is asked about values.

    Attributes
    ----------
    absolute, relative
        Floats a and b are close if |a - b| <= absolute + relative * |a|; two NaNs are close.
    tolerant
        Whether entries that are close count as the same.
    top
        How many of the largest moves of a table are kept.
    fid_version
        1 or 2: which bits of a fid are its slot.
    rows
        Called with what is neither close nor of another time alone, packed as
        `_native.Join.changes`, in order of hash.
    delta
        Called with the framed records of a delta, and how many changes they are: table by table,
        in order of hash.
    """

    absolute: float = 0.0
    relative: float = 0.0
    tolerant: bool = False
    top: int = 10
    fid_version: int = 2
    rows: Callable[[bytes], None] | None = None
    delta: Callable[[bytes, int], None] | None = None


class Move(NamedTuple):
    """How far the embedding of an entry has moved.

    Attributes
    ----------
    distance
        The L2 norm of the difference.
    largest
        The largest difference of one of its values.
    norm
        The L2 norm before.
    """

    fid: int
    distance: float
    largest: float
    norm: float


class ValuesDiff(NamedTuple):
    """How the values of a table's entries differ, of those that are on both sides.

    Attributes
    ----------
    changed
        How many entries have other values.
    close
        Of these, those whose values are all close.
    shapes
        Of these, those with another number of values, or other optimizers.
    non_finite
        Of these, those whose embeddings are no finite distance from each other.
    largest
        Difference of one value of an embedding.
    distance_mean
        Of the distances that their embeddings have moved, where these are finite; None without any.
    moves
        The largest distances, largest first.
    close_slots
        What became of those that are close, by slot.
    """

    changed: int
    close: int
    shapes: int
    non_finite: int
    largest: float
    distance_mean: float | None
    moves: list[Move]
    close_slots: dict[int, Fates]


def bits_for(rows: int, memory_bytes: int) -> _native.FidBits:
    """Bits for the fids of what differs among so many rows, in an eighth of the memory at most."""
    wanted = max(rows * _BITS_AN_ENTRY, 1).bit_length()
    return _native.FidBits(max(min(wanted, memory_bytes.bit_length() - 1), _LEAST_LOG_BITS))


def diff_values(
    a: Sequence[Held],
    b: Sequence[Held],
    table: int,
    options: ValueOptions,
    workers: Workers,
    memory_bytes: int,
) -> ValuesDiff:
    """Go through what a `ChosenFold` has collected of both sides of a table.

    Parameters
    ----------
    table
        Its number in a delta.
    workers, memory_bytes
        As of `join_table`, with its errors.
    """
    changed = close = shapes = non_finite = 0
    largest = 0.0
    sums: list[float] = []
    moves: list[Move] = []
    close_slots: dict[int, Fates] = {}
    with closing(
        workers.in_order(_tasks(a, b, table, options, workers.jobs, memory_bytes))
    ) as done:
        for _, found in done:
            changed += found.changed
            close += found.close
            shapes += found.shapes
            non_finite += found.non_finite
            largest = max(largest, found.largest)
            sums += found.distance_sums
            moves += (Move(*move) for move in found.moves)
            add_slots(close_slots, found.close_slots)
            if options.rows is not None and found.rows:
                options.rows(found.rows)
            if options.delta is not None and found.delta:
                options.delta(found.delta, found.delta_changes)
    moves.sort(key=lambda move: -move.distance)  # equal ones stay in order of hash
    finite = changed - shapes - non_finite
    # The sum is exact, so it does not depend on how the parts were shared out.
    mean = math.fsum(sums) / finite if finite > 0 else None
    moves = moves[: options.top]
    return ValuesDiff(changed, close, shapes, non_finite, largest, mean, moves, close_slots)


class _ChangesTask(NamedTuple):
    """What is done to the parts [first, last)."""

    a: Sequence[Held]
    b: Sequence[Held]
    table: int
    options: ValueOptions
    first: int
    last: int

    def run(self) -> _native.Changes:
        options = self.options
        changes = _native.Changes(
            options.absolute,
            options.relative,
            options.top,
            options.delta is not None,
            self.table,
            options.fid_version,
            options.rows is not None,
        )
        a, b = (load_all(side, self.first, self.last) for side in (self.a, self.b))
        changes.run(a, b, self.first, self.last)
        return changes


def _tasks(
    a: Sequence[Held],
    b: Sequence[Held],
    table: int,
    options: ValueOptions,
    jobs: int,
    memory_bytes: int,
) -> Iterator[_ChangesTask]:
    for first, last in pairwise(shared_out([*a, *b], jobs, memory_bytes)):
        yield _ChangesTask(a, b, table, options, first, last)
