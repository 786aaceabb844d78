"""Counting a checkpoint that is not in memory, against only reading its files from the disk.

A disk may be fast for one reader or for eight: what counts is the better of the two.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator, Sequence

from measure import CAT, MONOLITH, Bench, Row, compared, run

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
    if not hasattr(os, "posix_fadvise"):
        return
    model, files = bench.samples.model("equal"), bench.samples.files("equal")
    entries = f"{bench.samples.entries('equal'):,} entries"
    what = f"`ckpt-info --dry-run`, {entries} of dim 33, not in memory"
    for jobs in (1, 8):
        ours = [MONOLITH, "ckpt-info", "--dry-run", "--jobs", str(jobs), model]
        medians = _cold(bench.runs, files, ours)
        yield compared(
            f"{what}, `--jobs {jobs}`",
            "the better of `cat` and eight readers side by side",
            medians,
            "≤ 1.1",
            "1.0",
        )


def _cold(runs: int, files: Sequence[str], ours: Sequence[str]) -> tuple[float, float]:
    commands = [ours, [CAT, *files], ["sh", "-c", _EIGHT, "sh", *files]]
    seconds: list[list[float]] = [[] for _ in commands]
    for _ in range(runs):
        for command, taken in zip(commands, seconds, strict=True):
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
