"""Copying steps, against what a shell does: `cp`, `sync` and `cmp`, and `cp -al` for links."""

from __future__ import annotations

import os
import shlex
import shutil
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from measure import MONOLITH, Bench, Row, compared, run

_LINK_RUNS = 11


def measure(bench: Bench) -> Iterator[Row]:
    """Whole processes in turns, each into a directory that is not there."""
    model = bench.samples.model("varied")
    bench.warm(bench.samples.files("varied"))
    target = f"{model}-copied"
    source, copy = shlex.quote(model), shlex.quote(target)
    shell = (
        f"cp -r {source} {copy} && sync && cd {source}"
        f" && find . -type f -exec cmp {{}} {copy}/{{}} \\;"
    )
    ours = [MONOLITH, "ckpt", "cp", model, target]
    medians = _into_nothing(target, ours, ["sh", "-ec", shell], bench.runs)
    size = bench.samples.stored_bytes("varied") / 1e9
    yield compared(f"`ckpt cp`, {size:.1f} GB", "`cp`, `sync`, `cmp`", medians, "≤ 1.2", "1.0")
    peak = _peak(target, ours)
    yield Row(
        f"peak memory, `ckpt cp`, {size:.2g} GB",
        ours=f"{peak / 1e6:.0f} MB",
        must="≤ 200 MB",
        aim="120 MB",
    )
    model = bench.samples.many_steps()
    target = f"{model}-linked"
    medians = _into_nothing(
        target,
        [MONOLITH, "ckpt", "cp", "--all", "--link", model, target],
        ["cp", "-al", model, target],
        max(bench.runs, _LINK_RUNS),
    )
    what = "`ckpt cp --all --link`, 100 steps of 64 files"
    yield compared(what, "`cp -al`", medians, "≤ 4", "2")


def _into_nothing(
    target: str, ours: Sequence[str], theirs: Sequence[str], runs: int
) -> tuple[float, float]:
    """The medians of two commands that make a directory; once before that without being timed."""
    seconds: tuple[list[float], list[float]] = [], []
    for _ in range(runs + 1):
        for command, times in zip((ours, theirs), seconds, strict=True):
            _clear(target)
            times.append(run(command).seconds)
    _clear(target)
    mine, other = (statistics.median(times[1:]) for times in seconds)
    return mine, other


def _peak(target: str, command: Sequence[str]) -> int:
    peaks = []
    for _ in range(2):
        _clear(target)
        peaks.append(run(command).peak_bytes)
    _clear(target)
    return max(peaks)


def _clear(target: str) -> None:
    if Path(target).exists():
        shutil.rmtree(target)
    os.sync()  # else the system would write behind the measurements' back
