"""Entries for people, and what goes with them: cursors, and values that JSON cannot say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from monolith_cli.reports.text import PLAIN, Look, count_text, name_text

if TYPE_CHECKING:
    from monolith_cli.tables.folds.entries import Entry

__all__ = [
    "cursor_line",
    "cursor_note",
    "entries_lines",
    "entry_lines",
    "no_cursor_warning",
    "non_finite_warning",
    "step_note",
]


def cursor_line(next_offset: int | None, step: int | None) -> bytes:
    """The last line of a page in jsonl; the cursor is a string, as all numbers of 64 bits are.

    `step` is that of the checkpoint that the page is of; None where it has none.
    """
    return b'{"next_offset":%s,"step":%s}\n' % (
        b"null" if next_offset is None else b'"%d"' % next_offset,
        b"null" if step is None else b"%d" % step,
    )


def cursor_note(entries: int, next_offset: int | None, step: int | None) -> str:
    """How to go on after a page, in the same checkpoint."""
    page = count_text(entries, "entry", "entries")
    if next_offset is None:
        return f"{page}, nothing is left"
    pinned = "" if step is None else f"--step {step} "
    return f"{page}, go on with {pinned}--offset {next_offset}"


def no_cursor_warning(offset: int = 0) -> str:
    """Why there is no cursor, or what one cannot be used for, where tables are left out."""
    if offset:
        return (
            f"nothing is read from cursor {offset} on: cursors also count tables that are not whole"
        )
    return "no cursor to go on from: tables that are not whole are left out"


def step_note(step: int | None) -> str | None:
    """Which checkpoint one of several runs reads, where that is for each to find out."""
    if step is None:
        return None
    return f"step {step} is read, the latest; --step {step} keeps to it when another is saved"


def non_finite_warning(count: int, *, null: bool = True) -> str | None:
    """What to say of floats that are not finite; with `null` they are written so, as in JSON."""
    if not count:
        return None
    return f"{count_text(count, 'float')} not finite" + (", written as null" if null else "")


def entries_lines(entries: Iterable[Entry], *, look: Look = PLAIN) -> Iterator[str]:
    """Entries with an empty line between two. NaN, Infinity and -Infinity may stand for floats."""
    for number, entry in enumerate(entries):
        if number:
            yield ""
        yield from entry_lines(entry.values(), look=look)


def entry_lines(entry: Mapping[str, Any], *, look: Look = PLAIN) -> Iterator[str]:
    """One entry, from its values by key, of which some may have been left out."""
    if "fid" in entry:
        yield look.bold(f"fid {entry['fid']}")
    if entry.get("table") is not None:
        yield f"  table      {name_text(entry['table'])}"
    if "slot" in entry:
        yield f"  slot       {entry['slot']}"
    if "last_update_ts_sec" in entry:
        yield f"  updated    {_time_text(int(entry['last_update_ts_sec']))}"
    if "embedding" in entry:
        yield from _values("  embedding", entry["embedding"], look)
    for optimizer in entry.get("opt", ()):
        for name, state in optimizer.items():
            yield f"  {name}"
            for key, value in state.items():
                yield from _values(f"    {key}", value, look)


def _values(label: str, value: Any, look: Look) -> Iterator[str]:
    """A label and its values, as many a line as there is room for."""
    values = value if isinstance(value, list) else [value]
    start = f"{label:<12} "
    line = start
    for item in values:
        text = "null" if item is None else "NaN" if item != item else str(item)
        if len(line) + len(text) + 1 > look.width and line.strip() and line != start:
            yield line.rstrip()
            line = " " * len(start)
        line += f"{text} "
    yield line.rstrip()


def _time_text(seconds: int) -> str:
    """Seconds since 1970, with the date in UTC where there is one."""
    import time

    if seconds == 0:
        return "0 (never)"
    try:
        return time.strftime(f"{seconds} (%Y-%m-%d %H:%M:%S UTC)", time.gmtime(seconds))
    except (OverflowError, ValueError, OSError):
        return str(seconds)
