"""Looking at many steps at once, against a Python that imports click."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from measure import MONOLITH, Bench, Row, compared, run

_RUNS = 21


def measure(bench: Bench) -> Iterator[Row]:
    """Whole processes of the same interpreter."""
    click = [sys.executable, "-c", "import click"]
    against = '`python -c "import click"`'
    runs = max(bench.runs, _RUNS)
    medians = bench.seconds([MONOLITH, "ckpt", "ls", bench.samples.many_steps()], click, runs)
    yield compared("`ckpt ls`, 100 steps of 64 files", against, medians, "≤ 4", "2.5")
    medians = bench.seconds([MONOLITH, "ckpt", "history", bench.samples.many_counts()], click, runs)
    yield compared("`ckpt history`, 1,000 counts of 300 slots", against, medians, "≤ 12", "6")
    prune = [MONOLITH, "ckpt", "prune", "--keep-last", "10", "--keep-every", "7", "-n"]
    prune.append(bench.samples.checked_steps())
    what = "`ckpt prune -n`, 100 checked steps of 64 files"
    yield compared(what, against, bench.seconds(prune, click, runs), "≤ 5", "3")
    peak = max(run(prune).peak_bytes for _ in range(3))
    yield Row(f"peak memory, {what}", "", f"{peak / 1e6:.0f} MB", must="≤ 200 MB", aim="120 MB")
