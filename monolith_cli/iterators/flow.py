"""How many elements come out of a pipeline when so many records go in, and the way back.

A flow stands for the elements that a node returns: how many it has returned, and up to which
record of the source the first c of them reach. Nodes make a flow out of that of their input.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import NamedTuple

__all__ = [
    "Flow",
    "Stage",
    "batch",
    "joined",
    "records",
    "repeated",
    "shard",
    "skip",
    "take",
    "unchanged",
]


class Flow(NamedTuple):
    """Elements that a node has returned, from its first on.

    Attributes
    ----------
    emitted
        How many.
    position
        How many records of the source lie before the end of the first c of them. Those are counted
        that the source returned and nobody got, too.
    delivered
        How many of these are in the first c of them.
    """

    emitted: int
    position: Callable[[int], int]
    delivered: Callable[[int], int]

    def less(self, held: int) -> Flow:
        """The same, with the last ones still in a buffer."""
        return self._replace(emitted=self.emitted - held)


Stage = Callable[[Flow, bool], Flow]
"""What a node makes of the flow of its input, which may have ended."""


def records(count: int) -> Flow:
    """What a source returns."""
    return Flow(count, _same, _same)


def unchanged(flow: Flow, ended: bool) -> Flow:
    """As many elements as went in."""
    return flow


def batch(size: int, drops: bool) -> Stage:
    """Elements of `size` each; the last one may be shorter, or be dropped."""

    def stage(flow: Flow, ended: bool) -> Flow:
        count = flow.emitted
        short = ended and not drops and count % size > 0
        return Flow(
            count // size + short,
            lambda c: flow.position(min(c * size, count)),
            lambda c: flow.delivered(min(c * size, count)),
        )

    return stage


def skip(left_out: int) -> Stage:
    """All but the first ones."""

    def stage(flow: Flow, ended: bool) -> Flow:
        return Flow(
            max(0, flow.emitted - left_out),
            lambda c: flow.position(c + left_out) if c else 0,
            lambda c: flow.delivered(c + left_out) - flow.delivered(left_out) if c else 0,
        )

    return stage


def shard(shards: int, index: int) -> Stage:
    """Every n-th element, from that index on; each is one record."""

    def stage(flow: Flow, ended: bool) -> Flow:
        return Flow(
            max(0, -((index - flow.emitted) // shards)),
            lambda c: flow.position((c - 1) * shards + index + 1) if c else 0,
            _same,
        )

    return stage


def take(most: int) -> Stage:
    """The first ones only."""

    def stage(flow: Flow, ended: bool) -> Flow:
        return flow._replace(emitted=min(flow.emitted, most))

    return stage


def joined(wholes: Sequence[tuple[int, Flow]], last: Flow) -> Flow:
    """Flows one after the other; all but the last have ended, of so many records each."""
    ends, positions, counts = [0], [0], [0]
    for size, flow in wholes:
        ends.append(ends[-1] + flow.emitted)
        positions.append(positions[-1] + size)
        counts.append(counts[-1] + flow.delivered(flow.emitted))
    flows = [*(flow for _, flow in wholes), last]

    def find(c: int) -> int:
        return max(0, bisect_left(ends, c) - 1)

    def position(c: int) -> int:
        i = find(c)
        return positions[i] + flows[i].position(c - ends[i]) if c else 0

    def delivered(c: int) -> int:
        i = find(c)
        return counts[i] + flows[i].delivered(c - ends[i])

    return Flow(ends[-1] + last.emitted, position, delivered)


def repeated(whole: Flow, epochs: int, size: int, last: Flow) -> Flow:
    """A flow of several epochs, of `size` records each; the last one is still going on."""
    length = whole.emitted

    def split(c: int) -> tuple[int, Flow]:
        epoch = min(epochs, (c - 1) // length) if length and c else 0
        return epoch, (last if epoch == epochs else whole)

    def position(c: int) -> int:
        epoch, flow = split(c)
        return epoch * size + flow.position(c - epoch * length)

    def delivered(c: int) -> int:
        epoch, flow = split(c)
        return epoch * whole.delivered(length) + flow.delivered(c - epoch * length)

    return Flow(epochs * length + last.emitted, position, delivered)


def _same(count: int) -> int:
    return count
