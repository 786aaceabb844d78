"""Which iterator states a model directory holds, and which of them each worker would go on from.

The original restores what a worker's state file names as the latest. Our jobs restore the state of
the model's step by its name. Both are told; usually they are the same.
"""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.checkpoint.inputs import (
    StepInputs,
    find_input_step,
    input_prefix,
    list_inputs,
    read_step_inputs,
    worker_of,
)
from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.checkpoint.names import CHECKPOINT, INDEX_SUFFIX, input_state_name, step_of
from monolith_cli.checkpoint.restart import RestartPoint, restart_point
from monolith_cli.checkpoint.shard_set import list_names
from monolith_cli.errors import (
    MonolithError,
    PathNotFoundError,
    StateFileError,
    StepNotFoundError,
    UsageError,
)
from monolith_cli.formats.checkpoint_state import read_checkpoint_state
from monolith_cli.formats.tensor_bundle import TensorBundle
from monolith_cli.iterators.state import state_entries

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

__all__ = ["InputDir", "WorkerState", "find_state", "list_workers", "open_inputs"]

_STATE_FILE = re.compile(rf"{re.escape(input_state_name(0)[:-1])}([0-9]+)")
_STEPS_SHOWN = 10
_WORKERS_SHOWN = 16
_TRIES = 3
"""How often a directory is listed anew because a running job has dropped what was there."""


class WorkerState(NamedTuple):
    """The iterator states of one worker at one step.

    Attributes
    ----------
    worker
        None for a file that was given by its path, and says nothing of a worker.
    step
        None if there is no state, or the file's name has no step.
    prefix
        Of the tensor bundle; None if there is no state.
    model_step
        The step of the model that the directory's next run begins with; None without a model.
    resumes_from
        The step of the state that a job of ours would go on from then; None for none.
    size_bytes, iterators
        Of the states in the bundle; None if they could not be read.
    problem
        Why not, or why there is none.
    remarks
        What else one would want to know, in short.
    """

    worker: int | None
    step: int | None
    prefix: str | None = None
    model_step: int | None = None
    resumes_from: int | None = None
    size_bytes: int | None = None
    iterators: int | None = None
    problem: MonolithError | None = None
    remarks: tuple[str, ...] = ()

    @property
    def behind(self) -> int | None:
        """Steps that it is behind the model, negative if it is ahead; None if one is not known."""
        if self.step is None or self.model_step is None:
            return None
        return self.model_step - self.step


class InputDir:
    """The inputs of a job, as they lie in its directory when this is made.

    Attributes
    ----------
    path
        As it was given.
    model_step
        As in `WorkerState`.
    workers
        All that have states, a state file, or iterators by `ckpt.inputs`; ascending.
    notes
        Remarks for people.
    problem
        Why nothing is known of the model.
    """

    def __init__(self, path: str, directory: str, names: Iterable[str]) -> None:
        self.path = path
        self._directory = directory
        names = list(names)
        self.steps = list_inputs(names)
        self._listed = {
            int(match[1]) for name in names if (match := _STATE_FILE.fullmatch(name)) is not None
        }
        self.notes: list[str] = []
        self.problem: MonolithError | None = None
        self.model_step: int | None = None
        self._restart: RestartPoint | None = None
        self._look_at_model(CHECKPOINT in names)
        self._saved = self._step_inputs(self.model_step)
        named = {
            worker
            for worker, entry in (self._saved.workers if self._saved else {}).items()
            if entry.fingerprint
        }
        self.workers = sorted({*self.steps, *self._listed, *named})

    @property
    def all_steps(self) -> list[int]:
        """The steps at which any worker has a state, ascending."""
        return sorted({step for steps in self.steps.values() for step in steps})

    def state(self, worker: int, step: int | None = None) -> WorkerState:
        """Where a worker's state is; nothing of it is read but its state file.

        Parameters
        ----------
        step
            By default the latest one that the state file names. Else what belongs to the model of
            that step: the state of that step, or if there is none the newest older one.
        """
        found = self._latest(worker) if step is None else self._of_step(worker, step)
        if found.problem is None and found.prefix is None:
            found = self._without_state(found)
        saved = self._saved.workers.get(worker) if self._saved else None
        if saved and not saved.finished and step in (None, self.model_step):
            found = found._replace(remarks=(*found.remarks, "was not saved with the model"))
        return found

    def _look_at_model(self, is_committed: bool) -> None:
        try:
            self.model_step = open_model_dir(self._directory).checkpoint().step
        except StepNotFoundError as error:
            if is_committed:
                self.problem = error
        except MonolithError as error:
            self.problem = error
        try:
            self._restart = restart_point(self._directory)
        except MonolithError as error:
            if self.problem is None:
                self.problem = error
            return
        override = self._restart.override
        if override:
            self.model_step = override.model_step
            inputs = ", ".join(f"{i} from step {at}" for i, at in sorted(override.inputs.items()))
            self.notes.append(
                f"a rollback is pending: the job's next run begins with the model of step"
                f" {override.model_step}, worker {inputs}"
            )

    def _step_inputs(self, step: int | None) -> StepInputs | None:
        if step is None:
            return None
        try:
            return read_step_inputs(self._directory, step)
        except MonolithError as error:
            self.problem = self.problem or error
            return None

    def _latest(self, worker: int) -> WorkerState:
        steps = self.steps.get(worker, [])
        state = WorkerState(worker, None, model_step=self.model_step)
        if self._restart is not None:
            state = state._replace(resumes_from=self._resumes_from(worker, self._restart))
        if worker not in self._listed:
            if not steps:
                return state
            prefix = input_prefix(self._directory, worker, steps[-1])
            return state._replace(step=steps[-1], prefix=prefix, remarks=("has no state file",))
        path = os.path.join(self._directory, input_state_name(worker))
        try:
            recorded = read_checkpoint_state(path).model_checkpoint_path
        except MonolithError as error:
            return state._replace(problem=error)
        name = os.path.basename(recorded)
        step = step_of(name)
        if step is not None and step in steps and worker_of(name) == worker:
            return state._replace(step=step, prefix=os.path.join(self._directory, name))
        elsewhere = os.path.join(self._directory, recorded)
        if recorded and os.path.isfile(elsewhere + INDEX_SUFFIX):
            where = f"is in {os.path.dirname(elsewhere)}"
            return state._replace(step=step, prefix=elsewhere, remarks=(where,))
        what = f"names '{name}' as the latest, which is gone" if name else "names no state"
        problem = StateFileError(what, path=path, hint=_steps_text(steps), kind="state_gone")
        return state._replace(step=step, problem=problem)

    def _of_step(self, worker: int, step: int) -> WorkerState:
        older = [at for at in self.steps.get(worker, []) if at <= step]
        state = WorkerState(worker, None, model_step=step)
        if not older:
            problem = StepNotFoundError(
                f"no state of worker {worker} at step {step} or before",
                path=self.path,
                hint=_steps_text(self.steps.get(worker, [])),
            )
            return state._replace(problem=problem)
        prefix = input_prefix(self._directory, worker, older[-1])
        return state._replace(step=older[-1], resumes_from=older[-1], prefix=prefix)

    def _resumes_from(self, worker: int, restart: RestartPoint) -> int | None:
        return find_input_step(self._directory, worker, restart, self.steps.get(worker, []))

    def _without_state(self, state: WorkerState) -> WorkerState:
        """A worker with iterators by `ckpt.inputs` alone."""
        saved = self._saved.workers.get(state.worker or 0) if self._saved else None
        if saved and '"GeneratorDataset"' in json.dumps(saved.fingerprint):
            return state._replace(remarks=("has no state: a generator's cannot be saved",))
        problem = PathNotFoundError(
            f"no state of worker {state.worker}",
            path=self.path,
            hint="its input starts over",
            kind="state_gone",
        )
        return state._replace(problem=problem)


def open_inputs(path: str | os.PathLike[str]) -> InputDir:
    """Look at what there is of a job's inputs; reads a few small files.

    Raises
    ------
    UsageError
        An empty path.
    PathNotFoundError
        There is nothing at that path, it is no directory, or holds no iterator states.
    NotReadableError
        The operating system refused to list it.
    """
    path = os.fspath(path)
    kind = open_model_dir(path).kind
    found = InputDir(path, path, list_names(path))
    if kind != "training" or not found.workers:
        raise PathNotFoundError(
            "holds no iterator states", path=path, hint="give the directory where a job saves"
        )
    return found


def list_workers(
    path: str | os.PathLike[str], step: int | None = None, *, verify: bool = True
) -> tuple[InputDir, list[WorkerState]]:
    """The states of all workers, with sizes; all of them are read unless `verify` is off."""
    for attempt in range(_TRIES):
        inputs = open_inputs(path)
        if step is not None and not any(at <= step for at in inputs.all_steps):
            what = f"no state of step {step} or before"
            raise StepNotFoundError(what, path=os.fspath(path), hint=_steps_text(inputs.all_steps))
        states = [_measured(inputs.state(worker, step), verify) for worker in inputs.workers]
        if attempt + 1 == _TRIES or not any(
            isinstance(state.problem, PathNotFoundError) and state.prefix for state in states
        ):
            break
    return inputs, states


def find_state(
    path: str | os.PathLike[str], worker: int | None = None, step: int | None = None
) -> tuple[WorkerState, Any]:
    """The state of one worker, and the fingerprints of its iterators by their names.

    Parameters
    ----------
    path
        A model directory; or the prefix or the index of a tensor bundle.
    worker
        By default the only one.
    step
        By default the latest that the state file names.

    Raises
    ------
    UsageError
        There are several workers, or a prefix is given together with a worker or a step.
    StepNotFoundError
        There is no such worker, or it has no state of that step.
    MonolithError
        As `open_inputs`; or what is wrong with the state file.
    """
    path = os.fspath(path)
    prefix = path.removesuffix(INDEX_SUFFIX)
    if not os.path.isdir(path) and os.path.isfile(prefix + INDEX_SUFFIX):
        if worker is not None or step is not None:
            raise UsageError("a file has no other workers or steps", path=path)
        return _state_of_file(prefix)
    try:
        inputs = open_inputs(path)
    except PathNotFoundError as error:
        if not os.path.isdir(path):
            error.hint = "give a model directory, or the path of a state without its suffix"
        raise
    if worker is None:
        if len(inputs.workers) > 1:
            what = f"has several inputs, of {_workers_text(inputs.workers)}"
            raise UsageError(what, path=path, hint="name one worker")
        worker = inputs.workers[0]
    if worker not in inputs.workers:
        raise StepNotFoundError(
            f"no worker {worker}",
            path=path,
            hint=f"there are {_workers_text(inputs.workers)}",
            kind="no_such_worker",
        )
    if step is not None and step not in inputs.steps.get(worker, []):
        raise StepNotFoundError(
            f"no state of worker {worker} at step {step}",
            path=path,
            hint=_steps_text(inputs.steps.get(worker, [])),
        )
    state = inputs.state(worker, step)
    if state.problem is not None:
        raise state.problem
    if state.prefix is None or state.step is None:
        raise StepNotFoundError(f"worker {worker} {'; '.join(state.remarks)}", path=path)
    return state, _fingerprints(os.path.dirname(state.prefix), worker, state.step)


def _state_of_file(prefix: str) -> tuple[WorkerState, Any]:
    name = os.path.basename(prefix)
    worker, step = worker_of(name), step_of(name)
    state = WorkerState(worker, step, prefix)
    if worker is None or step is None:
        return state, None
    return state, _fingerprints(os.path.dirname(prefix), worker, step)


def _fingerprints(directory: str, worker: int, step: int) -> Any:
    saved = read_step_inputs(directory or os.curdir, step)
    entry = saved.workers.get(worker) if saved else None
    return entry.fingerprint if entry else None


def _workers_text(workers: list[int]) -> str:
    shown = [str(worker) for worker in workers]
    if len(shown) > _WORKERS_SHOWN:
        shown[_WORKERS_SHOWN - 1 : -1] = ["..."]
    return f"{'worker' if len(shown) == 1 else 'workers'} {', '.join(shown)}"


def _measured(state: WorkerState, verify: bool) -> WorkerState:
    if state.prefix is None:
        return state
    try:
        bundle = TensorBundle(state.prefix)
        entries = state_entries(bundle)
        for entry in entries if verify else ():
            for _ in bundle.variants(entry):
                pass
    except MonolithError as error:
        return state._replace(problem=error)
    size = sum(entry.size_bytes for entry in entries)
    return state._replace(size_bytes=size, iterators=len(entries))


def _steps_text(steps: list[int]) -> str | None:
    if not steps:
        return None
    shown = ", ".join(map(str, steps[-_STEPS_SHOWN:]))
    return f"there are states of {'..., ' if len(steps) > _STEPS_SHOWN else ''}{shown}"
