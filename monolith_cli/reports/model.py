"""A report as data: what a command found, before anybody knows where it is shown.

A report has two faces, and makes only the one that it is asked for:

- its sections are for people: titles, sentences, facts, tables whose columns have a type, verdicts.
  How a type is aligned and written is the renderer's: `reports/lines.py` makes lines of text.
- its document is for programs: values for JSON, under the keys that `reports/keys` declares.

Texts in blocks and cells are as they are, with whatever bytes a name had: renderers make them
printable. To add a kind of block or of column, add it here and to the table in each renderer.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = [
    "AGE",
    "BYTES",
    "CHANGE",
    "COUNT",
    "DAYS",
    "KEY",
    "NAME",
    "NODE",
    "NUMBER",
    "REAL",
    "REMARK",
    "SHARE",
    "TREND",
    "Block",
    "Column",
    "Facts",
    "Omitted",
    "Report",
    "Row",
    "Section",
    "Table",
    "Text",
    "Title",
    "Verdict",
]

NAME = "name"
"""A column of text: names, kinds, remarks."""
REMARK = "remark"
"""A last column of phrases, which are continued in further lines where they are long."""
KEY = "key"
"""One of what a row is about, a slot or a worker, where some are numbers and some are names."""
NUMBER = "number"
"""One of numbers that name something, such as steps and slots; or of ranges of numbers."""
COUNT = "count"
"""One of numbers of things."""
BYTES = "bytes"
"""One of sizes in bytes."""
SHARE = "share"
"""One of pairs: a part, and the whole that it is of."""
REAL = "real"
"""One of real numbers, of which three digits say enough."""
DAYS = "days"
"""One of times in days."""
AGE = "age"
"""One of seconds since something."""
CHANGE = "change"
"""One of pairs: a count before, and the count now."""
TREND = "trend"
"""One of lists of counts over time, oldest first; None where one is not known."""
NODE = "node"
"""One of paths of dataset nodes, with `::` between, of which the end says most."""


class Column:
    """A column of a table.

    Attributes
    ----------
    title
        What is above it; may be empty.
    kind
        The type of its values, one of the constants above.
    none
        What stands for None.
    """

    def __init__(self, title: str, kind: str = NAME, none: str = "-") -> None:
        self.title = title
        self.kind = kind
        self.none = none


class Block:
    """A part of a section.

    Attributes
    ----------
    indent
        How far it stands below what it belongs to, in columns.
    """

    def __init__(self, indent: int = 0) -> None:
        self.indent = indent


class Text(Block):
    """A sentence."""

    def __init__(self, text: str, indent: int = 0) -> None:
        super().__init__(indent)
        self.text = text


class Title(Text):
    """What the following is about, and after that what is less than a title."""

    def __init__(self, text: str, rest: str = "") -> None:
        super().__init__(text)
        self.rest = rest


class Verdict(Text):
    """What something was found to be; `good` if that is as it should be."""

    def __init__(self, text: str, *, good: bool) -> None:
        super().__init__(text)
        self.good = good


class Omitted(Text):
    """What was left out of a table or a list; without a text, something was.

    Attributes
    ----------
    faint
        Whether it stands back behind what is shown.
    """

    def __init__(self, text: str = "", indent: int = 0, *, faint: bool = True) -> None:
        super().__init__(text, indent)
        self.faint = faint


class Row(Block):
    """Cells for a shell to take apart, written as they are; None is empty."""

    def __init__(self, *cells: object) -> None:
        super().__init__()
        self.cells = cells


class Facts(Block):
    """Labels with what there is to say of each.

    Attributes
    ----------
    rows
        Pairs of label and value.
    label_width
        Columns for the labels; as many as the longest has by default.
    wraps
        Whether values are broken into lines.
    """

    def __init__(
        self,
        rows: Iterable[tuple[str, str]],
        indent: int = 0,
        *,
        label_width: int = 0,
        wraps: bool = False,
    ) -> None:
        super().__init__(indent)
        self.rows = list(rows)
        self.label_width = label_width
        self.wraps = wraps


class Table(Block):
    """Rows of values under typed columns.

    Attributes
    ----------
    columns
        Those of every row.
    rows
        A value a column each.
    bars
        The index of a column of counts that is drawn, too, where there is room for it.
    plain
        Whether the titles stand back: it belongs to what is above it.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        rows: Iterable[Sequence[Any]],
        indent: int = 0,
        *,
        bars: int | None = None,
        plain: bool = False,
    ) -> None:
        super().__init__(indent)
        self.columns = columns
        self.rows = list(rows)
        self.bars = bars
        self.plain = plain


Section = Iterable[Block]
"""Blocks that belong together; what is between two sections is the renderer's."""


class Report(abc.ABC):
    """A result, ready to be shown."""

    @abc.abstractmethod
    def sections(self) -> Iterable[Section]:
        """For people."""

    @abc.abstractmethod
    def document(self) -> object:
        """For programs: values for JSON. Names may have bytes that are no text."""
