"""What became of tables that were made anew: what `table rewrite` shows."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from monolith_cli.reports.model import (
    COUNT,
    NAME,
    NUMBER,
    REMARK,
    Block,
    Column,
    Omitted,
    Report,
    Section,
    Table,
    Text,
    Title,
    Verdict,
)
from monolith_cli.reports.text import bytes_text, count_text

if TYPE_CHECKING:
    from monolith_cli.care.rewrite import RewrittenStep
    from monolith_cli.tables.folds.rewrite import Passages
    from monolith_cli.tables.rewrite.plan import TablePlan
    from monolith_cli.tables.rewrite.run import TableOutcome

__all__ = ["RewriteReport"]

_ROWS = 50

_FATES = (
    Column("entries", COUNT),
    Column("stay", COUNT),
    Column("change", COUNT),
    Column("go", COUNT),
)
_FATES_OF_DELTA = (*_FATES, Column("come", COUNT))
"""Of what a delta brings the entries that arrive; with those that stay or change that is all."""


class RewriteReport(Report):
    """A row for each table, and for each slot of one of which entries go or change.

    Where tables get other names there is also a row for each that there is afterwards.
    """

    def __init__(self, done: RewrittenStep, *, model_dir: str) -> None:
        self.done = done
        self.model_dir = model_dir
        named = Counter(table.plan.name for table in done.tables)
        self._several = {name for name, count in named.items() if count > 1}

    def sections(self) -> Iterator[Section]:
        done = self.done
        of = f", step {done.step} of {self.model_dir}"
        yield [Title(done.path, of if done.is_made else f"{of}: nothing is made")]
        fates = _FATES_OF_DELTA if self._applies_delta() else _FATES
        renames = self._renames()
        files = () if renames else (Column("files", NUMBER),)
        columns = (Column("table", NAME), *fates, *files, Column("why", REMARK))
        rows = [
            (
                self._name(table.plan),
                *self._counts(table.passages),
                *(() if renames else (self._files(table),)),
                _why(table),
            )
            for table in done.tables
        ]
        yield [Table(columns, rows)]
        if renames:
            yield self._afterwards()
        slots = list(self._slots())
        if slots:
            by_slot = (Column("table", NAME), Column("slot", NUMBER), *fates)
            block: list[Block] = [Table(by_slot, slots[:_ROWS])]
            if len(slots) > _ROWS:
                block.append(Omitted(f"and {len(slots) - _ROWS:,} more slots"))
            yield block
        expiring = [table for table in done.tables if table.expiry is not None]
        if expiring:
            yield [Text(f"{self._name(table.plan)}: {_expiry_text(table)}") for table in expiring]
        yield [Verdict(self._sum(), good=True)]

    def _slots(self) -> Iterator[tuple[object, ...]]:
        """Slots of which entries go, change or come; not of tables that go whole."""
        for table in self.done.tables:
            for slot, passages in table.slots.items():
                concerned = passages.kept + passages.dropped + passages.brought_dropped
                if table.targets and passages.same < concerned:
                    yield (self._name(table.plan), slot, *self._counts(passages))

    def _applies_delta(self) -> bool:
        return any(table.plan.delta is not None for table in self.done.tables)

    def _counts(self, passages: Passages) -> tuple[int, ...]:
        counts = (passages.entries, passages.same, passages.changed, passages.dropped)
        return (*counts, passages.brought) if self._applies_delta() else counts

    def _name(self, table: TablePlan) -> str:
        """Its name; of those of one name also which one it is."""
        return f"{table.name} in {table.base}" if table.name in self._several else table.name

    def _files(self, table: TableOutcome) -> int | None:
        """How many files there are for it afterwards, be they empty; None without any."""
        plan = table.plan
        is_there = any(dump.base == plan.base for dump in self.done.dumps)
        has_files = table.targets or (plan.kind == "single" and is_there)
        return plan.shards if has_files else None

    def _renames(self) -> bool:
        """Whether tables are others afterwards, as on other servers."""
        return any(
            (into.target.base, into.target.table) != (table.plan.base, table.plan.name)
            for table in self.done.tables
            for into in table.targets
        )

    def _afterwards(self) -> Section:
        """The tables that there are then. Of those that share files the first one has them."""
        entries: Counter[tuple[str, str]] = Counter()
        for table in self.done.tables:
            for into in table.targets:
                entries[into.target.base, into.target.table] += into.entries
        rows: list[tuple[object, ...]] = []
        for dump in self.done.dumps:
            is_single = dump.kind == "single"
            for number, name in enumerate((dump.base,) if is_single else dump.tables):
                shown = name if is_single else f"{name} in {dump.base}"
                files = None if number else dump.shards
                rows.append((shown, entries[dump.base, name], files))
        verb = "there is" if self.done.is_made else "there would be"
        columns = (Column(verb, NAME), Column("entries", COUNT), Column("files", NUMBER))
        section: list[Block] = [Table(columns, rows[:_ROWS])]
        if len(rows) > _ROWS:
            section.append(Omitted(f"and {len(rows) - _ROWS:,} more tables"))
        return section

    def _sum(self) -> str:
        done = self.done
        kept = sum(table.passages.kept for table in done.tables)
        brought = sum(table.passages.brought for table in done.tables)
        brought_changed = sum(table.passages.brought_changed for table in done.tables)
        brought_gone = sum(table.passages.brought_dropped for table in done.tables)
        replaced = sum(table.passages.gone for table in done.tables)
        gone = sum(table.passages.dropped for table in done.tables) - replaced
        changed = sum(table.passages.changed for table in done.tables)
        said = [count_text(kept, "entry", "entries")]
        said += [f"{changed:,} of them changed"] if changed else []
        said += [f"{brought:,} of them brought"] if brought else []
        said += [f"{brought_changed:,} of these changed"] if brought_changed else []
        said += [f"{replaced:,} removed or replaced"] if replaced else []
        said += [f"{gone:,} left out"] if gone else []
        said += [f"{brought_gone:,} of those brought left out"] if brought_gone else []
        text = ", ".join(said)
        if not done.is_made:
            return f"would be made: {text}"
        return f"{text}; read back; {count_text(done.files, 'file')}, {bytes_text(done.bytes)}"

    def document(self) -> dict[str, object]:
        done = self.done
        return {
            "model_dir": self.model_dir,
            "step": done.step,
            "to": done.path,
            "made": done.is_made,
            "files": done.files,
            "bytes": done.bytes,
            "tables": [_table_document(table) for table in done.tables],
        }


def _why(table: TableOutcome) -> str:
    """Why entries go, or what changes, in a phrase."""
    passages = table.passages
    if not table.targets:
        return "the table goes"
    wanted = table.plan.transforms
    about = f"norm above {wanted.norm:g}" if wanted.where == "norm-above" else wanted.where
    to_zero = f"{about} set to 0"
    changes = [to_zero] if wanted.set_zero else []
    changes += ["of version 2 now"] if wanted.convert else []
    whys = (
        (passages.gone, "removed or replaced"),
        (passages.slot, "slot"),
        (passages.where, about),
        (passages.expired, "expired"),
        (passages.changed, " or ".join(changes)),
    )
    of_brought = (
        (passages.brought_slot, "slot"),
        (passages.brought_where, about),
        (passages.brought_changed, to_zero),
    )
    here, brought = (
        ", ".join(f"{count:,} {why}" for count, why in some if count) for some in (whys, of_brought)
    )
    return "; ".join(filter(None, (here, f"of those brought {brought}" if brought else "")))


def _expiry_text(table: TableOutcome) -> str:
    expiry = table.expiry
    assert expiry is not None
    text = f"after {count_text(expiry.days, 'day')}"
    return f"{text}, counted from the newest entry here, {_time_text(expiry.newest)}"


def _time_text(seconds: int) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
    except (ValueError, OverflowError, OSError):
        return f"{seconds} s"


def _table_document(table: TableOutcome) -> dict[str, object]:
    expiry = table.expiry
    return {
        "name": table.plan.name,
        "dump": table.plan.base,
        "kind": table.plan.kind,
        "dropped": not table.targets,
        **_passages_document(table.passages),
        "into": [
            {
                "name": into.target.table,
                "dump": into.target.base,
                "entries": into.entries,
                "shards": table.plan.shards,
            }
            for into in table.targets
        ],
        "expiry": None if expiry is None else {"newest": expiry.newest, "days": expiry.days},
        "slots": [
            {"slot": slot, **_passages_document(passages)} for slot, passages in table.slots.items()
        ],
    }


def _passages_document(passages: Passages) -> dict[str, object]:
    return {
        "entries": passages.entries,
        "same": passages.same,
        "changed": passages.changed,
        "gone_by_slot": passages.slot,
        "gone_by_condition": passages.where,
        "expired": passages.expired,
        "gone_by_delta": passages.gone,
        "brought": passages.brought,
        "brought_changed": passages.brought_changed,
        "brought_gone_by_slot": passages.brought_slot,
        "brought_gone_by_condition": passages.brought_where,
    }
