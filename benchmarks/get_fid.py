"""Looking for one entry, against counting its table."""

from __future__ import annotations

import json
from collections.abc import Iterator

from measure import MONOLITH, Bench, Row, compared, output


def measure(bench: Bench) -> Iterator[Row]:
    """Whole processes; both read all of the table."""
    from monolith_cli import open_model_dir, open_tables

    name = "equal"
    model = bench.samples.model(name)
    bench.warm(bench.samples.files(name))
    (table,) = open_tables(open_model_dir(model).checkpoint())
    first = output([MONOLITH, "table", "dump", "--limit", "1", "--columns", "fid", model])
    medians = bench.seconds(
        [MONOLITH, "table", "get", "--table", table.name, model, json.loads(first)["fid"]],
        [MONOLITH, "ckpt-info", "--dry-run", "--table", table.name, model],
    )
    what = f"`table get` of one fid, a table of {bench.samples.entries(name):,} entries"
    yield compared(what, "`ckpt-info` of the table", medians, "≤ 1.3", "1.0")
