"""Whether the slices of a tensor are the whole of it, and what is missing if not."""

from __future__ import annotations

import math
from itertools import pairwise, product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from monolith_cli.formats.bundle_index import Slice, TensorEntry

__all__ = ["missing_text"]

_MOST_CELLS = 100_000
"""A partitioned variable has one axis that is cut; nobody cuts so finely in several."""

Box = tuple[tuple[int, int], ...]
"""From and to, in each dimension."""


def missing_text(entry: TensorEntry) -> str | None:
    """What the slices of a tensor leave out, such as `rows 7 to 9`; None if they are the whole.

    Parameters
    ----------
    entry
        One that is stored in slices.
    """
    boxes = [_box(entry.shape, part) for part, _ in entry.slices]
    if any(len(box) != len(entry.shape) for box in boxes):
        return "parts of other dimensions"
    there = sum(math.prod(stop - start for start, stop in box) for box in boxes)
    gaps = list(_gaps(entry.shape, boxes))
    if gaps:
        text = _text(entry.shape, gaps[0])
        others = "" if len(gaps) == 1 else f" and {len(gaps) - 1} more such part"
        return text + others + ("s" if len(gaps) > 2 else "")
    return None if there >= math.prod(entry.shape) else "some elements"


def _box(shape: tuple[int, ...], part: Slice) -> Box:
    """A slice as a box, cut off at the tensor's ends."""
    if len(part.starts) != len(shape):
        return ((0, 0),) * len(part.starts)
    return tuple(
        (min(start, size), size if length is None else min(start + length, size))
        for start, length, size in zip(part.starts, part.lengths, shape, strict=True)
    )


def _gaps(shape: tuple[int, ...], boxes: Sequence[Box]) -> Iterator[Box]:
    """What no box covers, in boxes: those along the first axis that are alike as one."""
    cuts = [
        sorted({0, size, *(edge for box in boxes for edge in box[axis])})
        for axis, size in enumerate(shape)
    ]
    if math.prod(map(len, cuts)) * len(boxes) > _MOST_CELLS * 10 or math.prod(shape) == 0:
        return
    open_gap: Box | None = None
    rest = [list(pairwise(axis)) for axis in cuts[1:]]
    for cell in product(*rest, pairwise(cuts[0])) if cuts else ():
        here = (cell[-1], *cell[:-1])
        if any(_covers(box, here) for box in boxes):
            continue
        if open_gap and open_gap[1:] == here[1:] and open_gap[0][1] == here[0][0]:
            open_gap = ((open_gap[0][0], here[0][1]), *open_gap[1:])
            continue
        if open_gap:
            yield open_gap
        open_gap = here
    if open_gap:
        yield open_gap


def _covers(box: Box, cell: Box) -> bool:
    return all(
        start <= first and last <= stop
        for (start, stop), (first, last) in zip(box, cell, strict=True)
    )


def _text(shape: tuple[int, ...], gap: Box) -> str:
    cut = [axis for axis, size in enumerate(shape) if gap[axis] != (0, size)]
    if cut in ([], [0]):
        first, stop = gap[0]
        return f"row {first}" if stop - first == 1 else f"rows {first} to {stop - 1}"
    ranges = ", ".join(":" if axis not in cut else f"{a}:{b}" for axis, (a, b) in enumerate(gap))
    return f"elements [{ranges}]"
