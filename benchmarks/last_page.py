"""The last page of a large table by its cursor, against the first one."""

from __future__ import annotations

from collections.abc import Iterator

from measure import MONOLITH, Bench, Row, compared

_LIMIT = 1000


def measure(bench: Bench) -> Iterator[Row]:
    """Whole processes, which know nothing but the cursor."""
    from monolith_cli import open_model_dir, open_tables

    name = "equal"
    model, entries = bench.samples.model(name), bench.samples.entries(name)
    bench.warm(bench.samples.files(name))
    (table,) = open_tables(open_model_dir(model).checkpoint())
    record_bytes, rest = divmod(table.stream.size, entries)
    assert rest == 0, "entries of different lengths"
    cursor = 1 + record_bytes * max(0, entries - _LIMIT)
    first = [MONOLITH, "table", "dump", "--limit", str(_LIMIT), model]
    medians = bench.seconds([*first, "--offset", str(cursor)], first, runs=max(bench.runs, 21))
    what = f"last page of {table.stream.size / 1e9:.2g} GB by its cursor, a process of its own"
    yield compared(what, "the first page", medians, "≤ 1.2", "1.0")
