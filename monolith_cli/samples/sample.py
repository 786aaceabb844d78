"""A synthetic model directory, in the real formats, to try things on and to measure with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.checkpoint.names import ASSETS_SUFFIX, MODEL_BASE, shard_name
from monolith_cli.errors import UsageError
from monolith_cli.execution.workers import Workers, usable_processors
from monolith_cli.samples.damage import FlippedBit, flip_a_bit
from monolith_cli.samples.directory import prepare, refusals, set_times
from monolith_cli.samples.dumps import MULTI_BASE
from monolith_cli.samples.entries import OPTIMIZERS, Recipe
from monolith_cli.samples.inputs import write_input_states
from monolith_cli.samples.plan import SampleTable, default_shards, plan_tables
from monolith_cli.samples.steps import StepPlans, StepWriter
from monolith_cli.storage.location import as_location
from monolith_cli.storage.store import local_path

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from concurrent.futures import Executor

__all__ = ["OPTIMIZERS", "Sample", "SampleTable", "write_sample"]

_MAX_SHARDS = 99_999
_NAN_OF_DRIFT = 3


class Sample(NamedTuple):
    """What `write_sample` wrote.

    Attributes
    ----------
    step
        The latest.
    shards
        Files per dump.
    tables
        Of the latest step.
    stored_bytes
        Those of the tables alone, of all steps.
    steps
        All, the latest last.
    nan_fids
        Of the entries whose embeddings are NaN, in the latest step.
    flipped
        The bit that was flipped in the latest step.
    """

    path: str
    step: int
    shards: int
    tables: tuple[SampleTable, ...]
    stored_bytes: int
    steps: tuple[int, ...]
    nan_fids: tuple[int, ...] = ()
    flipped: FlippedBit | None = None


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
    steps: int | None = None,
    drift: bool = False,
    nan: int | None = None,
    flip_bit: bool = False,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
    jobs: int | None = None,
    executor: Executor | None = None,
) -> Sample:
    """Write a model directory with a checkpoint, or several: dense variables and hash tables.

    The tables differ in size, and each spreads unevenly over a few slots of its own; fids are
    unique in a table. Equal arguments give equal bytes (with the same version of NumPy). A single
    checkpoint is written without `ckpt.info-<step>`: that is left to whoever counts.

    Costs a few seconds per gigabyte, and some tens of megabytes of memory however large it gets.

    Parameters
    ----------
    path
        The directory; it is created where needed and must be empty otherwise.
    entries
        How many, over all tables together; with `drift` in the first step.
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
        The (first) checkpoint's.
    steps
        How many checkpoints, each 1000 steps and an hour after the one before; the last one's time
        is always the same. Each is left as a job of three workers leaves it: with counts, manifest
        and iterator states. None for one without these.
    drift
        Entries come, change and go from step to step, and a slot explodes at the last one, as
        `samples/drift.py` says; dense variables move. Counts as `steps=1` without `steps`. The
        tables are cut into files otherwise, so the first step is not that of the same sample
        without drift.
    nan
        How many entries of the first table, all in its first file, have embeddings of NaN in the
        last step; by default 3 with `drift`, else none. Fewer if there are fewer.
    flip_bit
        Flip one bit in a record of the first table in the last step (of multi tables, in a block
        of their first file).
    force
        Write into a directory that is not empty. A checkpoint of the same step is replaced with
        all of its tables, and what runs that were killed have left of it is removed; `checkpoint`
        then lists what was written alone; the rest stays.
    progress
        Called with the entries written so far, and those to write; by one thread at a time.
    jobs, executor
        Who writes: so many threads (None: as many as there are processors, 4 at most), or an
        executor that is handed in, which has twice as many files at a time; `progress` is then
        called when a file is complete. The bytes do not depend on it.

    Raises
    ------
    UsageError
        A number is out of range, there is no such optimizer, the path is a URL, or there is no
        record whose bit could flip.
    BrokenExecutorError
        The executor did not do its work. No tables of that step are left behind then.
    AlreadyExistsError
        The directory is not empty, or the path is a file.
    WriteError
        The operating system refused to write. No tables of that step are left behind then.
    """
    _check(
        ("entries", entries, 0, 1 << 40),
        ("tables", tables, 1, 10_000),
        ("shards", 1 if shards is None else shards, 1, _MAX_SHARDS),
        ("dim", dim, 1, 1 << 16),
        ("seed", seed, 0, (1 << 64) - 1),
        ("step", step, 0, (1 << 63) - 1),
        ("steps", 1 if steps is None else steps, 1, 10_000),
        ("nan", 0 if nan is None else nan, 0, 1 << 40),
        optimizer=optimizer,
    )
    if shards is None:
        shards = default_shards(entries, tables, multi)
    if nan is None:
        nan = _NAN_OF_DRIFT if drift else 0
    directory = Path(local_path(as_location(path)))
    plans = plan_tables(entries, tables, multi)
    recipe = Recipe(dim, seed, optimizer, varied)
    planned = StepPlans(plans, shards, step, steps or 1, drift, nan)
    as_a_job = drift or steps is not None
    if jobs is None and executor is None:
        jobs = min(4, usable_processors())
    flipped = None
    with refusals(directory), Workers(jobs, executor) as workers:
        prepare(directory, force)
        stored_bytes = 0
        writer = StepWriter(directory, recipe, multi, workers, executor, planned.planned, progress)
        for i, (number, time) in enumerate(planned.commits.items()):
            done = writer.write(number, planned.of_step(i), moves=i if drift else 0)
            stored_bytes += done.stored_bytes
            if as_a_job:
                writer.add_inputs_and_manifest(number, done.entries)
            writer.commit(number, time)
            if as_a_job:
                writer.count(number)
        if flip_bit:
            base = MULTI_BASE if multi else plans[0].table.name
            dump = f"{MODEL_BASE}-{number}{ASSETS_SUFFIX}/{shard_name(base, 0, shards)}"
            flipped = flip_a_bit(directory, dump, seed, snappy=multi)
        if as_a_job:
            set_times(directory, planned.commits)
            write_input_states(str(directory))
    return Sample(
        str(directory),
        number,
        shards,
        tuple(plan.table._replace(entries=done.entries[plan.table.name]) for plan in plans),
        stored_bytes,
        tuple(planned.commits),
        done.nan_fids,
        flipped,
    )


def _check(*ranges: tuple[str, int, int, int], optimizer: str) -> None:
    for name, value, least, most in ranges:
        if not least <= value <= most:
            raise UsageError(f"{name} {value} is not in {least}..{most}")
    if optimizer not in OPTIMIZERS:
        raise UsageError(
            f"there is no optimizer {optimizer!r}", hint="use one of " + ", ".join(OPTIMIZERS)
        )
