"""Commands in processes of their own, which die of a kill -9 at a change, or at any time.

What changes something is told by Python's own audit events, so nothing in a command is patched:
each new file, rename, link, new directory and removal counts, those in the middle of a call of the
store as well. Files that native code writes are not seen, but get their names by one of these.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import time
from pathlib import Path

from forked import COMMAND, Ended, Program

EVENTS = {"os.rename", "os.remove", "os.link", "os.symlink", "os.mkdir", "os.rmdir", "os.truncate"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
SECONDS = 120.0
KILLED = -signal.SIGKILL

PROGRAM = """
import sys
import killing
killing.die_at(int(sys.argv.pop(1)), sys.argv.pop(1))
from monolith_cli.__main__ import main
main()
"""


def die_at(change: int, counts: str) -> None:
    """Kill this process before that change, counted from 1; with 0 write how many there were."""
    done = 0
    last: object = None
    sys.dont_write_bytecode = True

    def look(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal done, last
        if event == "open":
            path, _, flags = arguments
            if not isinstance(flags, int) or not flags & WRITING or str(path).startswith("/dev/"):
                return
            if path == last:  # with an opener it is said twice
                return
            last = path
        elif event not in EVENTS:
            return
        done += 1
        if done == change:
            os.kill(os.getpid(), signal.SIGKILL)

    if not change:
        atexit.register(lambda: Path(counts).write_text(str(done)))
    sys.addaudithook(look)


def count_changes(scratch: Path, *arguments: object) -> tuple[int, float, Ended]:
    """Run a command undisturbed: the number of its changes, its seconds, how it ended."""
    counts = scratch / "changes"
    began = time.monotonic()
    ended = _run(0, counts, arguments)
    return int(counts.read_text()), time.monotonic() - began, ended


def killed_at(change: int, *arguments: object) -> Ended:
    """Run a command that dies before that change, unless it ends before it."""
    return _run(change, os.devnull, arguments)


def killed_after(seconds: float, *arguments: object) -> Ended:
    """Run a command, and kill it after some time, unless it ends before that."""
    with Program(PROGRAM, -1, os.devnull, *arguments, kind=COMMAND) as started:
        started.has_ended.wait(seconds)
        started.kill()
        return Ended(started.wait(), *started.communicate())


def _run(change: int, counts: object, arguments: tuple[object, ...]) -> Ended:
    with Program(PROGRAM, change, counts, *arguments, kind=COMMAND) as started:
        said = started.communicate(SECONDS)
        return Ended(started.wait(), *said)
