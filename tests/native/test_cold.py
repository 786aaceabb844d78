"""A file that is not in memory: the system is asked for it ahead of who reads it."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import sys
import time
from pathlib import Path

import pytest

from monolith_cli import _native

SIZE = 30 << 20
ENOUGH_KIB = 2048
RECORD = bytes(10_000)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux what is in memory")


def in_memory(path: Path) -> float:
    """Which part of a file's last mebibyte is in memory."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
    start = (path.stat().st_size - (1 << 20)) & -mmap.ALLOCATIONGRANULARITY
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0, offset=start) as mapped:
        pages = (ctypes.c_ubyte * -(-len(mapped) // mmap.PAGESIZE))()
        first = ctypes.c_char.from_buffer(mapped)
        assert libc.mincore(ctypes.addressof(first), len(mapped), pages) == 0
        del first
        return sum(page & 1 for page in pages) / len(pages)


def drop(path: Path) -> None:
    with path.open("r+b") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def reads_ahead(path: Path) -> int:
    """What the system reads from a disk ahead of a reader by itself, in KiB; 0 if unknown."""
    device = path.stat().st_dev
    disk = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
    for of_disk in (disk, disk / ".."):  # a partition has it from its disk
        with contextlib.suppress(OSError):
            return int((of_disk / "queue/read_ahead_kb").read_text())
    return 0


def test_what_comes_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "t"
    count = SIZE // len(RECORD)
    path.write_bytes(_native.frame_records([RECORD] * count))
    drop(path)
    if in_memory(path) > 0:
        pytest.skip("this file system has its files in memory")
    file = _native.File(bytes(path))
    # Who reads a little wants no more.
    assert _native.Reader(file, 0, None).skip(10) == 10
    time.sleep(0.1)
    assert in_memory(path) == 0
    # Whoever goes on most likely wants it all.
    reader = _native.Reader(file, 0, None)
    assert reader.skip(150) == 150
    if reads_ahead(path) < ENOUGH_KIB:
        deadline = time.monotonic() + 60
        while in_memory(path) < 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert in_memory(path) == 1
    else:  # it reads better when it is left alone
        time.sleep(0.1)
        assert in_memory(path) == 0
    drop(path)
    assert reader.records(2**63) == [RECORD] * (count - 150)
