"""Which iterator states a model directory holds, and which of them each worker would go on from.

The original restores what a worker's state file names as the latest. Our jobs restore the state of
the model's step by its name. Both are told; usually they are the same.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.checkpoint.input_order import newest_until, order_of_inputs
from monolith_cli.checkpoint.inputs import (
    StepInputs,
    find_input_step,
    list_inputs,
    list_task_inputs,
    read_step_inputs,
    worker_of,
)
from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.checkpoint.names import (
    CHECKPOINT,
    INDEX_SUFFIX,
    INPUT_WORKER_PREFIX,
    input_base,
    input_state_name,
    parse_checkpoint_name,
    step_of,
)
from monolith_cli.checkpoint.restart import RestartPoint, restart_point
from monolith_cli.errors import (
    MonolithError,
    PathNotFoundError,
    StateFileError,
    StepNotFoundError,
    UsageError,
)
from monolith_cli.formats.checkpoint_state import read_checkpoint_state
from monolith_cli.formats.tensor_bundle import TensorBundle
from monolith_cli.iterators.elsewhere import elsewhere_hint
from monolith_cli.iterators.state import advising, state_entries
from monolith_cli.storage.location import HERE, as_location, join, name_of, parent_of
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from monolith_cli.checkpoint.override import Override
    from monolith_cli.storage.location import AnyPath

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
        None for a file that was given by its path, and says nothing of a worker; and for an input
        that TensorFlow's own hook has saved for a task that is no worker.
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
    name
        What the names of its files begin with, such as `input_worker_1`, or `input_chief_0` and
        `input` of TensorFlow's own hook; None for a file that was given by its path.
    is_of_run_before
        Whether it is older than the model, though its step has a higher number: the job has started
        over since, so the two numbers say nothing of how far it is behind.
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
    name: str | None = None
    is_of_run_before: bool = False

    @property
    def behind(self) -> int | None:
        """Steps that it is behind the model, negative if it is ahead.

        None if one of the two is not known, the state is damaged or gone, or is of a run before.
        """
        if self.step is None or self.model_step is None or self.problem is not None:
            return None
        if self.is_of_run_before:
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
    tasks
        The names of other inputs, which TensorFlow's own hook has saved.
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
        self._task_steps = list_task_inputs(names)
        self._names = frozenset(names)
        bases = {input_base(worker): steps for worker, steps in self.steps.items()}
        bases.update({f"{task}.ckpt": steps for task, steps in self._task_steps.items()})
        self._order = order_of_inputs(directory, bases)
        listed = {int(match[1]) for name in names if (match := _STATE_FILE.fullmatch(name))}
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
        self.workers = sorted({*self.steps, *listed, *named})
        self.tasks = list(self._task_steps)
        if self.tasks:
            self.notes.append(
                f"TensorFlow's own hook has saved {', '.join(self.tasks)}: our jobs do not"
                " restore that"
            )

    @property
    def all_steps(self) -> list[int]:
        """The steps at which any input has a state, ascending."""
        every = [*self.steps.values(), *self._task_steps.values()]
        return sorted({step for steps in every for step in steps})

    def state(self, worker: int | str, step: int | None = None) -> WorkerState:
        """Where a worker's state is; nothing of it is read but its state file.

        Parameters
        ----------
        worker
            Its number, or one of `tasks`.
        step
            By default the latest one that the state file names. Else what belongs to the model of
            that step: the state of that step, or if there is none the newest older one.
        """
        if isinstance(worker, str):
            name, steps, found = worker, self._task_steps[worker], WorkerState(None, None)
        else:
            name, steps = f"{INPUT_WORKER_PREFIX}{worker}", self.steps.get(worker, [])
            found = WorkerState(worker, None)
        found = found._replace(name=name)
        if step is None:
            found = self._latest(found._replace(model_step=self.model_step), name, steps)
        else:
            found = self._of_step(found._replace(model_step=step), name, steps)
        found = self._before_this_run(found)
        if isinstance(worker, str):
            return found
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
            self.notes.append(self._rollback_note(override))

    def _rollback_note(self, override: Override) -> str:
        inputs = ", ".join(f"{i} from step {at}" for i, at in sorted(override.inputs.items()))
        if override.model_step is None:
            return f"a rollback is not done yet: when it comes, worker {inputs}"
        self.model_step = override.model_step
        return (
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

    def _latest(self, state: WorkerState, name: str, steps: list[int]) -> WorkerState:
        if self._restart is not None and state.worker is not None:
            resumes_from = find_input_step(self._directory, state.worker, self._restart, steps)
            state = state._replace(resumes_from=resumes_from)
        state_file = f"{CHECKPOINT}_{name}"
        if state_file not in self._names:
            if not steps:
                return state
            newest = next(step for step in reversed(self._order) if step in steps)
            prefix = self._prefix(name, newest)
            return state._replace(step=newest, prefix=prefix, remarks=("has no state file",))
        path = join(self._directory, state_file)
        try:
            recorded = read_checkpoint_state(path).model_checkpoint_path
        except MonolithError as error:
            error.hint = error.hint or _state_file_hint(steps)
            return state._replace(problem=error)
        latest = name_of(recorded)
        parts = parse_checkpoint_name(latest)
        step = parts.step if parts else None
        if parts and parts.step in steps and parts.base == f"{name}.ckpt":
            return state._replace(step=step, prefix=join(self._directory, latest))
        elsewhere = join(self._directory, recorded)
        if recorded and store_of(elsewhere).is_file(elsewhere + INDEX_SUFFIX):
            where = f"is in {parent_of(elsewhere)}"
            return state._replace(step=step, prefix=elsewhere, remarks=(where,))
        what = f"names '{latest}' as the latest, which is gone" if latest else "names no state"
        problem = StateFileError(what, path=path, hint=_state_file_hint(steps), kind="state_gone")
        return state._replace(step=step, problem=problem)

    def _of_step(self, state: WorkerState, name: str, steps: list[int]) -> WorkerState:
        assert state.model_step is not None
        found = newest_until(self._order, steps, state.model_step)
        if found is None:
            who = name if state.worker is None else f"worker {state.worker}"
            problem = StepNotFoundError(
                f"no state of {who} at step {state.model_step} or before",
                path=self.path,
                hint=_steps_text(steps),
            )
            return state._replace(problem=problem)
        resumes_from = None if state.worker is None else found
        return state._replace(
            step=found, resumes_from=resumes_from, prefix=self._prefix(name, found)
        )

    def _before_this_run(self, state: WorkerState) -> WorkerState:
        """Say so of a state that is older than the model, though its step has a higher number."""
        step, model_step, order = state.step, state.model_step, self._order
        if step is None or model_step is None or step <= model_step:
            return state
        if not {step, model_step} <= set(order) or order.index(step) > order.index(model_step):
            return state
        remarks = (*state.remarks, "is of a run before this one")
        return state._replace(is_of_run_before=True, remarks=remarks)

    def _prefix(self, name: str, step: int) -> str:
        return join(self._directory, f"{name}.ckpt-{step}")

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


def open_inputs(path: AnyPath) -> InputDir:
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
    path = as_location(path)
    try:
        kind = open_model_dir(path).kind
        found = InputDir(path, path, store_of(path).names(path))
    except PathNotFoundError as error:
        error.hint = elsewhere_hint(path) or error.hint
        raise
    if kind != "training" or not (found.workers or found.tasks):
        raise _no_inputs(path)
    return found


def _no_inputs(path: str) -> PathNotFoundError:
    hint = elsewhere_hint(path) or "give the directory where a job saves"
    return PathNotFoundError("holds no iterator states of a job's workers", path=path, hint=hint)


def list_workers(
    path: AnyPath, step: int | None = None, *, verify: bool = True
) -> tuple[InputDir, list[WorkerState]]:
    """The states of all workers, with sizes; all of them are read unless `verify` is off."""
    for attempt in range(_TRIES):
        inputs = open_inputs(path)
        everyone: list[int | str] = [*inputs.workers, *inputs.tasks]
        states = [inputs.state(each, step) for each in everyone]
        if step is not None and all(state.prefix is None for state in states):
            what = f"no state of step {step} or before"
            raise StepNotFoundError(
                what, path=as_location(path), hint=_steps_text(inputs.all_steps)
            )
        states = [_measured(state, verify) for state in states]
        if attempt + 1 == _TRIES or not any(
            isinstance(state.problem, PathNotFoundError) and state.prefix for state in states
        ):
            break
    return inputs, states


def find_state(
    path: AnyPath, worker: int | None = None, step: int | None = None
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
    path = as_location(path)
    prefix = path.removesuffix(INDEX_SUFFIX)
    if not store_of(path).is_directory(path) and store_of(path).is_file(prefix + INDEX_SUFFIX):
        if worker is not None or step is not None:
            raise UsageError("a file has no other workers or steps", path=path)
        return _state_of_file(prefix)
    try:
        inputs = open_inputs(path)
    except PathNotFoundError as error:
        if not store_of(path).is_directory(path):
            error.hint = "give a model directory, or the path of a state without its suffix"
        raise
    if not inputs.workers:
        raise _no_inputs(path)
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
    return state, _fingerprints(parent_of(state.prefix), worker, state.step)


def _state_of_file(prefix: str) -> tuple[WorkerState, Any]:
    name = name_of(prefix)
    worker, step = worker_of(name), step_of(name)
    state = WorkerState(worker, step, prefix)
    if worker is None or step is None:
        return state, None
    return state, _fingerprints(parent_of(prefix), worker, step)


def _fingerprints(directory: str, worker: int, step: int) -> Any:
    saved = read_step_inputs(directory or HERE, step)
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
        with advising():
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


def _state_file_hint(steps: list[int]) -> str:
    """What to do about a state file that says nothing of a state that is there."""
    if not steps:
        return (
            "restore it from a copy, or remove it: there are no states, and the input starts over"
        )
    return (
        "restore it from a copy, or roll the input back, which writes it again:"
        f" {_steps_text(steps)}"
    )
