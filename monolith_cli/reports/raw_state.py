"""The parts of an iterator's state as they are stored: what `iterator show --raw` shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from monolith_cli.reports.model import Block, Report, Section, Text

if TYPE_CHECKING:
    from monolith_cli.formats.variant import StatePart

__all__ = ["RawReport"]

SHOWN_BYTES = 200
"""Of longer values the size is shown, and nothing else."""


class RawReport(Report):
    """By iterator the parts of its state, in the order in which they are stored.

    Parameters
    ----------
    iterators
        Names, each with the parts of that iterator. They are read as they are shown.
    """

    def __init__(self, iterators: Iterable[tuple[str, Iterable[StatePart]]]) -> None:
        self.iterators = iterators

    def sections(self) -> Iterator[Section]:
        yield (block for _, parts in self.iterators for block in _blocks(parts))

    def document(self) -> dict[str, object]:
        return {name: _document(parts) for name, parts in self.iterators}


def _blocks(parts: Iterable[StatePart]) -> Iterator[Block]:
    for part in parts:
        yield Text(part.name)
        for i, value in enumerate(part.values):
            yield Text(f"{value.key}  {_text(part, i)}", indent=2)


def _text(part: StatePart, i: int) -> str:
    value = part.values[i]
    shape = str(list(value.shape)) if value.shape else ""
    if value.size_bytes <= SHOWN_BYTES:
        content = part.scalar(i)
        if isinstance(content, int):
            return str(content)
        if content is not None:
            return '"' + content.decode("utf-8", "surrogateescape") + '"'
    return f"{value.dtype}{shape}, {value.size_bytes:,} bytes"


def _document(parts: Iterable[StatePart]) -> list[dict[str, object]]:
    return [
        {
            "name": part.name,
            "values": [
                {
                    "key": value.key,
                    "dtype": value.dtype,
                    "shape": list(value.shape),
                    "bytes": value.size_bytes,
                    "value": _value(part, i),
                }
                for i, value in enumerate(part.values)
            ],
        }
        for part in parts
    ]


def _value(part: StatePart, i: int) -> int | str | None:
    if part.values[i].size_bytes > SHOWN_BYTES:
        return None
    content = part.scalar(i)
    if isinstance(content, bytes):
        return content.decode("utf-8", "surrogateescape")
    return content
