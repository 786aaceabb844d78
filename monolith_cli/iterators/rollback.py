"""Going back with the inputs of a job: workers resume from an older step, the model stays.

A job of ours reads `ckpt.override` when it starts. An original one restores what each worker's
state file names as the latest. Both are written, the override last: until it has its name, a job of
ours goes on as if nothing had been asked for.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.checkpoint.input_order import order_of_inputs
from monolith_cli.checkpoint.inputs import (
    find_input_step,
    input_prefix,
    list_inputs,
    read_step_inputs,
    write_input_state,
)
from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.checkpoint.names import CHECKPOINT, CKPT_OVERRIDE, input_base, input_state_name
from monolith_cli.checkpoint.override import (
    Override,
    read_override,
    remove_override,
    what_is_left,
    write_override,
)
from monolith_cli.checkpoint.restart import RestartPoint, require_restorable
from monolith_cli.errors import (
    CorruptionError,
    MonolithError,
    NotReadableError,
    PathNotFoundError,
    StepNotFoundError,
)
from monolith_cli.formats.tensor_bundle import TensorBundle
from monolith_cli.iterators.state import advising
from monolith_cli.storage.location import as_location, join
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from monolith_cli.storage.location import AnyPath

__all__ = ["Move", "Rollback", "roll_back"]

_SHOWN = 10


class Move(NamedTuple):
    """A worker's input that resumes from another step.

    Attributes
    ----------
    before
        The step that it would have gone on from; None if it would have started over.
    """

    worker: int
    before: int | None
    after: int


class Rollback(NamedTuple):
    """What a rollback has written, or would write.

    Attributes
    ----------
    model_step
        The latest committed step, which the model is restored from.
    step
        The step that inputs resume from.
    moves
        The workers that were meant.
    inputs
        For all workers that go on from another step than the model's, that step. Empty if none
        does: then there is no override.
    replaced
        The rollback that had been asked for, and was not done yet; None without one.
    notes
        Remarks for people.
    files
        The names of what is written or, of an override that has become needless, removed; in that
        order.
    dry_run
        Whether nothing was written.
    """

    model_dir: str
    model_step: int
    step: int
    moves: tuple[Move, ...]
    inputs: Mapping[int, int]
    replaced: Override | None
    notes: tuple[str, ...]
    files: tuple[str, ...]
    dry_run: bool


def roll_back(
    model_dir: AnyPath,
    step: int | None,
    *,
    workers: Collection[int] | None = None,
    dry_run: bool = False,
) -> Rollback:
    """Have a job's inputs resume from an older step when it starts next, the model as it is.

    A job that runs meanwhile deletes steps, so that the one which is asked for may be gone when it
    starts again: stop it first (`control.running.check_stopped` tells).

    Going back to the model's own step ends a rollback that was asked for. All states that are gone
    back to are read and verified before anything is written.

    Parameters
    ----------
    step
        None stands for the model's step.
    workers
        By default all: those that the model step's `ckpt.inputs` names, and those with states. If
        only some are named, an earlier rollback of the others stays as it is.
    dry_run
        Whether to write nothing.

    Raises
    ------
    StepNotFoundError
        Nothing is committed, or without dense variables; the step is later than the model's; a
        worker has no state of it.
    CorruptionError
        A state is damaged, or a file with what has been asked for before. A file of the model's
        step that its manifest names is gone, or of another size: the job would not start.
    PathNotFoundError, NotReadableError
        The directory, or a file in it.
    WriteError
        The operating system refused to write. Doing it again is safe.
    """
    path = as_location(model_dir)
    restart, steps = _latest_commit(path)
    assert restart.step is not None
    earlier = read_override(path)
    if earlier:
        earlier = what_is_left(path, earlier, steps)
    to = restart.step if step is None else step
    states = list_inputs(store_of(path).names(path))
    order = order_of_inputs(path, {input_base(worker): states[worker] for worker in states})
    if _is_later(order, to, restart.step):
        what = f"step {to} is later than the model's, {restart.step}: inputs can only go back"
        raise StepNotFoundError(what, path=path)

    notes: list[str] = []
    meant = (
        _named(path, workers, states) if workers else _all(path, restart.step, to, states, notes)
    )
    _check(path, to, meant, states, [at for at in order if not _is_later(order, at, restart.step)])

    inputs = dict.fromkeys(meant, to)
    if earlier and earlier.model_step in (None, restart.step) and workers:
        inputs = {**earlier.inputs, **inputs}
    # Without being named a worker goes on from the model's step.
    inputs = {worker: inputs[worker] for worker in sorted(inputs) if inputs[worker] != restart.step}
    notes += _late_notes(path, to, meant)
    notes += _replaced_notes(earlier, restart.step, inputs, meant)
    before = restart._replace(override=earlier)
    if earlier and earlier.model_step is not None:
        before = before._replace(step=earlier.model_step)
    moves = [Move(worker, find_input_step(path, worker, before), to) for worker in meant]
    files = [input_state_name(worker) for worker in meant]
    if inputs or store_of(path).exists(join(path, CKPT_OVERRIDE)):
        files.append(CKPT_OVERRIDE)
    if not dry_run:
        for worker in meant:
            write_input_state(path, worker, to)
        if inputs:
            write_override(path, restart.step, inputs)
        else:
            remove_override(path)
    return Rollback(
        path,
        restart.step,
        to,
        tuple(moves),
        MappingProxyType(inputs),
        earlier,
        tuple(notes),
        tuple(files),
        dry_run,
    )


def _latest_commit(path: str) -> tuple[RestartPoint, list[int]]:
    """Where the job would go on if no rollback had been asked for, and all steps there are."""
    directory = open_model_dir(path)
    if directory.kind != "training":
        hint = "give the directory where a job saves"
        raise PathNotFoundError("no directory of a job", path=path, hint=hint)
    if not store_of(path).exists(join(path, CHECKPOINT)):
        what = f"nothing is committed: there is no '{CHECKPOINT}' file"
        raise StepNotFoundError(what, path=path, hint="the job starts from the beginning anyway")
    checkpoint = directory.checkpoint()
    if checkpoint.step is None:
        raise StepNotFoundError("the latest checkpoint's name has no step", path=path)
    require_restorable(checkpoint, path)
    return RestartPoint(checkpoint.step, checkpoint.prefix), directory.steps()


def _named(path: str, workers: Collection[int], states: Mapping[int, list[int]]) -> list[int]:
    strangers = sorted(set(workers) - set(states))
    if strangers:
        what = f"no states of {_workers_text(strangers)}"
        hint = f"there are some of {_workers_text(sorted(states))}" if states else None
        raise StepNotFoundError(what, path=path, hint=hint)
    return sorted(set(workers))


def _all(
    path: str, model_step: int, to: int, states: Mapping[int, list[int]], notes: list[str]
) -> list[int]:
    """All workers of the job, without those whose input has no position to go back to."""
    saved = read_step_inputs(path, model_step)
    if saved is None or not saved.workers:  # an original job, say
        found = set(states)
    else:
        # One that has finished, and left neither a state nor a fingerprint, has no iterators.
        found = {
            worker
            for worker, entry in saved.workers.items()
            if worker in states or entry.fingerprint is not None or not entry.finished
        }
        gone = [worker for worker in states if worker not in saved.workers]
        found.update(worker for worker in gone if to in states[worker])
        left = sorted(set(gone) - found)
        if left:
            notes.append(
                f"{_workers_text(left)} had no part in step {model_step}, and"
                f" {_has(left)} no state of step {to}: left out"
            )
    if not found:
        raise StepNotFoundError("no states of any worker's input", path=path)
    return sorted(found)


def _is_later(order: Sequence[int], step: int, model_step: int) -> bool:
    """Whether a step comes after the model's.

    By its number where it is nowhere in the order, and numbers say it: the job never started over.
    """
    if step in order and model_step in order:
        return order.index(step) > order.index(model_step)
    return step > model_step and list(order) == sorted(order)


def _check(
    path: str,
    to: int,
    workers: Sequence[int],
    states: Mapping[int, list[int]],
    before: Sequence[int],
) -> None:
    """Refuse if a worker has no state of that step, or one that cannot be restored.

    `before` are the steps that inputs can go back to, oldest first.
    """
    missing = [worker for worker in workers if to not in states.get(worker, ())]
    damaged: list[tuple[int, MonolithError]] = []
    for worker in workers:
        if worker not in missing:
            try:
                _verify(input_prefix(path, worker, to))
            except MonolithError as error:
                damaged.append((worker, error))
    if not missing and not damaged:
        return
    others = [{at for at in states.get(worker, ()) if at != to} for worker in workers]
    common = [at for at in before if all(at in steps for steps in others)]
    hint = f"all of them have states of {_steps_text(common)}" if common else None
    alike: dict[tuple[int, ...], list[int]] = {}
    for worker in missing:
        possible = tuple(at for at in states.get(worker, ()) if at in before)
        alike.setdefault(possible, []).append(worker)
    texts = [
        f"{_workers_text(those)} {_has(those)} no state of it (there {_are(steps)})"
        for steps, those in alike.items()
    ]
    if len(alike) == 1 and missing == list(workers):
        hint = None  # that has just been said
    if not damaged:
        raise StepNotFoundError(f"cannot go back to step {to}: {_cut(texts)}", path=path, hint=hint)
    first = damaged[0][1]
    is_only = len(damaged) == 1 and not texts
    texts = [
        f"the state of worker {worker}: {error.what if is_only else _with_offset(error)}"
        for worker, error in damaged
    ] + texts
    kind = NotReadableError if isinstance(first, NotReadableError) else CorruptionError
    raise kind(
        f"cannot go back to step {to}: {_cut(texts)}",
        path=first.path,
        offset=first.offset if is_only else None,
        hint=hint or first.hint,
        kind=first.kind,
    )


def _with_offset(error: MonolithError) -> str:
    return error.what if error.offset is None else f"{error.what}, at byte {error.offset}"


def _verify(prefix: str) -> None:
    """Read all states in a bundle."""
    with advising():
        bundle = TensorBundle(prefix)
        iterators = [entry for entry in bundle.entries.values() if entry.dtype == "variant"]
        if not iterators:
            raise CorruptionError("holds no state of an iterator", path=bundle.index_path)
        for entry in iterators:
            for _ in bundle.variants(entry):
                pass


def _late_notes(path: str, to: int, workers: Sequence[int]) -> list[str]:
    """Whose state is not quite that of the step."""
    saved = read_step_inputs(path, to)
    if saved is None:
        return []
    late = [w for w in workers if w in saved.workers and not saved.workers[w].finished]
    if not late:
        return []
    return [f"{_workers_text(late)} did not stand still when step {to} was saved"]


def _replaced_notes(
    earlier: Override | None, model_step: int, inputs: Mapping[int, int], meant: Sequence[int]
) -> list[str]:
    """What becomes of a rollback that was asked for before."""
    if earlier is None:
        return []
    notes = []
    verb = "replaces" if inputs else "ends"
    gone = {worker: at for worker, at in earlier.inputs.items() if inputs.get(worker) != at}
    if earlier.model_step not in (None, model_step):
        notes.append(f"{verb} a rollback of the model to step {earlier.model_step}")
    if gone:
        notes.append(f"{verb} a rollback of {_inputs_text(gone)}")
    kept = {w: at for w, at in inputs.items() if earlier.inputs.get(w) == at and w not in meant}
    if kept:
        notes.append(f"an earlier rollback stays: {_inputs_text(kept)}")
    return notes


def _inputs_text(inputs: Mapping[int, int]) -> str:
    by_step: dict[int, list[int]] = {}
    for worker, at in sorted(inputs.items()):
        by_step.setdefault(at, []).append(worker)
    return ", ".join(f"{_workers_text(those)} to step {at}" for at, those in by_step.items())


def _steps_text(steps: Sequence[int]) -> str:
    shown = ", ".join(map(str, steps[-_SHOWN:]))
    more = "..., " if len(steps) > _SHOWN else ""
    return f"step{'' if len(steps) == 1 else 's'} {more}{shown}"


def _workers_text(workers: Sequence[int]) -> str:
    shown = ", ".join(map(str, workers[:_SHOWN]))
    more = ", ..." if len(workers) > _SHOWN else ""
    return f"worker{'' if len(workers) == 1 else 's'} {shown}{more}"


def _has(workers: Sequence[int]) -> str:
    return "has" if len(workers) == 1 else "have"


def _are(steps: Sequence[int]) -> str:
    return f"{'is' if len(steps) == 1 else 'are'} {_steps_text(steps)}" if steps else "is none"


def _cut(texts: Sequence[str]) -> str:
    more = f"; {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return "; ".join(texts[:_SHOWN]) + more
