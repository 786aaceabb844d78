"""What comes along with a step into another directory, beside its tables and dense variables.

A job can start from a directory that a command has made only if it finds there what the job of the
first one had: states of inputs, item pools, flags that say what was done already, and
`monolith_checkpoint`. Nothing else is of a step: no address, token, action, override, log or claim.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.checkpoint.inputs import (
    find_input_step,
    list_inputs,
    list_task_inputs,
    write_input_state,
)
from monolith_cli.checkpoint.names import (
    CHECKPOINT,
    INDEX_SUFFIX,
    INPUT_WORKER_PREFIX,
    MONOLITH_CHECKPOINT,
    is_one_shot_flag,
    parse_checkpoint_name,
    parse_step_file,
)
from monolith_cli.checkpoint.restart import RestartPoint
from monolith_cli.checkpoint.steps import index_time, recorded_checkpoints
from monolith_cli.errors import MonolithError, PathNotFoundError
from monolith_cli.formats.checkpoint_state import (
    CheckpointState,
    format_checkpoint_state,
    format_monolith_checkpoint_state,
    read_checkpoint_state,
    read_monolith_checkpoint_state,
)
from monolith_cli.storage.location import HERE, join, name_of, split
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from monolith_cli.care.states import StepSurvey, Survey
    from monolith_cli.formats.checkpoint_state import MonolithCheckpointState

__all__ = [
    "Commit",
    "InputAlong",
    "commit_of",
    "dense_only_along",
    "flags_along",
    "inputs_along",
    "job_state_along",
    "list_input",
    "pools_along",
    "write_job_state",
]


class InputAlong(NamedTuple):
    """The state that an input goes on from when a job starts with a step.

    Attributes
    ----------
    task
        Whose it is, as in the names of its files: `input_worker_1`, `input_chief_0`.
    worker
        The worker's number; None of a task that is no worker.
    step
        Of the state: the model's, or an older one if the worker has none of that.
    files
        Their names, the index last.
    """

    task: str
    worker: int | None
    step: int
    files: tuple[str, ...]

    @property
    def name(self) -> str:
        """Of the state, what the names of its files begin with."""
        return f"{self.task}.ckpt-{self.step}"


class Commit(NamedTuple):
    """When a step was committed, and when the last step was that left `checkpoint` and stayed.

    Both in seconds since 1970; `preserved_at` is 0 where no step has.
    """

    at: float
    preserved_at: float


def inputs_along(prefix: str, step: int, names: Collection[str]) -> list[InputAlong]:
    """The states that inputs go on from with a step.

    Of a worker that has none of the step it is the newest older one, as when a job restarts.

    Parameters
    ----------
    prefix
        Of the step's dense variables.
    names
        Of the files beside them.
    """
    source = split(prefix)[0] or HERE
    restart = RestartPoint(step, prefix)
    found: list[tuple[str, int | None, int]] = []
    for worker, steps in list_inputs(names).items():
        at = find_input_step(source, worker, restart, steps)
        if at is not None:
            found.append((f"{INPUT_WORKER_PREFIX}{worker}", worker, at))
    for task, steps in list_task_inputs(names).items():
        if step in steps:
            found.append((task, None, step))
    files: dict[str, list[str]] = {}
    for name in names:
        parts = parse_checkpoint_name(name)
        if parts and parts.suffix:
            files.setdefault(f"{parts.base}-{parts.step}", []).append(name)
    return [
        InputAlong(task, worker, at, tuple(_index_last(files.get(f"{task}.ckpt-{at}", ()))))
        for task, worker, at in found
    ]


def _index_last(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: (name.endswith(INDEX_SUFFIX), name))


def list_input(directory: str, state: InputAlong) -> None:
    """Name a state that was copied as the latest in the state file of its input.

    Raises
    ------
    WriteError
        The store refused.
    """
    if state.worker is not None:
        write_input_state(directory, state.worker, state.step)
        return
    path = join(directory, f"{CHECKPOINT}_{state.task}")
    text = format_checkpoint_state(CheckpointState(state.name, (state.name,)))
    store_of(path).put(path, text.encode("utf-8", "surrogateescape"))


def pools_along(base: str, step: int, names: Iterable[str]) -> list[str]:
    """Each worker's newest item pool that is not newer than the step.

    The training system takes each worker's newest, and loads none that is newer than the step.

    Parameters
    ----------
    base
        What the names of checkpoints begin with, such as `model.ckpt`.
    """
    newest: dict[int, tuple[int, list[str]]] = {}
    for name in names:
        file = parse_step_file(name)
        if file is None or file.kind != "item_pool" or file.is_temporary or file.base != base:
            continue
        if file.worker is None or file.step > step:
            continue
        at, files = newest.get(file.worker, (-1, []))
        if file.step > at:
            newest[file.worker] = (file.step, [name])
        elif file.step == at:
            files.append(name)
    return [name for _, files in newest.values() for name in files]


def dense_only_along(inner: Survey, step: StepSurvey) -> StepSurvey | None:
    """The newest whole step of `dense_only` that is not newer than a step; None without one."""
    older = [each for each in inner.steps if _is_along(each, step)]
    return older[-1] if older else None


def _is_along(step: StepSurvey, one: StepSurvey) -> bool:
    """Whether a step of `dense_only` is whole, and not newer than a step."""
    is_committed = step.state == "complete" or (step.is_whole and step.is_latest)
    if not is_committed or step.step is None or one.step is None:
        return False
    if one.is_latest:
        return True
    if step.time is not None and one.time is not None and step.step != one.step:
        return step.time <= one.time
    return step.step <= one.step


def flags_along(names: Iterable[str]) -> list[str]:
    """The flags that say what a job has done already, once for all."""
    return [name for name in names if is_one_shot_flag(name)]


def job_state_along(source: str, steps: Collection[str]) -> MonolithCheckpointState | None:
    """What `monolith_checkpoint` has to say where only some steps are; None without one.

    Steps that are not there are exempt no longer: the training system would not start. Paths are
    relative.

    Parameters
    ----------
    source
        The directory that has the file.
    steps
        The names of those that are there, such as `model.ckpt-10`.

    Raises
    ------
    StateFileError, NotReadableError
        It does not parse, or cannot be read.
    """
    try:
        state = read_monolith_checkpoint_state(join(source, MONOLITH_CHECKPOINT))
    except PathNotFoundError:
        return None
    names = dict.fromkeys(map(name_of, state.exempt_model_checkpoint_paths))
    kept = tuple(name for name in names if name in steps)
    return state._replace(exempt_model_checkpoint_paths=kept)


def write_job_state(directory: str, state: MonolithCheckpointState) -> str:
    """Write `monolith_checkpoint`; returns its path. Raises `WriteError`."""
    path = join(directory, MONOLITH_CHECKPOINT)
    text = format_monolith_checkpoint_state(state)
    store_of(path).put(path, text.encode("utf-8", "surrogateescape"))
    return path


def commit_of(prefix: str, step: int) -> Commit:
    """When a step was committed, as `checkpoint` beside it says, or by the time of its index."""
    committed = index_time(prefix) or time.time()
    preserved = 0.0
    with suppress(MonolithError):
        state = read_checkpoint_state(join(split(prefix)[0], CHECKPOINT))
        preserved = state.last_preserved_timestamp
        for each in recorded_checkpoints(state):
            if each.step == step and each.time is not None:
                committed = each.time
    return Commit(committed, preserved)
