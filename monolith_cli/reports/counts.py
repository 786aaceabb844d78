"""The counts of a checkpoint: what `ckpt-info` shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from monolith_cli.reports.model import (
    COUNT,
    KEY,
    NAME,
    NUMBER,
    SHARE,
    Block,
    Column,
    Omitted,
    Report,
    Row,
    Section,
    Table,
    Text,
    Title,
    Verdict,
)
from monolith_cli.reports.text import bytes_text, count_text, name_text, share_text

if TYPE_CHECKING:
    from monolith_cli.formats.tfrecord import Skipped
    from monolith_cli.tables.comparison import Comparison
    from monolith_cli.tables.counts import CheckpointCounts, TableCount
    from monolith_cli.tables.hash_filters import HashFilterSummary

__all__ = ["CountsReport", "check_blocks", "damage_lines"]


class CountsReport(Report):
    """What was counted, a row for each slot and each table; then what a check found.

    The largest come first.

    Parameters
    ----------
    scanned
        Whether the data of multi tables was read, too.
    fid_version
        Which bits of a fid were taken for its slot.
    written
        The name of the file that was written; None for none.
    comparison
        What a check found; None without one.
    top
        Show this many rows of a kind, and sum up the others.
    """

    def __init__(
        self,
        counts: CheckpointCounts,
        *,
        model_dir: str,
        step: int | None,
        scanned: bool = False,
        fid_version: str = "v2",
        written: str | None = None,
        comparison: Comparison | None = None,
        top: int | None = None,
    ) -> None:
        self.counts = counts
        self.model_dir = model_dir
        self.step = step
        self.scanned = scanned
        self.fid_version = fid_version
        self.written = written
        self.comparison = comparison
        self.top = top

    @property
    def by_contents(self) -> bool:
        """Whether multi tables were counted by their contents files."""
        return not self.scanned and bool(self.counts.feature_counts)

    def sections(self) -> Iterator[Section]:
        counts, top = self.counts, self.top
        unverified = [table for table in counts.tables if not table.verified]
        yield self._head(all_verified=not unverified)
        slots = sorted(counts.slot_counts.items(), key=lambda item: (-item[1], item[0]))
        if slots:
            yield _shares((Column("slot", NUMBER),), slots, top, "slot")
        tables = sorted(counts.tables, key=lambda table: -table.entries)
        if tables:
            rows = [(table.name, table.kind, table.entries) for table in tables]
            yield _shares((Column("table", NAME), Column("kind", NAME)), rows, top, "table")
        for summary in counts.hash_filters:
            yield [Text(_hash_filter_text(summary))]
        if unverified or counts.problems:
            yield [*self._not_verified(unverified), *self._not_whole()]
        if self.comparison is not None:
            yield check_blocks(self.comparison, by_contents=self.by_contents, top=top)
        if self.written is not None:
            yield [Row(f"written: {self.written}")]  # a path to take: as it is

    def _head(self, *, all_verified: bool) -> Section:
        counts = self.counts
        step = "no step" if self.step is None else f"step {self.step}"
        entries = count_text(counts.entries, "entry", "entries")
        verified = ""
        if counts.tables and all_verified and not counts.problems:
            verified = ", all verified but for copies" if counts.unread_copies else ", all verified"
        return [
            Title(self.model_dir, f", {step}"),
            Text(f"{entries} in {count_text(len(counts.tables), 'table')}{verified}"),
        ]

    def _not_verified(self, tables: Sequence[TableCount]) -> Iterator[Block]:
        """Which tables were not verified, a sentence for each cause."""
        damaged = [table for table in tables if table.damaged]
        by_contents = [
            table
            for table in tables
            if table.kind == "multi" and not self.scanned and not table.damaged
        ]
        if by_contents:
            yield Text(
                f"not verified: {count_text(len(by_contents), 'table')} counted by the contents"
                " files; --scan reads the data"
            )
        if damaged:
            yield Text(f"not verified: {count_text(len(damaged), 'table')} with damaged places")
        others = len(tables) - len(by_contents) - len(damaged)
        if others and self.counts.extra:
            yield Text(f"not verified: {count_text(others, 'table')} beside records of no table")
        elif others:
            yield Text(
                f"not verified: {count_text(others, 'table')} read without checking checksums"
            )

    def _not_whole(self) -> Iterator[Block]:
        counts = self.counts
        differing = len(counts.differing)
        resized = len(counts.found.resized) if counts.found else 0
        beside = counts.found.files.beside if counts.found else []
        dumps = sum(problem not in beside for problem in counts.problems)
        not_counted = dumps - differing - resized
        if not_counted:
            yield Text(f"not counted: {count_text(not_counted, 'dump')} not whole")
        if resized:
            yield Text(f"counted, though not as in the manifest: {count_text(resized, 'dump')}")
        if differing:
            yield Text(f"counted, though bytes differ: {count_text(differing, 'copy', 'copies')}")

    def document(self) -> dict[str, object]:
        """The keys from `hash_filters` on come last, if at all."""
        counts = self.counts
        document: dict[str, object] = {
            "model_dir": self.model_dir,
            "step": self.step,
            "fid_version": self.fid_version,
            "entries": counts.entries,
            "slot_counts": {str(slot): n for slot, n in sorted(counts.slot_counts.items())},
            "feature_counts": dict(sorted(counts.feature_counts.items())),
            "tables": [
                {
                    "name": table.name,
                    "kind": table.kind,
                    "entries": table.entries,
                    "shards": table.shards,
                    "bytes": table.bytes,
                    "verified": table.verified,
                }
                for table in counts.tables
            ],
            "written": self.written,
        }
        if counts.hash_filters:
            document["hash_filters"] = [summary._asdict() for summary in counts.hash_filters]
        if counts.skipped:
            document["skipped"] = [
                {"file": damage.path, "kind": damage.kind, "offset": damage.offset}
                for damage in counts.skipped
            ]
        if counts.problems:
            document["problems"] = [str(problem) for problem in counts.problems]
        if self.comparison is not None:
            document["check"] = self._check_document(self.comparison)
        return document

    def _check_document(self, comparison: Comparison) -> dict[str, object]:
        return {
            "file": comparison.path,
            "verdict": comparison.verdict,
            "compared": "contents" if self.by_contents else "entries",
            "differences": [
                {
                    ("slot" if isinstance(d.key, int) else "table"): d.key,
                    "file": d.in_file,
                    "dump": d.in_dump,
                }
                for d in comparison.differences
            ],
        }


def _shares(
    head: tuple[Column, ...], rows: Sequence[tuple[object, ...]], top: int | None, what: str
) -> Section:
    """Rows that end in a count, with its share of all and a bar; those behind `top` summed up."""
    counts: list[int] = [row[-1] for row in rows]  # type: ignore[misc]
    total = sum(counts)
    shown = [(*row, (count, total)) for row, count in zip(rows[:top], counts, strict=False)]
    columns = (*head, Column("entries", COUNT), Column("share", SHARE))
    blocks: list[Block] = [Table(columns, shown, bars=len(head))]
    rest = counts[len(shown) :]
    if rest:
        blocks.append(
            Omitted(
                f"and {count_text(len(rest), f'more {what}')}:"
                f" {count_text(sum(rest), 'entry', 'entries')}, {share_text(sum(rest), total)}"
            )
        )
    return blocks


def _hash_filter_text(summary: HashFilterSummary) -> str:
    fill = "" if summary.fill_rate is None else f", {100 * summary.fill_rate:.1f}% full"
    failed = f", {summary.failures:,} insertions failed" if summary.failures else ""
    return (
        f"hash filter {summary.name}: {count_text(summary.elements, 'feature id')} in"
        f" {count_text(summary.splits, 'split')}{fill}{failed}, {bytes_text(summary.bytes)}"
    )


def check_blocks(
    comparison: Comparison, *, by_contents: bool = False, top: int | None = None
) -> Section:
    """What a check found: a verdict, and a row for each difference.

    Parameters
    ----------
    by_contents
        Whether multi tables were counted by their contents files.
    top
        Show this many differences.
    """
    path = comparison.path
    contents = " (of multi tables the contents files; their data was not read)"
    dump = f"the dump{contents if by_contents else ''}"
    if comparison.verdict == "same":
        return [Verdict(f"{path}: matches {dump}", good=True)]
    explanation = comparison.explanation
    judged = "doubtful" if comparison.verdict == "more" and comparison.doubtful else "as it may be"
    what = f"differs from {dump}" if explanation is None else f"{judged}: {explanation}"
    if comparison.verdict == "gone":
        what = "counts tables that are gone"
    elif comparison.extra:
        records = count_text(comparison.extra, "record")
        what = f"cannot be right: the dump has {records} of no table"
    blocks: list[Block] = [Verdict(f"{path}: {what}", good=comparison.error() is None)]
    if comparison.differences:
        shown = comparison.differences[:top]
        columns = (
            Column("slot or table", KEY),
            Column("file", COUNT),
            Column("dump", COUNT, none="none"),
        )
        rows = [(each.key, each.in_file, each.in_dump) for each in shown]
        blocks.append(Table(columns, rows, plain=True))
        rest = len(comparison.differences) - len(shown)
        if rest:
            blocks.append(Text(f"... and {count_text(rest, 'more difference')}"))
    return blocks


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
