"""A chief that saves, with workers at its barrier."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from save_support import Job, chief, listener, my_index, workers
from tf_support import tensorflow

POLL = 0.02
PLACES = ["guard_saver_listeners", "listeners"]


@contextmanager
def job_with_barrier(
    directory: Path,
    *present: int,
    capacity: int = 2,
    place: str = "guard_saver_listeners",
    inputs: bool = False,
    callback: Callable[[str, Any], object] | None = None,
    tables: bool = False,
    lease_seconds: float = 30,
    max_pending_seconds: float = 10,
    listeners: Any = (),
    **options: Any,
) -> Iterator[Job]:
    """A chief, and those workers that are present. Saves are asked for, unless told otherwise."""
    from monolith_cli.training.barrier_ops import BarrierHook, BarrierOp
    from monolith_cli.training.ckpt_hooks import BarrierSaverListener, WorkerCkptHelper
    from monolith_cli.training.ckpt_info import FidSlotCountSaverListener
    from monolith_cli.training.hash_table import HashTable, HashTableCheckpointSaverListener

    more: list[Any] = []

    def build(job: Job) -> dict[str, Any]:
        callbacks = [callback] if callback else []
        if inputs:
            dataset = tensorflow().data.Dataset.range(100)
            job.next = tensorflow().compat.v1.data.make_one_shot_iterator(dataset).get_next()
            saves = [
                WorkerCkptHelper(directory, index).create_save_iterator_callback()
                for index in range(capacity)
            ]
            callbacks.append(lambda action, session: saves[my_index()](action, session))
        job.barrier_op = BarrierOp(
            capacity, wait_seconds=POLL, barrier_callbacks=callbacks, lease_seconds=lease_seconds
        )
        more.append(BarrierHook(0, job.barrier_op))
        job.barrier = BarrierSaverListener(job.barrier_op, POLL, max_pending_seconds)
        made = [listener(**one) if isinstance(one, dict) else one for one in listeners]
        if tables:
            HashTable("table", 1)
            made.insert(0, HashTableCheckpointSaverListener(directory / "model.ckpt"))
            made.insert(2, FidSlotCountSaverListener(str(directory)))
        if place == "listeners":
            return {"listeners": [job.barrier, *made]}
        guards = [job.barrier, *options.pop("guard_saver_listeners", ())]
        return {"listeners": made, "guard_saver_listeners": guards}

    options.setdefault("save_steps", 1000)
    with chief(directory, build=build, more_hooks=more, **options) as job:
        with workers(job, job.barrier_op, *present):
            yield job
        assert_let_go(job)


def assert_let_go(job: Job) -> None:
    """Neither a barrier nor its thread is left; nor does anybody stand there for long."""
    assert not job.barrier_op.is_barrier_placed(job.raw)
    assert job.barrier_op.open_generation(job.raw) == 0
    assert job.barrier_op._chief_side.heartbeat is None


def inputs_of(directory: Path, step: int) -> dict[str, bool]:
    said = json.loads((directory / f"ckpt.inputs-{step}").read_text())
    return {worker: entry["finished"] for worker, entry in said["workers"].items()}
