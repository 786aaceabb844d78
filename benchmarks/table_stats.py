"""Statistics of a table, against counting it, and against NumPy over `read_columns`. Run on its own
with a model directory, it makes NumPy's side and prints seconds.

NumPy makes less of it: no histograms, no ages, nothing by slot, and a variance that loses digits
where the mean is far from zero.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

from measure import MONOLITH, Bench, Row, compared, duration, python

PARTS = 40


def measure(bench: Bench) -> Iterator[Row]:
    """Whole processes, but for NumPy, which tells its seconds without imports."""
    name = "stats"
    model = bench.samples.model(name)
    bench.warm(bench.samples.files(name))
    entries = f"{bench.samples.entries(name):,} entries of 33 floats with Adagrad"
    count = [MONOLITH, "ckpt-info", "--dry-run", "--json", model]
    stats = [MONOLITH, "table", "stats", "--json", model]
    medians = bench.seconds(stats, count)
    yield compared(f"`table stats`, {entries}", "`ckpt-info`", medians, "≤ 2.0", "1.5")
    medians = bench.seconds([*stats, "--by", "slot"], count)
    yield compared("the same by slot", "`ckpt-info`", medians, "", "")
    few = Bench(bench.samples, min(bench.runs, 3), bench.scale)
    ours, theirs = few.reported(stats, python("table_stats", model))
    what = "the same, speed"
    times = f"{theirs / ours:.1f}"
    against = "NumPy over `read_columns`"
    yield Row(what, against, duration(ours), duration(theirs), times, "≥ 5", "15")


def numpy_statistics(model: str) -> dict[str, Any]:
    """Mean, deviation, minimum, maximum, norms and what is not finite, in as many parts as fit into
    memory; with as many threads as there are processors to read."""
    import numpy as np

    from monolith_cli import open_model_dir, open_tables

    [table] = open_tables(open_model_dir(model).checkpoint())
    sums: dict[str, list[float]] = {}
    norms = []
    for part in range(PARTS):
        columns = table.read_columns(["embedding", "opt"], shard=part, nshards=PARTS, jobs=None)
        for name, values in columns.items():
            wide = values.astype(np.float64)  # type: ignore[union-attr]
            finite = np.isfinite(wide)
            if not finite.all():
                wide = wide[finite]
            found = sums.setdefault(name, [0, 0, 0, np.inf, -np.inf, 0])
            found[0] += wide.size
            found[1] += wide.sum()
            found[2] += (wide * wide).sum()
            found[3] = min(found[3], wide.min(initial=np.inf))
            found[4] = max(found[4], wide.max(initial=-np.inf))
            found[5] += finite.size - finite.sum()
        norms.append(np.linalg.norm(columns["embedding"], axis=1))
    all_norms = np.concatenate(norms)
    return {
        **{
            name: (total / n, (squares / n - (total / n) ** 2) ** 0.5, low, high, odd)
            for name, (n, total, squares, low, high, odd) in sums.items()
        },
        "norms": np.quantile(all_norms, [0, 0.01, 0.5, 0.99, 1]),
    }


def main() -> None:
    import numpy as np  # noqa: F401  (its import is not what is measured)

    start = time.perf_counter()
    numpy_statistics(sys.argv[1])
    print(time.perf_counter() - start)


if __name__ == "__main__":
    main()
