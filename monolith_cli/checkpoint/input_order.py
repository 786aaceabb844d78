"""The order of the steps at which inputs have states: that of the model's steps.

A state may be there without its model's step: of a save that is under way or was given up, or of a
model that is gone. Such a step comes in by the time of its state; but one with a higher number than
the latest is later, whatever its time. Times change when files are copied, and from a state that is
too new a worker would leave records out.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from monolith_cli.checkpoint.names import CHECKPOINT
from monolith_cli.checkpoint.steps import index_time, order_of_steps, recorded_checkpoints
from monolith_cli.errors import MonolithError
from monolith_cli.formats.checkpoint_state import CheckpointState, read_checkpoint_state
from monolith_cli.storage.location import join

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

__all__ = ["newest_until", "order_of_inputs"]


def order_of_inputs(model_dir: str, states: Mapping[str, Collection[int]]) -> list[int]:
    """The steps of all these states, and those that `checkpoint` lists, oldest first.

    A `checkpoint` that is not there, or cannot be read, lists none. Reads that file, and the times
    of the indexes.

    Parameters
    ----------
    states
        By the base of the files' names, such as `input_worker_1.ckpt`, the steps.
    """
    try:
        state = read_checkpoint_state(join(model_dir, CHECKPOINT))
    except MonolithError:
        state = CheckpointState()
    listed: dict[int, float | None] = {}
    unlisted: dict[int, float] = {}
    latest = None
    for each in recorded_checkpoints(state):
        if each.step is None:
            continue
        time = each.time or index_time(join(model_dir, each.name))
        if each.is_listed:
            listed.setdefault(each.step, time)
        elif each.step not in listed:
            unlisted[each.step] = math.inf if time is None else time
        if each.path == state.model_checkpoint_path:
            latest = each.step
    named = set(unlisted)
    for base, steps in states.items():
        for step in steps:
            if step in listed or step in named:
                continue
            if latest is not None and step > latest:
                unlisted[step] = math.inf
            else:
                time = index_time(join(model_dir, f"{base}-{step}")) or 0.0
                unlisted[step] = min(time, unlisted.get(step, time))
    return order_of_steps(list(listed.items()), unlisted, latest)


def newest_until(order: Sequence[int], steps: Collection[int], wanted: int) -> int | None:
    """The newest of these steps that is not later than the wanted one; None if all are.

    A step that is nowhere in the order is compared by its number.
    """
    if wanted in order:
        before = order[: order.index(wanted) + 1]
    else:
        before = [step for step in order if step <= wanted]
    return next((step for step in reversed(before) if step in steps), None)
