"""The most memory that commands ever take."""

from __future__ import annotations

from collections.abc import Iterator

from measure import MONOLITH, Bench, Row, run

_JOBS = "4"

# What it is, the sample, and the command.
_COMMANDS = (
    ("`ckpt-info`", "equal", ("ckpt-info", "--dry-run")),
    ("`ckpt-info`, varied lengths", "varied", ("ckpt-info", "--dry-run")),
    ("`ckpt-info`, records of 1 MiB", "long", ("ckpt-info", "--dry-run")),
    ("`ckpt-info --scan`, SNAPPY", "multi", ("ckpt-info", "--dry-run", "--scan")),
    ("`ckpt fsck`", "varied", ("ckpt", "fsck")),
    ("`ckpt fsck`, SNAPPY", "multi", ("ckpt", "fsck")),
    ("`table dump`, jsonl", "adagrad", ("table", "dump")),
    ("`table dump`, jsonl, SNAPPY", "multi", ("table", "dump")),
    ("`table dump`, jsonl, records of 1 MiB", "long", ("table", "dump")),
    ("`table dump --format tfrecord`", "adagrad", ("table", "dump", "--format", "tfrecord")),
)


def measure(bench: Bench) -> Iterator[Row]:
    """The largest resident set of any of a few runs."""
    for what, name, command in _COMMANDS:
        model = bench.samples.model(name)
        argv = [MONOLITH, *command, "--jobs", _JOBS, model]
        peak = max(run(argv).peak_bytes for _ in range(min(3, bench.runs)))
        yield Row(
            f"peak memory, {what}, {bench.samples.stored_bytes(name) / 1e9:.2g} GB, {_JOBS} jobs",
            ours=f"{peak / 1e6:.0f} MB",
            must="≤ 120 MB",
            aim="50 MB",
        )
