"""A report as one HTML page: no other file, no network, and readable without its script.

The script sorts tables and does nothing else. Style and script are allowed by their digests alone
(Content-Security-Policy), so nothing that a name might bring along could run or load, were it not
escaped, which it is.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from html import escape
from typing import Any

from monolith_cli.reports import model
from monolith_cli.reports.text import age_text, bytes_text, change_text, name_text, share_text

__all__ = ["html_page"]

_STYLE = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ink: #1b1f24; --faint: #59636e; --line: #d1d9e0; --shade: #f4f6f8;
  --accent: #0a5fd0; --good: #1a7f37; --bad: #c0202b;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171c; --ink: #e6e9ed; --faint: #9aa4af; --line: #363d46; --shade: #1d2128;
    --accent: #6cb0ff; --good: #4cc76a; --bad: #ff7b72;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1.5rem; max-width: 72rem;
  background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif;
}
h1 { font-size: 1.5rem; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.25rem 0 .25rem; }
p { margin: .4rem 0; max-width: 60rem; overflow-wrap: anywhere; }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; padding: 0; list-style: none; }
a { color: var(--accent); }
.faint { color: var(--faint); }
.good, .bad { font-weight: 600; }
.good { color: var(--good); }
.bad { color: var(--bad); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.25rem; margin: .5rem 0; }
dt { color: var(--faint); }
dd { margin: 0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin: .5rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td {
  padding: .25rem .75rem; text-align: left; vertical-align: top; font-weight: normal;
  border-bottom: 1px solid var(--line); white-space: pre-wrap;
}
thead th { color: var(--faint); vertical-align: bottom; }
tbody tr:hover { background: var(--shade); }
.number { text-align: right; white-space: nowrap; }
.long { overflow-wrap: anywhere; }
th button {
  all: unset; cursor: pointer; text-decoration: underline dotted; text-underline-offset: .2em;
}
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
th[aria-sort] { color: var(--ink); }
th[aria-sort=ascending] button::after { content: " \\2191"; }
th[aria-sort=descending] button::after { content: " \\2193"; }
svg { vertical-align: middle; margin-left: .6rem; }
svg rect { fill: var(--accent); }
@media print {
  :root {
    --paper: #fff; --ink: #000; --faint: #444; --line: #999; --shade: #fff;
    --accent: #0a5fd0; --good: #1a7f37; --bad: #c0202b;
  }
  body { padding: 0; max-width: none; font-size: 9pt; }
  nav { display: none; }
  .scroll { overflow: visible; }
  h2, h3 { break-after: avoid; }
  thead { display: table-header-group; }
  tr, dt, dd { break-inside: avoid; }
  svg rect { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""

_SCRIPT = """
"use strict";
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  if (body.rows.length < 2) continue;
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    if (!head.textContent) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
      const compare = (one, other) => {
        const [a, b] = [key(one), key(other)];
        if (a === "" || b === "") return (a === "") - (b === "");
        const order = isNaN(a) || isNaN(b) ? a.localeCompare(b, "en", {numeric: true}) : a - b;
        return down ? -order : order;
      };
      body.append(...[...body.rows].sort(compare));
    });
  });
}
"""

_LONG = 24
"""Longer texts may be broken within a word, rather than be wider than a page."""

_BAR_WIDTH = 160
_BAR_HEIGHT = 10
_TREND_STEP = 7
_TREND_HEIGHT = 20


def html_page(title: str, subtitle: str, sections: Iterable[model.Section]) -> Iterator[str]:
    """The page, in pieces.

    Parameters
    ----------
    title
        Of the page.
    subtitle
        What stands below it; may be empty.
    sections
        Each begins with a `Title`, which becomes its heading and a link at the top.
    """
    parts = [list(section) for section in sections]
    policy = (
        f"default-src 'none'; style-src {_digest(_STYLE)}; script-src {_digest(_SCRIPT)};"
        " img-src data:"
    )
    yield (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<header>\n<h1>{_text(title)}</h1>\n"
    )
    if subtitle:
        yield f'<p class="faint">{_text(subtitle)}</p>\n'
    yield '</header>\n<nav aria-label="Sections">\n<ul>\n'
    for number, blocks in enumerate(parts):
        if blocks and isinstance(blocks[0], model.Title):
            yield f'<li><a href="#section-{number}">{_text(blocks[0].text)}</a></li>\n'
    yield "</ul>\n</nav>\n<main>\n"
    for number, blocks in enumerate(parts):
        yield from _Section(f"section-{number}").pieces(blocks)
    yield f"</main>\n<script>{_SCRIPT}</script>\n</body>\n</html>\n"


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}'"


def _text(text: str) -> str:
    """Any text as HTML: bytes that are no text, and controls, are escaped as for a terminal."""
    return escape(name_text(text))


class _Section:
    """Makes the HTML of a section; what comes below a heading is named after it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._headings = 0

    def pieces(self, blocks: Iterable[model.Block]) -> Iterator[str]:
        yield f'<section aria-labelledby="{self._name}">\n'
        for block in blocks:
            yield from _BLOCKS[type(block)](self, block)
        yield "</section>\n"

    @property
    def _heading(self) -> str:
        """The id of the heading above."""
        return self._name if self._headings < 2 else f"{self._name}-{self._headings}"

    def title(self, block: model.Title) -> Iterator[str]:
        self._headings += 1
        level = "h2" if self._headings == 1 else "h3"
        rest = f'<span class="faint">{_text(block.rest)}</span>' if block.rest else ""
        yield f'<{level} id="{self._heading}">{_text(block.text)}{rest}</{level}>\n'

    def text(self, block: model.Text) -> Iterator[str]:
        yield f"<p>{_text(block.text)}</p>\n"

    def verdict(self, block: model.Verdict) -> Iterator[str]:
        yield f'<p class="{"good" if block.good else "bad"}">{_text(block.text)}</p>\n'

    def omitted(self, block: model.Omitted) -> Iterator[str]:
        yield f'<p class="faint">… {_text(block.text)}</p>\n'

    def row(self, block: model.Row) -> Iterator[str]:
        cells = ("" if cell is None else str(cell) for cell in block.cells)
        yield f"<p>{_text(' '.join(cells))}</p>\n"

    def facts(self, block: model.Facts) -> Iterator[str]:
        yield "<dl>\n"
        for label, value in block.rows:
            yield f"<dt>{_text(label)}</dt><dd>{_text(value)}</dd>\n"
        yield "</dl>\n"

    def table(self, block: model.Table) -> Iterator[str]:
        # A part of the page that scrolls by itself must be reached with the keyboard.
        yield (
            f'<div class="scroll" role="region" tabindex="0" aria-labelledby="{self._heading}">\n'
            f'<table aria-labelledby="{self._heading}">\n<thead>\n<tr>'
        )
        kinds = [_CELLS[column.kind] for column in block.columns]
        for column, (is_number, _) in zip(block.columns, kinds, strict=True):
            tag = 'th scope="col"' if column.title else "td"
            yield f"<{tag}{_class(is_number)}>{_text(column.title)}</{tag.split()[0]}>"
        yield "</tr>\n</thead>\n<tbody>\n"
        largest = _largest(block)
        for row in block.rows:
            yield "<tr>"
            for at, (value, column) in enumerate(zip(row, block.columns, strict=True)):
                is_number, write = kinds[at]
                tag = "td" if at else 'th scope="row"'
                drawn = ""
                if at == block.bars and value is not None:
                    drawn = _bar(value, largest)
                said = f' data-value="{_sort_key(value, column.kind)}"' if is_number else ""
                content = _text(column.none) if value is None else write(value)
                is_long = isinstance(value, str) and len(value) > _LONG
                kind = _class(is_number, is_long)
                yield f"<{tag}{kind}{said}>{content}{drawn}</{tag.split()[0]}>"
            yield "</tr>\n"
        yield "</tbody>\n</table>\n</div>\n"


def _class(is_number: bool, is_long: bool = False) -> str:
    if is_number:
        return ' class="number"'
    return ' class="long"' if is_long else ""


def _largest(block: model.Table) -> float:
    if block.bars is None:
        return 0
    return max((row[block.bars] for row in block.rows if row[block.bars] is not None), default=0)


def _bar(value: float, largest: float) -> str:
    """A bar beside its number, which says the same, so that nobody needs to be told of it."""
    width = round(_BAR_WIDTH * value / largest, 1) if largest > 0 and value > 0 else 0
    return (
        f'<svg width="{_BAR_WIDTH}" height="{_BAR_HEIGHT}" aria-hidden="true">'
        f'<rect width="{width:g}" height="{_BAR_HEIGHT}"/></svg>'
    )


def _trend(values: Sequence[int | None]) -> str:
    """A bar for each number that is known, and in words where they begin and end."""
    ends = [value for value in values if value is not None]
    largest, bars = max(ends, default=0), ""
    for i, value in enumerate(values):
        height = round(_TREND_HEIGHT * value / largest, 1) if largest and value else 0
        bars += (
            f'<rect x="{i * _TREND_STEP}" y="{_TREND_HEIGHT - height:g}"'
            f' width="{_TREND_STEP - 2}" height="{height:g}"/>'
        )
    label = f"from {ends[0]:,} to {ends[-1]:,}" if ends else "nothing"
    width = _TREND_STEP * len(values)
    return (
        f'<svg width="{width}" height="{_TREND_HEIGHT}" role="img" aria-label="{label}">'
        f"<title>{label}</title>{bars}</svg>"
    )


def _sort_key(value: Any, kind: str) -> str:
    """What a number is sorted by; empty for none, which comes last."""
    if value is None:
        return ""
    if kind == model.SHARE:
        part, whole = value
        return f"{part / whole:.9g}" if whole else ""
    if kind == model.CHANGE:
        before, after = value
        return f"{after / before:.9g}" if before else "Infinity" if after else "1"
    return escape(str(value))


_CELLS: dict[str, tuple[bool, Callable[[Any], str]]] = {
    model.NAME: (False, _text),
    model.REMARK: (False, _text),
    model.KEY: (True, lambda value: _text(str(value))),
    model.NUMBER: (True, lambda value: _text(str(value))),
    model.COUNT: (True, lambda value: f"{value:,}"),
    model.BYTES: (True, bytes_text),
    model.SHARE: (True, lambda value: escape(share_text(*value))),
    model.AGE: (True, lambda value: escape(age_text(value))),
    model.CHANGE: (True, lambda value: escape(change_text(*value))),
    model.TREND: (False, _trend),
    model.REAL: (True, lambda value: f"{value:.3g}"),
    model.DAYS: (True, lambda value: f"{value:.1f} d"),
    model.NODE: (False, _text),
}
"""By kind of column: whether its cells are numbers, and how a value is written."""

_BLOCKS: dict[type[model.Block], Callable[[_Section, Any], Iterator[str]]] = {
    model.Text: _Section.text,
    model.Title: _Section.title,
    model.Verdict: _Section.verdict,
    model.Omitted: _Section.omitted,
    model.Row: _Section.row,
    model.Facts: _Section.facts,
    model.Table: _Section.table,
}
