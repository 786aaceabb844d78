"""Numbers, names, bars and columns as plain text; nothing here knows where it is shown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

__all__ = [
    "PLAIN",
    "Look",
    "age_text",
    "bar",
    "bars_text",
    "bytes_text",
    "change_text",
    "columns",
    "count_text",
    "json_value",
    "name_json",
    "name_text",
    "share_text",
    "width_of",
]


class Look(NamedTuple):
    """What the place of the output can show."""

    width: int = 80
    colour: bool = False
    unicode: bool = True

    def bold(self, text: str) -> str:
        return f"\x1b[1m{text}\x1b[0m" if self.colour and text else text

    def dim(self, text: str) -> str:
        return f"\x1b[2m{text}\x1b[0m" if self.colour and text else text

    def cyan(self, text: str) -> str:
        return f"\x1b[36m{text}\x1b[0m" if self.colour and text else text

    @property
    def ellipsis(self) -> str:
        return "…" if self.unicode else "..."


PLAIN = Look()
"""A pipe or a file."""


def count_text(count: int, singular: str, plural: str | None = None) -> str:
    """`1 entry`, `1,234 entries`."""
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"


def bytes_text(size: int) -> str:
    """`17 B`, `1.5 KiB`, `3.9 GiB`."""
    if size < 1024:
        return f"{size} B"
    value, power = size / 1024, 0
    while value >= 1023.95 and power < 3:  # it would be shown as 1024.0 of its unit
        value, power = value / 1024, power + 1
    return f"{value:.1f} {'KMGT'[power]}iB"


def share_text(part: int, whole: int) -> str:
    """A share in percent, with one digit behind the point; something is never shown as nothing."""
    if not whole:
        return "-"
    if 0 < part * 2000 < whole:
        return "<0.1%"
    return f"{100 * part / whole:.1f}%"


def age_text(seconds: float) -> str:
    """`42s`, `17m`, `3h`, `5d`: whole units, as many as fit."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{int(seconds)}s"


def change_text(before: int, after: int) -> str:
    """What a count has changed by, in percent: `+12.5%`, `-3.0%`, `new`; nothing is `=`."""
    if before == after:
        return "="
    if not before:
        return "new"
    percent = 100 * (after - before) / before
    return f"{percent:+,.1f}%" if abs(percent) < 999.95 else f"{percent:+,.0f}%"


def bars_text(counts: Sequence[int | None], *, unicode: bool = True) -> str:
    """A small bar for each count, the largest as high as a line; a blank where none is known."""
    levels = "▁▂▃▄▅▆▇█" if unicode else "_.:-=+*#"
    largest = max((count for count in counts if count is not None), default=0)
    bars = [
        " " if count is None else levels[min(7, 8 * count // largest) if largest else 0]
        for count in counts
    ]
    return "".join(bars)


def name_json(name: str) -> str:
    """A name from a file for JSON, which has no way to say bytes that are no text."""
    return _bytes_of(name).decode("utf-8", "replace")


def _bytes_of(name: str) -> bytes:
    try:
        return name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half of a pair, which a JSON file may hold
        return name.encode("utf-8", "surrogatepass")


def json_value(value: Any) -> Any:
    """A value for JSON with every text in it as `name_json` has it."""
    if isinstance(value, str):
        return value if value.isascii() else name_json(value)
    if isinstance(value, Mapping):
        return {
            key if type(key) is str and key.isascii() else json_value(key): item
            if type(item) is int
            else json_value(item)
            for key, item in value.items()  # of counts there may be a million
        }
    if isinstance(value, (list, tuple)):
        return [json_value(item) for item in value]
    return value


def name_text(name: str) -> str:
    """A name from a file for a line of text: bytes that are no text and controls are escaped."""
    text = _bytes_of(name).decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def width_of(text: str) -> int:
    """Columns that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(
        0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text
    )


def bar(part: int, largest: int, width: int, *, unicode: bool = True) -> str:
    """A bar of `width` columns for the largest value; in eighths of a column, without blanks."""
    if part <= 0 or largest <= 0 or width <= 0:
        return ""
    if not unicode:
        return "#" * max(1, round(width * part / largest))
    eighths = max(1, round(8 * width * part / largest))
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def columns(rows: Sequence[Sequence[str]], align: str, *, gap: str = "  ") -> Iterator[str]:
    """Lines of aligned cells, without blanks at the end.

    Parameters
    ----------
    rows
        Cells, as many in every row.
    align
        A letter a column: `<` or `>`.
    """
    widths = [max(map(width_of, cells), default=0) for cells in _transposed(rows, len(align))]
    for row in rows:
        cells = []
        for cell, side, width in zip(row, align, widths, strict=True):
            padding = " " * (width - width_of(cell))
            cells.append(padding + cell if side == ">" else cell + padding)
        yield gap.join(cells).rstrip()


def _transposed(rows: Sequence[Sequence[str]], count: int) -> Iterable[list[str]]:
    return ([row[index] for row in rows] for index in range(count))
