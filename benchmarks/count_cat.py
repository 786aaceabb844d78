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


def side_by_side(bench: Bench) -> Iterator[Row]:
    """Against readers that use as many cores as we do on a machine of two."""
    model, files = bench.samples.model("equal"), bench.samples.files("equal")
    bench.warm(files)
    share = str((len(files) + 1) // 2)
    # The files are the script's arguments, and `xargs` deals them out.
    script = 'printf "%s\\0" "$@" | xargs -0 -P2 -n"$0" cat'
    ours = [MONOLITH, "ckpt-info", "--dry-run", model]
    medians = bench.seconds(ours, ["sh", "-c", script, share, *files], max(bench.runs, 21))
    what = f"`ckpt-info --dry-run`, {bench.samples.entries('equal'):,} entries of dim 33"
    yield compared(what, "two `cat`s side by side", medians, "≤ 1.4", "1.25")


def _row(bench: Bench, name: str, lengths: str, must: str, aim: str) -> Row:
    model, files = bench.samples.model(name), bench.samples.files(name)
    bench.warm(files)
    medians = bench.seconds([MONOLITH, "ckpt-info", "--dry-run", model], [CAT, *files])
    what = f"`ckpt-info --dry-run`, {bench.samples.entries(name):,} entries of dim 33, {lengths}"
    return compared(what, "`cat` of the files", medians, f"≤ {must}", aim)
