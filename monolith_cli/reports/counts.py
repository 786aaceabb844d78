"""The counts of a checkpoint: the report of `ckpt-info`, and its JSON document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from monolith_cli.reports.text import (
    PLAIN,
    Look,
    bar,
    bytes_text,
    columns,
    count_text,
    name_json,
    name_text,
    share_text,
    width_of,
)

if TYPE_CHECKING:
    from monolith_cli.formats.tfrecord import Skipped
    from monolith_cli.tables.comparison import Comparison, Difference
    from monolith_cli.tables.counts import CheckpointCounts, TableCount
    from monolith_cli.tables.hash_filters import HashFilterSummary

__all__ = ["check_lines", "counts_document", "counts_lines", "damage_lines"]

MAX_BAR = 40
MIN_BAR = 8


def counts_lines(
    counts: CheckpointCounts,
    *,
    model_dir: str,
    step: int | None,
    scanned: bool = False,
    top: int | None = None,
    look: Look = PLAIN,
) -> Iterator[str]:
    """The report: what was counted, a row a slot, a row a table, the largest first.

    Parameters
    ----------
    scanned
        Whether the data of multi tables was read, too.
    top
        Show this many rows of a kind, and sum up the others.
    """
    where = look.bold(name_text(model_dir))
    yield f"{where}, {'no step' if step is None else f'step {step}'}"
    entries = count_text(counts.entries, "entry", "entries")
    unverified = [table for table in counts.tables if not table.verified]
    whole = counts.tables and not unverified and not counts.problems
    verified = ", all verified" if whole else ""
    if whole and counts.unread_copies:
        verified += " but for copies"
    yield f"{entries} in {count_text(len(counts.tables), 'table')}{verified}"
    slots = sorted(counts.slot_counts.items(), key=lambda item: (-item[1], item[0]))
    if slots:
        yield ""
        rows = [((str(slot),), count) for slot, count in slots]
        yield from _bars(("slot",), ">", rows, top, "slot", look)
    tables = sorted(counts.tables, key=lambda table: -table.entries)
    if tables:
        yield ""
        table_rows = [((name_text(table.name), table.kind), table.entries) for table in tables]
        yield from _bars(("table", "kind"), "<<", table_rows, top, "table", look)
    for summary in counts.hash_filters:
        yield ""
        yield _hash_filter_line(summary)
    if unverified or counts.problems:
        yield ""
        yield from _not_verified(unverified, scanned, counts)
    resized = len(counts.found.resized) if counts.found else 0
    not_counted = len(counts.problems) - len(counts.differing) - resized
    if not_counted:
        yield f"not counted: {count_text(not_counted, 'dump')} not whole"
    if resized:
        yield f"counted, though not as in the manifest: {count_text(resized, 'dump')}"
    if counts.differing:
        yield f"counted, though bytes differ: {count_text(len(counts.differing), 'copy', 'copies')}"


def _not_verified(
    tables: Sequence[TableCount], scanned: bool, counts: CheckpointCounts
) -> Iterator[str]:
    """Which tables were not verified, a line for each cause."""
    damaged = [table for table in tables if table.damaged]
    by_contents = [
        table for table in tables if table.kind == "multi" and not scanned and not table.damaged
    ]
    if by_contents:
        yield (
            f"not verified: {count_text(len(by_contents), 'table')} counted by the tables of"
            " contents; --scan reads the data"
        )
    if damaged:
        yield f"not verified: {count_text(len(damaged), 'table')} with damaged places"
    others = len(tables) - len(by_contents) - len(damaged)
    if others and counts.extra:
        yield f"not verified: {count_text(others, 'table')} beside records of no table"
    elif others:
        yield f"not verified: {count_text(others, 'table')} read without checking checksums"


def _hash_filter_line(summary: HashFilterSummary) -> str:
    fill = "" if summary.fill_rate is None else f", {100 * summary.fill_rate:.1f}% full"
    failed = f", {summary.failures:,} insertions failed" if summary.failures else ""
    return (
        f"hash filter {name_text(summary.name)}: {count_text(summary.elements, 'feature id')} in"
        f" {count_text(summary.splits, 'split')}{fill}{failed}, {bytes_text(summary.bytes)}"
    )


def _bars(
    head: tuple[str, ...],
    align: str,
    rows: Sequence[tuple[tuple[str, ...], int]],
    top: int | None,
    kind: str,
    look: Look,
) -> Iterator[str]:
    """Rows of cells, their count, its share of all, and a bar where there is room for it."""
    total = sum(count for _, count in rows)
    shown = rows if top is None else rows[:top]
    cells: list[tuple[str, ...]] = [(*head, "entries", "share")]
    cells += [(*labels, f"{count:,}", share_text(count, total)) for labels, count in shown]
    title, *lines = columns(cells, f"{align}>>")
    yield look.bold(title)
    # The last column is right-aligned: all lines are equally long.
    width = min(MAX_BAR, look.width - 1 - width_of(title) - 2)
    for line, (_, count) in zip(lines, shown, strict=True):
        drawn = bar(count, shown[0][1], width, unicode=look.unicode) if width >= MIN_BAR else ""
        yield f"{line}  {look.cyan(drawn)}".rstrip()
    rest = rows[len(shown) :]
    if rest:
        others = sum(count for _, count in rest)
        yield look.dim(
            f"{look.ellipsis} and {count_text(len(rest), f'more {kind}')}:"
            f" {count_text(others, 'entry', 'entries')}, {share_text(others, total)}"
        )


def check_lines(
    comparison: Comparison, *, by_contents: bool = False, top: int | None = None
) -> Iterator[str]:
    """What a check found: a verdict, and a row a difference.

    Parameters
    ----------
    by_contents
        Whether multi tables were counted by their tables of contents.
    """
    contents = " (of multi tables the tables of contents; their data was not read)"
    dump = f"the dump{contents if by_contents else ''}"
    if comparison.verdict == "same":
        yield f"{name_text(comparison.path)}: matches {dump}"
        return
    explanation = comparison.explanation
    judged = "doubtful" if comparison.verdict == "more" and comparison.doubtful else "as it may be"
    what = f"differs from {dump}" if explanation is None else f"{judged}: {explanation}"
    if comparison.verdict == "gone":
        what = "counts tables that are gone"
    elif comparison.extra:
        records = count_text(comparison.extra, "record")
        what = f"cannot be right: the dump has {records} of no table"
    yield f"{name_text(comparison.path)}: {what}"
    if not comparison.differences:
        return
    shown = comparison.differences if top is None else comparison.differences[:top]
    cells = [("slot or table", "file", "dump")]
    cells += [
        (_key(d), f"{d.in_file:,}", "none" if d.in_dump is None else f"{d.in_dump:,}")
        for d in shown
    ]
    yield from columns(cells, ">>>")
    rest = len(comparison.differences) - len(shown)
    if rest:
        yield f"... and {count_text(rest, 'more difference')}"


def damage_lines(skipped: Iterable[Skipped]) -> Iterator[str]:
    """What was left out, a line a damaged place."""
    for damage in skipped:
        if damage.kind == "not_records":
            yield f"{name_text(damage.path)}: {damage.what}; left out"
            continue
        if damage.one_record:
            left_out = "1 record left out"
        elif damage.end > damage.position:
            left_out = f"{bytes_text(damage.end - damage.position)} of records left out"
        elif damage.kind == "too_few_records":
            left_out = "the others are lost"
        else:
            left_out = "left out"
        yield f"{name_text(damage.path)}: {damage.what}, at byte {damage.offset}; {left_out}"


def _key(difference: Difference) -> str:
    key = difference.key
    return str(key) if isinstance(key, int) else name_text(key)


def counts_document(
    counts: CheckpointCounts,
    *,
    model_dir: str,
    step: int | None,
    fid_version: str,
    written: str | None,
    comparison: Comparison | None = None,
    by_contents: bool = False,
) -> dict[str, object]:
    """The JSON document. The keys from `hash_filters` on come last, if at all."""
    document: dict[str, object] = {
        "model_dir": model_dir,
        "step": step,
        "fid_version": fid_version,
        "entries": counts.entries,
        "slot_counts": {str(slot): n for slot, n in sorted(counts.slot_counts.items())},
        "feature_counts": {name_json(k): n for k, n in sorted(counts.feature_counts.items())},
        "tables": [
            {
                "name": name_json(table.name),
                "kind": table.kind,
                "entries": table.entries,
                "shards": table.shards,
                "bytes": table.bytes,
                "verified": table.verified,
            }
            for table in counts.tables
        ],
        "written": written,
    }
    if counts.hash_filters:
        document["hash_filters"] = [summary._asdict() for summary in counts.hash_filters]
    if counts.skipped:
        document["skipped"] = [
            {"file": damage.path, "kind": damage.kind, "offset": damage.offset}
            for damage in counts.skipped
        ]
    if counts.problems:
        document["problems"] = [name_json(str(problem)) for problem in counts.problems]
    if comparison is not None:
        document["check"] = {
            "file": comparison.path,
            "verdict": comparison.verdict,
            "compared": "contents" if by_contents else "entries",
            "differences": [
                {
                    ("slot" if isinstance(d.key, int) else "table"): (
                        d.key if isinstance(d.key, int) else name_json(d.key)
                    ),
                    "file": d.in_file,
                    "dump": d.in_dump,
                }
                for d in comparison.differences
            ],
        }
    return document
