"""Kills with -9: of a whole job at moments of a save, and of single processes of it."""

from __future__ import annotations

import random
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import chaos
import pytest
from chaos import NAMES, Job, check, finish, kill, times_trained
from fork_server import ForkServer
from tf_support import tensorflow

from monolith_cli.checkpoint.model_dir import open_model_dir

SEED = 4
# In short: seconds until workers leave a dead chief, and a save gives workers up.
LEASE_SECONDS, PENDING_SECONDS = 3, 1
ARGUMENTS = {
    "BarrierOp": {"lease_seconds": LEASE_SECONDS},
    "BarrierSaverListener": {"max_pending_seconds": PENDING_SECONDS},
}
GIVEN_UP = "has not come (back) within"


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    tensorflow()
    with ForkServer() as started:
        yield started


def test_kills_of_the_whole_job(server: ForkServer, tmp_path: Path) -> None:
    """Two at any moment, three at boundaries of a save; `make chaos` has all of them, and more."""
    chance = random.Random(SEED)
    boundaries = chance.sample(list(chaos.chaos_job.BOUNDARIES), 3)
    job = Job(server, tmp_path, records=3000, save_steps=40)
    for moment in ["", boundaries[0], boundaries[1], "", boundaries[2]]:
        print(kill(job, moment, chance).line)
    end = finish(job)
    # Would it be seen if something did not fit? Put an older state of each input in place.
    older, *_ = open_model_dir(str(job.model_dir)).steps()
    assert older != end.step
    for worker in range(chaos.WITH_INPUT):
        for suffix in ("index", "data-00000-of-00001"):
            state = f"{job.model_dir}/input_worker_{worker}.ckpt-"
            shutil.copy(f"{state}{older}.{suffix}", f"{state}{end.step}.{suffix}")
    with pytest.raises(AssertionError, match="has again"):
        check(job)


@pytest.fixture(scope="module")
def long_job(server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    """One job through the tests that follow, in their order."""
    directory = tmp_path_factory.mktemp("long")
    job = Job(server, directory, records=8000, save_steps=80, arguments=ARGUMENTS)
    yield job
    job.kill_all()


def wait_for_commit(job: Job) -> int:
    """Until another step is committed; that step."""
    before = job.step
    job.wait_for(lambda: job.step != before)
    assert job.step is not None
    return job.step


def test_a_parameter_server_that_starts_late(long_job: Job) -> None:
    for name in NAMES[1:]:
        long_job.start(name)
    time.sleep(3)
    assert not long_job.is_training
    long_job.start("ps_0")
    wait_for_commit(long_job)


def test_the_chief_alone_is_killed(long_job: Job) -> None:
    """What the workers had under way from before never gets into what was restored."""
    long_job.processes["chief_0"].kill()
    step = long_job.step
    long_job.start("chief_0", "barrier placed", save=2)  # for the next test
    for worker in ("worker_0", "worker_1"):
        long_job.wait_for_lives(worker, "is in run", 2)
    assert f"The chief goes on from step {step}." in long_job.said("chief_0")
    assert len(set(re.findall(r"is in run (\w+)", long_job.said("worker_0")))) == 2
    wait_for_commit(long_job)
    with long_job.frozen():
        check(long_job)


def test_the_chief_is_killed_while_the_barrier_is_placed(long_job: Job) -> None:
    long_job.wait_for(lambda: long_job.stopped)
    long_job.processes["chief_0"].kill()
    logged = [len(long_job.consumed(worker)) for worker in (1, 2)]
    began = time.monotonic()
    for worker in (1, 2):
        name = f"worker_{worker - 1}"
        long_job.wait_for_lives(name, "leaves the barrier: no sign of life", 1)
    assert time.monotonic() - began < LEASE_SECONDS + 5
    long_job.wait_for(
        lambda: all(len(long_job.consumed(w)) > n + 5 for w, n in zip((1, 2), logged, strict=True))
    )
    long_job.start("chief_0")
    long_job.wait_for_lives("worker_1", "is in run", 3)
    wait_for_commit(long_job)
    with long_job.frozen():
        check(long_job)


def test_the_parameter_server_alone_is_killed(long_job: Job) -> None:
    long_job.processes["ps_0"].kill()
    time.sleep(2)
    long_job.start("ps_0")
    for worker in ("worker_0", "worker_1"):
        long_job.wait_for_lives(worker, "is in run", 4)
    wait_for_commit(long_job)
    with long_job.frozen():
        check(long_job)


def test_a_worker_alone_is_killed(long_job: Job) -> None:
    """It reads again what it had read since the last commit; nothing else comes twice."""
    step = wait_for_commit(long_job)
    long_job.processes["worker_0"].kill()
    [*_, last] = long_job.consumed(1)
    long_job.wait_for_lives("chief_0", "worker 1 has not saved its input", 1)
    assert long_job.step == step
    long_job.start("worker_0")
    long_job.wait_for(lambda: long_job.has_come_to_its_end, 120)
    assert long_job.step is not None
    times = times_trained(long_job, long_job.step)
    assert set(times) == set(range(long_job.records))
    twice = {record for record, count in times.items() if count != 1}
    assert set(times.values()) <= {1, 2}
    assert twice <= chaos.records_of(long_job, 1)
    since = [e for e in long_job.consumed(1) if step < e["step"] <= last["step"]]
    assert len(twice) <= chaos.BATCH * (len(since) + 2)


def test_a_worker_that_never_comes_back(server: ForkServer, tmp_path: Path) -> None:
    job = Job(server, tmp_path, records=900, save_steps=40, deadline=12, arguments=ARGUMENTS)
    job.start_all()
    step = wait_for_commit(job)
    job.processes["worker_1"].kill()
    logged = [len(job.consumed(worker)) for worker in (0, 1)]
    job.wait_for_lives("chief_0", "worker 2 has not saved its input", 2)
    # Saves wait for it, but training goes on in between.
    job.wait_for(
        lambda: all(len(job.consumed(w)) > n + 5 for w, n in zip((0, 1), logged, strict=True))
    )
    for name in ("chief_0", "worker_0"):
        assert job.processes[name].wait(60) == 1
        assert GIVEN_UP in job.said(name)
    assert "some worker still trains" in job.said("chief_0")
    job.kill_all()
    assert check(job).step is not None
    assert job.step is not None
    assert job.step - step < 200
    finish(job)


def test_a_parameter_server_that_never_comes_back(server: ForkServer, tmp_path: Path) -> None:
    job = Job(server, tmp_path, records=3000, save_steps=50, deadline=15, arguments=ARGUMENTS)
    job.start_all()
    wait_for_commit(job)
    job.processes["ps_0"].kill()
    began = time.monotonic()
    for name in NAMES[1:]:
        assert job.processes[name].wait(60) == 1
        assert GIVEN_UP in job.said(name)
    assert time.monotonic() - began < 55  # by default they would only give up after 60
    check(job)
