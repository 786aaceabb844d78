"""Starting up, against a Python that imports click."""

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
    medians = bench.seconds([MONOLITH, "--help"], click, runs)
    yield compared("`monolith --help`", against, medians, "≤ 1.5", "1.2")
    count = [MONOLITH, "ckpt-info", "--json", "--dry-run", bench.samples.small()]
    medians = bench.seconds(count, click, runs)
    yield compared("`ckpt-info --json`, a small directory", against, medians, "≤ 2", "1.5")
    line = f"monolith table dump {bench.samples.many_tables()} --table "
    complete = ["/usr/bin/env", "_MONOLITH_COMPLETE=bash_complete", MONOLITH, line, "", ""]
    medians = bench.seconds(complete, click, runs)
    yield compared("completing `--table`, 5,000 tables", against, medians, "200 ms", "100 ms")
