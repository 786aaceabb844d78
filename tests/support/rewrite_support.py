"""Tables made anew, as a few lines of Python would make them with protobuf, to compare with."""

from __future__ import annotations

import math
import os
import random
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import dump_support as ds

from monolith_cli import messages
from monolith_cli.execution.workers import Workers
from monolith_cli.tables.found import find_tables
from monolith_cli.tables.rewrite.plan import RewriteOptions, plan_rewrite, reading_of
from monolith_cli.tables.rewrite.run import TablesOutcome, preview_tables, rewrite_tables

ROUNDS = int(os.environ.get("REWRITE_ROUNDS", "12"))
"""How many random runs there are."""


def odd_entries(seed: int, count: int) -> list[bytes]:
    """Entries of every kind: NaN, denormals, unknown fields, fields in any order, packed or not."""
    rng = random.Random(seed)
    records = []
    for number in range(count):
        entry = ds.random_entry(rng, slots=(0, 1, 7, 301, 32767))
        if number % 3:
            records.append(ds.scrambled(entry, rng))
        else:
            records.append(entry.SerializeToString())
    return records


def run(
    directory: Path, target: Path | None, options: RewriteOptions, workers: Workers
) -> TablesOutcome:
    """Make the tables of a directory's step anew; without a target, see what would become of it."""
    from table_support import checkpoint_of

    found = find_tables(checkpoint_of(directory), (), reading_of(options))
    plan = plan_rewrite(found, options, workers)
    read: list[int] = []
    if target is None:
        return preview_tables(plan, options, workers, read.append)
    target.mkdir()
    done = rewrite_tables(plan, options, str(target), workers, read.append)
    assert sum(read) >= plan.size
    return done


def values_of(entry: Any) -> list[float]:
    """All floats of an entry that are in effect."""
    found = list(entry.num)
    for single in entry.opt.dump:
        kind = single.WhichOneof("type")
        if kind is None:
            continue
        for field, value in getattr(single, kind).ListFields():
            if field.cpp_type == field.CPPTYPE_FLOAT:
                found += value if field.name in ds.OPTIMIZERS[kind][0] else [value]
    return found


def norm(entry: Any) -> float:
    return math.sqrt(sum(value * value for value in entry.num))


CHOICES: dict[str, Callable[[Any], bool]] = {
    "nan": lambda entry: any(map(math.isnan, values_of(entry))),
    "nonfinite": lambda entry: not all(map(math.isfinite, values_of(entry))),
    "zero": lambda entry: bool(entry.num) and not any(entry.num),
    "norm-above": lambda entry: norm(entry) > 100,
}


def chosen(records: Sequence[bytes], options: RewriteOptions, newest: int | None) -> list[bytes]:
    """The records that stay, unless values of theirs are set to 0."""
    kept = []
    for record in records:
        entry = messages.EntryDump.FromString(record)
        slot = (entry.id >> 48) & 0x7FFF
        slots = options.slots()
        if slots is not None and not any(low <= slot <= high for low, high in slots):
            continue
        if options.expire_days is not None and newest is not None:
            days = options.expire_days
            if newest - entry.last_update_ts_sec >= days * 86400:
                continue
        if options.where and not options.set_zero and CHOICES[options.where](entry):
            continue
        kept.append(record)
    return kept


def newest_of(records: Sequence[bytes]) -> int:
    return max(messages.EntryDump.FromString(record).last_update_ts_sec for record in records)


def bits(values: Sequence[float]) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)
