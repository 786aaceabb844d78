"""What is in the entries of a sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.fid import V2_SIGNATURE_BITS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, TypeAlias

    import numpy as np

    from monolith_cli.samples.plan import Plan

    Int64s: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]
    UInt64s: TypeAlias = np.ndarray[Any, np.dtype[np.uint64]]
    Float32s: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]
    Field: TypeAlias = tuple[str, np.ndarray[Any, Any], np.ndarray[Any, Any] | None]

__all__ = [
    "NOW",
    "OPTIMIZERS",
    "Chunk",
    "Part",
    "Recipe",
    "Rows",
    "draw_rows",
    "generator",
    "make_fids",
    "table_parts",
]

OPTIMIZERS: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "adagrad": (("norm",), (), ()),
    "sgd": ((), (), ()),
    "ftrl": (("zero", "norm"), (), ()),
    "dynamic_wd_adagrad": (("norm",), (), ("last_update_step",)),
    "adadelta": (("accum", "accum_update"), (), ()),
    "adam": (("m", "v"), ("beta1_power", "beta2_power"), ()),
    "amsgrad": (("m", "v", "vhat"), ("beta1_power", "beta2_power"), ()),
    "momentum": (("n",), (), ()),
    "rmsprop": (("n",), (), ()),
    "rmspropv2": (("n",), (), ()),
    "group_ftrl": (("zero", "norm"), (), ()),
    "batch_softmax": ((), (), ("global_step",)),
    "group_adagrad": ((), ("grad_square_sum",), ()),
}
"""What each optimizer dumps: names of its arrays, of its single floats, of its integers."""

_BIAS_OPTIMIZER = "dynamic_wd_adagrad"

NOW = 1_750_000_000
"""2025-06-15 15:06:40 UTC: always the same moment, so that equal seeds give equal bytes."""
_MONTH_SECONDS = 30 * 86_400

# About what one chunk of entries may take in memory, as floats.
_CHUNK_FLOATS = 1 << 19


class Recipe(NamedTuple):
    """What the entries of all tables have in common."""

    dim: int
    seed: int
    optimizer: str
    varied: bool

    def segments(self) -> list[tuple[str, int]]:
        """Optimizer and dim of each part of an embedding."""
        if not self.varied:
            return [(self.optimizer, self.dim)]
        rest = [(self.optimizer, self.dim - 1)] if self.dim > 1 else []
        return [(_BIAS_OPTIMIZER, 1), *rest]


class Rows(NamedTuple):
    """Entries as columns: fids, embeddings of shape (n, dim), times, and the optimizers' fields."""

    fids: Int64s
    values: Float32s
    times: Int64s
    optimizers: list[tuple[str, list[Field]]]

    def chunk(self, planned: int, nan: int = 0) -> Chunk:
        """These entries as bytes; the embeddings of the first `nan` of them turn to NaN."""
        from monolith_cli._native import encode_entries

        self.values[:nan] = float("nan")
        framed = encode_entries(
            self.fids, self.values, times=self.times, optimizers=self.optimizers
        )
        return Chunk(framed, len(self.fids), planned, tuple(self.fids[:nan].tolist()))


class Chunk(NamedTuple):
    """Some entries of a part.

    Attributes
    ----------
    framed
        The bytes of whole records.
    entries
        How many.
    planned
        How many there would be, had none been removed.
    nan_fids
        The fids of those whose embeddings are NaN.
    """

    framed: bytes
    entries: int
    planned: int
    nan_fids: tuple[int, ...]


class Part(NamedTuple):
    """The entries of a table that go to one shard: number `first` and on, `nan` of them NaN."""

    plan: Plan
    shard: int
    first: int
    entries: int
    nan: int = 0

    @property
    def planned(self) -> int:
        """How many there are."""
        return self.entries

    def chunks(self, recipe: Recipe) -> Iterator[Chunk]:
        """The entries, as many at a time as memory should hold."""
        import numpy as np

        arrays = sum(len(OPTIMIZERS[kind][0]) for kind, _ in recipe.segments())
        most = max(1, _CHUNK_FLOATS // (recipe.dim * (1 + arrays)))
        rng = generator(recipe.seed, self.plan.number, self.shard)
        nan, end = self.nan, self.first + self.entries
        for first in range(self.first, end, most):
            numbers = np.arange(first, min(first + most, end), dtype=np.uint64)
            yield draw_rows(rng, recipe, self.plan, numbers).chunk(len(numbers), nan)
            nan = max(0, nan - len(numbers))


def table_parts(plan: Plan, shards: int, nan: int = 0) -> list[Part]:
    """A table's entries, cut evenly into shards; those that are NaN are in the first."""
    cuts = [plan.table.entries * shard // shards for shard in range(shards + 1)]
    return [
        Part(plan, shard, cuts[shard], cuts[shard + 1] - cuts[shard], 0 if shard else nan)
        for shard in range(shards)
    ]


def generator(*seeds: int) -> np.random.Generator:
    """Random numbers that other seeds do not give."""
    import numpy as np

    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(seeds)))


def draw_rows(rng: np.random.Generator, recipe: Recipe, plan: Plan, numbers: UInt64s) -> Rows:
    """Entries with these numbers in their table; none of them comes twice there."""
    import numpy as np

    count = len(numbers)
    return Rows(
        make_fids(plan, numbers, _slots(rng, plan, count)),
        rng.standard_normal((count, recipe.dim), dtype=np.float32) * np.float32(0.05),
        _timestamps(rng, count, recipe.varied),
        [(kind, _state(rng, kind, count, dim, recipe.varied)) for kind, dim in recipe.segments()],
    )


def make_fids(plan: Plan, numbers: UInt64s, slots: UInt64s) -> Int64s:
    """The v2 fids of entries with these numbers in their table."""
    import numpy as np

    # An odd factor permutes the numbers below a power of two: different indices stay different.
    mixed = numbers * np.uint64(0x9E37_79B9_7F4B) + np.uint64(plan.number + 1)
    signatures = mixed & np.uint64((1 << V2_SIGNATURE_BITS) - 1)
    fids: Int64s = (slots << np.uint64(V2_SIGNATURE_BITS) | signatures).view(np.int64)
    return fids


def _slots(rng: np.random.Generator, plan: Plan, count: int) -> UInt64s:
    """Slots in no order, the first of the table's most often."""
    import numpy as np

    slots = np.array(plan.table.slots, dtype=np.uint64)
    bounds = np.cumsum(1 / np.arange(1, len(slots) + 1) ** 1.5)
    return slots[np.searchsorted(bounds[:-1] / bounds[-1], rng.random(count))]


def _timestamps(rng: np.random.Generator, count: int, varied: bool) -> Int64s:
    import numpy as np

    times = rng.integers(NOW - _MONTH_SECONDS, NOW, count, dtype=np.int64)
    if varied:
        times[rng.integers(0, 8, count, dtype=np.uint8) == 0] = 0
    return times


def _state(rng: np.random.Generator, kind: str, count: int, dim: int, varied: bool) -> list[Field]:
    """The fields of an optimizer's dump: name, all values, and how many each entry has."""
    import numpy as np

    arrays, floats, integers = OPTIMIZERS[kind]
    fields: list[Field] = []
    for name in arrays:
        fields.append((name, rng.standard_exponential((count, dim), dtype=np.float32), None))
    for name in floats:
        fields.append((name, rng.random(count, dtype=np.float32), None))
    for name in integers:
        if varied:
            # Steps of up to 42 bits, small ones as often as large ones; one in eight has none.
            lengths = (rng.integers(0, 8, count, dtype=np.uint8) != 0).astype(np.uint32)
            steps = np.exp2(rng.random(int(lengths.sum())) * 42).astype(np.int64)
            fields.append((name, steps, lengths))
        else:
            fields.append((name, rng.integers(1 << 14, 1 << 21, count, dtype=np.int64), None))
    return fields
