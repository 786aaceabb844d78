"""A synthetic model directory, in the real formats, to try things on and to measure with."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.checkpoint import names as file_names
from monolith_cli.errors import UsageError
from monolith_cli.execution.workers import Workers, usable_processors
from monolith_cli.samples.directory import (
    prepare,
    refusals,
    remove_left_behind,
    replacing_directory,
    write_dense,
    write_state,
)
from monolith_cli.samples.dumps import Tell, multi_tasks, single_tasks
from monolith_cli.samples.entries import OPTIMIZERS, Recipe
from monolith_cli.samples.plan import SampleTable, default_shards, plan_tables
from monolith_cli.storage.location import as_location
from monolith_cli.storage.store import local_path

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from concurrent.futures import Executor

__all__ = ["OPTIMIZERS", "Sample", "SampleTable", "write_sample"]

_MAX_SHARDS = 99_999


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
        shards = default_shards(entries, tables, multi)
    directory = Path(local_path(as_location(path)))
    plans = plan_tables(entries, tables, multi)
    recipe = Recipe(dim, seed, optimizer, varied)
    if jobs is None and executor is None:
        jobs = min(4, usable_processors())
    workers = Workers(jobs, executor)
    with refusals(directory):
        prepare(directory, force)
        prefix = directory / f"{file_names.MODEL_BASE}-{step}"
        remove_left_behind(directory, prefix.name)
        with replacing_directory(Path(f"{prefix}{file_names.ASSETS_SUFFIX}")) as assets:
            with contextlib.ExitStack() as dumps:
                tell = Tell(entries, progress)
                # What holds a lock goes to no other process.
                every_chunk = tell if executor is None else None
                make = multi_tasks if multi else single_tasks
                tasks = make(assets, plans, shards, recipe, dumps, every_chunk)
                with workers, contextlib.closing(workers.in_order(tasks)) as done:
                    for task, contents in done:
                        task.dump.keep(task.shard, contents)
                        if every_chunk is None:
                            tell(sum(contents.values()))
            stored_bytes = sum(file.stat().st_size for file in assets.iterdir())
            write_dense(prefix, step, dim, seed)
            for name in (file_names.ckpt_info_name(step), file_names.ckpt_manifest_name(step)):
                (directory / name).unlink(missing_ok=True)
        write_state(directory, step, multi)
    return Sample(str(directory), step, shards, tuple(plan.table for plan in plans), stored_bytes)


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
