"""A step in a new directory, with its tables made anew.

The tables are written by `monolith_cli.tables.rewrite`. The rest of the step comes along as it is:
dense variables, inputs, item pools, occurrence filters, a step of `dense_only`. Counts and manifest
are made anew. The new directory appears with its name when all of it is written, read back and
synced. Nothing is written where the step was, which may be a running job's directory.
"""

from __future__ import annotations

from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from monolith_cli.care.along import (
    commit_of,
    dense_only_along,
    flags_along,
    inputs_along,
    job_state_along,
    list_input,
    pools_along,
    write_job_state,
)
from monolith_cli.care.copy.files import hold
from monolith_cli.care.copy.plan import Planner, check_unchanged
from monolith_cli.care.new_directory import (
    check_can_be_made,
    check_new_directory,
    new_directory,
)
from monolith_cli.care.repair.files import Copied, CopyTask, ValuesTask, write_empty_cells
from monolith_cli.care.survey import DENSE_ONLY, survey
from monolith_cli.checkpoint.dense import list_dense
from monolith_cli.checkpoint.inputs import read_step_inputs, write_step_inputs
from monolith_cli.checkpoint.manifests import (
    file_crc32c,
    make_manifest,
    read_step_manifest,
    write_step_manifest,
)
from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.checkpoint.names import (
    ASSETS_SUFFIX,
    CHECKPOINT,
    INDEX_SUFFIX,
    META_SUFFIX,
    ckpt_info_name,
    ckpt_inputs_name,
    shard_name,
)
from monolith_cli.errors import MonolithError, PathNotFoundError, UsageError, WriteError
from monolith_cli.execution.workers import Workers
from monolith_cli.formats.checkpoint_state import CheckpointState, format_checkpoint_state
from monolith_cli.formats.ckpt_info import CkptInfo, write_ckpt_info
from monolith_cli.formats.tensor_bundle import TensorBundle
from monolith_cli.formats.tfrecord import read_records
from monolith_cli.storage.location import HERE, as_location, join, name_of, normal, parent_of, split
from monolith_cli.storage.store import local_path, store_of
from monolith_cli.tables.diff.read_delta import read_delta
from monolith_cli.tables.found import find_tables
from monolith_cli.tables.rewrite.plan import reading_of
from monolith_cli.tables.rewrite.planning import plan_tables
from monolith_cli.tables.rewrite.run import preview_tables, rewrite_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from monolith_cli.care.copy.plan import StepPlan
    from monolith_cli.checkpoint.checkpoint import Checkpoint
    from monolith_cli.checkpoint.model_dir import ModelDir
    from monolith_cli.execution.protocols import Task
    from monolith_cli.storage.location import AnyPath
    from monolith_cli.tables.rewrite.plan import (
        EmptyFilter,
        RewriteOptions,
        RewritePlan,
        TargetDump,
    )
    from monolith_cli.tables.rewrite.run import TableOutcome, TablesOutcome

__all__ = ["RewrittenStep", "rewrite_step"]


class RewrittenStep(NamedTuple):
    """What was made of a step, or would be.

    Attributes
    ----------
    step
        The only one in the new directory.
    path
        Of that directory.
    is_made
        Whether it was made; else this is what would be in it.
    tables
        What became of each table.
    dumps
        What there is of tables afterwards.
    files, bytes
        How many files there are in the directory, and how large together; 0 if it was not made.
    notes, warnings
        Remarks on the step, and what is odd about it and no damage, a phrase each.
    """

    step: int
    path: str
    is_made: bool
    tables: Sequence[TableOutcome]
    dumps: Sequence[TargetDump]
    files: int
    bytes: int
    notes: Sequence[str]
    warnings: Sequence[str]


def rewrite_step(
    model_dir: AnyPath,
    target: AnyPath,
    step: int | None,
    options: RewriteOptions,
    *,
    delta: AnyPath | None = None,
    dry_run: bool = False,
    jobs: int | None = None,
    executor: Executor | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> RewrittenStep:
    """Write a step into a new directory, with its tables made anew.

    The step is read once, and what is written is read once more; with `expire_days` tables are read
    once more before, with `min_keep` twice; with `servers` and `convert_fids` once each. Memory is
    some megabytes for each thread, and of a delta some 9 bytes for each feature id of which entries
    make room.

    Parameters
    ----------
    target
        The new directory, on this machine. It must not exist.
    step
        The latest if it is None.
    options
        What becomes of the tables.
    delta
        A file that `DeltaWriter` has written, which makes the tables those of another step before
        all else.
    dry_run
        Find out what would be made, and make nothing.
    jobs, executor
        As of `Workers`.
    progress
        Called with the bytes read so far, and those to read.

    Raises
    ------
    UsageError
        `model_dir` is not a job's directory, or the new one would be in it, or `options` cannot be
        meant.
    AlreadyExistsError
        There is something at `target`.
    StepNotFoundError, PathNotFoundError, NotReadableError, ChangedWhileReadError
        There is no such step, or it went away meanwhile.
    DifferentError
        The delta is of another base; or nobody knows by which rule entries are spread over servers.
    TableNotFoundError
        A pattern of `options` matches no table.
    CorruptionError
        Something of the step, or the delta, is damaged or missing; or feature ids would become the
        same. Nothing is made.
    WriteError
        The store refused to write; or what was read back is not what was written. Nothing is made.
    """
    options.check()
    location, to = as_location(model_dir), normal(local_path(as_location(target)))
    directory = open_model_dir(location)
    if directory.kind != "training":
        raise UsageError("no job's directory: only its steps can be rewritten", path=location)
    check_new_directory(to, location)
    check_can_be_made(to)
    checkpoint = directory.checkpoint(step)
    try:
        with Workers(jobs, executor) as workers:
            rewrite = _StepRewrite(checkpoint, options, workers, progress)
            plan = rewrite.plan(delta)
            rewrite.look_beside(directory)
            if dry_run:
                outcome = rewrite.preview(plan)
                checkpoint.require()
            else:
                with new_directory(to) as stage:
                    outcome = rewrite.write(plan, stage)
                    checkpoint.require()
    except PathNotFoundError:
        checkpoint.require()  # which says it better if the step was deleted meanwhile
        raise
    files = rewrite.written.values()
    return RewrittenStep(
        rewrite.step,
        to,
        not dry_run,
        outcome.tables,
        plan.dumps,
        len(files),
        sum(copied.bytes for copied in files),
        (*checkpoint.notes, *rewrite.notes),
        (*checkpoint.warnings, *plan.warnings, *rewrite.warnings),
    )


class ReadBackTask(NamedTuple):
    """A file that was copied, to be read back."""

    path: str
    copied: Copied

    def run(self) -> None:
        """Read it.

        Raises
        ------
        WriteError
            It is not what was written.
        """
        if Copied(*file_crc32c(self.path)) != self.copied:
            raise WriteError(
                "read back, it is not what was written",
                path=self.path,
                hint="this machine's memory or its disk may be at fault",
            )


class RecordsTask(NamedTuple):
    """A file of records that is copied, to be checked."""

    path: str
    max_record_bytes: int

    def run(self) -> None:
        """Read it. Raises as `read_records`."""
        for _ in read_records(self.path, max_record_bytes=self.max_record_bytes):
            pass


class BundleTask(NamedTuple):
    """A tensor bundle, as of an iterator's state, to be verified."""

    prefix: str

    def run(self) -> None:
        """Verify all values. Raises as `TensorBundle.verify`."""
        bundle = TensorBundle(self.prefix)
        for shard in range(bundle.shards):
            ValuesTask(bundle, shard).run()


class _StepRewrite:
    """A step while it is written anew.

    Attributes
    ----------
    written
        The files that are complete, by their path in the new directory.
    notes, warnings
        As of `RewrittenStep`, of `dense_only`.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        options: RewriteOptions,
        workers: Workers,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        if checkpoint.step is None or checkpoint.prefix is None:
            raise UsageError("a checkpoint without a number: only steps can be rewritten")
        self.checkpoint = checkpoint
        self.prefix = checkpoint.prefix
        self.step = checkpoint.step
        self.source, self.name = split(checkpoint.prefix)
        self.options = options
        self.workers = workers
        self.written: dict[str, Copied] = {}
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self._beside: tuple[StepPlan, Checkpoint] | None = None
        self._progress = progress
        self._done = self._total = 0
        self._input_workers: list[int] = []

    def plan(self, delta: AnyPath | None) -> RewritePlan:
        """What is made of its tables. Raises as `rewrite_step`."""
        found = find_tables(self.checkpoint, (), reading_of(self.options))
        read = None
        if delta is not None:
            read = read_delta(delta, max_record_bytes=self.options.max_record_bytes)
        plan = plan_tables(found, self.options, self.workers, self._on_read, read)
        if read is not None and read.step_b != self.step:
            become = "another step" if read.step_b is None else f"step {read.step_b}"
            odd = f"tables become those of {become}; all else is of step {self.step}"
            plan = plan._replace(warnings=(*plan.warnings, odd))
        passes = 1 + (self.options.expire_days is not None) + (self.options.min_keep > 0)
        self._total = self._done + passes * plan.size
        return plan

    def look_beside(self, directory: ModelDir) -> None:
        """Find the step of `dense_only` that comes along, by the rule of copies."""
        if DENSE_ONLY not in store_of(directory.directory).names(directory.directory):
            return
        found = survey(directory)
        one = next((each for each in found.steps if each.step == self.step), None)
        if found.dense_only is None:
            return
        where = found.dense_only.directory
        beside = None if one is None else dense_only_along(found.dense_only, one)
        if beside is None or beside.checkpoint is None:
            what = f"it has no whole step that is not newer than step {self.step}"
            self.warnings.append(f"{where} is not copied: {what}")
            return
        plan = Planner(found.dense_only).plan(beside)
        self._beside = (plan, beside.checkpoint)
        self._total += plan.bytes
        self.notes.append(f"step {plan.step} of {where} comes along")

    def preview(self, plan: RewritePlan) -> TablesOutcome:
        """What would become of its tables."""
        outcome = preview_tables(plan, self.options, self.workers, self._on_read)
        self._on_read(max(self._total - self._done, 0))
        return outcome

    def write(self, plan: RewritePlan, stage: str) -> TablesOutcome:
        """Write it into a directory. Raises as `rewrite_step`."""
        dense = self._check_dense(self.checkpoint, self.prefix)
        copied = [*plan.filters, *dense]
        self._total += plan.size + sum(store_of(path).status(path).size for path in copied)
        assets = join(stage, self.name + ASSETS_SUFFIX)
        if self.checkpoint.assets:
            store_of(assets).make_directory(assets)
        outcome = rewrite_tables(plan, self.options, assets, self.workers, self._on_read)
        for name, file in outcome.files.items():
            self.written[join(assets, name)] = Copied(*file)
        self._run([RecordsTask(path, self.options.max_record_bytes) for path in plan.filters])
        self._copy(plan.filters, assets)
        self._empty_filters(plan.empty_filters, assets)
        self._copy(dense, stage)
        self._inputs(stage)
        self._job(stage)
        self._counts(stage, outcome)
        self._manifest(stage, plan, outcome)
        self._dense_only(stage)
        _write_state(stage, self.prefix, self.step)
        self._on_read(max(self._total - self._done, 0))
        return outcome

    def _empty_filters(self, filters: Sequence[EmptyFilter], assets: str) -> None:
        for each in filters:
            path = join(assets, shard_name(each.base, each.number, each.shards))
            write_empty_cells(path, each.head)
            self.written[path] = Copied(*file_crc32c(path))

    def _on_read(self, more: int) -> None:
        self._done += more
        if self._progress:
            self._progress(self._done, max(self._total, self._done))

    def _run(self, tasks: Sequence[Task[Any]]) -> list[Any]:
        with closing(self.workers.in_order(tasks)) as done:
            return [result for _, result in done]

    def _copy(self, paths: Sequence[str], directory: str) -> None:
        """Copy files as they are, and read them back."""
        tasks = [CopyTask(path, join(directory, name_of(path))) for path in paths]
        for task, copied in zip(tasks, self._run(tasks), strict=True):
            self.written[task.target] = copied
            self._on_read(copied.bytes)
        self._run([ReadBackTask(task.target, self.written[task.target]) for task in tasks])

    def _check_dense(self, checkpoint: Checkpoint, prefix: str) -> list[str]:
        """Verify the dense variables; their files, the index last."""
        for problem in list_dense(checkpoint).problems:
            raise problem
        bundle = TensorBundle(prefix)
        self._run([ValuesTask(bundle, shard) for shard in range(bundle.shards)])
        paths = [bundle.data_path(shard) for shard in range(bundle.shards)]
        # A data file in which nothing lies may be missing; a meta graph often is.
        paths = [*paths, prefix + META_SUFFIX]
        store = store_of(prefix)
        return [*(path for path in paths if store.is_file(path)), prefix + INDEX_SUFFIX]

    def _dense_only(self, stage: str) -> None:
        """The step of `dense_only`, as it is."""
        if self._beside is None:
            return
        plan, checkpoint = self._beside
        prefix = join(plan.source, plan.name)
        self._check_dense(checkpoint, prefix)
        to = join(stage, DENSE_ONLY)
        places: dict[str, list[str]] = {}
        for file in plan.files:
            places.setdefault(parent_of(file.name), []).append(join(plan.source, file.name))
        for place, paths in {"": [], **places}.items():
            directory = join(to, place) if place else to
            store_of(directory).make_directory(directory)
            self._copy(paths, directory)
        for file in plan.files:
            copied = self.written[join(to, file.name)]
            hold(join(plan.source, file.name), copied.crc32c, file.crc32c)
        for state in plan.inputs:
            list_input(to, state)
        names = store_of(plan.source).names(plan.source)
        self._copy([join(plan.source, name) for name in flags_along(names)], to)
        job = job_state_along(plan.source, (plan.name,))
        if job is not None:
            write_job_state(to, job)
        _write_state(to, prefix, plan.step)
        check_unchanged(plan)

    def _inputs(self, stage: str) -> None:
        """The states that the inputs go on from, and whose they are."""
        states = inputs_along(self.prefix, self.step, self._names())
        self._run([BundleTask(join(self.source, state.name)) for state in states])
        for state in states:
            self._copy([join(self.source, name) for name in state.files], stage)
            list_input(stage, state)
            if state.worker is not None and state.step == self.step:
                self._input_workers.append(state.worker)
        inputs = read_step_inputs(self.source or HERE, self.step)
        if inputs is None:
            return
        if inputs.override is None:
            self._copy([join(self.source, ckpt_inputs_name(self.step))], stage)
        else:  # there is nothing here to go back to
            write_step_inputs(stage, inputs._replace(override=None))

    def _job(self, stage: str) -> None:
        """Item pools, flags, and what the job says of exempt steps."""
        names = self._names()
        pools = pools_along(self.name.rpartition("-")[0], self.step, names)
        paths = [join(self.source, name) for name in pools]
        self._run([RecordsTask(path, self.options.max_record_bytes) for path in paths])
        self._copy(paths, stage)
        self._copy([join(self.source, name) for name in flags_along(names)], stage)
        state = job_state_along(self.source, (self.name,))
        if state is not None:
            write_job_state(stage, state)

    def _names(self) -> list[str]:
        return store_of(self.source or HERE).names(self.source or HERE)

    def _counts(self, stage: str, outcome: TablesOutcome) -> None:
        """The counts, as the training system has them: where tables share files, of these alone."""
        slots: dict[int, int] = {}
        names: dict[str, int] = {}
        for table in outcome.tables:
            for into in table.targets:
                if table.plan.kind == "multi":
                    name = into.target.table
                    names[name] = names.get(name, 0) + into.entries
                else:
                    for slot, entries in into.slots.items():
                        slots[slot] = slots.get(slot, 0) + entries
        info = CkptInfo({}, names) if names else CkptInfo(dict(sorted(slots.items())), {})
        path = join(stage, ckpt_info_name(self.step))
        write_ckpt_info(path, info)
        self.written[path] = Copied(*file_crc32c(path))

    def _manifest(self, stage: str, plan: RewritePlan, outcome: TablesOutcome) -> None:
        entries = {dump.base: 0 for dump in plan.dumps}
        for table in outcome.tables:
            for into in table.targets:
                entries[into.target.base] += into.entries
        run_id = ""
        with suppress(MonolithError):
            before = read_step_manifest(self.source, self.step)
            run_id = before.run_id if before else ""
        base = self.name.rpartition("-")[0]
        made = make_manifest(
            stage, base, self.step, run_id, workers=self._input_workers, entries=entries
        )
        files = []
        for file in made.files:
            copied = self.written.get(join(stage, file.name))
            files.append(file._replace(crc32c=copied.crc32c if copied else None))
        write_step_manifest(stage, made._replace(files=tuple(files)))


def _write_state(directory: str, prefix: str, step: int) -> None:
    """Write `checkpoint`: it lists one step, and says when that was committed."""
    commit, name = commit_of(prefix, step), name_of(prefix)
    state = CheckpointState(name, (name,), (commit.at,), commit.preserved_at)
    path = join(directory, CHECKPOINT)
    store_of(path).put(path, format_checkpoint_state(state).encode("utf-8", "surrogateescape"))
