"""Statistics of tables as a report: what `table stats` shows."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from monolith_cli.fid import slot
from monolith_cli.reports.conditions import condition_blocks, condition_documents
from monolith_cli.reports.model import (
    COUNT,
    DAYS,
    KEY,
    NAME,
    NUMBER,
    REAL,
    Block,
    Column,
    Omitted,
    Report,
    Section,
    Table,
    Text,
    Title,
)
from monolith_cli.reports.text import count_text

if TYPE_CHECKING:
    from monolith_cli.care.conditions import Checked
    from monolith_cli.tables.duplicates import TableDuplicates
    from monolith_cli.tables.folds.statistics import Example
    from monolith_cli.tables.stats import FieldStats, GroupStats, NormStats, TablesStats

__all__ = ["StatsReport"]

FEW = 3
"""So many groups are shown in detail without being asked for it."""

HIDDEN = "(hidden by damage)"

GROUP_COLUMNS = (
    Column("entries", COUNT),
    Column("NaN", COUNT),
    Column("Inf", COUNT),
    Column("zero", COUNT),
    Column("norm p50", REAL),
    Column("p99", REAL),
    Column("max", REAL),
    Column("age p50", DAYS),
)

FINITE_COLUMNS = (
    Column("field", NAME),
    Column("zero rows", COUNT),
    Column("min", REAL),
    Column("max", REAL),
    Column("mean", REAL),
    Column("std", REAL),
)

FIELD_COLUMNS = (
    Column("field", NAME),
    Column("NaN", COUNT),
    Column("Inf", COUNT),
    Column("huge", COUNT),
    Column("zero", COUNT),
    Column("min", REAL),
    Column("max", REAL),
    Column("mean", REAL),
    Column("std", REAL),
)


class StatsReport(Report):
    """A row for each table, or slot of a table; of a few, or if it is asked for, what is in them.

    Parameters
    ----------
    model_dir, step
        Of which checkpoint they are; the step is None where it has none.
    by, fid_version
        What they were made of.
    number_ids
        Whether feature ids are numbers in the document.
    top
        Show so many rows, those with the most entries.
    details
        Show what is in every group that is shown; else where there are but a few.
    wants_examples
        Whether examples were asked for, and may be none.
    checked
        What came of conditions.
    duplicates
        Feature ids that tables have several times; None if nobody looked.
    several
        Whether it is one of several, which has to say its step.
    """

    def __init__(
        self,
        stats: TablesStats,
        *,
        model_dir: str,
        step: int | None = None,
        by: str = "table",
        fid_version: str = "v2",
        number_ids: bool = False,
        top: int | None = None,
        details: bool = False,
        wants_examples: bool = False,
        checked: Sequence[Checked] = (),
        duplicates: Sequence[TableDuplicates] | None = None,
        several: bool = False,
    ) -> None:
        self.stats = stats
        self.model_dir = model_dir
        self.step = step
        self.by = by
        self.fid_version = fid_version
        self.number_ids = number_ids
        self.top = top
        self.details = details
        self.wants_examples = wants_examples
        self.checked = checked
        self.duplicates = duplicates
        self.several = several

    def sections(self) -> Iterator[Section]:
        ranked = sorted(self.stats.groups, key=lambda group: -group.entries)
        shown = ranked[: self.top]
        head: tuple[Column, ...] = (Column("table", NAME),)
        if self.by == "slot":
            head += (Column("slot", NUMBER),)
        blocks: list[Block] = []
        if self.several:
            blocks.append(Text("no step" if self.step is None else f"step {self.step}"))
        rows = [(*self._names(group), *_group_row(group)) for group in shown]
        blocks.append(Table((*head, *GROUP_COLUMNS), rows))
        rest = ranked[len(shown) :]
        if rest:
            entries = count_text(sum(group.entries for group in rest), "entry", "entries")
            what = "more slot" if self.by == "slot" else "more table"
            blocks.append(Omitted(f"and {count_text(len(rest), what)}: {entries}"))
        yield blocks
        if self.details or len(shown) <= FEW:
            for group in shown:
                if group.entries:
                    yield from self._details(group)
        if self.wants_examples:
            yield list(self._examples())
        if self.duplicates is not None:
            yield list(self._duplicates(self.duplicates))
        if self.checked:
            yield condition_blocks(self.checked)

    def _names(self, group: GroupStats) -> tuple[object, ...]:
        name = HIDDEN if group.table is None else group.table
        return (name, group.slot) if self.by == "slot" else (name,)

    def _details(self, group: GroupStats) -> Iterator[Section]:
        names = self._names(group)
        name = str(names[0]) if len(names) == 1 else f"{names[0]}, slot {names[1]}"
        yield [Title(name, f": {_group_text(group)}"), _fields(group.fields)]
        if group.norms.entries:
            yield [_norms(group.norms)]
        if group.ages.entries:
            yield [_ages(group.ages.by_day)]

    def _examples(self) -> Iterator[Block]:
        if not self.stats.examples:
            yield Text("no entries to name")
        for example in self.stats.examples:
            table = HIDDEN if example.table is None else example.table
            yield Text(f"fid {example.fid} of {table}: {_example_text(example)}")
            yield Text(f"{example.path}, byte {example.offset}", indent=4)

    def _duplicates(self, duplicates: Sequence[TableDuplicates]) -> Iterator[Block]:
        any_found = False
        for each in duplicates:
            if each.fids:
                any_found = True
                fids = count_text(each.fids, "feature id")
                entries = count_text(each.entries, "entry", "entries")
                yield Text(f"{each.table}: {fids} more than once, {entries} too many")
                yield from (Text(f"fid {fid}", indent=4) for fid in each.examples)
                if each.fids > len(each.examples):
                    yield Omitted(f"{each.fids - len(each.examples):,} more", 4)
        if not any_found:
            yield Text("no feature id is in a table more than once")

    def document(self) -> object:
        document: dict[str, object] = {
            "model_dir": self.model_dir,
            "step": self.step,
            "fid_version": self.fid_version,
            "by": self.by,
            "entries": self.stats.entries,
            "groups": [_group_document(group) for group in self.stats.groups],
        }
        if self.wants_examples:
            document["examples"] = [self._example_document(each) for each in self.stats.examples]
        if self.duplicates is not None:
            document["duplicates"] = [
                {
                    "table": each.table,
                    "fids": each.fids,
                    "entries": each.entries,
                    "examples": [self._fid(fid) for fid in each.examples],
                }
                for each in self.duplicates
            ]
        if self.checked:
            document["conditions"] = condition_documents(self.checked)
        if self.stats.skipped:
            document["skipped"] = [
                {"file": damage.path, "kind": damage.kind, "offset": damage.offset}
                for damage in self.stats.skipped
            ]
        return document

    def _fid(self, fid: int) -> int | str:
        return fid if self.number_ids else str(fid)

    def _example_document(self, example: Example) -> dict[str, object]:
        return {
            "table": example.table,
            "slot": slot(example.fid, self.fid_version),
            "fid": self._fid(example.fid),
            "what": example.what,
            "field": example.field,
            "value": example.value,
            "file": example.path,
            "offset": example.offset,
        }


def _group_row(group: GroupStats) -> tuple[object, ...]:
    embedding = group.embedding
    return (
        group.entries,
        sum(field.nan for field in group.fields),
        sum(field.inf for field in group.fields),
        embedding.zero_rows if embedding else 0,
        group.norms.p50,
        group.norms.p99,
        group.norms.max,
        group.ages.p50,
    )


def _group_text(group: GroupStats) -> str:
    """What the row of a group has no room for."""
    texts = [count_text(group.entries, "entry", "entries")]
    if group.dims is not None:
        low, high = group.dims
        texts.append(f"dim {low}" if low == high else f"dims {low} to {high}")
    if group.tables > 1:
        texts.append(f"{group.tables} tables")
    for count, what in (
        (group.nan_entries, "NaN"),
        (group.inf_entries, "Inf"),
        (group.huge_entries, "a size above 1e30"),
    ):
        if count:
            texts.append(f"{count:,} with {what}")
    if group.ages.without:
        texts.append(f"{group.ages.without:,} without a time")
    if group.ages.odd:
        texts.append(f"{group.ages.odd:,} with a time that is none")
    return ", ".join(texts)


def _fields(fields: Sequence[FieldStats]) -> Table:
    """A row a field; columns for what is not finite or huge where anything is."""
    if any(field.nan or field.inf or field.huge for field in fields):
        rows = [
            (f.name, f.nan, f.inf, f.huge, f.zero_rows, f.min, f.max, f.mean, f.std) for f in fields
        ]
        return Table(FIELD_COLUMNS, rows, plain=True)
    short = [(f.name, f.zero_rows, f.min, f.max, f.mean, f.std) for f in fields]
    return Table(FINITE_COLUMNS, short, plain=True)


def _norms(norms: NormStats) -> Table:
    rows: list[tuple[str, int]] = [("0", norms.zero)] if norms.zero else []
    rows += [(f"{2.0**power:.3g}", count) for power, count in norms.by_power.items()]
    columns = (Column("norm from", KEY), Column("entries", COUNT))
    return Table(columns, rows, plain=True, bars=1)


def _ages(by_day: Mapping[int, int]) -> Table:
    """By days, twice as many in each row as in the one before."""
    rows: dict[tuple[int, int], int] = {}
    for day, count in by_day.items():
        first = 0 if day == 0 else 1 << (day.bit_length() - 1)
        last = max(0, 2 * first - 1)
        rows[first, last] = rows.get((first, last), 0) + count
    columns = (Column("age in days", KEY), Column("entries", COUNT))
    texts = [
        (str(first) if first == last else f"{first}-{last}", count)
        for (first, last), count in rows.items()
    ]
    return Table(columns, texts, plain=True, bars=1)


def _example_text(example: Example) -> str:
    if example.what == "norm":
        return f"norm {example.value:.3g}"
    if example.what == "huge":
        return f"{example.value:.3g} in {example.field}"
    what = {"nan": "NaN", "inf": "Inf"}[example.what]
    return f"{int(example.value):,} {what} in {example.field}"


def _group_document(group: GroupStats) -> dict[str, object]:
    low, high = group.dims or (None, None)
    norms, ages = group.norms, group.ages
    return {
        "table": group.table,
        "slot": group.slot,
        "tables": group.tables,
        "bytes": group.bytes,
        "entries": group.entries,
        "dim_min": low,
        "dim_max": high,
        "nan_entries": group.nan_entries,
        "inf_entries": group.inf_entries,
        "huge_entries": group.huge_entries,
        "fields": [
            {
                "field": field.name,
                "values": field.values,
                "nan": field.nan,
                "plus_inf": field.plus_inf,
                "minus_inf": field.minus_inf,
                "huge": field.huge,
                "rows": field.rows,
                "zero_rows": field.zero_rows,
                "min": _float32(field.min),
                "max": _float32(field.max),
                "mean": field.mean,
                "std": field.std,
            }
            for field in group.fields
        ],
        "norms": {
            "entries": norms.entries,
            "zero": norms.zero,
            "p0": norms.p0,
            "p1": norms.p1,
            "p50": norms.p50,
            "p99": norms.p99,
            "max": norms.max,
            "histogram": [
                {"from": 2.0**power, "below": 2.0 ** (power + 1), "entries": count}
                for power, count in norms.by_power.items()
            ],
        },
        "ages": {
            "entries": ages.entries,
            "without": ages.without,
            "odd": ages.odd,
            "newest_ts_sec": ages.newest,
            "oldest_ts_sec": ages.oldest,
            "p1_days": ages.p1,
            "p50_days": ages.p50,
            "p99_days": ages.p99,
            "by_days": {str(day): count for day, count in ages.by_day.items()},
        },
    }


def _float32(value: float | int | None) -> float | int | None:
    """The shortest number that reads back as the same float32; integers as they are."""
    if not isinstance(value, float):
        return value
    stored = struct.pack("<f", value)
    least = 6 if abs(value) > 1e-37 else 1  # zeros at the end are left out anyway
    for digits in range(least, 9):
        short = float(f"{value:.{digits}g}")
        try:
            if struct.pack("<f", short) == stored:
                return short
        except OverflowError:  # rounded up beyond what a float32 may be
            continue
    return float(f"{value:.9g}")
