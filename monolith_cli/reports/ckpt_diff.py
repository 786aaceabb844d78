"""How two checkpoints differ: what `ckpt diff` shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from monolith_cli.reports.diff import (
    TablesDiffReport,
    condition_blocks,
    conditions_document,
    pair_title,
    side_document,
)
from monolith_cli.reports.model import (
    BYTES,
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
    from monolith_cli.care.ckpt_diff import CkptDiff, TableNumbers
    from monolith_cli.care.conditions import Checked
    from monolith_cli.care.dense_diff import DenseDiff
    from monolith_cli.care.inputs_diff import InputDiff, ReaderPlace
    from monolith_cli.checkpoint.pairs import Pair

__all__ = ["CkptDiffReport"]

_TABLES = (
    Column("table", NAME),
    Column("entries before", COUNT),
    Column("after", COUNT),
    Column("size before", BYTES),
    Column("after", BYTES),
    Column("", NAME, none=""),
)
_SLOTS = (
    Column("slot", NUMBER),
    Column("entries before", COUNT),
    Column("after", COUNT),
    Column("change", NAME),
)
_DENSE = (
    Column("dense variable", NAME),
    Column("max |Δ|", NAME),
    Column("‖Δ‖", NAME),
    Column("‖Δ‖/‖A‖", NAME),
    Column("", NAME, none=""),
)
_INPUTS = (
    Column("worker", NUMBER),
    Column("reader", NAME),
    Column("consumed", NAME),
    Column("before", NAME),
    Column("after", NAME),
)
_SHOWN = 20


class CkptDiffReport(Report):
    """Tables, slots that differ, dense variables that differ, inputs.

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
        found: CkptDiff,
        pair: Pair,
        checked: Sequence[Checked] = (),
        *,
        number_ids: bool = False,
    ) -> None:
        self.found = found
        self.pair = pair
        self.checked = checked
        self._entries: TablesDiffReport | None = None
        if found.compared is not None:
            self._entries = TablesDiffReport(found.compared, pair, number_ids=number_ids)

    def sections(self) -> Iterator[Section]:
        found = self.found
        head: list[Block] = [pair_title(self.pair)]
        if None not in found.entries:
            before, after = found.entries
            head.append(Text(f"{before:,} entries before, {after:,} after"))
        yield head
        if found.tables:
            yield [Table(_TABLES, map(_table_row, found.tables))]
        slots = [(slot, *counts) for slot, counts in (found.slots or {}).items()]
        moved = [row for row in slots if row[1] != row[2]]
        if moved:
            yield _slot_blocks(moved)
        if self._entries is not None:
            _, *rest = self._entries.sections()
            yield [Title("entries"), Text(self._entries.summary())]
            yield from rest
        dense = [variable for variable in found.dense if variable.differs]
        if dense:
            yield _dense_blocks(dense, len(found.dense))
        if found.inputs:
            yield [Table(_INPUTS, [_input_row(reader) for reader in found.inputs])]
        if self.checked:
            yield condition_blocks(self.checked)
        if not found.differs and not found.errors:
            yield [Verdict(self._same(), good=True)]

    def _same(self) -> str:
        if self._entries is not None:
            return "the same"
        return "the same by numbers, dense variables and inputs; --entries compares entries, too"

    def document(self) -> dict[str, object]:
        found = self.found
        document: dict[str, object] = {
            "a": side_document(self.pair.dir_a, self.pair.a.step),
            "b": side_document(self.pair.dir_b, self.pair.b.step),
            "differs": found.differs,
            "entries_a": found.entries[0],
            "entries_b": found.entries[1],
            "tables": [_table_document(table) for table in found.tables],
            "slots": None
            if found.slots is None
            else [
                {"slot": slot, "entries_a": before, "entries_b": after}
                for slot, (before, after) in found.slots.items()
            ],
            "dense": [_dense_document(variable) for variable in found.dense],
            "inputs": [_input_document(reader) for reader in found.inputs],
        }
        if self._entries is not None:
            document["compared"] = self._entries.document()
        if self.checked:
            document["conditions"] = conditions_document(self.checked)
        return document


def _table_row(table: TableNumbers) -> tuple[object, ...]:
    remark = None if table.is_in_a == table.is_in_b else "gone" if table.is_in_a else "new"
    return (table.name, *table.entries, *table.bytes, remark)


def _slot_blocks(slots: Sequence[tuple[int, int, int]]) -> Iterator[Block]:
    largest = sorted(slots, key=lambda row: (-abs(row[2] - row[1]), row[0]))
    rows = [(slot, a, b, _change_text(a, b)) for slot, a, b in largest[:_SHOWN]]
    yield Table(_SLOTS, rows)
    if len(slots) > _SHOWN:
        yield Omitted(f"{count_text(len(slots) - _SHOWN, 'more slot')} that changed less")


def _change_text(before: int, after: int) -> str:
    return f"{100 * (after - before) / before:+.1f}%" if before else "new"


def _dense_blocks(dense: Sequence[DenseDiff], total: int) -> Iterator[Block]:
    def weight(variable: DenseDiff) -> float:
        if variable.distance is None:
            return float("inf")  # what cannot be measured comes first
        return variable.relative if variable.relative is not None else variable.distance

    yield Text(f"{count_text(len(dense), 'dense variable')} of {total:,} differ")
    largest = sorted(dense, key=weight, reverse=True)
    yield Table(_DENSE, map(_dense_row, largest[:_SHOWN]))
    if len(dense) > _SHOWN:
        yield Omitted(f"{count_text(len(dense) - _SHOWN, 'more variable')} that moved less")


def _dense_row(variable: DenseDiff) -> tuple[object, ...]:
    return (
        _dense_name(variable),
        _float_text(variable.largest),
        _float_text(variable.distance),
        _float_text(variable.relative),
        _dense_remark(variable),
    )


def _dense_name(variable: DenseDiff) -> str:
    return "/".join(filter(None, [variable.sub_graph, variable.name]))


def _dense_remark(variable: DenseDiff) -> str | None:
    if None in variable.dtypes:
        return "new" if variable.dtypes[0] is None else "gone"
    for before, after in (variable.dtypes, map(_shape_text, variable.shapes)):
        if before != after:
            return f"{before} → {after}"
    if variable.non_finite:
        return f"{count_text(variable.non_finite, 'value')} moved by no finite number"
    return None if variable.distance is not None else "other values"


def _shape_text(shape: tuple[int, ...] | None) -> str:
    return f"[{', '.join(map(str, shape or ()))}]"


def _float_text(value: float | None) -> str | None:
    return None if value is None else f"{value:.4g}"


def _input_row(reader: InputDiff) -> tuple[object, ...]:
    consumed = None if reader.consumed is None else f"{reader.consumed:,} {reader.unit}"
    if reader.problem is not None:
        consumed = "not known"
    return (reader.worker, reader.reader, consumed, _place_text(reader.a), _place_text(reader.b))


def _place_text(place: ReaderPlace | None) -> str | None:
    if place is None:
        return None
    epoch = "" if place.epoch is None else f"epoch {place.epoch}, "
    if place.file is None:
        return f"{epoch}{'in no file' if place.read is None else f'{place.read:,} read'}"
    return f"{epoch}{place.file} at {'-' if place.offset is None else f'{place.offset:,}'}"


def _table_document(table: TableNumbers) -> dict[str, object]:
    return {
        "name": table.name,
        "in_a": table.is_in_a,
        "in_b": table.is_in_b,
        "entries_a": table.entries[0],
        "entries_b": table.entries[1],
        "bytes_a": table.bytes[0],
        "bytes_b": table.bytes[1],
    }


def _dense_document(variable: DenseDiff) -> dict[str, object]:
    return {
        "sub_graph": variable.sub_graph,
        "name": variable.name,
        "differs": variable.differs,
        "dtype_a": variable.dtypes[0],
        "dtype_b": variable.dtypes[1],
        "shape_a": variable.shapes[0],
        "shape_b": variable.shapes[1],
        "largest": variable.largest,
        "distance": variable.distance,
        "relative": variable.relative,
        "non_finite": variable.non_finite,
    }


def _input_document(reader: InputDiff) -> dict[str, object]:
    return {
        "worker": reader.worker,
        "iterator": reader.iterator,
        "reader": reader.reader,
        "unit": reader.unit,
        "differs": reader.differs,
        "consumed": reader.consumed,
        "a": None if reader.a is None else reader.a._asdict(),
        "b": None if reader.b is None else reader.b._asdict(),
    }
