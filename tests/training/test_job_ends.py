"""Jobs of several processes in TensorFlow's own sessions, in the original's order of hooks.

What they commit while a worker comes back, and at their end, whatever ends them.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_support import MONOLITH, environment
from tf_support import tensorflow

from monolith_cli.checkpoint.inputs import read_step_inputs

sys.path.insert(0, str(Path(__file__).parent))

import chaos
from chaos import NAMES, WITH_INPUT, ForkServer, Job, check, drain

LEASE_SECONDS = 3
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
        pending_seconds: float = 40,
        hook: dict[str, Any] | None = None,
        controller: dict[str, Any] | None = None,
    ) -> None:
        arguments = {
            "stock": wanted,
            "BarrierOp": {"lease_seconds": LEASE_SECONDS},
            "BarrierSaverListener": {"max_pending_seconds": pending_seconds},
            "BarrierHook": hook or {},
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
        """Start all; workers once the chief is there, for which stock sessions do not wait."""
        for name in NAMES[:2]:
            self.start(name)
        self.wait_for(lambda: self.is_training)
        for name in NAMES[2:]:
            self.start(name)
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
