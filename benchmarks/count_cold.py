"""Counting a checkpoint that is not in memory, against only reading its files from the disk.

A disk may be fast for one reader or for eight: what counts is the better of the two. Memory that is
free is slow to get in many virtual machines, whose host has taken it; so as much is held as leaves
room for two samples, and another sample is read before each run. Then reading takes memory from
what was read before, as on a machine that has been up for a while.
"""

from __future__ import annotations

import mmap
import os
import re
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from measure import CAT, MONOLITH, Bench, Row, compared, run

_HUGE_BYTES = 2 << 20

_EIGHT = """
for file in "$@"; do
    half=$(( ($(wc -c < "$file") + 2097151) / 2097152 ))
    dd if="$file" bs=1M count=$half status=none &
    dd if="$file" bs=1M skip=$half status=none &
done
wait
"""
"""Each of four files in two halves."""


def measure(bench: Bench) -> Iterator[Row]:
    """With one thread, and with eight."""
    if sys.platform != "linux":
        return
    model, files = bench.samples.model("equal"), bench.samples.files("equal")
    entries = f"{bench.samples.entries('equal'):,} entries"
    what = f"`ckpt-info --dry-run`, {entries} of dim 33, not in memory"
    others = bench.samples.files("varied")
    held = _hold_memory(2 * sum(map(os.path.getsize, files)))
    for jobs in (1, 8):
        ours = [MONOLITH, "ckpt-info", "--dry-run", "--jobs", str(jobs), model]
        medians = _cold(bench.runs, files, others, ours)
        yield compared(
            f"{what}, `--jobs {jobs}`",
            "the better of `cat` and eight readers side by side",
            medians,
            "≤ 1.1",
            "1.0",
        )
    if held is not None:
        held.close()


def _hold_memory(spare_bytes: int) -> mmap.mmap | None:
    """All memory that could be had but so much; None where that is no more."""
    kibibytes = int(re.findall(r"MemAvailable: +([0-9]+) kB", Path("/proc/meminfo").read_text())[0])
    size = (kibibytes * 1024 - spare_bytes) // _HUGE_BYTES * _HUGE_BYTES
    if size <= 0:
        return None
    held = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    held.madvise(mmap.MADV_HUGEPAGE)
    ones = b"\1" * _HUGE_BYTES
    for at in range(0, size, _HUGE_BYTES):
        held[at : at + _HUGE_BYTES] = ones
    return held


def _cold(
    runs: int, files: Sequence[str], others: Sequence[str], ours: Sequence[str]
) -> tuple[float, float]:
    commands = [ours, [CAT, *files], ["sh", "-c", _EIGHT, "sh", *files]]
    seconds: list[list[float]] = [[] for _ in commands]
    for _ in range(runs):
        for command, taken in zip(commands, seconds, strict=True):
            run([CAT, *others])
            for file in files:
                _drop(file)
            taken.append(run(command).seconds)
    mine, one, eight = map(statistics.median, seconds)
    return mine, min(one, eight)


def _drop(path: str) -> None:
    """Have nothing of a file in memory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
