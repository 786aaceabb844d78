"""Pages of a table through the library, against one pass over it that makes the same objects.

By itself (`paging.py MODEL RUNS`) it does both in turns, and prints the two medians in seconds.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from measure import Bench, Row, compared, output, python

if TYPE_CHECKING:
    from monolith_cli import Table

_LIMIT = 1000


def measure(bench: Bench) -> Iterator[Row]:
    """Both in one process, imports not included."""
    model = bench.samples.model("pages")
    bench.warm(bench.samples.files("pages"))
    ours, theirs = map(float, output(python("paging", model, bench.runs)).split())
    what = f"paging {bench.samples.entries('pages'):,} entries, limit {_LIMIT}, by the library"
    yield compared(what, "one pass, the same objects", (ours, theirs), "≤ 1.5", "1.1")


def _pages(table: Table) -> int:
    """The number of entries, page by page, as a client of the protocol reads them."""
    entries, offset = 0, 0
    while True:
        offset, page = table.save_as_tensor(0, 1, _LIMIT, offset)
        entries += len(page)
        if len(page) < _LIMIT:
            return entries


def _one_pass(table: Table) -> int:
    """The same with nothing between the native reader of each file and its `bytes` objects.

    They come in lists of the same length: longer ones would only leave the processor's cache.
    """
    from monolith_cli.tables.stream import ReadOptions, open_reader

    entries = 0
    for extent in table.extents():
        reader = open_reader(extent, ReadOptions(), extent.start, extent.end)
        while not reader.done:
            entries += len(reader.entries(_LIMIT))
    return entries


def _main(model: str, runs: int) -> None:
    from monolith_cli import open_model_dir, open_tables

    took: dict[str, list[float]] = {"pages": [], "pass": []}
    for number in range(runs + 1):
        for name, read in (("pages", _pages), ("pass", _one_pass)):
            (table,) = open_tables(open_model_dir(model).checkpoint())
            start = time.perf_counter()
            entries = read(table)
            if number > 0:
                took[name].append(time.perf_counter() - start)
            assert entries > 0
    print(*map(statistics.median, took.values()))


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]))
