"""Jobs of several processes in TensorFlow's own sessions, in the original's order of hooks.

What they commit while a worker comes back, and at their end, whatever ends them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chaos import BATCH, NAMES, WITH_INPUT, Job, check, drain
from cli_support import MONOLITH, environment
from fork_server import ForkServer
from tf_support import tensorflow

from monolith_cli.checkpoint.inputs import read_step_inputs

LEASE_SECONDS = 3
PENDING_SECONDS = 60.0  # that a save waits for workers
NEVER = 10**9  # steps between two saves


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    tensorflow()
    with ForkServer() as started:
        yield started


class StockJob(Job):
    """A job whose processes are `stock_job`'s, with what is wanted of them."""

    def __init__(
        self,
        server: ForkServer,
        directory: Path,
        wanted: dict[str, Any],
        *,
        records: int = 24000,
        save_steps: int = NEVER,
        pause: float = 0.002,
        pending_seconds: float = PENDING_SECONDS,
        controller: dict[str, Any] | None = None,
    ) -> None:
        arguments = {
            "stock": wanted,
            "BarrierOp": {"lease_seconds": LEASE_SECONDS},
            "BarrierSaverListener": {"max_pending_seconds": pending_seconds},
            "controller": controller or {},
        }
        super().__init__(
            server,
            directory,
            records=records,
            save_steps=save_steps,
            pause=pause,
            arguments=arguments,
        )

    def begin(self) -> None:
        """Start all, and wait until they train."""
        self.start_all()
        self.wait_for(lambda: all(self.consumed(worker) for worker in range(WITH_INPUT)))

    def ask(self, *arguments: str) -> subprocess.Popen[str]:
        """Begin a command of `monolith job`."""
        return subprocess.Popen(
            [str(MONOLITH), "job", arguments[0], str(self.model_dir), *arguments[1:]],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment(),
        )

    def codes(self, seconds: float = 60) -> dict[str, int | None]:
        """How the processes but the parameter server have ended."""
        names = NAMES[1:]
        self.wait_for(lambda: all(self.processes[n].has_ended.is_set() for n in names), seconds)
        return {name: self.processes[name].code for name in names}

    def left(self, worker: int, step: int) -> list[int]:
        """The records that a worker would go on with from a step."""
        files = [str(file) for file in sorted(self.input.glob("part-*.tfrecord"))]
        return drain(
            files[worker::WITH_INPUT], f"{self.model_dir}/input_worker_{worker}.ckpt-{step}"
        )


def done(process: subprocess.Popen[str], seconds: float = 60) -> str:
    output, _ = process.communicate(timeout=seconds)
    assert process.returncode == 0, output
    return output


def test_a_worker_that_comes_back_in_a_save(server: ForkServer, tmp_path: Path) -> None:
    """Its hooks are in the order that everybody has: it commits where it was restored to."""
    job = StockJob(server, tmp_path, {}, pause=0)
    try:
        job.begin()
        job.wait_for(lambda: len(job.consumed(1)) >= 500)
        done(job.ask("save", "--require-all"))
        restored = job.step
        assert restored is not None
        job.wait_for(lambda: len(job.consumed(1)) >= 1050)  # of 4 records each
        job.processes["worker_0"].kill()
        save = job.ask("save", "--require-all")
        job.start("worker_0")
        done(save)
        saved = job.step
        assert saved is not None
        assert saved > restored
        inputs = read_step_inputs(str(job.model_dir), saved)
        assert inputs is not None
        finished = {worker: entry.finished for worker, entry in inputs.workers.items()}
        assert finished == {0: True, 1: True, 2: True}
        left = job.left(1, saved)
        assert left == job.left(1, restored)
        assert 0 < len(left) <= job.records // WITH_INPUT - 4 * 500
        assert len(job.left(2, saved)) < len(job.left(2, restored))
        job.wait_for(lambda: "Restored the input of worker 1" in job.said("worker_0"))
    finally:
        job.kill_all()


# --- a job's end ------------------------------------------------------------------------------


def assert_all_committed(job: StockJob, least_step: int) -> None:
    """The latest step has every input, and all that was trained on."""
    committed = check(job)
    assert committed.step is not None
    assert committed.step >= least_step
    for worker in range(WITH_INPUT):
        logged = {record for entry in job.consumed(worker) for record in entry["records"]}
        # Who was let go from the last save's barrier may make one step more.
        assert len(logged - committed.trained[worker]) <= BATCH


@pytest.mark.parametrize("end_last", [False, True], ids=["barrier hook first", "barrier hook last"])
def test_stop_at_step_in_every_process(server: ForkServer, tmp_path: Path, end_last: bool) -> None:
    job = StockJob(server, tmp_path, {"last_step": 400, "end_last": end_last})
    try:
        job.begin()
        assert job.codes() == {"chief_0": 0, "worker_0": 0, "worker_1": 0}
        assert_all_committed(job, 400)
    finally:
        job.kill_all()


def test_a_worker_that_waits_to_leave(server: ForkServer, tmp_path: Path) -> None:
    """It is there for saves; once it is killed nobody waits for it, and it may come back."""
    job = StockJob(server, tmp_path, {"workers_last_step": {"1": 100}}, pause=0.02)
    try:
        job.begin()
        job.wait_for(lambda: "waits for the chief's last save" in job.said("worker_0"))
        done(job.ask("save", "--require-all"))
        assert job.step is not None
        check(job)
        job.processes["worker_0"].kill()
        time.sleep(LEASE_SECONDS + 2)
        began = time.monotonic()
        save = job.ask("save", "--require-all")
        output, _ = save.communicate(timeout=60)
        assert "worker 1 has not saved its input" in output
        assert time.monotonic() - began < PENDING_SECONDS / 2
        assert "without workers [1]: they have left the job" in job.said("chief_0")
        job.start("worker_0")
        job.wait_for_lives("worker_0", "waits for the chief's last save", 2)
        done(job.ask("save", "--require-all"))
        # What a cluster does to end a job.
        before = job.step
        for name in NAMES[1:]:
            os.kill(job.processes[name].pid, signal.SIGTERM)
        assert job.codes() == {"chief_0": 0, "worker_0": 0, "worker_1": 0}
        assert before is not None
        assert job.step is not None
        assert job.step > before
        # Neither a port nor a token is left.
        assert not {"controller_server_addr.txt", "controller_token"} & set(
            os.listdir(job.model_dir)
        )
    finally:
        job.kill_all()


def test_a_last_save_that_fails_is_an_error_of_the_job(server: ForkServer, tmp_path: Path) -> None:
    wanted = {"workers_last_step": {"1": 100}, "leave_after_seconds": {"1": 1}}
    job = StockJob(server, tmp_path, wanted, pause=0.02)
    try:
        job.begin()
        assert job.processes["worker_0"].wait(60) == 0
        assert "leaves before the chief's last save" in job.said("worker_0")
        began = time.monotonic()
        done(job.ask("stop"))
        assert job.processes["chief_0"].wait(60) == 1
        assert time.monotonic() - began < PENDING_SECONDS / 2
        assert "worker 1 has not saved its input" in job.said("chief_0")
        assert job.step is None
        # Who waits for that save does not end as if it had been made.
        assert job.processes["worker_1"].wait(60) == 1
        assert "its last save is not made" in job.said("worker_1")
    finally:
        job.kill_all()


@pytest.mark.parametrize("way", ["port", "file"])
def test_job_stop(server: ForkServer, tmp_path: Path, way: str) -> None:
    job = StockJob(server, tmp_path, {}, controller={"QUERY_INTERVAL": 0.2})
    try:
        job.begin()
        done(job.ask("stop", *(["--via", "file"] if way == "file" else [])))
        assert job.codes() == {"chief_0": 0, "worker_0": 0, "worker_1": 0}
        assert_all_committed(job, 1)
    finally:
        job.kill_all()


def test_inputs_that_end(server: ForkServer, tmp_path: Path) -> None:
    job = StockJob(server, tmp_path, {"stay": True}, records=1200, pause=0)
    try:
        job.begin()
        assert job.codes() == {"chief_0": 0, "worker_0": 0, "worker_1": 0}
        committed = check(job)
        assert sum(map(len, committed.trained.values())) == job.records
        assert not any(committed.left.values())
    finally:
        job.kill_all()
