"""Entries for people, and what goes with a page of them."""

from __future__ import annotations

from monolith_cli.reports.entries import (
    cursor_line,
    cursor_note,
    entries_lines,
    entry_lines,
    non_finite_warning,
)
from monolith_cli.reports.text import Look


def test_cursor() -> None:
    assert cursor_line(2**62) == b'{"next_offset":"4611686018427387904"}\n'
    assert cursor_line(None) == b'{"next_offset":null}\n'
    assert cursor_note(1, 17) == "1 entry, go on with --offset 17"
    assert cursor_note(1000, None) == "1,000 entries, the shard is exhausted"


def test_non_finite() -> None:
    assert non_finite_warning(0) is None
    assert non_finite_warning(2) == "2 floats not finite, written as null"


def test_long_embeddings_are_wrapped() -> None:
    entry = {"fid": "5", "embedding": [0.125, None, -1, 2.5]}
    assert list(entry_lines(entry, look=Look(width=28))) == [
        "fid 5",
        "  embedding  0.125 null -1",
        "             2.5",
    ]


def test_times() -> None:
    for seconds, text in [
        (0, "0 (never)"),
        (1_750_000_000, "1750000000 (2025-06-15 15:06:40 UTC)"),
        (2**62, str(2**62)),
    ]:
        assert list(entry_lines({"last_update_ts_sec": seconds})) == [f"  updated    {text}"]


def test_several() -> None:
    assert list(entries_lines([b'{"fid":"1"}', b'{"fid":"2"}'])) == ["fid 1", "", "fid 2"]
    assert list(entry_lines({"opt": [{"sgd": {}}], "table": None})) == ["  sgd"]
