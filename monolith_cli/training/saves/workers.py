"""Whose inputs a save covers: those of the workers that have come to its barrier in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from monolith_cli.checkpoint.inputs import WorkerInput
from monolith_cli.checkpoint.override import Override
from monolith_cli.errors import UnfinishedWorkersError
from monolith_cli.training.inputs.meta import SavedInput, get_saved_inputs
from monolith_cli.training.run.chief_step import is_beside_a_run
from monolith_cli.training.saves.barrier_listener import BarrierSaverListener
from monolith_cli.training.saves.requests import SaveResult

__all__ = [
    "covered_inputs",
    "rest_of_rollback",
    "result_of",
    "run_id_of",
    "unfinished",
    "unfinished_error",
]


def covered_inputs(
    session: Any, barriers: Sequence[BarrierSaverListener]
) -> dict[int, WorkerInput]:
    """The inputs that a save covers, as far as is known by now, by the worker's number.

    The chief, 0, is among them if it has an input whose state is saved.
    """
    saved: dict[int, SavedInput] = {}
    finished: dict[int, bool] = {}
    for barrier in barriers:
        saved = saved or get_saved_inputs(session)
        finished.update(dict.fromkeys(barrier.unfinished_workers, False))
        finished.update(dict.fromkeys(barrier.finished_workers, True))
        if 0 in saved or not barrier.has_chief_finished(session):
            finished[0] = barrier.has_chief_finished(session)
    return {
        worker: WorkerInput(has, saved[worker].fingerprint if worker in saved else None)
        for worker, has in finished.items()
    }


def unfinished(workers: Mapping[int, WorkerInput]) -> list[int]:
    """The workers whose input is not covered."""
    return sorted(worker for worker, entry in workers.items() if not entry.finished)


def unfinished_error(workers: Sequence[int], path: str) -> UnfinishedWorkersError:
    """The error for a save that must cover all workers, and does not cover these."""
    names = ", ".join(map(str, workers))
    one = len(workers) == 1
    what = f"worker{'' if one else 's'} {names} {'has' if one else 'have'} not saved"
    what += " its input" if one else " their input"
    if 0 in workers and is_beside_a_run():
        what += ": worker 0 is the chief, whose step has not ended"
    return UnfinishedWorkersError(what, path=path)


def rest_of_rollback(
    session: Any,
    barriers: Sequence[BarrierSaverListener],
    override: Override,
    workers: Mapping[int, WorkerInput],
) -> Override | None:
    """What a save leaves of a rollback: the workers that have not yet saved a state from after it.

    A worker that has finished without saying anything has no input that could go back. A worker
    that the barrier has no element for no longer belongs to the job. Without a barrier nothing is
    known about workers, and the first commit ends the rollback.
    """
    if not barriers:
        return None
    saved = get_saved_inputs(session)

    def is_back(worker: int) -> bool:
        entry, said = workers.get(worker), saved.get(worker)
        if not (entry.finished if entry else worker == 0):
            return False
        return said is None or said.rollback_ns == override.written_ns

    present = range(barriers[0].barrier_op.capacity)
    return override.rest([worker for worker in present if not is_back(worker)])


def run_id_of(session: Any, barriers: Sequence[BarrierSaverListener]) -> str:
    """The id of the job's run; empty without a barrier."""
    for barrier in barriers:
        run_id, _ = barrier.barrier_op.run.get(session)
        return str(run_id)
    return ""


def result_of(step: int, path: str, workers: Mapping[int, WorkerInput]) -> SaveResult:
    """What a caller gets to know about a committed step."""
    late = tuple(unfinished(workers))
    return SaveResult(step, path, tuple(sorted(set(workers) - set(late))), late)
