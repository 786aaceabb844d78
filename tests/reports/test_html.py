"""A report as a page: every kind of block and column, and what a browser makes of it."""

from __future__ import annotations

import base64
import re
import struct
import zlib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import browser
import pytest

from monolith_cli.reports import html, model
from monolith_cli.reports.html import html_page
from monolith_cli.reports.model import Column, Facts, Omitted, Row, Table, Text, Title, Verdict

ODD = "<script>alert('x')</script>&\"\udcff\n"
ESCAPED = "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;&amp;&quot;\\xff\\n"

ROWS = [
    (9, 30, 1 << 30, (1, 3), [3, 2, 0], "beta"),
    (10, 100, 2048, (2, 3), [1, 2, 3], ODD),
    (100, 2, None, (0, 0), [0, 0], "Alpha"),
]
TABLE = Table(
    [
        Column("step", model.NUMBER),
        Column("entries", model.COUNT),
        Column("size", model.BYTES, none="gone"),
        Column("share", model.SHARE),
        Column("trend", model.TREND),
        Column("name"),
    ],
    ROWS,
    bars=1,
)
SECTIONS = [
    [
        Title("Steps", ", all of them"),
        Text("These are steps."),
        Verdict("whole", good=True),
        Verdict("not whole", good=False),
        Facts([("run", "r1"), (ODD, ODD)]),
        TABLE,
        Omitted("3 more"),
    ],
    [Title(ODD), Text(ODD), Title("Below"), Table([Column("a")], [(ODD,)]), Row(1, None, ODD)],
]


def page(sections: list[list[model.Block]] = SECTIONS) -> str:
    return "".join(html_page(ODD, "written today", sections))


class Tags(HTMLParser):
    """The tags that are open, and those that do not fit."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.ids: list[str] = []
        self.named_by: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag not in ("meta", "link", "rect"):
            self.open.append(tag)
        for name, value in attrs:
            assert value is not None
            if name == "id":
                self.ids.append(value)
            if name == "aria-labelledby":
                self.named_by.append(value)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_every_kind_of_block_and_column_is_rendered() -> None:
    kinds = {value for name, value in vars(model).items() if name.isupper()}
    assert kinds == set(html._CELLS)
    blocks = {
        value
        for value in vars(model).values()
        if isinstance(value, type) and issubclass(value, model.Block)
    }
    assert blocks - {model.Block} == set(html._BLOCKS)


def test_tags_fit_and_names_are_there() -> None:
    tags = Tags(page())
    assert tags.open == []
    assert len(tags.ids) == len(set(tags.ids))
    assert set(tags.named_by) <= set(tags.ids)


def test_whatever_a_name_is_it_is_text() -> None:
    text = page()
    assert text.count("<script>") == 1
    assert "alert('x')" not in text
    assert text.count(ESCAPED) == 10
    assert text.isascii() or "\udcff" not in text
    text.encode()


def test_numbers_can_be_sorted_and_drawn() -> None:
    text = page()
    assert '<td class="number" data-value="100">100<svg width="160"' in text
    assert '<rect width="160" height="10"/>' in text
    assert '<rect width="48" height="10"/>' in text
    assert '<td class="number" data-value="">gone</td>' in text
    assert '<td class="number" data-value="0.333333333">33.3%</td>' in text
    assert 'role="img" aria-label="from 3 to 0"' in text


def test_nothing_is_loaded_from_anywhere() -> None:
    text = page()
    assert "http:" not in text
    assert "https:" not in text
    assert re.findall(r'(?:src|href)="([^"]*)"', text) == ["data:,", "#section-0", "#section-1"]


# --- in a browser ---------------------------------------------------------------------------

needs_browser = pytest.mark.skipif(browser.CHROMIUM is None, reason=browser.NOT_HERE)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Browser]:
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(page(), encoding="utf-8")
    with browser.browser() as found:
        found.open(path)
        yield found


def colours(png: bytes) -> set[bytes]:
    """The colours of a picture, of 8 bits a channel and not interlaced."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    position, data, head = 8, b"", b""
    while position < len(png):
        length, kind = struct.unpack_from(">I4s", png, position)
        chunk = png[position + 8 : position + 8 + length]
        if kind == b"IHDR":
            head = chunk
        if kind == b"IDAT":
            data += chunk
        position += 12 + length
    width, height, depth, colour = struct.unpack(">IIBB", head[:10])
    assert (depth, colour in (2, 6)) == (8, True)
    channels = 3 if colour == 2 else 4
    lines, stride, before = zlib.decompress(data), width * channels, bytes(width * channels)
    found: set[bytes] = set()
    for line in range(height):
        start = line * (stride + 1)
        raw = bytearray(lines[start + 1 : start + 1 + stride])
        for i in range(stride):
            left = raw[i - channels] if i >= channels else 0
            up = before[i]
            corner = before[i - channels] if i >= channels else 0
            match lines[start]:
                case 1:
                    raw[i] = raw[i] + left & 255
                case 2:
                    raw[i] = raw[i] + up & 255
                case 3:
                    raw[i] = raw[i] + (left + up) // 2 & 255
                case 4:
                    guess = left + up - corner
                    near = min((left, up, corner), key=lambda each: abs(guess - each))
                    raw[i] = raw[i] + near & 255
        before = bytes(raw)
        found.update(before[i : i + 3] for i in range(0, stride, channels))
    return found


@needs_browser
def test_it_is_seen_in_light_and_dark(shown: browser.Browser) -> None:
    for scheme, paper in (("light", b"\xff\xff\xff"), ("dark", b"\x14\x17\x1c")):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        shown.call("Emulation.setEmulatedMedia", features=features)
        found = colours(shown.screenshot())
        assert paper in found
        assert len(found) > 50
    shown.call("Emulation.setEmulatedMedia", features=[])


@needs_browser
def test_it_prints_what_paper_can_show(shown: browser.Browser) -> None:
    shown.call("Emulation.setEmulatedMedia", media="print")
    assert shown.value("getComputedStyle(document.querySelector('nav')).display") == "none"
    ink = "getComputedStyle(document.body).color"
    features = [{"name": "prefers-color-scheme", "value": "dark"}]
    shown.call("Emulation.setEmulatedMedia", media="print", features=features)
    assert shown.value(ink) == "rgb(0, 0, 0)"
    shown.call("Emulation.setEmulatedMedia", media="", features=[])
    pdf = base64.b64decode(shown.call("Page.printToPDF")["data"])
    assert pdf.startswith(b"%PDF")
    assert len(pdf) > 5000


@needs_browser
def test_it_asks_for_nothing_and_complains_of_nothing(shown: browser.Browser) -> None:
    asked = [url for url in shown.requests if not url.startswith("data:")]
    assert asked == [shown.value("location.href")]
    assert shown.messages == []


@needs_browser
def test_a_screen_reader_is_told_what_is_what(shown: browser.Browser) -> None:
    names = shown.names()
    assert ("heading", "Steps, all of them") in names
    assert ("table", "Steps, all of them") in names
    assert ("navigation", "Sections") in names
    assert ("button", "entries") in names
    assert ("columnheader", "entries") in names
    assert ("rowheader", "9") in names
    assert ("image", "from 3 to 0") in names or ("img", "from 3 to 0") in names
    unnamed = {role for role, name in names if not name}
    assert not unnamed & {"button", "link", "heading", "table", "region", "image", "img"}


@needs_browser
def test_the_keyboard_sorts(shown: browser.Browser) -> None:
    def column(number: int) -> list[str]:
        text = f"[...document.querySelector('tbody').rows].map(r => r.cells[{number}].textContent)"
        cells: list[str] = shown.value(text)
        return cells

    def sorted_by() -> list[str | None]:
        text = "[...document.querySelectorAll('th[scope=col]')].map(h => h.ariaSort)"
        marks: list[str | None] = shown.value(text)
        return marks

    def go_to(button: str) -> None:
        for _ in range(20):
            shown.press("Tab")
            if shown.value("document.activeElement.textContent") == button:
                return
        raise AssertionError(f"{button} is not reached")

    assert column(0) == ["9", "10", "100"]
    go_to("entries")
    shown.press("Enter", "\r")
    assert column(0) == ["100", "9", "10"]
    assert sorted_by()[:3] == [None, "ascending", None]
    shown.press(" ", " ")
    assert column(0) == ["10", "9", "100"]
    assert sorted_by()[:3] == [None, "descending", None]
    go_to("size")
    for order in (["10", "9", "100"], ["9", "10", "100"]):  # what is not known comes last
        shown.press("Enter", "\r")
        assert column(0) == order
    go_to("name")
    shown.press("Enter", "\r")
    assert column(5)[1:] == ["Alpha", "beta"]


@needs_browser
def test_without_its_script_all_is_there(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(page(), encoding="utf-8")
    with browser.browser() as found:
        found.call("Emulation.setScriptExecutionDisabled", value=True)
        found.open(path)
        names = found.names()
        assert ("columnheader", "entries") in names
        assert not [name for role, name in names if role == "button"]
        assert ("rowheader", "100") in names
