"""The report of ckpt-info, as lines and as a document."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from monolith_cli.reports.counts import CountsReport, check_blocks
from monolith_cli.reports.lines import report_lines
from monolith_cli.reports.model import Verdict
from monolith_cli.reports.text import PLAIN, Look
from monolith_cli.tables.comparison import Comparison, Difference


def table(
    name: str, kind: str, entries: int, *, verified: bool = True, damaged: bool = False
) -> SimpleNamespace:
    return SimpleNamespace(
        name=name,
        kind=kind,
        entries=entries,
        shards=2,
        bytes=1000,
        verified=verified,
        damaged=damaged,
    )


def counts(**changes: Any) -> Any:
    values: dict[str, Any] = {
        "found": None,
        "entries": 3010,
        "slot_counts": {3: 1000, 7: 2000, 12: 10},
        "feature_counts": {},
        "tables": [table("item", "single", 1010), table("user", "single", 2000)],
        "hash_filters": [],
        "skipped": [],
        "problems": [],
        "differing": [],
        "extra": {},
        "unread_copies": 0,
    }
    return SimpleNamespace(**values | changes)


def counts_lines(found: Any, *, look: Look = PLAIN, **values: Any) -> list[str]:
    return [*report_lines(CountsReport(found, **values).sections(), look)]


def check_lines(comparison: Comparison, **values: Any) -> list[str]:
    return [*report_lines([check_blocks(comparison, **values)])]


def test_report() -> None:
    look = Look(width=40)
    assert counts_lines(counts(), model_dir="model", step=10, look=look) == [
        "model, step 10",
        "3,010 entries in 2 tables, all verified",
        "",
        "slot  entries  share",
        "   7    2,000  66.4%  █████████████████",
        "   3    1,000  33.2%  ████████▌",
        "  12       10   0.3%  ▏",
        "",
        "table  kind    entries  share",
        "user   single    2,000  66.4%  ████████",
        "item   single    1,010  33.6%  ████",
    ]


def test_top() -> None:
    lines = counts_lines(counts(), model_dir="m", step=None, top=1, look=Look(unicode=False))
    assert lines[0] == "m, no step"
    assert lines[4:6] == [
        "   7    2,000  66.4%  ########################################",
        "... and 2 more slots: 1,010 entries, 33.6%",
    ]


def test_bars_yield_to_names() -> None:
    name = "a_table_whose_name_takes_nearly_all_of_the_width_of_the_terminal"
    found = counts(slot_counts={}, tables=[table(name, "multi", 3010, verified=False)])
    assert counts_lines(found, model_dir="m", step=1)[2:] == [
        "",
        "table" + " " * 61 + "kind   entries   share",
        f"{name}  multi    3,010  100.0%",
        "",
        "not verified: 1 table counted by the contents files; --scan reads the data",
    ]


def test_not_verified() -> None:
    found = counts(tables=[table("item", "single", 3010, verified=False)])
    lines = counts_lines(found, model_dir="m", step=1)
    assert lines[1] == "3,010 entries in 1 table"
    assert lines[-1] == "not verified: 1 table read without checking checksums"
    found.tables = [table("item", "single", 3010, verified=False, damaged=True)]
    found.tables.append(table("user", "multi", 0, verified=False))
    assert counts_lines(found, model_dir="m", step=1)[-2:] == [
        "not verified: 1 table counted by the contents files; --scan reads the data",
        "not verified: 1 table with damaged places",
    ]
    # Of a file that is too small it is known without reading it.
    found.tables[1].damaged = True
    lines = counts_lines(found, model_dir="m", step=1)
    assert lines[-2:] == ["", "not verified: 2 tables with damaged places"]


def test_copies() -> None:
    found = counts(unread_copies=3)
    lines = counts_lines(found, model_dir="m", step=1)
    assert lines[1] == "3,010 entries in 2 tables, all verified but for copies"
    found = counts(problems=["missing", "differs"], differing=["differs"])
    assert counts_lines(found, model_dir="m", step=1)[-3:] == [
        "",
        "not counted: 1 dump not whole",
        "counted, though bytes differ: 1 copy",
    ]


def test_nothing() -> None:
    found = counts(entries=0, slot_counts={}, tables=[])
    assert counts_lines(found, model_dir="m", step=1) == [
        "m, step 1",
        "0 entries in 0 tables",
    ]


def test_colours() -> None:
    lines = counts_lines(counts(), model_dir="m", step=1, look=Look(width=40, colour=True))
    assert lines[0] == "\x1b[1mm\x1b[0m, step 1"
    assert lines[3] == "\x1b[1mslot  entries  share\x1b[0m"
    assert lines[6].endswith("\x1b[36m▏\x1b[0m")


def test_document() -> None:
    found = counts(tables=[table("item", "single", 3010)], feature_counts={"b": 1, "a": 0})
    document = CountsReport(
        found, model_dir="model/", step=10, written="model/ckpt.info-10"
    ).document()
    assert document == {
        "model_dir": "model/",
        "step": 10,
        "fid_version": "v2",
        "entries": 3010,
        "slot_counts": {"3": 1000, "7": 2000, "12": 10},
        "feature_counts": {"a": 0, "b": 1},
        "tables": [
            {
                "name": "item",
                "kind": "single",
                "entries": 3010,
                "shards": 2,
                "bytes": 1000,
                "verified": True,
            }
        ],
        "written": "model/ckpt.info-10",
    }
    assert list(document)[:4] == ["model_dir", "step", "fid_version", "entries"]


COMPARISON = Comparison(
    "m/ckpt.info-5", "different", [Difference(7, 1200, 10), Difference("a\nb", 0, 3)]
)


def test_check() -> None:
    assert check_lines(COMPARISON) == [
        "m/ckpt.info-5: differs from the dump",
        "slot or table   file  dump",
        "            7  1,200    10",
        "         a\\nb      0     3",
    ]
    assert check_lines(COMPARISON, top=1)[-1] == "... and 1 more difference"
    same = Comparison("f", "same", [])
    assert check_lines(same) == ["f: matches the dump"]
    assert check_lines(same, by_contents=True) == [
        "f: matches the dump (of multi tables the contents files; their data was not read)"
    ]
    gone = Comparison("f", "gone", [Difference("a", 3, 0), Difference("b", 0, None)], ["b"])
    assert check_lines(gone) == [
        "f: counts tables that are gone",
        "slot or table  file  dump",
        "            a     3     0",
        "            b     0  none",
    ]
    empty = Comparison("f", "empty", [])
    assert check_lines(empty) == [
        "f: as it may be: the file is empty, which means that nobody counted"
    ]
    more = Comparison("f", "more", [Difference(7, 12, 10)])
    assert check_lines(more)[0].startswith("f: as it may be: the file counts 2 more than the")
    more = Comparison("f", "more", [Difference(7, 12, 0)])
    assert check_lines(more)[0].startswith("f: doubtful: the file counts 12 more than the")
    extra = Comparison("f", "different", [], extra=1)
    assert check_lines(extra) == ["f: cannot be right: the dump has 1 record of no table"]


def test_check_document() -> None:
    report = CountsReport(counts(), model_dir="m", step=5, comparison=COMPARISON)
    assert report.document()["check"] == {
        "file": "m/ckpt.info-5",
        "verdict": "different",
        "compared": "entries",
        "differences": [
            {"slot": 7, "file": 1200, "dump": 10},
            {"table": "a\nb", "file": 0, "dump": 3},
        ],
    }


def test_verdicts() -> None:
    for comparison, good in [
        (Comparison("f", "same", []), True),
        (Comparison("f", "more", [Difference(7, 12, 10)]), True),
        (COMPARISON, False),
        (Comparison("f", "gone", [Difference("a", 3, 0)]), False),
    ]:
        verdict = next(iter(check_blocks(comparison)))
        assert isinstance(verdict, Verdict)
        assert verdict.good is good
