"""Processes whose time of day is wrong, by a library that is preloaded into them."""

from __future__ import annotations

import atexit
import ctypes
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_name("clock_shift.c")


@functools.cache
def library() -> str | None:
    """The library's path; None where it cannot be built: it is for Linux, and needs a compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    directory = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    path = os.path.join(directory, "clock_shift.so")
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", path, str(SOURCE), "-ldl"]
    return None if subprocess.run(command, check=False, capture_output=True).returncode else path


def preloaded(seconds: int = 0) -> dict[str, str]:
    """The environment of a process whose clock is so many seconds fast; empty if it cannot be."""
    path = library()
    if path is None:
        return {}
    preload = " ".join(filter(None, (os.environ.get("LD_PRELOAD"), path)))
    return {"LD_PRELOAD": preload, "CLOCK_SHIFT_SECONDS": str(seconds)}


def shift_this_process(seconds: int) -> None:
    """In a process that was started with `preloaded`."""
    ctypes.CDLL(None).set_clock_shift(ctypes.c_long(seconds))
