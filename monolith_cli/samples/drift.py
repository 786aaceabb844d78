"""How the entries of a sample change from step to step.

With each step tables of even number grow by 3 %, and the last slot of the second table (of the only
one, where there is one) by some 10 % of its table at the last step: that is the slot that explodes.
Of the entries that were there before, 1 in 250 is gone, 12 % have other embeddings, optimizer state
and timestamps, and 4 % another timestamp alone.

An entry keeps its shard, and what it was drawn with: a block of entries is always drawn whole, and
so is what each later step does to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.samples.entries import NOW, Rows, draw_rows, generator, make_fids

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any, TypeAlias

    import numpy as np

    from monolith_cli.samples.entries import Chunk, Field, Int64s, Recipe
    from monolith_cli.samples.plan import Plan

    Mask: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]

__all__ = ["DriftPart", "drifted_parts"]

_GROWTH = 0.03
_EXPLOSION = 0.1
# Of the entries that were there at the step before, added up: gone, or moved, or only seen.
_GONE = 0.004
_MOVED = 0.124
_SEEN = 0.164

_BLOCK = 4096
"""Entries that are drawn together."""


class Births(NamedTuple):
    """How a table has grown at a step.

    Attributes
    ----------
    until
        How many entries it has got by then, those since removed among them.
    time
        When the step was committed, in seconds since 1970.
    slot
        Of all entries that are new at this step; None if they are spread as the first ones are.
    """

    until: int
    time: int
    slot: int | None


class DriftPart(NamedTuple):
    """The entries of a table that are in one shard, after so many steps; `nan` of them NaN."""

    plan: Plan
    shard: int
    shards: int
    births: tuple[Births, ...]
    nan: int = 0

    @property
    def planned(self) -> int:
        """How many there would be, had none been removed."""
        return max(0, -((self.shard - self.births[-1].until) // self.shards))

    def chunks(self, recipe: Recipe) -> Iterator[Chunk]:
        """The entries, a block of them at a time."""
        nan = self.nan
        for block in range(-(-self.planned // _BLOCK)):
            rows, planned = self._rows(recipe, block)
            yield rows.chunk(planned, nan)
            nan = max(0, nan - len(rows.fids))

    def _rows(self, recipe: Recipe, block: int) -> tuple[Rows, int]:
        import numpy as np

        numbers = np.arange(block * _BLOCK, (block + 1) * _BLOCK, dtype=np.uint64)
        numbers = numbers * np.uint64(self.shards) + np.uint64(self.shard)
        seeds = (recipe.seed, self.plan.number, self.shard, block)
        rng = generator(*seeds, 0)
        rows = draw_rows(rng, recipe, self.plan, numbers)
        rows.times[rows.times > 0] -= NOW - self.births[0].time
        bounds = np.array([births.until for births in self.births], dtype=np.uint64)
        born = np.searchsorted(bounds, numbers, side="right")
        planned = int((born < len(self.births)).sum())
        is_there = born < len(self.births)
        for number, (_, time, slot) in enumerate(self.births[1:], 1):
            before = self.births[number - 1].time
            new = born == number
            rows.times[new] = rng.integers(before, time, _BLOCK)[new]
            if slot is not None:
                slots = np.full(_BLOCK, slot, dtype=np.uint64)
                rows.fids[new] = make_fids(self.plan, numbers, slots)[new]
            gone = _move(generator(*seeds, number), rows, born < number, before, time)
            is_there &= ~gone
        return _those(rows, is_there), planned


def drifted_parts(
    plan: Plan, tables: int, shards: int, times: Sequence[int], steps: int, nan: int = 0
) -> list[DriftPart]:
    """A table's entries after as many of all `steps` as there are times, by shard."""
    first = plan.table.entries
    births = [Births(first, times[0], None)]
    for number, time in enumerate(times[1:], 2):
        until, slot = births[-1].until, None
        if plan.number % 2 == 0:
            until += round(first * _GROWTH)
        if number == steps and plan.number == min(1, tables - 1):
            until, slot = until + round(first * _EXPLOSION), plan.table.slots[-1]
        births.append(Births(until, time, slot))
    return [
        DriftPart(plan, shard, shards, tuple(births), 0 if shard else nan)
        for shard in range(shards)
    ]


def _move(rng: np.random.Generator, rows: Rows, is_older: Mask, before: int, time: int) -> Mask:
    """Do to these rows what a step does, in place; which of them are gone after it."""
    import numpy as np

    fate = rng.random(len(is_older))
    gone: Mask = is_older & (fate < _GONE)
    moved = is_older & ~gone & (fate < _MOVED)
    count, dim = int(moved.sum()), rows.values.shape[1]
    rows.values[moved] += rng.standard_normal((count, dim), dtype=np.float32) * np.float32(0.01)
    for _, fields in rows.optimizers:
        for _, values, _ in fields:
            if values.ndim == 2:
                shape = (count, values.shape[1])
                values[moved] += rng.standard_exponential(shape, dtype=np.float32) / np.float32(8)
    seen = is_older & ~gone & (fate < _SEEN)
    rows.times[seen] = rng.integers(before, time, int(seen.sum()))
    return gone


def _those(rows: Rows, which: Mask) -> Rows:
    """Some of the rows."""
    import numpy as np

    def of_field(field: Field) -> Field:
        name, values, lengths = field
        if lengths is None:
            return name, values[which], None
        return name, values[np.repeat(which, lengths)], lengths[which]

    fids: Int64s = rows.fids[which]
    optimizers = [(kind, list(map(of_field, fields))) for kind, fields in rows.optimizers]
    return Rows(fids, rows.values[which], rows.times[which], optimizers)
