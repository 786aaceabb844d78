"""What `sample` says about the directory that it wrote."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from monolith_cli.reports.model import Block, Report, Section, Text
from monolith_cli.reports.text import bytes_text, count_text

if TYPE_CHECKING:
    from monolith_cli.samples.sample import Sample

__all__ = ["SampleReport"]

_FIDS_SHOWN = 10


class SampleReport(Report):
    """A sentence: where, which step, how much; and what is wrong with it on purpose.

    Parameters
    ----------
    is_plain
        Whether a single step was asked for, as it is by default: then there is less to say.
    """

    def __init__(self, sample: Sample, *, model_dir: str, is_plain: bool = True) -> None:
        self.sample = sample
        self.model_dir = model_dir
        self.is_plain = is_plain
        self.entries = sum(table.entries for table in sample.tables)

    def sections(self) -> Iterator[Section]:
        entries = count_text(self.entries, "entry", "entries")
        tables = count_text(len(self.sample.tables), "table")
        size = bytes_text(self.sample.stored_bytes)
        steps = self.sample.steps
        where = f"step {steps[0]}" if len(steps) == 1 else f"steps {steps[0]} to {steps[-1]}"
        if len(steps) > 1:
            entries += " in the latest"
        blocks: list[Block] = [Text(f"{self.model_dir}, {where}: {entries} in {tables}, {size}")]
        if fids := self.sample.nan_fids:
            more = ", …" if len(fids) > _FIDS_SHOWN else ""
            shown = ", ".join(map(str, fids[:_FIDS_SHOWN])) + more
            blocks.append(Text(f"NaN in {count_text(len(fids), 'entry', 'entries')}: {shown}"))
        if flipped := self.sample.flipped:
            blocks.append(
                Text(f"bit {flipped.bit} of byte {flipped.offset:,} flipped: {flipped.file}")
            )
        yield blocks

    def document(self) -> dict[str, object]:
        sample = self.sample
        document: dict[str, object] = {
            "model_dir": self.model_dir,
            "step": sample.step,
            "entries": self.entries,
            "tables": [
                {"name": table.name, "entries": table.entries, "slots": list(table.slots)}
                for table in sample.tables
            ],
            "shards": sample.shards,
            "bytes": sample.stored_bytes,
        }
        if not self.is_plain:
            document["steps"] = list(sample.steps)
            document["nan_fids"] = list(map(str, sample.nan_fids))
            document["flipped"] = sample.flipped and sample.flipped._asdict()
        return document
