"""The example job goes on from what prune, rollback, cp and rewrite leave, and loses no record."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos import Committed, Job, check, finish
from cli_support import call
from fork_server import ForkServer
from tf_support import tensorflow

from monolith_cli.checkpoint.model_dir import open_model_dir


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    """One job through the tests, in their order; it has been killed with three steps."""
    tensorflow()
    with ForkServer() as server:
        job = Job(server, tmp_path_factory.mktemp("job"), records=4000, save_steps=30)
        train(job, commits=4)
        yield job
        job.kill_all()


def train(job: Job, commits: int = 1) -> Committed:
    """Start it, and kill it when it has committed so often; all must fit together."""
    before = check(job)
    seen = {before.step}
    job.start_all()
    job.wait_for(lambda: seen.add(job.step) or len(seen) > commits or job.has_failed)
    job.kill_all()
    after = check(job, before)
    assert after.step is not None
    assert before.step is None or after.step > before.step
    return after


def ok(*arguments: object) -> None:
    done = call(*arguments)
    assert done.code == 0, done


def steps_of(job: Job) -> list[int]:
    return open_model_dir(job.model_dir).steps()


def goes_on_in(job: Job, other: Path) -> None:
    """Another directory takes the place of the job's own; its logs stay."""
    shutil.move(job.model_dir / "log", other / "log")
    shutil.rmtree(job.model_dir)
    other.rename(job.model_dir)


def test_after_a_prune(job: Job) -> None:
    step = job.step
    assert len(steps_of(job)) == 3
    ok("ckpt", "prune", job.model_dir, "--keep-last", 1, "--yes")
    assert (steps_of(job), job.step) == ([step], step)
    train(job, commits=2)
    assert len(steps_of(job)) == 3


def test_after_a_rollback(job: Job) -> None:
    first, *newer = steps_of(job)
    ok("ckpt", "rollback", job.model_dir, "--step", first, "--yes")
    assert (steps_of(job), job.step) == ([first], first)
    assert check(job).step == first
    ok("ckpt", "rollback", job.model_dir, "--undo", "--yes")
    assert steps_of(job) == [first, *newer]
    ok("ckpt", "rollback", job.model_dir, "--step", newer[0], "--yes")
    train(job)
    assert call("ckpt", "rollback", job.model_dir, "--undo", "--yes").code == 1


def test_in_a_copy(job: Job, tmp_path: Path) -> None:
    step = job.step
    ok("ckpt", "cp", job.model_dir, tmp_path / "copy")
    goes_on_in(job, tmp_path / "copy")
    assert job.step == step
    train(job)


def test_in_what_was_rewritten(job: Job, tmp_path: Path) -> None:
    step = job.step
    ok("table", "rewrite", job.model_dir, tmp_path / "rewritten", "--shards", 3)
    goes_on_in(job, tmp_path / "rewritten")
    assert job.step == step
    finish(job)
