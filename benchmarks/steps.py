"""Looking at many steps at once, against a Python that imports click."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from measure import MONOLITH, Bench, Row, compared

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
    medians = bench.seconds([*prune, bench.samples.checked_steps()], click, runs)
    what = "`ckpt prune -n`, 100 checked steps of 64 files"
    yield compared(what, against, medians, "≤ 5", "3")
