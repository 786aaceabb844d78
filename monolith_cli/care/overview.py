"""All that there is to see of a model directory at once: what `ckpt report` shows."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from monolith_cli.care.listing import StepsListing, list_steps
from monolith_cli.care.survey import survey
from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.errors import MonolithError, PathNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from monolith_cli.care.fsck.judgement import Judgement
    from monolith_cli.care.history import History
    from monolith_cli.care.states import StepSurvey, Survey
    from monolith_cli.checkpoint.checkpoint import Checkpoint
    from monolith_cli.checkpoint.model_dir import ModelDir
    from monolith_cli.iterators.workers import WorkerState
    from monolith_cli.storage.location import AnyPath
    from monolith_cli.tables.listing import CheckpointListing
    from monolith_cli.tables.stats import TablesStats

__all__ = ["Overview", "overview"]

T = TypeVar("T")


class Overview(NamedTuple):
    """What there is to see.

    Attributes
    ----------
    model_dir
        As it was given.
    time
        When it was looked at, in seconds since 1970.
    survey, steps
        The steps, and what small files say of them.
    start
        The newest step that is complete; None without any.
    shown
        The step whose tables are shown: `start`, else the latest.
    history
        Entries at every step that was counted; None where there is none.
    listing
        Of the step that is shown.
    workers
        Where the inputs stand.
    judgement
        Of a quick check of all steps.
    stats
        Of what is in the tables of the step that is shown; None where they were not wanted.
    problems
        What could not be looked at, and why.
    """

    model_dir: str
    time: float
    survey: Survey
    steps: StepsListing
    start: StepSurvey | None
    shown: StepSurvey | None
    history: History | None
    listing: CheckpointListing | None
    workers: list[WorkerState]
    judgement: Judgement | None
    stats: TablesStats | None
    problems: list[MonolithError]


def overview(
    model_dir: AnyPath,
    *,
    stats: bool = False,
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    executor: Executor | None = None,
) -> Overview:
    """Look at a model directory.

    What cannot be looked at is left out, and in `problems`: the rest is there. Directories are
    listed, indexes and small files read; tables only for `stats`. Where `checkpoint` is there and
    cannot be read, steps are those that have an index.

    Parameters
    ----------
    stats
        Read all tables of the step that is shown, for statistics of what is in them.
    jobs, executor
        Who reads.
    progress
        Called with the bytes of tables read so far, and those to read.

    Raises
    ------
    MonolithError
        As `survey`: then there is nothing to see.
    """
    directory = open_model_dir(model_dir)
    found = survey(directory, without_state=True)
    steps = list_steps(found, contents=True)
    problems = [*found.problems, *steps.problems]
    start = next((step for step in reversed(found.steps) if step.state == "complete"), None)
    shown = start or found.latest
    history = None
    workers: list[WorkerState] = []
    if found.kind == "training":
        history = _attempt(lambda: _history(found.directory), problems)
        if history is not None:
            problems += history.problems
        workers = _attempt(lambda: _workers(found.directory), problems) or []
    listing = made = None
    checkpoint = shown.checkpoint if shown is not None else None
    if checkpoint is not None:
        listing = _attempt(partial(_listing, checkpoint), problems)
    # Before tables are read, which takes long: a job deletes steps meanwhile.
    judgement = _attempt(lambda: _judgement(directory, found, jobs, executor), problems)
    if checkpoint is not None and stats:
        read = partial(_stats, checkpoint, problems, jobs, progress, executor)
        made = _attempt(read, problems)
    return Overview(
        model_dir=str(model_dir),
        time=time.time(),
        survey=found,
        steps=steps,
        start=start,
        shown=shown,
        history=history,
        listing=listing,
        workers=workers,
        judgement=judgement,
        stats=made,
        problems=[*{str(problem): problem for problem in problems}.values()],
    )


def _attempt(look: Callable[[], T], problems: list[MonolithError]) -> T | None:
    try:
        return look()
    except MonolithError as error:
        problems.append(error)
        return None


def _history(directory: str) -> History:
    from monolith_cli.care.history import read_history

    return read_history(directory)


def _workers(directory: str) -> list[WorkerState]:
    from monolith_cli.iterators.workers import list_workers

    try:
        inputs, states = list_workers(directory)
    except PathNotFoundError:
        return []  # there are jobs without inputs
    if inputs.problem is not None:
        raise inputs.problem
    return states


def _listing(checkpoint: Checkpoint) -> CheckpointListing:
    from monolith_cli.tables.listing import list_checkpoint

    return list_checkpoint(checkpoint)


def _stats(
    checkpoint: Checkpoint,
    problems: list[MonolithError],
    jobs: int | None,
    progress: Callable[[int, int], None] | None,
    executor: Executor | None,
) -> TablesStats:
    """Statistics of the tables that are whole; damage in them is left out, and is a problem."""
    from monolith_cli.tables.found import find_tables
    from monolith_cli.tables.outcome import read_outcome
    from monolith_cli.tables.stats import StatsOptions, table_stats
    from monolith_cli.tables.stream import ReadOptions

    reading = ReadOptions(skip=True)
    found = find_tables(checkpoint, (), reading)
    with found.naming_copies():
        made = table_stats(found.tables, reading, StatsOptions(jobs=jobs), progress, executor)
    problems += read_outcome(checkpoint, found, made.skipped).errors
    return made


def _judgement(
    model_dir: ModelDir, found: Survey, jobs: int | None, executor: Executor | None
) -> Judgement:
    from monolith_cli.care.fsck.check import CheckOptions, check

    options = CheckOptions(quick=True, jobs=jobs)
    return check(model_dir, "all", options, found=found, executor=executor)
