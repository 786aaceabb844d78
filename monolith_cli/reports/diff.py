"""How the tables of two checkpoints differ: what `table diff` shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from monolith_cli.reports.model import (
    COUNT,
    NAME,
    NUMBER,
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
from monolith_cli.reports.text import count_text

if TYPE_CHECKING:
    from monolith_cli.care.conditions import Checked
    from monolith_cli.checkpoint.pairs import Pair
    from monolith_cli.tables.diff.compare import TableDiff, TablesDiff
    from monolith_cli.tables.diff.joining import Fates
    from monolith_cli.tables.diff.values import Move, ValuesDiff

__all__ = ["TablesDiffReport", "conditions_document", "pair_title", "side_document"]

_FATES = (
    Column("before", COUNT),
    Column("after", COUNT),
    Column("added", COUNT),
    Column("removed", COUNT),
    Column("changed", COUNT),
    Column("touched", COUNT),
)
_MOVES = (
    Column("fid", NUMBER),
    Column("distance", NAME),
    Column("largest", NAME),
    Column("norm before", NAME),
)
_SLOTS_SHOWN = 20


class TablesDiffReport(Report):
    """A row for each table, then for each slot; then how far values have moved.

    Parameters
    ----------
    pair
        Which checkpoints were compared.
    checked
        What came of conditions.
    number_ids
        Whether fids are numbers in the document.
    """

    def __init__(
        self,
        found: TablesDiff,
        pair: Pair,
        checked: Sequence[Checked] = (),
        *,
        number_ids: bool = False,
    ) -> None:
        self.found = found
        self.pair = pair
        self.checked = checked
        self.number_ids = number_ids

    def summary(self) -> str:
        """All of it in a line."""
        fates = self.found.fates
        return (
            f"{count_text(fates.added, 'entry', 'entries')} added, {fates.removed:,} removed,"
            f" {fates.changed:,} changed, {fates.touched:,} touched, {fates.same:,} the same"
            f"{self._tolerated()}"
        )

    def _tolerated(self) -> str:
        """How many are the same because of a tolerance."""
        tables = [table for table in self.found.tables if table.touched is not None]
        if not tables:
            return ""
        close = sum(table.values.close for table in tables if table.values is not None)
        touched = sum(table.touched or 0 for table in tables)
        return f" ({close:,} of them within the tolerance, {touched:,} of another time alone)"

    def sections(self) -> Iterator[Section]:
        found = self.found
        yield [pair_title(self.pair), Text(self.summary())]
        if found.tables:
            yield [Table((Column("table", NAME), *_FATES), map(_table_row, found.tables))]
            remarks = list(self._remarks())
            if remarks:
                yield remarks
        slots = [(slot, fates) for slot, fates in found.slots.items() if fates.differing]
        if slots:
            yield list(_slot_blocks(slots))
        for table in found.tables:
            if table.values is not None and (table.values.changed or table.values.moves):
                yield _values_section(table, table.values)
        if self.checked:
            yield condition_blocks(self.checked)
        if not found.differs:
            yield [Verdict("the same", good=True)]

    def _remarks(self) -> Iterator[Block]:
        for table in self.found.tables:
            if table.is_in_a != table.is_in_b:
                yield Text(f"{table.name}: {'gone' if table.is_in_a else 'new'}")
        fates = self.found.fates
        if fates.changed:
            yield Text(
                f"changed: {fates.embedding:,} in their embedding alone, {fates.optimizer:,} in"
                f" their optimizer state alone, {fates.both:,} in both"
            )
        if fates.again_a or fates.again_b:
            yield Text(
                f"{count_text(fates.again_a, 'entry', 'entries')} before and {fates.again_b:,}"
                " after with a feature id that has come before in their table"
            )

    def document(self) -> dict[str, object]:
        found = self.found
        document: dict[str, object] = {
            "a": side_document(self.pair.dir_a, self.pair.a.step),
            "b": side_document(self.pair.dir_b, self.pair.b.step),
            "differs": found.differs,
            **_fates_document(found.fates),
            "tables": [self._table_document(table) for table in found.tables],
            "slots": [
                {"slot": slot, **_fates_document(fates)} for slot, fates in found.slots.items()
            ],
        }
        if self.checked:
            document["conditions"] = conditions_document(self.checked)
        return document

    def _table_document(self, table: TableDiff) -> dict[str, object]:
        document: dict[str, object] = {
            "name": table.name,
            "in_a": table.is_in_a,
            "in_b": table.is_in_b,
            "differs": table.differs,
            **_fates_document(table.fates),
        }
        if table.sum_a is not None and table.sum_b is not None:
            document["digest_a"] = f"{table.sum_a:016x}"
            document["digest_b"] = f"{table.sum_b:016x}"
        if table.values is not None:
            document["values"] = self._values_document(table.values)
        return document

    def _values_document(self, values: ValuesDiff) -> dict[str, object]:
        return {
            "changed": values.changed,
            "close": values.close,
            "shapes": values.shapes,
            "non_finite": values.non_finite,
            "largest": values.largest,
            "distance_mean": values.distance_mean,
            "moves": [self._move_document(move) for move in values.moves],
        }

    def _move_document(self, move: Move) -> dict[str, object]:
        fid = move.fid if self.number_ids else str(move.fid)
        return {**move._asdict(), "fid": fid}


def pair_title(pair: Pair) -> Title:
    """Which checkpoints were compared."""
    steps = [_step_text(checkpoint.step) for checkpoint in (pair.a, pair.b)]
    if pair.dir_a == pair.dir_b:
        return Title(pair.dir_a, f", {steps[0]} → {steps[1]}")
    return Title(pair.dir_a, f", {steps[0]} → {pair.dir_b}, {steps[1]}")


def side_document(model_dir: str, step: int | None) -> dict[str, object]:
    """A side of a comparison."""
    return {"model_dir": model_dir, "step": step}


def condition_blocks(checked: Sequence[Checked]) -> Section:
    """What came of conditions, a line each."""
    for condition, held, problem in checked:
        if problem is not None:
            continue  # an error says why
        if not held:
            yield Verdict(f"{condition.text}: no", good=True)
        for each in held:
            yield Verdict(f"{condition.text}: {each.text}", good=False)


def conditions_document(checked: Sequence[Checked]) -> list[dict[str, object]]:
    """The same for programs."""
    return [
        {
            "condition": condition.text,
            "holds": None if problem is not None else bool(held),
            "held": [each.text for each in held],
        }
        for condition, held, problem in checked
    ]


def _step_text(step: int | None) -> str:
    return "no step" if step is None else f"step {step}"


def _counts(fates: Fates) -> tuple[int, ...]:
    return (
        fates.entries_a,
        fates.entries_b,
        fates.added,
        fates.removed,
        fates.changed,
        fates.touched,
    )


def _table_row(table: TableDiff) -> tuple[object, ...]:
    return (table.name, *_counts(table.fates))


def _slot_blocks(slots: Sequence[tuple[int, Fates]]) -> Iterator[Block]:
    largest = sorted(slots, key=lambda item: (-item[1].differing, item[0]))
    rows = [(slot, *_counts(fates)) for slot, fates in largest[:_SLOTS_SHOWN]]
    yield Table((Column("slot", NUMBER), *_FATES), rows)
    if len(slots) > _SLOTS_SHOWN:
        yield Omitted(f"{count_text(len(slots) - _SLOTS_SHOWN, 'more slot')} that differ less")


def _fates_document(fates: Fates) -> dict[str, object]:
    return {
        "entries_a": fates.entries_a,
        "entries_b": fates.entries_b,
        "added": fates.added,
        "removed": fates.removed,
        "changed": fates.changed,
        "changed_embedding": fates.embedding,
        "changed_optimizer": fates.optimizer,
        "changed_both": fates.both,
        "touched": fates.touched,
        "same": fates.same,
        "again_a": fates.again_a,
        "again_b": fates.again_b,
    }


def _values_section(table: TableDiff, values: ValuesDiff) -> Iterator[Block]:
    mean = "-" if values.distance_mean is None else f"{values.distance_mean:.6g}"
    yield Title(table.name, ", values that differ")
    yield Text(
        f"embeddings moved by {mean} on average (L2), one value by {values.largest:.6g} at most"
    )
    if table.touched is not None:
        yield Text(
            f"{values.close:,} of {values.changed:,} entries with other values are within the"
            " tolerance, and count as the same"
        )
    if values.shapes:
        yield Text(f"{count_text(values.shapes, 'entry', 'entries')} of other dims or optimizers")
    if values.non_finite:
        yield Text(f"{count_text(values.non_finite, 'entry', 'entries')} moved by no finite number")
    if values.moves:
        rows = [
            (move.fid, f"{move.distance:.6g}", f"{move.largest:.6g}", f"{move.norm:.6g}")
            for move in values.moves
        ]
        yield Table(_MOVES, rows)
