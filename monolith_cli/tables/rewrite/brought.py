"""What a delta brings, counted: on which servers it belongs, and what of it goes or changes.

Runs that make nothing tell how many entries arrive, of which slot and where. What some option does
to them is the difference of two.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.fid import MAX_V1_SLOT
from monolith_cli.tables.folds.rewrite import Passages, RewriteFold, Transforms
from monolith_cli.tables.folds.servers import SpreadCounts
from monolith_cli.tables.ranges import read_ranges
from monolith_cli.tables.stream import EntryStream

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from monolith_cli.execution.workers import Workers
    from monolith_cli.tables.rewrite.plan import TablePlan
    from monolith_cli.tables.stream import Extent, ReadOptions

__all__ = ["BroughtPart", "count_brought", "find_touched"]

_HIGH_SLOT = (MAX_V1_SLOT + 1) // 2
"""The first v1 slot of feature ids with the top bit: that is the top bit of the slot."""


class BroughtPart(NamedTuple):
    """What a delta brings to a table: where in the delta, and for which of how many servers.

    Where the server is not known it is the only one.
    """

    extents: Sequence[Extent]
    server: int = 0
    servers: int = 1


def count_brought(
    parts: Iterable[BroughtPart], reading: ReadOptions, workers: Workers
) -> SpreadCounts:
    """How entries that a delta brings keep to the two rules. Reads a part once, or for each rule.

    Raises
    ------
    CorruptionError, PathNotFoundError, NotReadableError, ChangedWhileReadError
        As `read_ranges`.
    """
    total = SpreadCounts()
    for part in parts:
        entries = high = 0
        wrong = []
        for is_unsigned in (False, True) if part.servers > 1 else (False,):
            transforms = Transforms(
                brought=True, fid_version="v1", servers=part.servers, is_unsigned=is_unsigned
            )
            slots, arrived = _run(part.extents, transforms, reading, workers)
            entries = sum(slots.values())
            high = sum(count for slot, count in slots.items() if slot >= _HIGH_SLOT)
            wrong.append(entries - arrived[part.server])
        wrong = wrong if part.servers > 1 else [0, 0]
        path = part.extents[0].file.path if part.extents else ""
        examples = [(None, path) if count else None for count in wrong]
        total.merge(SpreadCounts(entries, high, wrong, examples))
    return total


def find_touched(table: TablePlan, reading: ReadOptions, workers: Workers) -> dict[int, Passages]:
    """What becomes of entries that are brought, and do not stay as they are: by slot.

    Reads them up to three times.

    Raises
    ------
    CorruptionError, PathNotFoundError, NotReadableError, ChangedWhileReadError
        As `read_ranges`.
    """
    wanted = table.transforms
    if wanted.slots is None and not wanted.where:
        return {}
    extents = [extent for _, extent in table.extents]
    bare = Transforms(brought=True, only=wanted.only, fid_version=wanted.fid_version)
    every, _ = _run(extents, bare, reading, workers)
    stay: Mapping[int, int] = every
    if wanted.slots is not None:
        bare = bare._replace(slots=wanted.slots)
        stay, _ = _run(extents, bare, reading, workers)
    same = stay
    if wanted.where:
        bare = bare._replace(where=wanted.where, norm=wanted.norm)
        same, _ = _run(extents, bare, reading, workers)
    found = {}
    for slot, count in every.items():
        here = stay.get(slot, 0)
        touched = here - same.get(slot, 0)
        found[slot] = Passages(
            brought_changed=touched if wanted.set_zero else 0,
            brought_slot=count - here,
            brought_where=0 if wanted.set_zero else touched,
        )
    return found


def _run(
    extents: Iterable[Extent], transforms: Transforms, reading: ReadOptions, workers: Workers
) -> tuple[dict[int, int], list[int]]:
    """How many entries arrive, by slot, and by target."""
    slots: dict[int, int] = {}
    arrived = [0] * transforms.servers
    fold = RewriteFold(transforms, discard=True)
    with closing(read_ranges(EntryStream(extents), reading, fold, workers=workers)) as pieces:
        for piece in pieces:
            for slot, passages in piece.value.slots.items():
                slots[slot] = slots.get(slot, 0) + passages.brought
            for number, outputs in enumerate(piece.value.outputs):
                arrived[number] += sum(output.entries for output in outputs)
    return slots, arrived
