"""A report as lines of text, for a terminal or a pipe."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from monolith_cli.reports import model
from monolith_cli.reports.text import (
    PLAIN,
    Look,
    age_text,
    bar,
    bars_text,
    bytes_text,
    change_text,
    columns,
    name_text,
    share_text,
    width_of,
)

__all__ = ["report_lines"]

MAX_BAR = 40
MIN_BAR = 8
MIN_REMARK = 12
NODE_WIDTH = 46
GAP = 2


def report_lines(sections: Iterable[model.Section], look: Look = PLAIN) -> Iterator[str]:
    """The lines of some sections, with an empty one between two."""
    for number, section in enumerate(sections):
        if number:
            yield ""
        for block in section:
            yield from _LINES[type(block)](block, look)


def _text(block: model.Text, look: Look) -> Iterator[str]:
    yield " " * block.indent + name_text(block.text)


def _title(block: model.Title, look: Look) -> Iterator[str]:
    yield look.bold(name_text(block.text)) + name_text(block.rest)


def _omitted(block: model.Omitted, look: Look) -> Iterator[str]:
    text = f"{look.ellipsis} {name_text(block.text)}".rstrip()
    yield " " * block.indent + (look.dim(text) if block.faint else text)


def _row(block: model.Row, look: Look) -> Iterator[str]:
    yield "\t".join("" if cell is None else str(cell) for cell in block.cells)


def _facts(block: model.Facts, look: Look) -> Iterator[str]:
    label_width = block.label_width or max((len(label) for label, _ in block.rows), default=0)
    indent = " " * block.indent
    room = max(40, look.width - block.indent - label_width - GAP)
    for label, value in block.rows:
        text = name_text(value)
        for line in _wrapped(text, room) if block.wraps else [text]:
            yield f"{indent}{label:<{label_width + GAP}}{line}"
            label = ""


def _wrapped(text: str, width: int) -> list[str]:
    from textwrap import wrap

    return wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]


def _table(block: model.Table, look: Look) -> Iterator[str]:
    indent = " " * block.indent
    cells = [[column.title for column in block.columns]]
    kinds = [_CELLS[column.kind] for column in block.columns]
    nones = [column.none for column in block.columns]
    for row in block.rows:
        cells.append(
            [
                none if value is None else write(value, look)
                for value, (_, write), none in zip(row, kinds, nones, strict=True)
            ]
        )
    if block.columns and block.columns[-1].kind == model.REMARK:
        cells = list(_continued(cells, look.width - block.indent))
    title, *lines = columns(cells, "".join(side for side, _ in kinds))
    yield indent + (title if block.plain else look.bold(title))
    if block.bars is None:
        yield from (indent + line for line in lines)
        return
    # The last column is right-aligned: all lines are equally long.
    width = min(MAX_BAR, look.width - 1 - width_of(title) - 2)
    counts = [row[block.bars] for row in block.rows]
    largest = max(counts, default=0)
    for line, count in zip(lines, counts, strict=True):
        drawn = bar(count, largest, width, unicode=look.unicode) if width >= MIN_BAR else ""
        yield f"{line}  {look.cyan(drawn)}".rstrip()


def _continued(rows: list[list[str]], width: int) -> Iterator[list[str]]:
    """Rows with their last cell in as many lines as it takes."""
    *others, _ = zip(*rows, strict=True)
    room = width - sum(max(map(width_of, cells)) + GAP for cells in others)
    for row in rows:
        blank = False
        for line in _wrapped(row[-1], max(room, MIN_REMARK)):
            yield [*([""] * len(others) if blank else row[:-1]), line]
            blank = True


def _key(value: Any, look: Look) -> str:
    return str(value) if isinstance(value, int) else name_text(value)


def _end_of_path(path: str, look: Look) -> str:
    """The last nodes of a path, as many as fit; the last one at least."""
    nodes = path.split("::")
    for first in range(len(nodes)):
        text = "::".join(nodes[first:])
        if first:
            text = f"{look.ellipsis}{text}"
        if len(text) <= NODE_WIDTH:
            return text
    return text


_CELLS: dict[str, tuple[str, Callable[[Any, Look], str]]] = {
    model.NAME: ("<", lambda value, look: name_text(value)),
    model.REMARK: ("<", lambda value, look: name_text(value)),
    model.KEY: (">", _key),
    model.NUMBER: (">", lambda value, look: str(value)),
    model.COUNT: (">", lambda value, look: f"{value:,}"),
    model.BYTES: (">", lambda value, look: bytes_text(value)),
    model.SHARE: (">", lambda value, look: share_text(*value)),
    model.REAL: (">", lambda value, look: f"{value:.3g}"),
    model.DAYS: (">", lambda value, look: f"{value:.1f} d"),
    model.AGE: (">", lambda value, look: age_text(value)),
    model.CHANGE: (">", lambda value, look: change_text(*value)),
    model.TREND: ("<", lambda value, look: bars_text(value, unicode=look.unicode)),
    model.NODE: ("<", _end_of_path),
}
"""By kind of column: the side of its cells, and how a value is written."""

_LINES: dict[type[model.Block], Callable[[Any, Look], Iterator[str]]] = {
    model.Text: _text,
    model.Title: _title,
    model.Verdict: _text,
    model.Omitted: _omitted,
    model.Row: _row,
    model.Facts: _facts,
    model.Table: _table,
}
