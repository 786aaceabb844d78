"""Timing of whole processes, two against each other, and what the report says of them."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from samples import Samples

HERE = Path(__file__).parent
MONOLITH = str(Path(sys.executable).with_name("monolith"))
CAT = "/bin/cat"

# A variable of the caller's must not change what is measured; bytecode stays cached.
_UNWANTED = ("MONOLITH_", "PYTHONDONTWRITEBYTECODE", "PYTHONPROFILEIMPORTTIME")
ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith(_UNWANTED)}


class Row(NamedTuple):
    """A line of the report, all of it text."""

    what: str
    against: str = ""
    ours: str = ""
    theirs: str = ""
    ratio: str = ""
    must: str = ""
    aim: str = ""


class Usage(NamedTuple):
    """What a process took: wall clock time, and the peak of its resident memory in bytes."""

    seconds: float
    peak_bytes: int


def run(argv: Sequence[str]) -> Usage:
    """Run a process to its end, its output thrown away. A failure ends the benchmark."""
    with tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        # Its memory is measured too, so this process must stay small: the kernel counts a child's
        # peak from its parent's.
        process = subprocess.Popen(
            argv, stdout=subprocess.DEVNULL, stderr=errors, env=ENVIRONMENT, close_fds=False
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            sys.exit(f"{' '.join(argv)[:200]}: {process.returncode}\n{errors.read().decode()}")
    return Usage(seconds, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024))


def output(argv: Sequence[str]) -> str:
    """What a process prints; a failure ends the benchmark."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=ENVIRONMENT)
    if done.returncode:
        sys.exit(f"{' '.join(argv)[:200]}: {done.returncode}\n{done.stderr}")
    return done.stdout


def python(module: str, *args: object) -> list[str]:
    """The command line that runs one of the modules here by itself."""
    return [sys.executable, str(HERE / f"{module}.py"), *map(str, args)]


class Bench:
    """What all measurements share: sample data, how often to run, and how large everything is."""

    def __init__(self, samples: Samples, runs: int, scale: float) -> None:
        self.samples = samples
        self.runs = runs
        self.scale = scale

    def seconds(
        self, ours: Sequence[str], theirs: Sequence[str], runs: int | None = None
    ) -> tuple[float, float]:
        """The medians of whole processes, run in turns. Once before that without being timed."""
        run(ours)
        run(theirs)
        mine, other = [], []
        for _ in range(runs or self.runs):
            mine.append(run(ours).seconds)
            other.append(run(theirs).seconds)
        return statistics.median(mine), statistics.median(other)

    def reported(self, ours: Sequence[str], theirs: Sequence[str]) -> tuple[float, float]:
        """The same, where the other process says itself how many seconds it took."""
        run(ours)
        mine, other = [], []
        for _ in range(self.runs):
            mine.append(run(ours).seconds)
            other.append(float(output(theirs)))
        return statistics.median(mine), statistics.median(other)

    def warm(self, files: Iterable[str]) -> None:
        """Have the files in the page cache."""
        run([CAT, *files])


def duration(seconds: float) -> str:
    """Some seconds in the unit that suits them."""
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1e3:.0f} ms" if seconds >= 0.1 else f"{seconds * 1e3:.1f} ms"


def compared(
    what: str, against: str, medians: tuple[float, float], must: str, aim: str, note: str = ""
) -> Row:
    """A row of two durations; the ratio is ours to theirs."""
    ours, theirs = medians
    return Row(
        what, against, duration(ours) + note, duration(theirs), f"{ours / theirs:.2f}", must, aim
    )
