"""What is concluded from a ckpt.info file and the counts of its dump."""

from __future__ import annotations

import pytest

from monolith_cli.errors import CorruptionError, DifferentError
from monolith_cli.formats.ckpt_info import CkptInfo
from monolith_cli.tables.comparison import Difference, compare

DUMP = CkptInfo({0: 3, 7: 10}, {"user": 5, "item": 0})


@pytest.mark.parametrize(
    ("file", "verdict"),
    [
        (DUMP, "same"),
        (CkptInfo({7: 10, 0: 3}, {"user": 5}), "same"),  # 0 and not mentioned are the same
        (CkptInfo({0: 3, 7: 12}, {"user": 5}), "more"),
        (CkptInfo({0: 3, 7: 10, 9: 1}, {"user": 6}), "more"),
        (CkptInfo({}, {"user": 5, "item": 0}), "same"),  # beside names slots are left out
        (CkptInfo({}, {"user": 6}), "more"),
        (CkptInfo({}, {"user": 4}), "different"),
        (CkptInfo({}, {}), "empty"),
        (CkptInfo({0: 3, 7: 9}, {"user": 5}), "different"),
        (CkptInfo({0: 4, 7: 9}, {"user": 5}), "different"),
        (CkptInfo({0: 3, 7: 10}, {}), "different"),
        (CkptInfo({0: 3}, {"user": 5}), "different"),
        (CkptInfo({9: 3}, {"user": 5}), "gone"),  # none of its slots
        (CkptInfo({}, {"user": 5, "author": 1}), "gone"),
        (CkptInfo({0: 3, 7: 10}, {"author": 0}), "gone"),
    ],
)
def test_verdicts(file: CkptInfo, verdict: str) -> None:
    assert compare("m/ckpt.info-5", file, DUMP).verdict == verdict


@pytest.mark.parametrize("dump", [DUMP, CkptInfo({}, {"t": 0}), CkptInfo({}, {})])
def test_an_empty_file_says_nothing(dump: CkptInfo) -> None:
    comparison = compare("f", CkptInfo({}, {}), dump)
    assert (comparison.verdict, comparison.differences) == ("empty", [])


def test_records_of_no_table() -> None:
    comparison = compare("f", DUMP, DUMP, extra=1)
    assert (comparison.verdict, comparison.differences) == ("different", [])
    assert str(comparison.error()) == (
        "f: cannot be right: 1 record is in the dump that no contents file promises;"
        " restore the contents files"
    )
    assert compare("f", CkptInfo({9: 3}, {}), DUMP, extra=1).verdict == "gone"


def test_explanations() -> None:
    more = compare("f", CkptInfo({0: 3, 7: 12}, {"user": 6}), DUMP)
    assert more.differences == [Difference(7, 12, 10), Difference("user", 6, 5)]
    assert more.explanation == (
        "the file counts 3 more than the dump has; that is right if they expired before the tables"
        " were saved; table user: 5 of 6 are in its contents files: a dump may be gone"
    )
    assert more.error() is None
    empty = compare("f", CkptInfo({}, {}), DUMP)
    assert empty.explanation == "the file is empty, which means that nobody counted"
    assert compare("f", DUMP, DUMP).explanation is None


def test_the_error_names_the_largest_difference() -> None:
    error = compare("m/ckpt.info-5", CkptInfo({0: 4, 7: 1}, {"user": 5}), DUMP).error()
    assert isinstance(error, DifferentError)
    assert str(error) == (
        "m/ckpt.info-5: does not match the dump: slot 7 has 1 in the file, 10 in the dump,"
        " and 1 more differ; count again"
    )
    error = compare("f", CkptInfo(DUMP.slot_counts, {"user": 4}), DUMP).error()
    assert error is not None
    assert "table user has 4 in the file, 5 in the dump" in str(error)


@pytest.mark.parametrize(
    ("file", "dump", "what"),
    [
        (
            CkptInfo({1: 20, 2: 5}, {}),
            CkptInfo({}, {}),
            "counts 25 entries that the dump has not: all its tables are gone, or empty",
        ),
        (
            CkptInfo({}, {"user": 5}),
            CkptInfo({}, {"user": 0}),
            "counts 5 entries that the dump has not: all its tables are gone, or empty",
        ),
        (
            CkptInfo({1: 20, 2: 5}, {}),
            CkptInfo({7: 3}, {}),
            "counts 25 entries, none of whose slots the dump has: tables are gone",
        ),
        (
            CkptInfo({}, {"user": 5, "author": 4, "item": 2}),
            CkptInfo({}, {"user": 5}),
            "counts table 'author', of which there is no dump, like 1 more",
        ),
        (
            CkptInfo({}, {"author": 0}),
            DUMP,
            "counts table 'author', of which there is no dump",
        ),
    ],
)
def test_tables_that_are_gone(file: CkptInfo, dump: CkptInfo, what: str) -> None:
    comparison = compare("m/ckpt.info-5", file, dump)
    error = comparison.error()
    assert isinstance(error, CorruptionError)
    assert (comparison.verdict, comparison.explanation, error.kind) == ("gone", None, "table_gone")
    them = "it" if len(comparison.lost) == 1 else "them"
    assert str(error) == f"m/ckpt.info-5: {what}; restore {them}, or take another step"


def test_a_table_without_a_dump_is_a_difference_whatever_it_counts() -> None:
    comparison = compare("f", CkptInfo({}, {"user": 5, "author": 0, "query": 3}), DUMP)
    assert comparison.differences == [Difference("author", 0, None), Difference("query", 3, None)]


def test_fewer_entries_of_a_name_are_not_explained() -> None:
    file = CkptInfo({}, dict.fromkeys("abcde", 300) | {"item": 5})
    dump = CkptInfo({}, dict.fromkeys("abcd", 150) | {"e": 0, "item": 5})
    comparison = compare("f", file, dump)
    assert (comparison.verdict, comparison.error()) == ("more", None)
    assert comparison.explanation == (
        "the file counts 900 more than the dump has;"
        " table a: 150 of 300 are in its contents files: a dump may be gone;"
        " table b: 150 of 300 are in its contents files: a dump may be gone;"
        " table c: 150 of 300 are in its contents files: a dump may be gone;"
        " so are parts of 2 more"
    )
    error = comparison.error(strict=True)
    assert isinstance(error, DifferentError)
    assert str(error).startswith("f: table a: 150 of 300 are in")
    assert error.hint == "look for files of tables first"


def test_a_slot_without_any_entry_is_said() -> None:
    file = CkptInfo({slot: 10 + slot for slot in range(7)}, {})
    comparison = compare("f", file, CkptInfo({0: 10, 1: 2}, {}))
    assert comparison.verdict == "more"
    assert str(comparison.explanation).endswith(
        " saved; slot 2: all 12 gone or expired; slot 3: all 13 gone or expired;"
        " slot 4: all 14 gone or expired; so are all of 2 more"
    )
    assert comparison.error() is None
    assert isinstance(comparison.error(strict=True), DifferentError)
    some = compare("f", CkptInfo({0: 11, 1: 2}, {}), CkptInfo({0: 10, 1: 2}, {}))
    assert (some.verdict, some.error(strict=True)) == ("more", None)


@pytest.mark.parametrize(
    ("file", "verdict"),
    [
        (CkptInfo({1: 5, 2: 3}, {}), "rank_0"),
        (CkptInfo({1: 5, 2: 4}, {}), "different"),
        (CkptInfo({1: 5}, {}), "different"),
        (CkptInfo({1: 10, 2: 3}, {}), "same"),
    ],
)
def test_the_counts_of_rank_0(file: CkptInfo, verdict: str) -> None:
    comparison = compare("f", file, CkptInfo({1: 10, 2: 3}, {}), CkptInfo({1: 5, 2: 3}, {}))
    assert comparison.verdict == verdict
    if verdict == "rank_0":
        assert comparison.error() is None
        assert comparison.explanation == (
            "the file has the tables of rank 0 alone, as full sync training writes it"
        )
