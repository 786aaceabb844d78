"""Iterator states and item pools of steps that go, and which of them steps that stay still need.

A job that starts from a step takes of each worker the state of that step, or else the newest that
is older; and each worker's newest item pool that is no newer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.checkpoint.names import CHECKPOINT
from monolith_cli.checkpoint.steps import recorded_checkpoints
from monolith_cli.errors import MonolithError
from monolith_cli.formats.checkpoint_state import CheckpointState, read_checkpoint_state
from monolith_cli.storage.location import join

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from monolith_cli.care.states import Survey
    from monolith_cli.checkpoint.names import StepFile

__all__ = ["InputStates", "needed", "read_input_states", "without", "worker_key"]


class InputStates(NamedTuple):
    """A state file of an input.

    Attributes
    ----------
    name
        Of the file, such as `checkpoint_input_worker_1`.
    state
        What it says.
    steps
        By path in it, the step.
    """

    name: str
    state: CheckpointState
    steps: Mapping[str, int]

    @property
    def latest(self) -> int | None:
        """The step of the state that it names as the latest."""
        return self.steps.get(self.state.model_checkpoint_path)


def state_file_of(base: str) -> str:
    """The state file that lists iterator states whose names begin so."""
    return f"{CHECKPOINT}_{base.removesuffix('.ckpt')}"


def read_input_states(found: Survey) -> dict[str, InputStates]:
    """The state files of inputs that there are and can be read, by the base of their states.

    One that cannot be read says nothing, and is left alone.
    """
    bases = {file.base for file in found.step_files.values() if file.kind == "input"}
    states = {}
    for base in sorted(bases):
        name = state_file_of(base)
        if name not in found.items:
            continue
        try:
            state = read_checkpoint_state(join(found.directory, name))
        except MonolithError:
            continue
        recorded = recorded_checkpoints(state, found.items)
        steps = {each.path: each.step for each in recorded if each.step is not None}
        states[base] = InputStates(name, state, steps)
    return states


def needed(found: Survey, kept: Collection[int | None], what: str) -> set[tuple[str, int]]:
    """Of each worker the newest that is no newer than a step that stays, for each of these.

    Pairs of what tells workers apart, and a step.

    Parameters
    ----------
    kept
        The steps that stay.
    what
        `input` or `item_pool`.
    """
    there: dict[int, set[str]] = {}
    for file in found.step_files.values():
        if file.kind == what and not file.is_temporary:
            there.setdefault(file.step, set()).add(worker_key(file))
    wanted: set[tuple[str, int]] = set()
    # Those of saves that were given up count for a job that starts; should they go, the others do.
    for with_uncommitted in (True, False):
        newest: dict[str, int] = {}
        for step in found.steps:
            if step.step is None or (step.state == "uncommitted" and not with_uncommitted):
                continue
            newest.update(dict.fromkeys(there.get(step.step, ()), step.step))
            if step.step in kept:
                wanted |= set(newest.items())
    return wanted


def worker_key(file: StepFile) -> str:
    """What tells the inputs, or the item pools, of workers apart."""
    return file.base if file.kind == "input" else f"{file.base}/{file.worker}"


def without(state: CheckpointState, goes: Callable[[str], bool]) -> CheckpointState:
    """A state file without some paths; what it names as the latest stays so."""
    paths, times = state.all_model_checkpoint_paths, state.all_model_checkpoint_timestamps
    stays = [not goes(path) for path in paths]
    # Times that do not belong to paths one by one say nothing, and TensorFlow refuses them.
    is_timed = len(times) == len(paths)
    return state._replace(
        all_model_checkpoint_paths=tuple(p for p, s in zip(paths, stays, strict=True) if s),
        all_model_checkpoint_timestamps=tuple(
            t for t, s in zip(times if is_timed else (), stays, strict=False) if s
        ),
    )
