"""The states of the workers' inputs that lie in a model directory, and which belong to a step.

Worker i's iterators at a step are the tensor bundle `input_worker_<i>.ckpt-<step>`. Its state file
`checkpoint_input_worker_<i>` lists them, for those who restore the latest one. `ckpt.inputs-<step>`
says which of them the commit of a step covers.

TensorFlow's own hook for inputs (`CheckpointInputPipelineHook`) names them the same way, after the
task: `input.ckpt-<step>` in a job of one process, else `input_<type>_<id>.ckpt-<step>`.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from monolith_cli.checkpoint.input_order import newest_until, order_of_inputs
from monolith_cli.checkpoint.names import (
    CHECKPOINT,
    INDEX_SUFFIX,
    INPUT_WORKER_PREFIX,
    begins_input,
    ckpt_inputs_name,
    input_base,
    input_state_name,
    parse_checkpoint_name,
    step_of,
    target_of_temporary,
)
from monolith_cli.checkpoint.steps import index_time
from monolith_cli.errors import PathNotFoundError, StateFileError
from monolith_cli.formats.checkpoint_state import (
    CheckpointState,
    format_checkpoint_state,
    read_checkpoint_state,
)
from monolith_cli.storage.location import join, name_of
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from monolith_cli.checkpoint.restart import RestartPoint

__all__ = [
    "StepInputs",
    "WorkerInput",
    "find_input_step",
    "input_prefix",
    "input_steps",
    "list_inputs",
    "list_task_inputs",
    "read_step_inputs",
    "worker_of",
    "write_input_state",
    "write_step_inputs",
]

_MALFORMED = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
_RESTORE = "restore it from a copy, or take another step"
_WORKER = re.compile(re.escape(INPUT_WORKER_PREFIX) + r"([0-9]+)\.ckpt-")
_STATE_FILE = f"{CHECKPOINT}_input"


class WorkerInput(NamedTuple):
    """One worker in `ckpt.inputs-<step>`.

    Attributes
    ----------
    finished
        Its state of that step was saved, and it stood still until the commit.
    fingerprint
        What its input pipeline was, as JSON; None if it has no iterators, or is not known.
    """

    finished: bool
    fingerprint: Any = None


class StepInputs(NamedTuple):
    """What `ckpt.inputs-<step>` says. Worker 0 is the chief.

    Attributes
    ----------
    override
        The rollback of inputs that was honoured until this step, as JSON, and in `left` the workers
        that still have to go back by it; None without one.
    """

    step: int
    run_id: str
    workers: Mapping[int, WorkerInput]
    override: Any = None


def input_prefix(model_dir: str, worker: int, step: int) -> str:
    """The prefix of the bundle with a worker's iterators at a step."""
    return join(model_dir, f"{input_base(worker)}-{step}")


def worker_of(name: str) -> int | None:
    """The worker that a file of an iterator state is of; None for any other name."""
    match = _WORKER.match(name)
    return int(match[1]) if match else None


def list_inputs(names: Iterable[str]) -> dict[int, list[int]]:
    """The steps of each worker that has states among these file names, both ascending."""
    found: dict[int, list[int]] = {}
    for name in names:
        parts = parse_checkpoint_name(name) if name.endswith(INDEX_SUFFIX) else None
        worker = worker_of(name)
        if parts and worker is not None and parts.base == input_base(worker):
            found.setdefault(worker, []).append(parts.step)
    return {worker: sorted(found[worker]) for worker in sorted(found)}


def list_task_inputs(names: Iterable[str]) -> dict[str, list[int]]:
    """The steps of each input of TensorFlow's own hook whose task is no worker, by its name.

    That is `input` or `input_chief_0`, say. One that has a state file alone has no steps.
    """
    found: dict[str, list[int]] = {}
    for name in names:
        parts = parse_checkpoint_name(name) if name.endswith(INDEX_SUFFIX) else None
        if parts and begins_input(parts.base):
            found.setdefault(parts.base.removesuffix(".ckpt"), []).append(parts.step)
        elif name.startswith(_STATE_FILE) and target_of_temporary(name) is None:
            found.setdefault(name.removeprefix(f"{CHECKPOINT}_"), [])
    tasks = sorted(name for name in found if begins_input(f"{name}.ckpt"))
    return {name: sorted(found[name]) for name in tasks if worker_of(f"{name}.ckpt-") is None}


def input_steps(model_dir: str, worker: int) -> list[int]:
    """The steps at which there is a state of this worker, ascending; none without a directory."""
    try:
        return list_inputs(store_of(model_dir).names(model_dir)).get(worker, [])
    except PathNotFoundError:
        return []


def find_input_step(
    model_dir: str, worker: int, restart: RestartPoint, steps: Sequence[int] | None = None
) -> int | None:
    """The step of the state that a worker goes on from; None if there is none for it.

    The state of the model's step, or of the step that a rollback names; where that is missing the
    newest older one, and never a newer, in the order of the model's steps. Without any committed
    model the latest there is, but none of a save that has begun and was not committed: the model
    starts anew, so what was read up to then has to be read again.

    Parameters
    ----------
    steps
        What `input_steps` says, for those who ask for many workers.
    """
    if steps is None:
        steps = input_steps(model_dir, worker)
    wanted = restart.input_step(worker)
    if wanted in steps:
        return wanted
    if wanted is not None:
        order = order_of_inputs(model_dir, {input_base(worker): steps})
        return newest_until(order, steps, wanted)
    steps = [step for step in steps if not _is_begun(model_dir, step)]
    with contextlib.suppress(PathNotFoundError):
        latest = read_checkpoint_state(join(model_dir, input_state_name(worker)))
        step = step_of(name_of(latest.model_checkpoint_path))
        if step in steps:
            return step
    return _newest(model_dir, worker, steps) if steps else None


def write_input_state(model_dir: str, worker: int, latest: int | None = None) -> None:
    """List the states that are there, oldest first, `latest` as the latest, by default the newest.

    Which is the newest goes by the order of the model's steps, not by their numbers.

    Paths are relative, so the directory can be moved. Without any state the file is removed.

    Raises
    ------
    WriteError
        The operating system refused.
    """
    path = join(model_dir, input_state_name(worker))
    steps = input_steps(model_dir, worker)
    if not steps:
        store_of(path).delete(path)
        return
    order = order_of_inputs(model_dir, {input_base(worker): steps})
    ordered = [step for step in order if step in steps and step != latest]
    if latest is not None:
        ordered.append(latest)
    names = [f"{input_base(worker)}-{step}" for step in ordered]
    times = [_saved_at(join(model_dir, name)) for name in names]
    state = CheckpointState(names[-1], tuple(names), tuple(times))
    store_of(path).put(path, format_checkpoint_state(state).encode("utf-8", "surrogateescape"))


def write_step_inputs(model_dir: str, inputs: StepInputs) -> None:
    """Write `ckpt.inputs-<step>`.

    Raises
    ------
    WriteError
        The operating system refused.
    """
    document: dict[str, Any] = {
        "step": inputs.step,
        "run_id": inputs.run_id,
        "workers": {
            str(worker): {"finished": entry.finished, "fingerprint": entry.fingerprint}
            for worker, entry in sorted(inputs.workers.items())
        },
    }
    if inputs.override is not None:
        document["override"] = inputs.override
    path = join(model_dir, ckpt_inputs_name(inputs.step))
    store_of(path).put(path, (json.dumps(document) + "\n").encode())


def read_step_inputs(model_dir: str, step: int) -> StepInputs | None:
    """What `ckpt.inputs-<step>` says; None without that file, as in jobs of the original.

    Raises
    ------
    StateFileError
        It is not what `write_step_inputs` writes; more keys are fine.
    NotReadableError
        The operating system refused.
    """
    path = join(model_dir, ckpt_inputs_name(step))
    data = b""
    try:
        data = store_of(path).read(path)
        document = json.loads(data)
        workers = {
            int(worker): WorkerInput(bool(entry["finished"]), entry.get("fingerprint"))
            for worker, entry in document["workers"].items()
        }
        step, run_id = int(document["step"]), str(document["run_id"])
        return StepInputs(step, run_id, workers, document.get("override"))
    except PathNotFoundError:
        if store_of(path).is_directory(path) or store_of(model_dir).is_file(model_dir):
            raise
        return None
    except _MALFORMED as error:
        if isinstance(error, StateFileError):
            raise
        what = "does not say which inputs belong to a step"
        from monolith_cli.formats.magic import malformed

        raise malformed(what, data, path, hint=_RESTORE) from error


def _newest(model_dir: str, worker: int, steps: Sequence[int]) -> int:
    order = order_of_inputs(model_dir, {input_base(worker): steps})
    return next(step for step in reversed(order) if step in steps)


def _is_begun(model_dir: str, step: int) -> bool:
    return store_of(model_dir).exists(join(model_dir, ckpt_inputs_name(step)))


def _saved_at(prefix: str) -> float:
    written = index_time(prefix)
    return time.time() if written is None else written
