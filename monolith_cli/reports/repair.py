"""What a repair has put back and left out: what `ckpt repair` shows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from monolith_cli.reports.model import (
    COUNT,
    NAME,
    NUMBER,
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
    from monolith_cli.care.repair.step import Repaired

__all__ = ["RepairReport"]

_ROWS = 50


class RepairReport(Report):
    """Where it is, a row for each bit that was put back, and for each file that lacks something."""

    def __init__(self, repaired: Repaired, *, model_dir: str) -> None:
        self.repaired = repaired
        self.model_dir = model_dir

    def losses(self) -> str:
        """What was left out, in a phrase."""
        left_out = self.repaired.left_out
        records = sum(each.records or 0 for each in left_out)
        more = any(each.records is None and each.worker is None for each in left_out)
        inputs = sum(each.worker is not None for each in left_out)
        said = []
        if records or more:
            text = count_text(records, "entry", "entries")
            said.append(f"{text} and more" if records and more else text if records else "entries")
        if inputs:
            said.append(count_text(inputs, "state of an input", "states of inputs"))
        what = " and ".join(said) or count_text(len(left_out), "damaged place")
        return f"{what} left out, in {count_text(len({each.file for each in left_out}), 'file')}"

    def sections(self) -> Iterator[Section]:
        done = self.repaired
        yield [
            Title(done.path, f", step {done.step} of {self.model_dir}"),
            Text(f"{count_text(done.files, 'file')}, {bytes_text(done.bytes)}"),
        ]
        if done.bits:
            yield self._bits()
        if done.left_out:
            yield self._left_out()
        if done.anew:
            rows = [(each.file, each.what) for each in done.anew]
            yield [Table((Column("made anew", NAME), Column("why", NAME)), rows)]
        yield [Verdict(self._whole() if done.is_whole else self.losses(), good=done.is_whole)]

    def _whole(self) -> str:
        done = self.repaired
        bits = "all bits put back" if done.bits else ""
        anew = f"{count_text(len(done.anew), 'damaged file')} made anew" if done.anew else ""
        said = " and ".join(filter(None, (bits, anew)))
        return f"whole: {said or 'nothing was damaged'}"

    def _bits(self) -> Section:
        bits = self.repaired.bits
        columns = (
            Column("bit put back in", NAME),
            Column("byte", NUMBER),
            Column("bit", NUMBER),
            Column("what it changes", NAME),
        )
        rows = [(bit.file, bit.flip.offset, bit.flip.bit, bit.flip.change) for bit in bits[:_ROWS]]
        yield Table(columns, rows)
        if len(bits) > _ROWS:
            yield Omitted(f"and {len(bits) - _ROWS:,} more bits")
        one_in = min(bit.flip.one_in for bit in bits)
        yield Text(
            "each explains its damage alone; where more was damaged, chance would look the same"
            f" once in {one_in:,} records"
        )

    def _left_out(self) -> Section:
        left_out = self.repaired.left_out
        columns = (
            Column("left out of", NAME),
            Column("entries", COUNT, "unknown"),
            Column("why", NAME),
        )
        rows = [
            (each.file, 0 if each.worker is not None else each.records, each.what)
            for each in left_out[:_ROWS]
        ]
        yield Table(columns, rows)
        if len(left_out) > _ROWS:
            yield Omitted(f"and {len(left_out) - _ROWS:,} more")

    def document(self) -> dict[str, object]:
        done = self.repaired
        return {
            "model_dir": self.model_dir,
            "step": done.step,
            "to": done.path,
            "whole": done.is_whole,
            "files": done.files,
            "bytes": done.bytes,
            "bits": [bit.as_json() for bit in done.bits],
            "left_out": [each.as_json() for each in done.left_out],
            "made_anew": [each.as_json() for each in done.anew],
        }
