"""Python programs in forks of one process that has imported what they need: a start takes a moment.

`Program` is used like subprocess.Popen with text pipes, and does not outlive its block. It runs as
a script does, and the interpreter ends after it; but what was imported before the fork is there.
For programs of trainers that is TensorFlow; `command` has the command line's modules instead.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import queue
import select
import signal
import socket
import subprocess
import sys
import threading
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

POLL_SECONDS = 0.02
TRAINER, COMMAND = "trainer", "command"
START_SECONDS = 120.0
PIPES = 3


class Program:
    """A program, given as text or as a path, with its arguments; it runs in `cwd`.

    It has the environment of the tests when the first program started, and those variables
    besides. A `quiet` one has no `stderr`: one that nobody reads would be full one day.
    """

    def __init__(
        self,
        program: str | Path,
        *arguments: object,
        environment: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] = "/",
        quiet: bool = False,
        kind: str = TRAINER,
    ) -> None:
        source = program.read_text(encoding="utf-8") if isinstance(program, Path) else program
        order = {
            "name": str(program) if isinstance(program, Path) else "-c",
            "source": source,
            "arguments": [os.fspath(a) if isinstance(a, Path) else str(a) for a in arguments],
            "environment": dict(environment or {}),
            "cwd": os.fspath(cwd),
        }
        (theirs_in, mine_in), (mine_out, theirs_out), (mine_err, theirs_err) = (
            os.pipe() for _ in range(PIPES)
        )
        self.stdin = os.fdopen(mine_in, "w")
        self.stdout = os.fdopen(mine_out)
        self.stderr = os.fdopen(mine_err)
        self.returncode: int | None = None
        self.has_ended = threading.Event()
        if quiet:
            os.close(theirs_err)
            theirs_err = os.open(os.devnull, os.O_WRONLY)
        theirs = [theirs_in, theirs_out, theirs_err]
        try:
            self.pid = _server(kind).start(self, order, theirs)
        finally:
            for fd in theirs:
                os.close(fd)

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill it, if it still runs, and close its pipes."""
        self.kill()
        for pipe in (self.stdin, self.stdout, self.stderr):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float = 60) -> int:
        """Its code, negative for a signal."""
        if not self.has_ended.wait(timeout):
            raise subprocess.TimeoutExpired(f"program {self.pid}", timeout)
        assert self.returncode is not None
        return self.returncode

    def kill(self) -> None:
        """With -9; returns when it is gone."""
        if not self.has_ended.is_set():
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(self.pid, signal.SIGKILL)
            self.wait()

    def communicate(self, timeout: float = 60) -> tuple[str, str]:
        """All that it has still to say, by its end."""
        said: dict[str, str] = {}

        def read(name: str) -> None:
            said[name] = getattr(self, name).read()

        self.stdin.close()
        readers = [threading.Thread(target=read, args=(name,)) for name in ("stdout", "stderr")]
        for reader in readers:
            reader.start()
        try:
            self.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        for reader in readers:
            reader.join(timeout)
        return said["stdout"], said["stderr"]


class Ended(NamedTuple):
    """As subprocess.run has it."""

    returncode: int
    stdout: str
    stderr: str


def run(program: str | Path, *arguments: object, **options: Any) -> Ended:
    with Program(program, *arguments, **options) as started:
        said = started.communicate(120)
        return Ended(started.wait(), *said)


def command(*arguments: object) -> Ended:
    """`monolith` with these arguments, in Python's development mode.

    At its end the interpreter is taken apart, and says what was left open.
    """
    program = "from monolith_cli.__main__ import main; main()"
    return run(program, *arguments, kind=COMMAND)


@functools.cache
def _server(kind: str) -> _Server:
    server = _Server(kind)
    atexit.register(server.close)
    return server


class _Server:
    """The other end of `main`."""

    def __init__(self, kind: str) -> None:
        from cli_support import environment

        import monolith_cli

        mine, theirs = socket.socketpair()
        package = Path(monolith_cli.__file__ or "").parents[1]
        places = os.pathsep.join([str(package), str(Path(__file__).parent)])
        env = environment(PYTHONDEVMODE="1") if kind == COMMAND else dict(os.environ)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno()), kind],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=env | {"PYTHONPATH": places},
            )
        self._socket = mine
        self._lines = mine.makefile()
        self._started: queue.Queue[int] = queue.Queue()
        self._waiting: list[Program] = []
        self._programs: dict[int, Program] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self._read, daemon=True).start()

    def start(self, program: Program, order: dict[str, Any], fds: list[int]) -> int:
        with self._lock:
            self._waiting.append(program)
            data = json.dumps(order).encode() + b"\n"
            sent = socket.send_fds(self._socket, [data], fds)
            self._socket.sendall(data[sent:])
            return self._started.get(timeout=START_SECONDS)

    def _read(self) -> None:
        for line in self._lines:
            said = json.loads(line)
            if "started" in said:
                self._programs[said["started"]] = self._waiting.pop()
                self._started.put(said["started"])
            else:
                program = self._programs.pop(said["ended"])
                program.returncode = said["code"]
                program.has_ended.set()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


# --- the process that forks ---------------------------------------------------------------------


def import_trainer() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import tensorflow  # noqa: F401  (so that no program has to)

    from monolith_cli.training import barrier_ops, runs, save_utils  # noqa: F401


def import_command() -> None:
    """What commands on model directories import; no threads, which a fork would not have."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    import rich.console  # noqa: F401

    import monolith_cli

    for room in ("commands", "reports", "tables"):
        folder = Path(monolith_cli.__file__ or "").parent / room
        for path in sorted(folder.rglob("[!_]*.py")):
            names = ("monolith_cli", room, *path.relative_to(folder).with_suffix("").parts)
            importlib.import_module(".".join(names))


def main() -> None:
    """Fork programs until the socket ends, and take those with it that run then."""
    import_command() if sys.argv[2] == COMMAND else import_trainer()
    gc.freeze()  # no program goes through what was imported, again and again
    orders = socket.socket(fileno=int(sys.argv[1]))
    alive: set[int] = set()
    try:
        while True:
            if select.select([orders], [], [], POLL_SECONDS)[0]:
                data, fds, _, _ = socket.recv_fds(orders, 1 << 20, PIPES)
                while data and not data.endswith(b"\n"):
                    data += orders.recv(1 << 20)
                if not data:
                    return None
                pid = os.fork()
                if not pid:
                    alive.clear()
                    orders.close()
                    return be_program(json.loads(data), fds)
                for fd in fds:
                    os.close(fd)
                alive.add(pid)
                orders.sendall(b'{"started": %d}\n' % pid)
            for pid in list(alive):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    alive.remove(pid)
                    code = os.waitstatus_to_exitcode(status)
                    orders.sendall(b'{"ended": %d, "code": %d}\n' % (pid, code))
    finally:
        for pid in alive:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def be_program(order: dict[str, Any], fds: list[int]) -> None:
    """In the fork; the interpreter ends after it, as after any script."""
    for fd, target in zip(fds, range(PIPES), strict=True):
        os.dup2(fd, target)
        os.close(fd)
    sys.stdin, sys.stdout, sys.stderr = (
        open(fd, mode, closefd=False)  # noqa: SIM115  # as the interpreter's own: never leaked
        for fd, mode in enumerate("rww")
    )
    os.environ.update(order["environment"])
    os.chdir(order["cwd"])
    sys.argv[:] = [order["name"], *order["arguments"]]
    module = sys.modules["__main__"] = types.ModuleType("__main__")
    exec(compile(order["source"], order["name"], "exec"), vars(module))


if __name__ == "__main__":
    main()
