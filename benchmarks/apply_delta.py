"""`table rewrite --apply` of a delta that changes one entry in a hundred: time, and memory."""

from __future__ import annotations

import os
import shutil
import statistics
from collections.abc import Iterator, Sequence

from measure import MONOLITH, Bench, Row, compared, run
from table_diff import pair

_CHANGED = 100  # one entry of so many


def measure(bench: Bench) -> Iterator[Row]:
    """Against the rewrite without it, into as many files as before."""
    a, b = pair(bench, "equal", _CHANGED)
    delta, to = f"{b}.delta", f"{a}-rewritten"
    if not os.path.exists(delta):
        run([MONOLITH, "table", "diff", a, "--with", b, "--delta", delta, "--quiet"])
    what = f"`table rewrite --apply` of a delta of 1 %, {bench.samples.entries('equal'):,} entries"
    plain = [MONOLITH, "table", "rewrite", a, to, "--shards", "4", "--quiet"]
    apply = [*plain, "--apply", delta]
    bench.warm([*bench.samples.files("equal"), delta])
    times: list[tuple[float, float]] = []
    peaks: list[tuple[int, int]] = []
    for _ in range(bench.runs + 1):  # once before that without being timed
        mine, other = (_anew(to, command) for command in (apply, plain))
        times.append((mine[0], other[0]))
        peaks.append((mine[1], other[1]))
    medians = [statistics.median(side) for side in zip(*times[1:], strict=True)]
    yield compared(what, "`table rewrite` without it", (medians[0], medians[1]), "1.2", "1.05")
    most = [max(side) for side in zip(*peaks, strict=True)]
    yield Row(
        f"peak memory, {what}",
        "`table rewrite` without it",
        f"{most[0] / 1e6:.0f} MB",
        f"{most[1] / 1e6:.0f} MB",
        must="≤ 200 MB",
        aim="120 MB",
    )


def _anew(to: str, command: Sequence[str]) -> tuple[float, int]:
    """Seconds, and bytes of memory, of a rewrite into a directory that is not there yet."""
    usage = run(command)
    shutil.rmtree(to)
    return usage.seconds, usage.peak_bytes
