"""Entries for people, and what goes with a page of them."""

from __future__ import annotations

from monolith_cli.reports.entries import (
    cursor_line,
    cursor_note,
    entries_lines,
    entry_lines,
    non_finite_warning,
    step_note,
)
from monolith_cli.reports.text import Look
from monolith_cli.tables.folds.entries import Entry


def test_cursor() -> None:
    assert cursor_line(2**62, 7) == b'{"next_offset":"4611686018427387904","step":7}\n'
    assert cursor_line(None, None) == b'{"next_offset":null,"step":null}\n'
    assert cursor_note(1, 17, 300) == "1 entry, go on with --step 300 --offset 17"
    assert cursor_note(1, 17, None) == "1 entry, go on with --offset 17"
    assert cursor_note(1000, None, 300) == "1,000 entries, nothing is left"


def test_which_step() -> None:
    assert step_note(None) is None
    assert step_note(300) == (
        "step 300 is read, the latest; --step 300 keeps to it when another is saved"
    )


def test_non_finite() -> None:
    assert non_finite_warning(0) is None
    assert non_finite_warning(2) == "2 floats not finite, written as null"
    assert non_finite_warning(1, null=False) == "1 float not finite"


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
    two = [Entry(1, b'{"fid":"1"}'), Entry(2, b'{"slot":0}')]
    assert list(entries_lines(two)) == ["fid 1", "", "  slot       0"]
    assert list(entry_lines({"opt": [{"sgd": {}}], "table": None})) == ["  sgd"]
