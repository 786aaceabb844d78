"""Starts processes of a job in a moment: forks of one that has imported TensorFlow already."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

PROGRAM = Path(__file__).with_name("chaos_job.py")
START_SECONDS = 120.0


class Process:
    """One of the job's processes."""

    def __init__(self, name: str, pid: int) -> None:
        self.name = name
        self.pid = pid
        self.code: int | None = None
        self.has_ended = threading.Event()

    def kill(self) -> None:
        """With -9; returns when it is gone."""
        if not self.has_ended.is_set():
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(self.pid, signal.SIGKILL)
            self.wait(10)

    def wait(self, seconds: float) -> int:
        """Until it has ended; its code, negative for a signal."""
        if not self.has_ended.wait(seconds):
            raise TimeoutError(f"{self.name} has not ended within {seconds:g} s")
        assert self.code is not None
        return self.code


class ForkServer:
    """Starts processes of a job in a moment, as TensorFlow is imported once."""

    def __init__(self, **env: str) -> None:
        import monolith_cli

        package = Path(monolith_cli.__file__ or "").parents[1]
        self._server = subprocess.Popen(
            [sys.executable, str(PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=dict(os.environ, PYTHONPATH=str(package), **env),
        )
        self._started: queue.Queue[Process] = queue.Queue()
        self._processes: dict[int, Process] = {}
        self._lock = threading.Lock()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> ForkServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        try:
            self._server.wait(20)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        self._reader.join(10)
        self._server.stdout.close()

    def start(self, name: str, **order: Any) -> Process:
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(order) + "\n")
        self._server.stdin.flush()
        with self._lock:
            process = self._started.get(timeout=START_SECONDS)
            process.name = name
        return process

    def _read(self) -> None:
        assert self._server.stdout is not None
        for line in self._server.stdout:
            said = json.loads(line)
            if "started" in said:
                process = Process("", said["started"])
                self._processes[process.pid] = process
                self._started.put(process)
            else:
                # Its number may be used again.
                process = self._processes.pop(said["ended"])
                process.code = said["code"]
                process.has_ended.set()
