"""Metadata messages on the wire, against protobuf."""

from __future__ import annotations

import warnings
from typing import Any

import google.protobuf
import pytest
from dump_support import UNKNOWN_FIELDS, put_bytes, put_int, put_tag
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from monolith_cli import messages
from monolith_cli.formats.wire import (
    HashFilterMeta,
    SlidingHashFilterMeta,
    encode_table_meta,
    encode_varint,
    parse_hash_filter_meta,
    parse_table_meta,
)

UINT64 = st.integers(0, 2**64 - 1)
UINT32 = st.integers(0, 2**32 - 1)
SLIDING = st.builds(SlidingHashFilterMeta, UINT32, UINT32, UINT32, UINT32, UINT32, UINT32, UINT64)
META = st.builds(HashFilterMeta, UINT64, UINT64, UINT64, st.floats(allow_nan=False), SLIDING)


def by_protobuf(data: bytes) -> Any:
    """What protobuf reads. Of an end of a group that did not begin version 3 only warns."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        message = messages.HashFilterSplitMetaDump.FromString(data)
    if caught:
        raise DecodeError(str(caught[0].message))
    return message


def test_varints() -> None:
    assert encode_varint(0) == b"\0"
    assert encode_varint(127) == b"\x7f"
    assert encode_varint(300) == b"\xac\x02"
    assert encode_varint(-1) == b"\xff" * 9 + b"\x01"


def test_table_meta_is_these_bytes() -> None:
    assert encode_table_meta("user", 300) == b"\x0a\x04user\x10\xac\x02"
    assert parse_table_meta(b"\x0a\x04user\x10\xac\x02") == ("user", 300)
    assert parse_table_meta(b"") == ("", 0)


@given(st.text(), UINT64)
def test_table_meta_equals_protobuf(name: str, num_entries: int) -> None:
    theirs = messages.MultiHashTableMetadata(table_name=name, num_entries=num_entries)
    assert encode_table_meta(name, num_entries) == theirs.SerializeToString(deterministic=True)
    assert parse_table_meta(theirs.SerializeToString()) == (name, num_entries)


def test_names_that_are_no_utf8_survive() -> None:
    assert parse_table_meta(b"\x0a\x02a\xff") == ("a\udcff", 0)
    assert encode_table_meta("a\udcff", 0) == b"\x0a\x02a\xff\x10\0"


@given(META)
def test_hash_filter_meta_equals_protobuf(meta: HashFilterMeta) -> None:
    theirs = messages.HashFilterSplitMetaDump(
        failure_count=meta.failure_count,
        total_size=meta.total_size,
        num_elements=meta.num_elements,
        fill_rate=meta.fill_rate,
        sliding_hash_filter_meta=meta.sliding._asdict(),
    )
    assert parse_hash_filter_meta(theirs.SerializeToString()) == meta


def test_hash_filter_meta_without_fields() -> None:
    assert parse_hash_filter_meta(b"") == HashFilterMeta()


def test_any_order_unknown_fields_and_the_last_value_counts() -> None:
    strange = [
        *UNKNOWN_FIELDS,
        put_int(2, 9),
        put_tag(2, 5) + b"\1\2\3\4",  # another wire type: an unknown field
        put_bytes(1, b"user"),
        put_int(2, 3),
    ]
    data = b"".join(strange)
    theirs = messages.MultiHashTableMetadata.FromString(data)
    assert (theirs.table_name, theirs.num_entries) == ("user", 3)
    assert parse_table_meta(data) == ("user", 3)


def test_numbers_too_large_for_their_field_are_cut_as_by_protobuf() -> None:
    inner = put_int(1, 2**40 + 7) + put_int(7, 2**40)
    data = put_bytes(5, inner) + put_bytes(5, put_int(2, 8))
    theirs = messages.HashFilterSplitMetaDump.FromString(data).sliding_hash_filter_meta
    sliding = parse_hash_filter_meta(data).sliding
    assert (sliding.split_num, sliding.max_forward_step, sliding.failure_count) == (7, 8, 2**40)
    assert (theirs.split_num, theirs.max_forward_step, theirs.failure_count) == (7, 8, 2**40)


@pytest.mark.parametrize(
    "data",
    [
        b"\x0a",
        b"\x0a\x05user",
        b"\x0a" + b"\xff" * 9 + b"\x01",
        b"\x10",
        b"\x10\x80",
        b"\x10" + b"\x80" * 10 + b"\x01",
        b"\x21\0\0",
        b"\x00\x01",
        b"\x16",
        b"\x17",
        b"\x1b\x10\x01",
        b"\x1c",
        b"\x1b\x24",
    ],
    ids=lambda data: data.hex()[:24],
)
def test_malformed_bytes(data: bytes) -> None:
    with pytest.raises(DecodeError):
        by_protobuf(data)
    with pytest.raises(ValueError, match=r"."):
        parse_hash_filter_meta(data)
    with pytest.raises(ValueError, match=r"."):
        parse_table_meta(data)


@pytest.mark.skipif(
    google.protobuf.__version__.startswith("3."), reason="this protobuf takes tags of too many bits"
)
@given(st.binary(max_size=40))
def test_of_any_bytes_we_read_what_protobuf_reads(data: bytes) -> None:
    try:
        ours = parse_hash_filter_meta(data)
    except ValueError:
        with pytest.raises(DecodeError):
            by_protobuf(data)
        return
    try:
        theirs = by_protobuf(data)
    except DecodeError:
        return
    assert ours.total_size == theirs.total_size
    assert ours.sliding.head == theirs.sliding_hash_filter_meta.head
