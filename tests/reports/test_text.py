"""Numbers, names, bars and columns."""

from __future__ import annotations

import pytest

from monolith_cli.reports.text import (
    age_text,
    bar,
    bars_text,
    bytes_text,
    change_text,
    columns,
    count_text,
    json_value,
    name_json,
    name_text,
    share_text,
    width_of,
)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (4_200_000_000, "3.9 GiB"),
        (5 * 1024**4, "5.0 TiB"),
        (5000 * 1024**4, "5000.0 TiB"),
    ],
)
def test_bytes(size: int, text: str) -> None:
    assert bytes_text(size) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 0, "-"),
        (0, 7, "0.0%"),
        (1, 3, "33.3%"),
        (1, 1999, "0.1%"),
        (1, 2001, "<0.1%"),
        (1, 10**12, "<0.1%"),
        (7, 7, "100.0%"),
    ],
)
def test_shares(part: int, whole: int, text: str) -> None:
    assert share_text(part, whole) == text


def test_counts() -> None:
    assert count_text(1, "entry", "entries") == "1 entry"
    assert count_text(1234567, "entry", "entries") == "1,234,567 entries"
    assert count_text(0, "table") == "0 tables"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("user_id", "user_id"),
        ("größe 用户", "größe 用户"),
        ("a\nb\x1b[31m", "a\\nb\\x1b[31m"),
        ("\udcff\udc80", "\\xff\\x80"),
        ("", ""),
    ],
)
def test_names(name: str, text: str) -> None:
    assert name_text(name) == text


def test_names_in_json() -> None:
    assert name_json("größe \udcff\udce9") == "größe \ufffd\ufffd"
    assert name_json("\ud800x") == "\ufffd\ufffd\ufffdx"
    document = {"\udcff": ["\udcff", {"n": (1, None, "\udcff")}], "n": 2.5}
    assert json_value(document) == {"\ufffd": ["\ufffd", {"n": [1, None, "\ufffd"]}], "n": 2.5}


def test_width() -> None:
    assert width_of("abc") == 3
    assert width_of("用户") == 4
    assert width_of("e\u0301") == 1


def test_bars() -> None:
    assert bar(8, 8, 4) == "████"
    assert bar(5, 8, 4) == "██▌"
    assert bar(1, 10**9, 4) == "▏"
    assert bar(0, 8, 4) == ""
    assert bar(0, 0, 4) == ""
    assert bar(5, 8, 4, unicode=False) == "##"
    assert bar(1, 10**9, 4, unicode=False) == "#"


def test_columns() -> None:
    rows = [("slot", "entries", ""), ("7", "1,000", "x"), ("用户", "1", "")]
    assert list(columns(rows, "<><")) == ["slot  entries", "7       1,000  x", "用户        1"]
    assert list(columns([], "<>")) == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59.9, "59s"), (60, "1m"), (3599, "59m"), (3600, "1h"), (86_400 * 530.5, "530d")],
)
def test_ages(seconds: float, text: str) -> None:
    assert age_text(seconds) == text


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (5, 5, "="),
        (0, 0, "="),
        (0, 5, "new"),
        (5, 0, "-100.0%"),
        (8, 9, "+12.5%"),
        (10**6, 10**6 + 1, "+0.0%"),
        (1, 10_000, "+999,900%"),
        (2, 22, "+1,000%"),
    ],
)
def test_changes(before: int, after: int, text: str) -> None:
    assert change_text(before, after) == text


def test_small_bars() -> None:
    assert bars_text([0, 1, 4, 7, 8, None, 8]) == "▁▂▅██ █"
    assert bars_text([0, 1, 4, 7, 8, None, 8], unicode=False) == "_.=## #"
    assert bars_text([0, 0, None]) == "▁▁ "
    assert bars_text([]) == ""
