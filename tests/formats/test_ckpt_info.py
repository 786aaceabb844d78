"""`ckpt.info-<step>`: its exact bytes, and what protobuf makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from monolith_cli import _native, messages
from monolith_cli.errors import AlreadyExistsError, PathNotFoundError, StateFileError
from monolith_cli.formats.ckpt_info import (
    CkptInfo,
    format_ckpt_info,
    parse_ckpt_info,
    read_ckpt_info,
    write_ckpt_info,
)

COUNTS = st.integers(0, 2**63 - 1)


def test_slots_ascend_as_numbers_and_zero_is_printed() -> None:
    assert format_ckpt_info(CkptInfo({10: 3, 9: 2, 0: 1}, {})) == (
        b"slot_counts {\n  key: 0\n  value: 1\n}\n"
        b"slot_counts {\n  key: 9\n  value: 2\n}\n"
        b"slot_counts {\n  key: 10\n  value: 3\n}\n"
    )


def test_slots_without_an_entry_are_left_out_and_empty_tables_are_not() -> None:
    assert format_ckpt_info(CkptInfo({1: 0}, {"user": 0})) == (
        b'feature_counts {\n  key: "user"\n  value: 0\n}\n'
    )


def test_slots_come_before_names_and_names_ascend_as_bytes() -> None:
    info = CkptInfo({1: 1}, {"é": 1, "b": 2, "B": 3, "\U0001f600": 4, "\ufffd": 5, "": 6})
    assert format_ckpt_info(info) == (
        b"slot_counts {\n  key: 1\n  value: 1\n}\n"
        b'feature_counts {\n  key: ""\n  value: 6\n}\n'
        b'feature_counts {\n  key: "B"\n  value: 3\n}\n'
        b'feature_counts {\n  key: "b"\n  value: 2\n}\n'
        b'feature_counts {\n  key: "\\303\\251"\n  value: 1\n}\n'
        b'feature_counts {\n  key: "\\357\\277\\275"\n  value: 5\n}\n'
        b'feature_counts {\n  key: "\\360\\237\\230\\200"\n  value: 4\n}\n'
    )


def test_quotes_and_control_characters_are_escaped() -> None:
    assert format_ckpt_info(CkptInfo({}, {"a\"b'c\\d\n\r\t\0\x7f\udcff": 1})) == (
        b'feature_counts {\n  key: "a\\"b\\\'c\\\\d\\n\\r\\t\\000\\177\\377"\n  value: 1\n}\n'
    )


def test_nothing_is_an_empty_file() -> None:
    assert format_ckpt_info(CkptInfo({}, {})) == b""
    assert parse_ckpt_info(b"") == CkptInfo({}, {})


@given(
    st.dictionaries(st.integers(0, 102399), st.integers(1, 2**63 - 1)),
    st.dictionaries(st.text(), COUNTS),
)
def test_protobuf_reads_what_we_write(slots: dict[int, int], tables: dict[str, int]) -> None:
    info = CkptInfo(slots, tables)
    data = format_ckpt_info(info)
    theirs = text_format.Parse(data.decode("ascii"), messages.CkptInfo())
    assert dict(theirs.slot_counts) == slots
    assert dict(theirs.feature_counts) == tables
    assert parse_ckpt_info(data) == info
    # And we read what it writes, which leaves out zeros and sorts in another way.
    assert parse_ckpt_info(text_format.MessageToString(theirs).encode()) == info
    one_line = text_format.MessageToString(theirs, as_one_line=True, as_utf8=False)
    assert parse_ckpt_info(one_line.encode()) == info


def test_written_in_other_ways() -> None:
    text = (
        b"feature_counts: <value: 5, key: 'a' \"b\">; other { x: 1 }\n"
        b"slot_counts { value: 7 } slot_counts [{key: 0x10 value: 1}, {key: 3}]"
    )
    assert parse_ckpt_info(text) == CkptInfo({0: 7, 16: 1}, {"ab": 5})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"slot_counts: 5", "slot_counts is not a message, at byte 0"),
        (b'slot_counts { key: "1" }', "key is not an integer, at byte 14"),
        (b"slot_counts { key: 2147483648 }", "key is out of range, at byte 14"),
        (b"slot_counts { value: 9223372036854775808 }", "value is out of range, at byte 14"),
        (b"slot_counts { key: 1 value: -1 }", "value is negative, at byte 21"),
        (b"feature_counts { value: -5 }", "value is negative, at byte 17"),
        (b"feature_counts { key: 1 }", "key is not a string, at byte 17"),
        (b"feature_counts { value: 1.5 }", "value is not an integer, at byte 17"),
        (b"slot_counts {", "neither a field nor '}', at byte 13"),
    ],
)
def test_malformed_text_says_where(text: bytes, message: str) -> None:
    with pytest.raises(StateFileError) as caught:
        parse_ckpt_info(text, "ckpt.info-1")
    assert str(caught.value) == f"ckpt.info-1: {message}"


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "ckpt.info-1"
    info = CkptInfo({0: 1}, {"user": 2})
    with pytest.raises(PathNotFoundError):
        read_ckpt_info(path)
    write_ckpt_info(path, info, overwrite=False)
    assert read_ckpt_info(path) == info
    with pytest.raises(AlreadyExistsError):
        write_ckpt_info(path, CkptInfo({}, {}), overwrite=False)
    write_ckpt_info(path, CkptInfo({}, {}))
    assert path.read_bytes() == b""


def test_what_is_written_otherwise_means_the_same() -> None:
    """The usual form is read by native code, and anything else by a parser of all forms."""
    usual = b'slot_counts {\n  key: 7\n  value: 3\n}\nfeature_counts {\n  key: "a"\n  value: 0\n}\n'
    info = CkptInfo({7: 3}, {"a": 0})
    assert parse_ckpt_info(usual) == info
    assert _native.parse_counts(usual) == info
    for other in (
        usual.replace(b"\n", b" "),
        usual.replace(b"key: 7", b"key: 0x7"),
        usual.replace(b"key: 7", b"key: 07"),
        usual.replace(b'"a"', b"'a'"),
        usual.replace(b'"a"', b'"\\141"'),
        usual + b"# a remark\n",
        usual.replace(b"\n  value: 0", b""),
        usual[:-1],
    ):
        assert _native.parse_counts(other) is None
        assert parse_ckpt_info(other) == info


def test_slots_without_an_entry_are_left_out_of_the_usual_form() -> None:
    text = b"slot_counts {\n  key: 7\n  value: 0\n}\nslot_counts {\n  key: 8\n  value: 1\n}\n"
    assert parse_ckpt_info(text) == CkptInfo({8: 1}, {})


@pytest.mark.parametrize("number", [2**31 - 1, 2**31, 10**18 - 1, 10**18, 2**63 - 1, 2**63])
def test_large_numbers_are_read_or_refused_alike(number: int) -> None:
    for text in (
        b"slot_counts {\n  key: %d\n  value: 1\n}\n" % number,
        b"slot_counts {\n  key: 1\n  value: %d\n}\n" % number,
    ):
        try:
            found: CkptInfo | None = parse_ckpt_info(text)
        except StateFileError:
            found = None
        try:
            slow: CkptInfo | None = parse_ckpt_info(b" " + text)
        except StateFileError:
            slow = None
        assert found == slow


@given(st.dictionaries(st.integers(0, 2**31 - 1), COUNTS), st.dictionaries(st.text(), COUNTS))
def test_both_ways_to_read_give_the_same(slots: dict[int, int], names: dict[str, int]) -> None:
    text = format_ckpt_info(CkptInfo(slots, names))
    assert parse_ckpt_info(text) == parse_ckpt_info(b" " + text)
    cut = text[: len(text) // 2]
    usual = _native.parse_counts(cut)
    if usual is not None:
        assert format_ckpt_info(CkptInfo(*usual)) == cut
