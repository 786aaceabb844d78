"""A synthetic model directory, in the real formats, to try things on and to measure with."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.checkpoint import names as file_names
from monolith_cli.errors import AlreadyExistsError, UsageError, WriteError
from monolith_cli.execution.workers import Workers, is_given_up, usable_processors
from monolith_cli.fid import V2_SIGNATURE_BITS
from monolith_cli.formats import checkpoint_state
from monolith_cli.storage.atomic import atomic_write, left_behind, temporary_path
from monolith_cli.storage.local import LOCAL
from monolith_cli.storage.location import as_location
from monolith_cli.storage.store import local_path

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator
    from concurrent.futures import Executor
    from typing import Any, TypeAlias

    import numpy as np

    from monolith_cli.tables.writer import DumpWriter

    Int64s: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]
    Float32s: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]
    Field: TypeAlias = tuple[str, np.ndarray[Any, Any], np.ndarray[Any, Any] | None]

__all__ = ["OPTIMIZERS", "Sample", "SampleTable", "write_sample"]

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
_MULTI_BASE = "MonolithMultiHashTable"
_SINGLE_PREFIX = "MonolithHashTable_"
_FIELDS = ("user", "item", "author", "query", "city", "device", "topic", "hour")
_SLOT_GAPS = (0, 1, 3, 6, 7)
_SLOTS = 1 << 15

# Some moment, always the same one, so that equal seeds give equal bytes: 2025-06-15 15:06:40 UTC.
_NOW = 1_750_000_000
_MONTH_SECONDS = 30 * 86_400

# About what one chunk of entries may take in memory, as floats.
_CHUNK_FLOATS = 1 << 19
_MAX_SHARDS = 99_999


class SampleTable(NamedTuple):
    """One table of a sample: its name, how many entries it got, and the slots that they are in."""

    name: str
    entries: int
    slots: tuple[int, ...]


class Sample(NamedTuple):
    """What `write_sample` wrote. `stored_bytes` are those of the tables alone."""

    path: str
    step: int
    shards: int
    tables: tuple[SampleTable, ...]
    stored_bytes: int


def write_sample(
    path: str | os.PathLike[str],
    *,
    entries: int = 10_000,
    tables: int = 4,
    shards: int | None = None,
    dim: int = 16,
    multi: bool = False,
    seed: int = 0,
    optimizer: str = "adagrad",
    varied: bool = True,
    step: int = 1000,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
    jobs: int | None = None,
    executor: Executor | None = None,
) -> Sample:
    """Write a model directory with one checkpoint: dense variables and hash tables.

    The tables differ in size, and each spreads unevenly over a few slots of its own; fids are
    unique in a table. Equal arguments give equal bytes (with the same version of NumPy). No
    `ckpt.info-<step>` is written: that is left to whoever counts.

    Costs a few seconds per gigabyte, and some tens of megabytes of memory however large it gets.

    Parameters
    ----------
    path
        The directory; it is created where needed and must be empty otherwise.
    entries
        How many, over all tables together.
    tables
        How many.
    shards
        Files per table (or, with `multi`, for all tables). By default what the original picks: one
        per million entries of the largest table (with `multi`, of all tables), but 1 to 4.
    dim
        Values per embedding.
    multi
        All tables share files: one per shard, SNAPPY compressed, with a contents file (`.meta`)
        beside it. Otherwise each table has files of its own, uncompressed.
    seed
        Of all that is random, not negative.
    optimizer
        Whose state goes with each embedding, a key of `OPTIMIZERS`.
    varied
        Whether entries differ in length. Then the first value of an embedding is a bias with an
        optimizer of its own (`dynamic_wd_adagrad`), which counts steps in numbers of one to six
        bytes, or has none yet; and one entry in eight has never got a timestamp.
    step
        The checkpoint's.
    force
        Write into a directory that is not empty. A checkpoint of the same step is replaced with
        all of its tables, and what runs that were killed have left of it is removed; `checkpoint`
        then lists this one alone; the rest stays.
    progress
        Called with the entries written so far, and those to write; by one thread at a time.
    jobs, executor
        Who writes: so many threads (None: as many as there are processors, 4 at most), or an
        executor that is handed in, which has twice as many files at a time; `progress` is then
        called when a file is complete. The bytes do not depend on it.

    Raises
    ------
    UsageError
        A number is out of range, there is no such optimizer, or the path is a URL.
    BrokenExecutorError
        The executor did not do its work. No tables are left behind then.
    AlreadyExistsError
        The directory is not empty, or the path is a file.
    WriteError
        The operating system refused to write. No tables are left behind then.
    """
    _check(entries, tables, 1 if shards is None else shards, dim, seed, optimizer, step)
    if shards is None:
        shards = _default_shards(entries, tables, multi)
    directory = Path(local_path(as_location(path)))
    plans = _plan_tables(entries, tables, multi)
    recipe = _Recipe(dim, seed, optimizer, varied)
    if jobs is None and executor is None:
        jobs = min(4, usable_processors())
    workers = Workers(jobs, executor)
    with _refusals(directory):
        _prepare(directory, force)
        prefix = directory / f"{file_names.MODEL_BASE}-{step}"
        _remove_left_behind(directory, prefix.name)
        with _replacing_directory(Path(f"{prefix}{file_names.ASSETS_SUFFIX}")) as assets:
            with contextlib.ExitStack() as dumps:
                tell = _Tell(entries, progress)
                # What holds a lock goes to no other process.
                every_chunk = tell if executor is None else None
                make = _multi_tasks if multi else _single_tasks
                tasks = make(assets, plans, shards, recipe, dumps, every_chunk)
                with workers, contextlib.closing(workers.in_order(tasks)) as done:
                    for task, contents in done:
                        task.dump.keep(task.shard, contents)
                        if every_chunk is None:
                            tell(sum(contents.values()))
            stored_bytes = sum(file.stat().st_size for file in assets.iterdir())
            _write_dense(prefix, step, dim, seed)
            for name in (file_names.ckpt_info_name(step), file_names.ckpt_manifest_name(step)):
                (directory / name).unlink(missing_ok=True)
        _write_state(directory, step, multi)
    return Sample(str(directory), step, shards, tuple(plan.table for plan in plans), stored_bytes)


class _Recipe(NamedTuple):
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


class _Plan(NamedTuple):
    """A table before it is written; `number` (from 0) tells the tables' random bytes apart."""

    number: int
    table: SampleTable


class _Part(NamedTuple):
    """The entries of a table that go to one shard: number `first` and on."""

    plan: _Plan
    shard: int
    first: int
    entries: int


class _ShardTask(NamedTuple):
    """A file of a dump, and the parts of tables that it gets; `tell` hears of each chunk."""

    dump: DumpWriter
    shard: int
    parts: list[_Part]
    multi: bool
    recipe: _Recipe
    tell: Callable[[int], None] | None

    def run(self) -> dict[str, int]:
        """Write the file; its entries by table. Raises `WriteError`."""
        with self.dump.shard(self.shard) as writer:
            for part in self.parts:
                if self.multi:
                    writer.begin(part.plan.table.name)
                for framed, entries in _framed_entries(part, self.recipe):
                    if is_given_up():
                        return {}  # nobody hears it
                    writer.write_framed(framed, entries)
                    if self.tell is not None:
                        self.tell(entries)
        return self.dump.contents(self.shard)


def _default_shards(entries: int, tables: int, multi: bool) -> int:
    largest = entries if multi else max(_shares(entries, tables))
    return min(4, max(1, largest // 1_000_000))


def _check(
    entries: int, tables: int, shards: int, dim: int, seed: int, optimizer: str, step: int
) -> None:
    ranges = (
        ("entries", entries, 0, 1 << 40),
        ("tables", tables, 1, 10_000),
        ("shards", shards, 1, _MAX_SHARDS),
        ("dim", dim, 1, 1 << 16),
        ("seed", seed, 0, (1 << 64) - 1),
        ("step", step, 0, (1 << 63) - 1),
    )
    for name, value, least, most in ranges:
        if not least <= value <= most:
            raise UsageError(f"{name} {value} is not in {least}..{most}")
    if optimizer not in OPTIMIZERS:
        raise UsageError(
            f"there is no optimizer {optimizer!r}", hint="use one of " + ", ".join(OPTIMIZERS)
        )


def _shares(total: int, parts: int) -> list[int]:
    """`total` cut in proportion to 1, 1/2, 1/3, …"""
    weights = [1 / (part + 1) for part in range(parts)]
    scale = total / sum(weights)
    shares = [int(weight * scale) for weight in weights]
    for part in range(total - sum(shares)):
        shares[part % parts] += 1
    return shares


def _plan_tables(entries: int, tables: int, multi: bool) -> list[_Plan]:
    plans = []
    for index, count in enumerate(_shares(entries, tables)):
        turn, field = divmod(index, len(_FIELDS))
        name = _FIELDS[field] + (str(turn + 1) if turn else "")
        gaps = _SLOT_GAPS[: 2 + index % (len(_SLOT_GAPS) - 1)]
        slots = tuple((10 * index + gap) % _SLOTS for gap in gaps)
        plans.append(
            _Plan(index, SampleTable(name if multi else _SINGLE_PREFIX + name, count, slots))
        )
    return plans


def _parts(plan: _Plan, shards: int) -> list[_Part]:
    cuts = [plan.table.entries * shard // shards for shard in range(shards + 1)]
    return [
        _Part(plan, shard, cuts[shard], cuts[shard + 1] - cuts[shard]) for shard in range(shards)
    ]


def _single_tasks(
    assets: Path,
    plans: list[_Plan],
    shards: int,
    recipe: _Recipe,
    dumps: contextlib.ExitStack,
    tell: Callable[[int], None] | None,
) -> Iterator[_ShardTask]:
    from monolith_cli.tables.writer import DumpWriter

    for plan in plans:
        dump = dumps.enter_context(DumpWriter(assets, plan.table.name, shards))
        for part in _parts(plan, shards):
            yield _ShardTask(dump, part.shard, [part], False, recipe, tell)


def _multi_tasks(
    assets: Path,
    plans: list[_Plan],
    shards: int,
    recipe: _Recipe,
    dumps: contextlib.ExitStack,
    tell: Callable[[int], None] | None,
) -> Iterator[_ShardTask]:
    from monolith_cli.tables.writer import DumpWriter

    dump = dumps.enter_context(DumpWriter(assets, _MULTI_BASE, shards, multi=True))
    by_table = [_parts(plan, shards) for plan in plans]
    for shard in range(shards):
        parts = [of_table[shard] for of_table in by_table]
        yield _ShardTask(dump, shard, parts, True, recipe, tell)


class _Tell:
    """What threads tell how many entries they have written; it says how many that is in all."""

    def __init__(self, entries: int, progress: Callable[[int, int], None] | None) -> None:
        self._lock = Lock()
        self._total = entries
        self._done = 0
        self._progress = progress

    def __call__(self, entries: int) -> None:
        if self._progress is not None:
            with self._lock:
                self._done += entries
                self._progress(self._done, self._total)


def _framed_entries(part: _Part, recipe: _Recipe) -> Iterator[tuple[bytes, int]]:
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


def _fids(rng: np.random.Generator, plan: _Plan, first: int, count: int) -> Int64s:
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

    times = rng.integers(_NOW - _MONTH_SECONDS, _NOW, count, dtype=np.int64)
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


def _write_dense(prefix: Path, step: int, dim: int, seed: int) -> None:
    import numpy as np

    from monolith_cli.formats.tensor_bundle_writer import write_tensor_bundle

    rng = np.random.default_rng([seed, 1])

    def layer(*shape: int) -> Float32s:
        return rng.standard_normal(shape, dtype=np.float32)

    width = min(dim, 64)
    write_tensor_bundle(
        prefix,
        {
            "global_step": np.array(step, dtype=np.int64),
            "dense_1/kernel": layer(width, 16),
            "dense_1/bias": layer(16),
            "dense_2/kernel": layer(16, 1),
            "dense_2/bias": layer(1),
        },
    )


def _write_state(directory: Path, step: int, multi: bool) -> None:
    name = f"{file_names.MODEL_BASE}-{step}"
    monolith = checkpoint_state.MonolithCheckpointState(
        last_checkpoint_save_timestamp=_NOW,
        builtin_hash_table_type="MULTI_CUCKOO_HASH_MAP" if multi else "CUCKOO_HASH_MAP",
    )
    text = checkpoint_state.format_monolith_checkpoint_state(monolith)
    atomic_write(directory / file_names.MONOLITH_CHECKPOINT, text.encode())
    # Last of all: from here on the checkpoint is there.
    state = checkpoint_state.CheckpointState(name, (name,), (float(_NOW),), float(_NOW))
    text = checkpoint_state.format_checkpoint_state(state)
    atomic_write(directory / file_names.CHECKPOINT, text.encode())


def _prepare(directory: Path, force: bool) -> None:
    if directory.exists() and not directory.is_dir():
        what, hint = "is not a directory", "move it away, or name another path"
        raise AlreadyExistsError(what, path=directory, hint=hint, kind="no_directory")
    directory.mkdir(parents=True, exist_ok=True)
    if not force and any(directory.iterdir()):
        raise AlreadyExistsError("is not empty", path=directory, hint="name another directory")


def _remove_left_behind(directory: Path, base: str) -> None:
    """Remove what runs that were killed have left of the same checkpoint."""
    for path, name in left_behind(directory):
        if name in (file_names.CHECKPOINT, file_names.MONOLITH_CHECKPOINT) or name.startswith(
            f"{base}."
        ):
            LOCAL.delete(path)


@contextlib.contextmanager
def _refusals(directory: Path) -> Iterator[None]:
    """Turn the operating system's refusals into `WriteError`."""
    try:
        yield
    except (AlreadyExistsError, WriteError):
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        failure = WriteError(f"not written: {reason}", path=error.filename or directory)
        failure.errno = error.errno
        raise failure from error


@contextlib.contextmanager
def _replacing_directory(target: Path) -> Iterator[Path]:
    """A new directory to fill, which takes the place of `target` unless the block fails."""
    scratch = Path(temporary_path(str(target)))
    scratch.mkdir()
    try:
        yield scratch
        if target.is_dir():
            shutil.rmtree(target)
        scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
