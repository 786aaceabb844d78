"""What a directory lists once steps have come into it: `checkpoint`, inputs, what is exempt."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.care.along import InputAlong, list_input, write_job_state
from monolith_cli.checkpoint.inputs import write_input_state
from monolith_cli.checkpoint.names import (
    CHECKPOINT,
    INDEX_SUFFIX,
    MONOLITH_CHECKPOINT,
    input_state_name,
    step_of,
)
from monolith_cli.checkpoint.steps import index_time, recorded_checkpoints
from monolith_cli.errors import PathNotFoundError
from monolith_cli.formats.checkpoint_state import (
    CheckpointState,
    format_checkpoint_state,
    read_checkpoint_state,
    read_monolith_checkpoint_state,
)
from monolith_cli.storage.location import join, name_of
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monolith_cli.care.copy.plan import StepPlan
    from monolith_cli.formats.checkpoint_state import MonolithCheckpointState

__all__ = ["appended", "exempt_also", "list_inputs_along"]


class _Listed(NamedTuple):
    path: str
    step: int | None
    time: float  # of the commit, or of the index
    is_recorded: bool  # it is that of the commit


def appended(
    directory: str,
    state: CheckpointState | None,
    plans: Sequence[StepPlan],
    *,
    latest: int | None = None,
    preserved_at: float = 0.0,
) -> CheckpointState:
    """What `checkpoint` says when steps have been added to it.

    A step becomes the latest if it was committed after the one that is, and has a higher number.
    Else it comes before that one: what stands behind the latest counts as given up.

    Parameters
    ----------
    directory
        Whose paths are made relative, where the files are in it.
    plans
        The steps in the order of their commits. What is listed already stays where it is.
    latest
        The step that is made the latest, whatever else is listed.
    preserved_at
        The `last_preserved_timestamp` of a directory that has none yet.
    """
    state = state or CheckpointState()
    store = store_of(directory)
    listed: list[_Listed] = []
    newest: str = ""
    for each in recorded_checkpoints(state):
        here = store.exists(join(directory, each.name) + INDEX_SUFFIX)
        path = each.name if here else each.path
        if each.path == state.model_checkpoint_path:
            newest = path
            if each.path not in state.all_model_checkpoint_paths:
                continue
        if all(path != other.path for other in listed):
            time = each.time or index_time(join(directory, each.path)) or 0.0
            listed.append(_Listed(path, each.step, time, each.time is not None))
    for plan in plans:
        new = _Listed(plan.name, plan.step, plan.time, plan.is_recorded)
        if any(each.path == new.path for each in listed):
            continue
        if _comes_after(new, newest, listed):
            listed.append(new)
            newest = new.path
        else:
            listed.insert(_place_before(new, newest, listed), new)
    for wanted in [each for each in listed if latest is not None and each.step == latest]:
        listed.remove(wanted)
        listed.append(wanted)
        newest = wanted.path
    return CheckpointState(
        newest,
        tuple(each.path for each in listed),
        tuple(each.time for each in listed),
        state.last_preserved_timestamp or preserved_at,
    )


def _comes_after(new: _Listed, newest: str, listed: Sequence[_Listed]) -> bool:
    """Whether a step becomes the latest by itself."""
    if not newest:
        return True
    found = next((each for each in listed if each.path == newest), None)
    number = step_of(name_of(newest))
    if number is not None and new.step is not None and new.step <= number:
        return False
    both = found is not None and found.is_recorded and new.is_recorded
    return found is None or not both or new.time >= found.time


def _place_before(new: _Listed, newest: str, listed: Sequence[_Listed]) -> int:
    """Where a step comes that is not the latest: by the time of its commit."""
    paths = [each.path for each in listed]
    place = paths.index(newest) if newest in paths else len(paths)
    while place and listed[place - 1].time > new.time:
        place -= 1
    return place


def list_inputs_along(directory: str, plans: Sequence[StepPlan], latest: int | None) -> None:
    """Name the states that came with steps in the state files of their inputs.

    Parameters
    ----------
    latest
        The latest step from now on. If it did not come, what a state file names as the latest
        stays so.

    Raises
    ------
    StateFileError, NotReadableError
        A state file that is there does not parse, or cannot be read.
    WriteError
        The store refused.
    """
    others = {state.task: state for plan in plans for state in plan.inputs}
    for state in [each for plan in plans if plan.step == latest for each in plan.inputs]:
        del others[state.task]
        if state.worker is not None:
            list_input(directory, state)
        else:
            _list_task(directory, state, is_latest=True)
    for state in others.values():
        if state.worker is not None:
            write_input_state(directory, state.worker, _named(directory, state.worker))
        else:
            _list_task(directory, state, is_latest=False)


def _named(directory: str, worker: int) -> int | None:
    """The step of the state that a worker's state file names as the latest."""
    with suppress(PathNotFoundError):
        state = read_checkpoint_state(join(directory, input_state_name(worker)))
        step = step_of(name_of(state.model_checkpoint_path))
        if step is not None and store_of(directory).exists(
            join(directory, name_of(state.model_checkpoint_path)) + INDEX_SUFFIX
        ):
            return step
    return None


def _list_task(directory: str, state: InputAlong, *, is_latest: bool) -> None:
    path = join(directory, f"{CHECKPOINT}_{state.task}")
    try:
        before = read_checkpoint_state(path)
    except PathNotFoundError:
        list_input(directory, state)
        return
    paths = [each for each in before.all_model_checkpoint_paths if each != state.name]
    latest = state.name if is_latest else before.model_checkpoint_path
    names = (*paths, state.name) if is_latest else (state.name, *paths)
    text = format_checkpoint_state(CheckpointState(latest, names))
    store_of(path).put(path, text.encode("utf-8", "surrogateescape"))


def exempt_also(directory: str, state: MonolithCheckpointState) -> bool:
    """Let `monolith_checkpoint` exempt steps that another one exempts; False if nothing changed.

    What a file that is there says of the job stays as it is.

    Parameters
    ----------
    state
        What the other one says of the steps that are here, with relative paths.

    Raises
    ------
    StateFileError, NotReadableError
        The file that is there does not parse, or cannot be read.
    WriteError
        The store refused.
    """
    try:
        before = read_monolith_checkpoint_state(join(directory, MONOLITH_CHECKPOINT))
    except PathNotFoundError:
        write_job_state(directory, state)
        return True
    names = {name_of(path) for path in before.exempt_model_checkpoint_paths}
    new = [name for name in state.exempt_model_checkpoint_paths if name not in names]
    if not new:
        return False
    paths = (*before.exempt_model_checkpoint_paths, *new)
    write_job_state(directory, before._replace(exempt_model_checkpoint_paths=paths))
    return True
