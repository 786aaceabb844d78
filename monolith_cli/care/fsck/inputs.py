"""The inputs of a step: whether each worker has the state that it goes on from, and it is right."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.care.findings import NOTE, Finding, finding, finding_of
from monolith_cli.care.fsck.directory import is_young
from monolith_cli.care.fsck.judgement import if_there
from monolith_cli.care.fsck.manifest import promised_workers
from monolith_cli.checkpoint.input_order import newest_until
from monolith_cli.checkpoint.inputs import input_prefix, list_inputs
from monolith_cli.checkpoint.names import (
    CHECKPOINT,
    INDEX_SUFFIX,
    INPUT_WORKER_PREFIX,
    ckpt_inputs_name,
    input_base,
    input_state_name,
    parse_checkpoint_name,
)
from monolith_cli.errors import MonolithError, NotReadableError, PathNotFoundError, StateFileError
from monolith_cli.formats.checkpoint_state import read_checkpoint_state
from monolith_cli.formats.tensor_bundle import TensorBundle
from monolith_cli.storage.location import join, name_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from monolith_cli.care.fsck.reading import Reading
    from monolith_cli.care.fsck.step import StepLook
    from monolith_cli.care.states import Survey

__all__ = [
    "Inputs",
    "check_indexes",
    "check_inputs",
    "check_state_files",
    "check_states",
    "find_inputs",
]

_STATE_FILE = re.compile(rf"{CHECKPOINT}_{INPUT_WORKER_PREFIX}([0-9]+)")
_STARTS_OVER = "its input would start over: take a step that has its state"
_RESTORE = "restore it from a copy, or take another step"
_WRITE_AGAIN = "roll the input back, which writes it again"


class Inputs(NamedTuple):
    """The inputs of a model directory.

    Attributes
    ----------
    order
        All steps at which there is a model or a state, oldest first.
    steps
        By worker the steps of its states, ascending.
    listed
        The workers that have a state file.
    """

    order: Sequence[int]
    steps: Mapping[int, Sequence[int]]
    listed: frozenset[int]


def find_inputs(survey: Survey) -> Inputs:
    """What names say of inputs; steps without a model come in by their numbers."""
    steps = list_inputs(survey.items)
    listed = {int(m[1]) for name in survey.items if (m := _STATE_FILE.fullmatch(name))}
    order = [each.step for each in survey.steps if each.step is not None]
    for step in sorted({step for each in steps.values() for step in each} - set(order)):
        at = next((i for i, other in enumerate(order) if other > step), len(order))
        order.insert(at, step)
    return Inputs(order, steps, frozenset(listed))


def check_inputs(look: StepLook, inputs: Inputs) -> Iterator[Finding]:
    """Workers that have no state of a step, and what they would go on from instead."""
    if look.step is None or look.directory != look.survey.directory:
        return
    saved = look.inputs
    if saved is not None and saved.step != look.step:
        path = look.path(ckpt_inputs_name(look.step))
        what = f"is of step {saved.step}"
        yield finding("bad_state_file", what, step=look.step, file=path, suggest=_RESTORE)
        saved = None
    named = saved.workers if saved else {}
    with_iterators = {worker for worker, entry in named.items() if entry.fingerprint}
    workers = set(inputs.steps) | inputs.listed | with_iterators
    if saved is not None:
        # A worker that the commit does not know is of another time of the job.
        workers &= set(named)
    promised = promised_workers(look)
    for worker in sorted(workers | promised):
        steps = inputs.steps.get(worker, ())
        if look.step in steps:
            continue
        is_known_without = worker in named and not _has_state(named[worker])
        if is_known_without and worker not in inputs.steps and worker not in promised:
            continue
        yield _without_state(look, inputs, worker, steps)


def _has_state(entry: object) -> bool:
    """Whether what `ckpt.inputs` says of a worker means that it has a state."""
    import json

    fingerprint = getattr(entry, "fingerprint", None)
    return bool(fingerprint) and '"GeneratorDataset"' not in json.dumps(fingerprint)


def _without_state(look: StepLook, inputs: Inputs, worker: int, steps: Sequence[int]) -> Finding:
    step = look.step
    assert step is not None
    file = join(look.directory, f"{input_base(worker)}-{step}{INDEX_SUFFIX}")
    order = inputs.order
    older = newest_until(order, steps, step)
    later = [each for each in steps if each in order and order.index(each) > order.index(step)]
    if older is None and later:
        return finding(
            "input_missing",
            f"worker {worker} has no state of this step any more: its oldest is of step"
            f" {min(later, key=order.index)}",
            severity=NOTE,
            step=step,
            worker=worker,
            file=file,
        )
    if older is None:
        what = f"worker {worker} has no state of this step, nor of one before"
        return finding(
            "input_missing", what, step=step, worker=worker, file=file, suggest=_STARTS_OVER
        )
    if not later:
        what = f"the newest state of worker {worker} is of step {older}: it would read again"
        suggest = "look why it does not save; what it has read since then is read again"
        return finding("input_behind", what, step=step, worker=worker, file=file, suggest=suggest)
    what = f"worker {worker} has states of steps before and after, and none of this one"
    suggest = f"restore it; else it goes on from step {older}"
    return finding("input_missing", what, step=step, worker=worker, file=file, suggest=suggest)


def check_state_files(survey: Survey, inputs: Inputs) -> Iterator[Finding | NotReadableError]:
    """State files that are gone, do not parse, or name as the latest what is not there."""
    for worker in sorted(set(inputs.steps) - inputs.listed):
        base = input_base(worker)
        states = [f"{base}-{step}{INDEX_SUFFIX}" for step in inputs.steps[worker]]
        if is_young(survey, states):
            continue  # the first save comes before it
        yield finding(
            "input_missing",
            f"missing, while states of worker {worker} are there: the training system would start"
            " its input over",
            worker=worker,
            file=join(survey.directory, input_state_name(worker)),
            suggest=_WRITE_AGAIN,
        )
    for worker in sorted(inputs.listed):
        path = join(survey.directory, input_state_name(worker))
        try:
            recorded = read_checkpoint_state(path).model_checkpoint_path
        except NotReadableError as error:
            yield error
            continue
        except PathNotFoundError as error:
            there = if_there(error)
            if there is not None:
                yield there
            continue
        except StateFileError as error:
            error.hint = error.hint or _WRITE_AGAIN
            yield finding_of(error, "bad_state_file", worker=worker)
            continue
        if not recorded:
            what = "names no state"
            yield finding("bad_state_file", what, worker=worker, file=path, suggest=_WRITE_AGAIN)
            continue
        parts = parse_checkpoint_name(name_of(recorded))
        is_here = parts is not None and parts.step in inputs.steps.get(worker, ())
        if is_here and parts is not None and parts.base == input_base(worker):
            continue
        what = f"names '{name_of(recorded)}' as the latest state, which is not there"
        yield finding(
            "input_missing",
            what,
            step=parts.step if parts else None,
            worker=worker,
            file=path,
            suggest=f"{_WRITE_AGAIN}, or restore the state",
        )


def check_indexes(look: StepLook) -> Iterator[Finding]:
    """The indexes of a step's iterator states, and whether their data files are long enough."""
    if look.step is None or look.directory != look.survey.directory:
        return
    for worker in _workers_at(look):
        prefix = input_prefix(look.directory, worker, look.step)
        try:
            bundle = TensorBundle(prefix, strict=True)
        except PathNotFoundError:
            continue
        except NotReadableError as error:
            look.unread.append(error)
            continue
        except MonolithError as error:
            yield finding_of(error, "bad_input_state", step=look.step, worker=worker)
            continue
        ends: dict[int, int] = {}
        for entry in bundle.entries.values():
            end = entry.offset + entry.size_bytes
            ends[entry.shard] = max(end, ends.get(entry.shard, 0))
        for shard, end in sorted(ends.items()):
            path = bundle.data_path(shard)
            size = look.item_size(name_of(path))
            if size >= end:
                continue
            look.short_states.add(path)
            what = f"cut off at {size} bytes: the states end at {end}"
            if name_of(path) not in look.survey.items:
                what = "missing, while the index of the states is there"
            yield finding(
                "bad_input_state",
                what,
                step=look.step,
                worker=worker,
                file=path,
                suggest=_RESTORE,
            )


def _workers_at(look: StepLook) -> list[int]:
    found = list_inputs(look.found.names)
    return [worker for worker, steps in found.items() if look.step in steps]


class StateTask(NamedTuple):
    """A pass over the states in a bundle, of which every part is taken apart."""

    prefix: str

    def run(self) -> list[MonolithError]:
        """What is damaged.

        Raises
        ------
        PathNotFoundError, NotReadableError, ChangedWhileReadError
            A file went away, changed, or cannot be read.
        """
        from monolith_cli.iterators.state import read_parts, state_entries

        try:
            bundle = TensorBundle(self.prefix, strict=True)
        except MonolithError as error:
            return [_damage(error)]
        states = {entry.name for entry in state_entries(bundle)}
        found = []
        for entry in bundle.entries.values():
            try:
                if entry.name in states:
                    for _ in read_parts(bundle, entry):
                        pass
                else:
                    bundle.verify(entry)
            except MonolithError as error:
                found.append(_damage(error))
        return found


def _damage(error: MonolithError) -> MonolithError:
    """The same error, if it is damage: others end the task."""
    if not isinstance(error, ValueError):
        raise error
    return error


def check_states(look: StepLook, reading: Reading) -> Iterator[Finding]:
    """Every byte of the iterator states of a step.

    Raises
    ------
    PathNotFoundError, ChangedWhileReadError
        A file went away, or is being written to.
    """
    if look.step is None or look.directory != look.survey.directory:
        return
    step, workers = look.step, _workers_at(look)
    tasks = [StateTask(input_prefix(look.directory, worker, step)) for worker in workers]
    sizes = [
        sum(
            look.item_size(name)
            for name in look.found.names
            if name.startswith(f"{name_of(task.prefix)}.")
        )
        for task in tasks
    ]
    try:
        for worker, (_, errors) in zip(workers, reading.each(tasks, sizes), strict=True):
            for error in errors:
                if error.path in look.short_states:
                    continue  # said already
                error.hint = error.hint or _RESTORE
                yield finding_of(error, "bad_input_state", step=step, worker=worker)
    except NotReadableError as error:
        look.unread.append(error)
