"""Counting a checkpoint of single tables, against only reading its files."""

from __future__ import annotations

from collections.abc import Iterator

from measure import CAT, MONOLITH, Bench, Row, compared


def equal(bench: Bench) -> Iterator[Row]:
    """Entries that differ in values only."""
    yield _row(bench, "equal", "equal lengths", "1.5", "1.0")


def varied(bench: Bench) -> Iterator[Row]:
    """Timestamps and optimizer fields of varying size."""
    yield _row(bench, "varied", "varied lengths", "1.8", "1.3")


def _row(bench: Bench, name: str, lengths: str, must: str, aim: str) -> Row:
    model, files = bench.samples.model(name), bench.samples.files(name)
    bench.warm(files)
    medians = bench.seconds([MONOLITH, "ckpt-info", "--dry-run", model], [CAT, *files])
    what = f"`ckpt-info --dry-run`, {bench.samples.entries(name):,} entries of dim 33, {lengths}"
    return compared(what, "`cat` of the files", medians, f"≤ {must}", aim)
