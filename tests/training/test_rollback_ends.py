"""A rollback of inputs that some workers are late for: what of it ends when, in real sessions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from save_support import Job, chief, my_index, workers
from tf_support import tensorflow


@contextmanager
def job_with_inputs(directory: Path, capacity: int = 3, **options: Any) -> Iterator[Job]:
    """A chief without an input of its own, and helpers of workers that have one."""
    from monolith_cli.training.barrier_ops import BarrierOp
    from monolith_cli.training.ckpt_hooks import BarrierSaverListener, WorkerCkptHelper

    def build(job: Job) -> dict[str, Any]:
        dataset = tensorflow().data.Dataset.range(100)
        job.next = tensorflow().compat.v1.data.make_one_shot_iterator(dataset).get_next()
        job.helpers = {i: WorkerCkptHelper(directory, i) for i in range(1, capacity)}
        saves = {i: each.create_save_iterator_callback() for i, each in job.helpers.items()}

        def save(action: str, session: Any) -> bool | None:
            return saves[my_index()](action, session) if my_index() else None

        job.barrier_op = BarrierOp(capacity, wait_seconds=0.02, barrier_callbacks=[save])
        barrier = BarrierSaverListener(job.barrier_op, 0.02, max_pending_seconds=1)
        return {"guard_saver_listeners": [barrier]}

    with chief(directory, build=build, save_steps=1000, **options) as job:
        yield job


def restore(job: Job, *indices: int) -> None:
    """What a worker's hook does when its session has been made."""
    for index in indices:
        job.helpers[index].create_restorer_hook().after_create_session(job.raw, None)


def save_with(job: Job, *indices: int) -> None:
    """Train a step, and save it with the workers that are there."""
    job.train()
    job.raw.run(job.next)
    with workers(job, job.barrier_op, *indices):
        finished = job.hook.trigger_save(job.session).finished_workers
    assert finished == indices


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Of a job with steps 1 to 3; 3 from its end, and without inputs."""
    tensorflow()
    with job_with_inputs(tmp_path) as job:
        restore(job, 1, 2)
        save_with(job, 1, 2)
        save_with(job, 1, 2)
        job.train()
    return tmp_path


def ask(model: Path, **inputs: int) -> None:
    said = {"model_step": 3, "inputs": {name[1:]: at for name, at in inputs.items()}}
    (model / "ckpt.override").write_text(json.dumps(said))


def left(model: Path) -> dict[str, int] | None:
    path = model / "ckpt.override"
    if not path.exists():
        return None
    said = json.loads(path.read_text())
    assert said["model_step"] is None
    inputs: dict[str, int] = said["inputs"]
    return inputs


def test_it_stays_for_a_worker_that_was_not_there_yet(model: Path) -> None:
    ask(model, w1=1, w2=1)
    with job_with_inputs(model) as job:
        restore(job, 1)
        save_with(job, 1)
        assert left(model) == {"2": 1}
        restore(job, 2)
        assert int(job.raw.run(job.next)) == 1  # as after its first element
        save_with(job, 1, 2)
        assert left(model) is None
        restore(job, 2)
        assert int(job.raw.run(job.next)) == 3


def test_a_worker_that_has_restored_but_was_not_saved_goes_back_again(model: Path) -> None:
    """Its state of the commit's step would be missing, and the next older one is too new."""
    ask(model, w1=1, w2=1)
    with job_with_inputs(model) as job:
        restore(job, 1, 2)
        save_with(job, 1)
        assert left(model) == {"2": 1}
        restore(job, 2)  # it has died, and comes again
        assert int(job.raw.run(job.next)) == 1


def test_a_worker_that_has_restored_something_else_is_not_through(model: Path) -> None:
    with job_with_inputs(model) as job:
        restore(job, 1)
        ask(model, w1=1)
        # The chief alone starts again, of stock sessions say, and the worker trains on.
        job.hook.after_create_session(job.raw, None)
        save_with(job, 1)
        assert left(model) == {"1": 1}


def test_a_worker_that_the_job_has_no_place_for_is_not_waited_for(model: Path) -> None:
    ask(model, w1=1, w2=1, w7=1)
    with job_with_inputs(model, capacity=2) as job:
        restore(job, 1)
        save_with(job, 1)
        assert left(model) is None


def test_the_next_chief_goes_on_with_what_is_left(model: Path) -> None:
    ask(model, w1=1, w2=1)
    with job_with_inputs(model, max_to_keep=1) as job:
        restore(job, 1)
        save_with(job, 1)
    assert left(model) == {"2": 1}
    with job_with_inputs(model, max_to_keep=1) as job:
        assert job.at == 4  # the model is not taken back once more
        restore(job, 1)
        save_with(job, 1)
        assert left(model) == {"2": 1}
        assert not (model / "model.ckpt-1.index").exists()
        restore(job, 2)
        save_with(job, 1, 2)
    assert left(model) is None
    assert not (model / "input_worker_2.ckpt-1.index").exists()
    note = json.loads((model / "ckpt.inputs-6").read_text())["override"]
    assert (note["model_step"], note["inputs"], note["left"]) == (None, {"2": 1}, [])
