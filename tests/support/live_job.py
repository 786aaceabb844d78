"""The example job with three workers, as processes that a test can kill, and commands for it."""

from __future__ import annotations

import atexit
import functools
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from cli_support import MONOLITH, environment, monolith
from clocks import preloaded
from fork_server import ForkServer, Process
from ports import free_addresses

from monolith_cli.checkpoint.restart import restart_point

ROOT = Path(__file__).resolve().parents[2]

ADDRESS, TOKEN, LOG = "controller_server_addr.txt", "controller_token", "control.log"
WORKERS = (1, 2, 3)
# A worker's process by its index at the barrier; 0 is the chief.
NAMES = {0: "chief_0", 1: "worker_0", 2: "worker_1", 3: "worker_2"}
SECONDS = 120.0
PATH = f"{MONOLITH.parent}:{os.environ['PATH']}"


class LiveJob:
    """One parameter server, a chief and three workers; it saves only when it is asked to.

    Its input lasts for two minutes or more. `arguments` are those of `chaos_job`, and the chief's
    clock is fast by `chief_ahead_seconds`. `options` are of the example, and may say otherwise.
    """

    def __init__(
        self,
        server: ForkServer,
        directory: Path,
        arguments: dict[str, dict[str, Any]] | None = None,
        chief_ahead_seconds: int = 0,
        options: Sequence[str] = (),
    ) -> None:
        self._server = server
        self._arguments = dict.fromkeys(("ps_0", *NAMES.values()), arguments or {})
        if chief_ahead_seconds:
            clock = {"clock": {"seconds": chief_ahead_seconds}}
            self._arguments[NAMES[0]] = {**self._arguments[NAMES[0]], **clock}
        self.model_dir = directory / "model"
        self._log = self.model_dir / "log"
        self._log.mkdir(parents=True)
        # Relative to where the job runs, as a user may give it: commands run elsewhere.
        self._argv = [os.path.relpath(self.model_dir), "--workers", "3", "--records", "24000"]
        self._argv += ["--batch", "1", "--save-steps", "1000000", "--pause", "0.03"]
        self._argv += ["--deadline", "60", *options]
        hosts = free_addresses(5)
        self._cluster = {"ps": hosts[:1], "chief": hosts[1:2], "worker": hosts[2:]}
        self.processes: dict[str, Process] = {}

    def start(self, name: str) -> Process:
        job, _, task = name.rpartition("_")
        config = {"cluster": self._cluster, "task": {"type": job, "index": int(task)}}
        process = self._server.start(
            name,
            argv=self._argv,
            environment={"TF_CONFIG": json.dumps(config)},
            output=str(self._log / f"{name}.log"),
            stop=None,
            arguments=self._arguments.get(name, {}),
        )
        self.processes[name] = process
        return process

    def start_all(self) -> None:
        """Returns when every process trains, and the port is open."""
        if not (self.model_dir / "input").exists():
            assert self.start("input_0").wait(SECONDS) == 0
            del self.processes["input_0"]
        for name in ("ps_0", *NAMES.values()):
            self.start(name)
        self.wait_for(lambda: self.ended or all(map(self.steps, NAMES)))
        assert not self.ended, self.ended
        self.goes_on()

    @property
    def ended(self) -> dict[str, int | None]:
        """The exit codes of the processes that have ended."""
        return {name: each.code for name, each in self.processes.items() if each.has_ended.is_set()}

    def heal(self) -> None:
        """Start again what is dead, and remove whatever barrier there is."""
        for index, name in NAMES.items():
            process = self.processes[name]
            if process.has_ended.is_set():
                assert process.code != 0, f"{name} has come to its end"
                if index == 0:
                    (self.model_dir / ADDRESS).unlink(missing_ok=True)
                self.start(name)
        self.wait_for(lambda: self.monolith("barrier", "remove", "--force").returncode == 0)
        self.goes_on()

    def kill(self, index: int) -> None:
        """With -9."""
        self.processes[NAMES[index]].kill()

    @contextmanager
    def stopped(self, name: str) -> Iterator[None]:
        """A process hangs, by SIGSTOP, until the block is over."""
        process = self.processes[name]
        os.kill(process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(process.pid, signal.SIGCONT)

    def kill_all(self) -> None:
        for process in self.processes.values():
            process.kill()

    def monolith(
        self, group: str, command: str, *args: object, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `monolith group command MODEL_DIR ...` as a process."""
        return subprocess.run(
            self.command(group, command, *args),
            check=False,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            env=environment(**env),
        )

    def from_afar(
        self, group: str, command: str, *args: object, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """As `monolith`, by one who has the address alone, and not what is in the directory."""
        address = (self.model_dir / ADDRESS).read_text().strip()
        return monolith(group, command, "--address", address, *args, **env)

    def command(self, group: str, command: str, *args: object) -> list[str]:
        return [str(MONOLITH), group, command, str(self.model_dir), *map(str, args)]

    def ok(self, group: str, command: str, *args: object) -> str:
        """As `monolith`; it must succeed. Its output."""
        done = self.monolith(group, command, *args)
        assert done.returncode == 0, done.stderr
        return done.stdout

    @property
    def status(self) -> dict[str, Any]:
        """What `barrier status` says."""
        status: dict[str, Any] = json.loads(self.ok("barrier", "status", "--json"))
        return status

    def steps(self, index: int) -> int:
        """How many steps a process has made, in all its lives."""
        path = self._log / f"input_{index}.jsonl"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def said(self, index: int) -> str:
        """What a process has written, in all its lives."""
        path = self._log / f"{NAMES[index]}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def goes_on(self, *indices: int) -> None:
        """Wait until each of these, or all, has made some more steps; the port is then open."""
        before = {index: self.steps(index) for index in indices or NAMES}
        self.wait_for(lambda: all(self.steps(i) >= n + 3 for i, n in before.items()))
        if not indices:
            self.wait_for((self.model_dir / ADDRESS).exists)

    def stands_still(self, *indices: int) -> None:
        """None of these makes a step for a while."""
        before = {index: self.steps(index) for index in indices}
        time.sleep(0.5)
        assert {index: self.steps(index) for index in indices} == before

    @property
    def step(self) -> int | None:
        """The committed step."""
        return restart_point(self.model_dir).step

    def states(self, step: int) -> list[int]:
        """Whose inputs' states of a step are there."""
        name = "input_worker_{}.ckpt-{}.index"
        return [i for i in NAMES if (self.model_dir / name.format(i, step)).exists()]

    def wait_for(self, condition: Callable[[], object], seconds: float = SECONDS) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() >= end:
                tails = "\n".join(
                    f"{path.name}: {path.read_text()[-1500:]}" for path in self._log.glob("*.log")
                )
                raise TimeoutError(f"waited {seconds:g} s in vain\n{tails}")
            time.sleep(0.02)


@functools.cache
def _server() -> ForkServer:
    """One for all jobs, as it takes seconds to start; it ends with this process."""
    server = ForkServer(**preloaded())
    atexit.register(server.__exit__, None, None, None)
    return server


@contextmanager
def live_job(
    directory: Path,
    arguments: dict[str, dict[str, Any]] | None = None,
    chief_ahead_seconds: int = 0,
    options: Sequence[str] = (),
) -> Iterator[LiveJob]:
    """A job that trains; its processes are gone when the block is over."""
    if find_spec("tensorflow") is None:
        pytest.skip("TensorFlow is not installed")
    job = LiveJob(_server(), directory, arguments, chief_ahead_seconds, options)
    try:
        job.start_all()
        yield job
    finally:
        job.kill_all()


def run_script(script: Path, *args: object, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a script with bash, `monolith` being the installed one."""
    return subprocess.run(
        ["bash", str(script), *map(str, args)],
        check=False,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env=environment(PATH=PATH, **env),
    )
