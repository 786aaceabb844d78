"""What lies beside a step's tables and dense variables, in a new directory: inputs and flags."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monolith_cli.care.along import (
    flags_along,
    inputs_along,
    job_state_along,
    list_input,
    pools_along,
    write_job_state,
)
from monolith_cli.care.repair.files import MendTask
from monolith_cli.checkpoint.inputs import read_step_inputs, write_step_inputs
from monolith_cli.checkpoint.names import (
    INDEX_SUFFIX,
    MONOLITH_CHECKPOINT,
    ckpt_inputs_name,
    input_base,
)
from monolith_cli.errors import CorruptionError, StateFileError
from monolith_cli.formats.tensor_bundle import TensorBundle
from monolith_cli.storage.location import HERE, join, name_of
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monolith_cli.care.along import InputAlong
    from monolith_cli.care.repair.step import StepRepair

__all__ = ["copy_beside", "mend_inputs"]


def mend_inputs(repair: StepRepair) -> None:
    """Copy the states that the inputs go on from with this step; damaged ones are left out."""
    names = store_of(repair.source or HERE).names(repair.source or HERE)
    lost: set[int] = set()
    for state in inputs_along(repair.prefix, repair.step, names):
        if _copy_state(repair, state):
            list_input(repair.stage, state)
            if state.worker is not None and state.step == repair.step:
                repair.input_workers.append(state.worker)
        elif state.worker is not None:
            lost.add(state.worker)
    _whose_inputs(repair, names, lost)


def _copy_state(repair: StepRepair, state: InputAlong) -> bool:
    """Copy an iterator state, once it is verified; whether it is good."""
    prefix = join(repair.source, state.name)
    try:
        bundle = TensorBundle(prefix)
        for entry in bundle.entries.values():
            for part in [part for _, part in entry.slices] or [entry]:
                bundle.verify(part)
    except CorruptionError as error:
        path = repair.target_of(name_of(error.path or prefix))
        what = f"{error.what}; the input has no state to go on from"
        repair.left_out(path, what, worker=state.worker)
        return False
    repair.copy([join(repair.source, name) for name in state.files])
    return True


def _whose_inputs(repair: StepRepair, names: Sequence[str], lost: set[int]) -> None:
    """`ckpt.inputs`: a worker without its state has not finished, and nothing is rolled back."""
    name = ckpt_inputs_name(repair.step)
    if name not in names:
        return
    try:
        inputs = read_step_inputs(repair.source or HERE, repair.step)
    except StateFileError as error:
        repair.left_out(repair.target_of(name), error.what)
        return
    if inputs is None:
        return
    there = set(repair.input_workers)
    for worker, entry in inputs.workers.items():
        if entry.finished and entry.fingerprint is not None and worker not in there | lost:
            path = repair.target_of(f"{input_base(worker)}-{repair.step}{INDEX_SUFFIX}")
            repair.left_out(path, "missing: the state of an input of this step", worker=worker)
            lost.add(worker)
    if not lost and inputs.override is None:
        repair.copy([join(repair.source, name)])
        return
    workers = {
        worker: entry._replace(finished=entry.finished and worker not in lost)
        for worker, entry in inputs.workers.items()
    }
    write_step_inputs(repair.stage, inputs._replace(workers=workers, override=None))
    repair.rewritten(repair.target_of(name))


def copy_beside(repair: StepRepair) -> None:
    """Copy item pools, flags of what was done already, and `monolith_checkpoint` made to fit."""
    names = store_of(repair.source or HERE).names(repair.source or HERE)
    _pools(repair, pools_along(repair.name.rpartition("-")[0], repair.step, names))
    repair.copy([join(repair.source, name) for name in flags_along(names)])
    try:
        state = job_state_along(repair.source, (repair.name,))
    except StateFileError as error:
        repair.left_out(repair.target_of(MONOLITH_CHECKPOINT), error.what)
        return
    if state is not None:
        repair.rewritten(write_job_state(repair.stage, state))


def _pools(repair: StepRepair, names: Sequence[str]) -> None:
    """Copy item pools; of one that is damaged nothing."""
    for name in names:
        target = repair.target_of(name)
        task = MendTask(join(repair.source, name), target, None, "plain", repair.max_record_bytes)
        for mended in repair.run([task]):
            if mended.damage:
                store_of(target).delete(target)
                repair.left_out(target, f"{mended.damage[0].what}; the whole item pool is left out")
            else:
                repair.copied(target, mended.copied)
                repair.put_back(task.source, mended.flips)
