"""What lies beside a step's tables and dense variables, in a new directory: inputs and flags."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monolith_cli.care.repair.files import MendTask
from monolith_cli.checkpoint.inputs import (
    find_input_step,
    list_inputs,
    list_task_inputs,
    read_step_inputs,
    write_input_state,
    write_step_inputs,
)
from monolith_cli.checkpoint.names import (
    CHECKPOINT,
    INDEX_SUFFIX,
    MONOLITH_CHECKPOINT,
    ckpt_inputs_name,
    input_base,
    is_one_shot_flag,
    parse_checkpoint_name,
    parse_step_file,
)
from monolith_cli.checkpoint.restart import RestartPoint
from monolith_cli.errors import CorruptionError, PathNotFoundError, StateFileError
from monolith_cli.formats.checkpoint_state import (
    CheckpointState,
    format_checkpoint_state,
    format_monolith_checkpoint_state,
    read_monolith_checkpoint_state,
)
from monolith_cli.formats.tensor_bundle import TensorBundle
from monolith_cli.storage.location import HERE, join, name_of
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monolith_cli.care.repair.step import StepRepair

__all__ = ["copy_beside", "mend_inputs"]


def mend_inputs(repair: StepRepair) -> None:
    """Copy the states that the inputs go on from with this step; damaged ones are left out.

    Of a worker that has none of the step it is the newest older one, as when a job restarts.
    """
    source = repair.source or HERE
    names = store_of(source).names(source)
    restart = RestartPoint(repair.step, repair.prefix)
    lost: set[int] = set()
    for worker, steps in list_inputs(names).items():
        step = find_input_step(source, worker, restart, steps)
        if step is None:
            continue
        if _copy_state(repair, names, f"{input_base(worker)}-{step}", worker):
            write_input_state(repair.stage, worker, step)
            if step == repair.step:
                repair.input_workers.append(worker)
        else:
            lost.add(worker)
    for task, steps in list_task_inputs(names).items():
        name = f"{task}.ckpt-{repair.step}"
        if repair.step in steps and _copy_state(repair, names, name, None):
            path = repair.target_of(f"{CHECKPOINT}_{task}")
            state = format_checkpoint_state(CheckpointState(name, (name,)))
            store_of(path).put(path, state.encode("utf-8", "surrogateescape"))
    _whose_inputs(repair, names, lost)


def _copy_state(repair: StepRepair, names: Sequence[str], name: str, worker: int | None) -> bool:
    """Copy an iterator state, once it is verified; whether it is good."""
    prefix = join(repair.source, name)
    try:
        bundle = TensorBundle(prefix)
        for entry in bundle.entries.values():
            for part in [part for _, part in entry.slices] or [entry]:
                bundle.verify(part)
    except CorruptionError as error:
        path = repair.target_of(name_of(error.path or prefix))
        repair.left_out(path, f"{error.what}; the input has no state to go on from", worker=worker)
        return False
    files = [each for each in names if each.startswith(f"{name}.")]
    parts = ((each, parse_checkpoint_name(each)) for each in files)
    good = [each for each, part in parts if part and f"{part.base}-{part.step}" == name]
    good.sort(key=lambda each: each.endswith(INDEX_SUFFIX))
    repair.copy([join(repair.source, each) for each in good])
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
    source = repair.source or HERE
    names = store_of(source).names(source)
    _pools(repair, names)
    repair.copy([join(repair.source, name) for name in names if is_one_shot_flag(name)])
    path = join(repair.source, MONOLITH_CHECKPOINT)
    try:
        state = read_monolith_checkpoint_state(path)
    except PathNotFoundError:
        return
    except StateFileError as error:
        repair.left_out(repair.target_of(MONOLITH_CHECKPOINT), error.what)
        return
    exempt = state.exempt_model_checkpoint_paths
    kept = (repair.name,) if any(name_of(each) == repair.name for each in exempt) else ()
    text = format_monolith_checkpoint_state(state._replace(exempt_model_checkpoint_paths=kept))
    target = repair.target_of(MONOLITH_CHECKPOINT)
    store_of(target).put(target, text.encode("utf-8", "surrogateescape"))
    repair.rewritten(target)


def _pools(repair: StepRepair, names: Sequence[str]) -> None:
    """Each worker's newest item pool that is not newer than the step."""
    base = repair.name.rpartition("-")[0]
    newest: dict[int, tuple[int, list[str]]] = {}
    for name in names:
        file = parse_step_file(name)
        if file is None or file.kind != "item_pool" or file.is_temporary or file.base != base:
            continue
        if file.worker is None or file.step > repair.step:
            continue
        step, files = newest.get(file.worker, (-1, []))
        if file.step > step:
            newest[file.worker] = (file.step, [name])
        elif file.step == step:
            files.append(name)
    for _, files in newest.values():
        for name in files:
            target = repair.target_of(name)
            task = MendTask(
                join(repair.source, name), target, None, "plain", repair.max_record_bytes
            )
            for mended in repair.run([task]):
                if mended.damage:
                    store_of(target).delete(target)
                    repair.left_out(
                        target, f"{mended.damage[0].what}; the whole item pool is left out"
                    )
                else:
                    repair.copied(target, mended.copied)
                    repair.put_back(task.source, mended.flips)
