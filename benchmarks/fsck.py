"""Checking a model directory: every byte, against a scan; names alone, against Python."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from measure import MONOLITH, Bench, Row, compared

_RUNS = 21


def measure(bench: Bench) -> Iterator[Row]:
    """Whole processes, side by side."""
    for name, what in (("varied", "single tables"), ("multi", "SNAPPY multi tables")):
        model = bench.samples.model(name)
        bench.warm(bench.samples.files(name))
        medians = bench.seconds(
            [MONOLITH, "ckpt", "fsck", model],
            [MONOLITH, "ckpt-info", "--dry-run", "--scan", model],
        )
        size = bench.samples.stored_bytes(name) / 1e9
        yield compared(
            f"`ckpt fsck`, {size:.1f} GB in {what}", "`ckpt-info --scan`", medians, "≤ 1.15", "1.0"
        )
    click = [sys.executable, "-c", "import click"]
    quick = [MONOLITH, "ckpt", "fsck", "--quick", "--step", "all", bench.samples.many_steps()]
    medians = bench.seconds(quick, click, max(bench.runs, _RUNS))
    against = '`python -c "import click"`'
    yield compared("`ckpt fsck --quick`, 100 steps of 64 files", against, medians, "≤ 5", "3")
