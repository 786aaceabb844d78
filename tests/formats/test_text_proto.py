"""The text-format parser, against literal values and against protobuf's own."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from monolith_cli import messages
from monolith_cli.errors import NotReadableError, PathNotFoundError, StateFileError
from monolith_cli.formats import text_proto
from monolith_cli.formats.text_proto import Field, expect, parse, quote


def values(text: str | bytes) -> list[text_proto.Value]:
    return [field.value for field in parse(text)]


def test_fields_come_in_order_with_their_offsets() -> None:
    assert parse(b'a: 1\n# remark: 2\n  b { c: "x" }; a: 3') == [
        Field("a", 1, 0),
        Field("b", [Field("c", b"x", 23)], 19),
        Field("a", 3, 33),
    ]


def test_nothing_is_a_message_too() -> None:
    assert parse("") == []
    assert parse(" \n# only a remark") == []


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("-12", -12),
        ("- 12", -12),
        ("0x1F", 31),
        ("-0XfF", -255),
        ("017", 15),
        ("18446744073709551615", 2**64 - 1),
        ("1.5", 1.5),
        ("1.", 1.0),
        (".5", 0.5),
        ("2f", 2.0),
        ("1e3", 1000.0),
        ("-1.5E-2F", -0.015),
        ("inf", math.inf),
        ("-Infinity", -math.inf),
        ("true", "true"),
        ("CUCKOO_HASH_MAP", "CUCKOO_HASH_MAP"),
        ('"text"', b"text"),
        ("'te\"xt'", b'te"xt'),
        ('"a" \'b\'\n# remark\n"c"', b"abc"),
        ("{ b: 1 }", [Field("b", 1, 5)]),
        ("< b: 1 >", [Field("b", 1, 5)]),
    ],
)
def test_a_value(text: str, value: text_proto.Value) -> None:
    (field,) = parse(f"a: {text}")
    assert field == Field("a", value, 0)
    assert type(field.value) is type(value)


def test_not_a_number() -> None:
    (value,) = values("a: nan")
    assert isinstance(value, float)
    assert math.isnan(value)


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        (r'"\a\b\f\n\r\t\v\?\\\'\""', b"\a\b\f\n\r\t\v?\\'\""),
        (r'"\0\7\18\101\303\251"', b"\0\7\x018A\xc3\xa9"),
        (r'"\x4\x41\xfFf"', b"\x04A\xfff"),
        (r'"\u00e9\U0001F600"', "é😀".encode()),
        (r'"\ud83d\ude00!"', "😀!".encode()),
        ('"é"', "é".encode()),
    ],
)
def test_escapes(literal: str, value: bytes) -> None:
    assert values(f"a: {literal}") == [value]


def test_lists_are_as_many_fields() -> None:
    assert parse("a: [1, 2] b [{c: 1}, <>] d: []") == [
        Field("a", 1, 0),
        Field("a", 2, 0),
        Field("b", [Field("c", 1, 14)], 10),
        Field("b", [], 10),
    ]


def test_unknown_fields_and_extensions() -> None:
    text = "17: 5 [pkg.extension]: 1 [type.example.com/pkg.Any] { a: 1 }"
    assert [field.name for field in parse(text)] == [
        "17",
        "[pkg.extension]",
        "[type.example.com/pkg.Any]",
    ]


@pytest.mark.parametrize(
    ("text", "offset"),
    [
        (b"a", 1),
        (b"a:", 2),
        (b"a 1", 2),
        (b"a: 1 2", 6),
        (b"a: 12x", 3),
        (b"a: 1.2.3", 3),
        (b"a: 99999999999999999999999999", 3),
        (b'a: "x', 3),
        (b'a: "x\ny"', 3),
        (b'a: "x" "y', 7),
        (b'a: -"x"', 3),
        (b"a: -b", 3),
        (rb'a: "\q"', 3),
        (rb'a: "\777"', 3),
        (rb'a: "\ud800"', 3),
        (rb'a: "\U00110000"', 3),
        (b"a: [1", 5),
        (b"a: [1,]", 6),
        (b"a: [1 2]", 6),
        (b"a {", 3),
        (b"a { b: 1 >", 9),
        (b"}", 0),
        (b"\0", 0),
        (b"\xff: 1", 0),
        (b"a: 1\n\x08\x01\x12", 5),
    ],
)
def test_malformed_text_says_where(text: bytes, offset: int) -> None:
    with pytest.raises(StateFileError) as caught:
        parse(text, "dir/checkpoint")
    assert (caught.value.path, caught.value.offset) == ("dir/checkpoint", offset)


def test_nesting_has_an_end() -> None:
    assert len(parse("a{" * 100 + "}" * 100)) == 1
    with pytest.raises(StateFileError):
        parse("a{" * 100_000)


def offset_of_error(text: str | bytes) -> int:
    """Where it is malformed; 0 if it is not."""
    try:
        parse(text)
    except StateFileError as error:
        return -1 if error.offset is None else error.offset
    return 0


@given(st.binary())
def test_any_bytes_parse_or_are_malformed(data: bytes) -> None:
    assert 0 <= offset_of_error(data) <= len(data)


@given(st.text(alphabet="ab:{}<>[]\"'\\x0123.-+e,; \n#"))
def test_any_punctuation_parses_or_is_malformed(text: str) -> None:
    assert 0 <= offset_of_error(text) <= len(text)


def test_quoting() -> None:
    assert quote(b"") == '""'
    assert quote(b"plain text") == '"plain text"'
    assert quote(b"\n\r\t\"'\\") == r'"\n\r\t\"\'\\"'
    assert quote(b"\0\x07\x1f\x7f") == r'"\000\007\037\177"'
    assert quote("é".encode()) == r'"\303\251"'


@given(st.binary())
def test_quoted_bytes_read_back(data: bytes) -> None:
    assert values(f"a: {quote(data)}") == [data]


@given(st.text())
def test_protobuf_reads_and_writes_the_same_quotes(text: str) -> None:
    state = messages.CheckpointState(model_checkpoint_path=text)
    ours = f"model_checkpoint_path: {quote(text.encode())}\n"
    if text:
        assert text_format.MessageToString(state, as_utf8=False) == ours
    assert text_format.Parse(ours, messages.CheckpointState()) == state


def test_expect_checks_the_type() -> None:
    assert expect(Field("a", 1, 0), int) == 1
    assert expect(Field("a", 1, 0), float) == 1.0
    with pytest.raises(StateFileError, match=r"^file: a is not an integer, at byte 7$"):
        expect(Field("a", 1.5, 7), int, "file")
    with pytest.raises(StateFileError, match="a is not a string"):
        expect(Field("a", "x", 0), bytes)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(PathNotFoundError, match="no such file"):
        text_proto.read(str(tmp_path / "absent"))
    with pytest.raises(PathNotFoundError, match="a directory in place of a file"):
        text_proto.read(str(tmp_path))
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(NotReadableError):
        text_proto.read(str(loop))


def test_a_file_of_absurd_size_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(StateFileError, match="too large"):
        text_proto.read(str(path))
