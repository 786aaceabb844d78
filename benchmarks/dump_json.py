"""Entries as lines of JSON, against protobuf and json of Python.

By itself (`dump_json.py ENTRIES FILE`) it does the latter and prints how many seconds it took.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

from measure import MONOLITH, Bench, Row, python

# Theirs takes so long that a part must do.
_PART = 20


def measure(bench: Bench) -> Iterator[Row]:
    """Ours is whole processes over all entries, theirs a loop over some: the time an entry."""
    name = "adagrad"
    model, files = bench.samples.model(name), bench.samples.files(name)
    bench.warm(files)
    entries = bench.samples.entries(name)
    part = max(100, entries // _PART)
    ours, theirs = bench.reported(
        [MONOLITH, "table", "dump", model], python("dump_json", part, files[0])
    )
    ours, theirs = ours / entries, theirs / part
    yield Row(
        f"`table dump`, jsonl, all columns, {entries:,} entries of dim 33 with Adagrad",
        f"`EntryDump.FromString` and `json.dumps` in a loop, {part:,} entries",
        f"{ours * 1e6:.2f} µs an entry",
        f"{theirs * 1e6:.1f} µs an entry",
        f"{theirs / ours:.0f} times faster",
        "20 times",
        "50",
    )


def _main(limit: int, path: str) -> None:
    import json

    from monolith_cli.formats.tfrecord import read_records
    from monolith_cli.messages import get_message

    entry_dump: Any = get_message("monolith.hash_table.EntryDump")
    records = list(islice(read_records(path), limit))

    def state(of_segment: Any) -> dict[str, object]:
        (found,) = of_segment.ListFields()
        values = {
            field.name: list(value) if field.is_repeated else value
            for field, value in found[1].ListFields()
        }
        return {found[0].name: values}

    with open("/dev/null", "w") as out:
        start = time.perf_counter()
        for record in records:
            entry = entry_dump.FromString(record)
            line = {
                "fid": str(entry.id),
                "slot": entry.id >> 48 & 0x7FFF,
                "table": "table",
                "embedding": list(entry.num),
                "opt": [state(dump) for dump in entry.opt.dump],
                "last_update_ts_sec": entry.last_update_ts_sec,
            }
            out.write(json.dumps(line) + "\n")
        print((time.perf_counter() - start) * limit / len(records))


if __name__ == "__main__":
    _main(int(sys.argv[1]), sys.argv[2])
