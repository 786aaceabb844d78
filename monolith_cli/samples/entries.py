"""What is in the entries of a sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.fid import V2_SIGNATURE_BITS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, TypeAlias

    import numpy as np

    from monolith_cli.samples.plan import Part, Plan

    Int64s: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]
    Field: TypeAlias = tuple[str, np.ndarray[Any, Any], np.ndarray[Any, Any] | None]

__all__ = ["NOW", "OPTIMIZERS", "Recipe", "framed_entries"]

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


def framed_entries(part: Part, recipe: Recipe) -> Iterator[tuple[bytes, int]]:
    """The entries of a part in chunks: the bytes of whole framed records, and their number."""
    import numpy as np

    from monolith_cli._native import encode_entries

    arrays = sum(len(OPTIMIZERS[kind][0]) for kind, _ in recipe.segments())
    chunk = max(1, _CHUNK_FLOATS // (recipe.dim * (1 + arrays)))
    seeds = np.random.SeedSequence([recipe.seed, part.plan.number, part.shard])
    rng = np.random.Generator(np.random.SFC64(seeds))
    for first in range(part.first, part.first + part.entries, chunk):
        count = min(chunk, part.first + part.entries - first)
        framed = encode_entries(
            _fids(rng, part.plan, first, count),
            rng.standard_normal((count, recipe.dim), dtype=np.float32) * np.float32(0.05),
            times=_timestamps(rng, count, recipe.varied),
            optimizers=[
                (kind, _state(rng, kind, count, dim, recipe.varied))
                for kind, dim in recipe.segments()
            ],
        )
        yield framed, count


def _fids(rng: np.random.Generator, plan: Plan, first: int, count: int) -> Int64s:
    """v2 fids whose slots follow no order, the first slots having most; no fid comes twice."""
    import numpy as np

    slots = np.array(plan.table.slots, dtype=np.uint64)
    bounds = np.cumsum(1 / np.arange(1, len(slots) + 1) ** 1.5)
    chosen = slots[np.searchsorted(bounds[:-1] / bounds[-1], rng.random(count))]
    # An odd factor permutes the numbers below a power of two: different indices stay different.
    numbers = np.arange(first, first + count, dtype=np.uint64)
    mixed = numbers * np.uint64(0x9E37_79B9_7F4B) + np.uint64(plan.number + 1)
    signatures = mixed & np.uint64((1 << V2_SIGNATURE_BITS) - 1)
    fids: Int64s = (chosen << np.uint64(V2_SIGNATURE_BITS) | signatures).view(np.int64)
    return fids


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
