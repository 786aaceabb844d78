"""The steps of a sample: what is in each, and how each is written."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.checkpoint import names as file_names
from monolith_cli.samples.directory import (
    remove_left_behind,
    replacing_directory,
    write_dense,
    write_state,
)
from monolith_cli.samples.drift import drifted_parts
from monolith_cli.samples.dumps import MULTI_BASE, Tell, multi_tasks, single_tasks
from monolith_cli.samples.entries import NOW, table_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Executor
    from pathlib import Path

    from monolith_cli.execution.workers import Workers
    from monolith_cli.samples.dumps import AnyPart
    from monolith_cli.samples.entries import Recipe
    from monolith_cli.samples.plan import Plan

__all__ = ["StepPlans", "StepTables", "StepWriter"]

_STEPS_BETWEEN = 1000
_SECONDS_BETWEEN = 3600


class StepPlans(NamedTuple):
    """What is in the steps, and how large that is, before anything is written.

    Attributes
    ----------
    plans
        The tables, as they are in the first step.
    shards
        Files per dump.
    first
        The first step's number.
    steps
        How many.
    drift
        Whether entries come, change and go.
    nan
        How many entries of the first table are NaN in the last step.
    """

    plans: list[Plan]
    shards: int
    first: int
    steps: int
    drift: bool
    nan: int

    @property
    def commits(self) -> dict[int, int]:
        """When each step was committed, in seconds since 1970, the latest last."""
        return {
            self.first + _STEPS_BETWEEN * i: NOW - _SECONDS_BETWEEN * (self.steps - 1 - i)
            for i in range(self.steps)
        }

    @property
    def planned(self) -> int:
        """The entries of all steps together, had none been removed."""
        return sum(
            part.planned for i in range(self.steps) for parts in self.of_step(i) for part in parts
        )

    def of_step(self, i: int) -> list[list[AnyPart]]:
        """What is in the i-th step: by table, then by shard."""
        times = list(self.commits.values())[: i + 1]
        nan = self.nan if i == self.steps - 1 else 0
        return [self._of_table(plan, times, 0 if plan.number else nan) for plan in self.plans]

    def _of_table(self, plan: Plan, times: list[int], nan: int) -> list[AnyPart]:
        if not self.drift:
            return [*table_parts(plan, self.shards, nan)]
        return [*drifted_parts(plan, len(self.plans), self.shards, times, self.steps, nan)]


class StepTables(NamedTuple):
    """The tables of a step as they were written: entries by table, and their bytes."""

    entries: Mapping[str, int]
    nan_fids: tuple[int, ...]
    stored_bytes: int


class StepWriter:
    """Writes steps, one after another.

    Parameters
    ----------
    directory
        Of the model; it exists.
    multi
        Whether all tables share files.
    workers, executor
        Who writes; the executor is that of the workers.
    planned, progress
        How many entries that will be, and who is told how many it are so far.
    """

    def __init__(
        self,
        directory: Path,
        recipe: Recipe,
        multi: bool,
        workers: Workers,
        executor: Executor | None,
        planned: int,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._directory = directory
        self._recipe = recipe
        self._multi = multi
        self._workers = workers
        self._tell = Tell(planned, progress)
        # What holds a lock goes to no other process.
        self._every_chunk = self._tell if executor is None else None
        self._commits: dict[int, int] = {}

    def write(self, step: int, by_table: list[list[AnyPart]], moves: int = 0) -> StepTables:
        """Write tables and dense variables, which have moved so often since the first step."""
        prefix = self._directory / f"{file_names.MODEL_BASE}-{step}"
        remove_left_behind(self._directory, prefix.name)
        entries: Counter[str] = Counter()
        nan_fids: list[int] = []
        assets_name = f"{prefix.name}{file_names.ASSETS_SUFFIX}"
        with replacing_directory(self._directory / assets_name) as assets:
            with contextlib.ExitStack() as dumps:
                make = multi_tasks if self._multi else single_tasks
                tasks = make(assets, by_table, self._recipe, dumps, self._every_chunk)
                with contextlib.closing(self._workers.in_order(tasks)) as done:
                    for task, written in done:
                        task.dump.keep(task.shard, written.contents)
                        entries.update(written.contents)
                        nan_fids += written.nan_fids
                        if self._every_chunk is None:
                            self._tell(sum(part.planned for part in task.parts))
            stored_bytes = sum(file.stat().st_size for file in assets.iterdir())
            write_dense(prefix, step, self._recipe.dim, self._recipe.seed, moves)
            for name in (file_names.ckpt_info_name(step), file_names.ckpt_manifest_name(step)):
                (self._directory / name).unlink(missing_ok=True)
        return StepTables(entries, tuple(nan_fids), stored_bytes)

    def add_inputs_and_manifest(self, step: int, entries: Mapping[str, int]) -> None:
        """Write what a job writes before the commit, for a step that is there."""
        from monolith_cli.checkpoint.manifests import make_manifest, write_step_manifest
        from monolith_cli.samples.inputs import RUN_ID, WORKERS, write_inputs

        model_dir = str(self._directory)
        write_inputs(model_dir, step)
        if self._multi:
            entries = {MULTI_BASE: sum(entries.values())}
        base = file_names.MODEL_BASE
        manifest = make_manifest(model_dir, base, step, RUN_ID, workers=WORKERS, entries=entries)
        write_step_manifest(model_dir, manifest)

    def commit(self, step: int, time: int) -> None:
        """Have `checkpoint` list the step, behind those that were committed before."""
        self._commits[step] = time
        write_state(self._directory, self._commits, self._multi)

    def count(self, step: int) -> None:
        """Write `ckpt.info` of a committed step, from its tables."""
        from monolith_cli.checkpoint.model_dir import open_model_dir
        from monolith_cli.formats.ckpt_info import write_ckpt_info
        from monolith_cli.tables.counts import CountOptions, count_checkpoint

        checkpoint = open_model_dir(self._directory).checkpoint(step)
        counts = count_checkpoint(checkpoint, CountOptions(jobs=self._workers.jobs))
        write_ckpt_info(self._directory / file_names.ckpt_info_name(step), counts.ckpt_info())
