"""How blocks look as lines: every kind of block and of column, with names that are no text."""

from __future__ import annotations

import pytest

from monolith_cli.reports import lines, model
from monolith_cli.reports.lines import report_lines
from monolith_cli.reports.model import Column, Facts, Omitted, Row, Table, Text, Title, Verdict
from monolith_cli.reports.text import Look


def shown(*blocks: model.Block, look: Look | None = None) -> list[str]:
    return [*report_lines([blocks], look or Look())]


def test_sections_have_an_empty_line_between_them() -> None:
    sections = [[Title("a", ", step 1"), Text("b")], [Text("c", indent=2)], []]
    assert [*report_lines(sections)] == ["a, step 1", "b", "", "  c", ""]


def test_names_are_made_printable() -> None:
    odd = "a\n\udcff"
    escaped = "a\\n\\xff"
    assert shown(Title(odd, odd), Text(odd), Verdict(odd, good=True), Omitted(odd)) == [
        escaped * 2,
        escaped,
        escaped,
        f"… {escaped}",
    ]
    assert shown(Facts([("it", odd)])) == [f"it  {escaped}"]
    assert shown(Table([Column("name"), Column("what", model.KEY)], [(odd, odd)])) == [
        "name        what",
        f"{escaped}  {escaped}",
    ]


def test_rows_for_a_shell_are_as_they_are() -> None:
    assert shown(Row(7, None, "a\\b")) == ["7\t\ta\\b"]


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (model.NAME, "a", "a     |"),
        (model.REMARK, "a", "a     |"),
        (model.KEY, 12, "  12  |"),
        (model.KEY, "ab", "  ab  |"),
        (model.NUMBER, 1234, "1234  |"),
        (model.COUNT, 1234, "1,234  |"),
        (model.BYTES, 17, "17 B  |"),
        (model.SHARE, (1, 3), "33.3%  |"),
        (model.NODE, "A", "A     |"),
    ],
)
def test_alignment_and_digits_follow_from_the_kind(kind: str, value: object, text: str) -> None:
    assert shown(Table([Column("kind", kind), Column("")], [(value, "|")]))[1] == text


def test_remarks_are_continued_where_they_are_long() -> None:
    table = Table([Column("of"), Column("why", model.REMARK)], [("a", "one two " * 12), ("b", "")])
    title, first, second, last = shown(table)
    assert (title, last) == ("of  why", "b")
    assert first.startswith("a   one two")
    assert second.startswith("    ")
    assert len(first) <= 80
    assert f"{first[4:]} {second[4:]}" == ("one two " * 12).strip()


def test_every_kind_of_block_and_column_is_rendered() -> None:
    kinds = {value for name, value in vars(model).items() if name.isupper()}
    assert kinds == set(lines._CELLS)
    blocks = {
        value
        for value in vars(model).values()
        if isinstance(value, type) and issubclass(value, model.Block)
    }
    assert blocks - {model.Block} == set(lines._LINES)


def test_what_stands_for_none() -> None:
    table = Table(
        [Column("size", model.BYTES, none="missing"), Column("n", model.COUNT)], [(None,) * 2]
    )
    assert shown(table) == ["   size  n", "missing  -"]


def test_ends_of_paths() -> None:
    path = "::".join(["Prefetch"] * 9)
    cut = [shown(Table([Column("", model.NODE)], [(each,)]))[1] for each in (path, "x" * 60)]
    assert cut == ["…Prefetch::Prefetch::Prefetch::Prefetch", "x" * 60]


def test_bars_are_there_where_there_is_room() -> None:
    table = Table([Column("n", model.COUNT)], [(8,), (4,)], bars=0)
    assert shown(table, look=Look(width=16)) == ["n", "8  ████████████", "4  ██████"]
    assert shown(table, look=Look(width=16, unicode=False))[1:] == ["8  ############", "4  ######"]
    assert shown(table, look=Look(width=11)) == ["n", "8", "4"]


def test_facts() -> None:
    rows = [("a", "1 2"), ("long", "words " * 12)]
    assert shown(Facts(rows)) == ["a     1 2", "long  " + "words " * 12]
    wrapped = shown(Facts(rows, indent=2, label_width=5, wraps=True), look=Look(width=49))
    assert wrapped == [
        "  a      1 2",
        "  long   words words words words words words",
        "         words words words words words words",
    ]


def test_colours() -> None:
    look = Look(colour=True)
    table = Table([Column("n")], [("a",)])
    assert shown(Title("a", "b"), table, Omitted("c"), Omitted(faint=False), look=look) == [
        "\x1b[1ma\x1b[0mb",
        "\x1b[1mn\x1b[0m",
        "a",
        "\x1b[2m… c\x1b[0m",
        "…",
    ]
    assert shown(Table([Column("n")], [("a",)], indent=2, plain=True), look=look) == ["  n", "  a"]
