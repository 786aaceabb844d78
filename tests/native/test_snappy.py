"""Raw snappy blocks, against another implementation (cramjam, which binds the Rust one)."""

from __future__ import annotations

import random

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monolith_cli import _native

# Texts that repeat themselves at every distance, besides bytes of any kind.
repetitive = st.lists(
    st.sampled_from([b"a", b"ab", b"monolith", b"\0" * 30, bytes(range(100))]), max_size=60
).map(b"".join)
blocks = st.one_of(
    st.binary(max_size=300),
    repetitive,
    st.tuples(repetitive, st.binary()).map(lambda pair: pair[0] + pair[1] + pair[0]),
)


def compress(data: bytes) -> bytes:
    return bytes(cramjam.snappy.compress_raw(data))


def decompress(data: bytes) -> bytes | None:
    try:
        return bytes(cramjam.snappy.decompress_raw(data))
    except cramjam.DecompressionError:
        return None


@given(blocks)
def test_ours_is_read_by_the_other(data: bytes) -> None:
    assert decompress(_native.snappy_compress(data)) == data


@given(blocks)
def test_the_others_is_read_by_us(data: bytes) -> None:
    assert _native.snappy_decompress(compress(data)) == data


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537, 200_000, 262_144])
@pytest.mark.parametrize("kind", ["random", "floats", "zeros", "far"])
def test_large_blocks(size: int, kind: str) -> None:
    rng = random.Random(size)
    data = {
        "random": rng.randbytes(size),
        "floats": b"".join(b"\x15" + rng.randbytes(2) + b"\x80\x3d" for _ in range(size // 5)),
        "zeros": bytes(size),
        "far": (rng.randbytes(40_000) * 7)[:size],
    }[kind]
    ours = _native.snappy_compress(data)
    assert decompress(ours) == data
    assert _native.snappy_decompress(ours) == data
    assert _native.snappy_decompress(compress(data)) == data
    # No worse than a twentieth above the other's.
    assert len(ours) <= 1.05 * len(compress(data)) + 16


@given(blocks, st.data())
def test_a_damaged_block_is_refused_or_decoded_like_the_other(
    data: bytes, draw: st.DataObject
) -> None:
    block = bytearray(compress(data))
    for _ in range(draw.draw(st.integers(1, 3))):
        block[draw.draw(st.integers(0, len(block) - 1))] = draw.draw(st.integers(0, 255))
    expected = None if stated_length(block) > 1 << 20 else decompress(bytes(block))
    if expected is None:
        with pytest.raises(ValueError, match="snappy"):
            _native.snappy_decompress(bytes(block))
    else:
        assert _native.snappy_decompress(bytes(block)) == expected


def stated_length(block: bytes) -> int:
    length = 0
    for index, byte in enumerate(block[:5]):
        length |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            break
    return length


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"\x80",  # a length that does not end
        b"\x80\x80\x80\x80\x80\x01",  # a length of more than 32 bits
        b"\xff\xff\xff\xff\x0f\x00a",  # four gigabytes out of one byte
        b"\x02\x00a",  # less than it states
        b"\x01\x04ab",  # more than it states
        b"\x01\x00",  # a literal without its byte
        b"\x01\xf0",  # a literal without its length
        b"\x3d\xf4\x3c",  # and without half of it
        b"\x04\x01\x01",  # a copy before anything was written
        b"\x05\x00a\x01\x00",  # a copy from offset 0
        b"\x05\x00a\x01\x02",  # a copy from before the start
        b"\x05\x00a\x01",  # copies cut off
        b"\x05\x00a\x0e\x01",
        b"\x05\x00a\x0f\x01\x00\x00",
        b"\x05\x00a\x0f\x01\x00\x00\x80",  # an offset above 2 GB
    ],
)
def test_malformed_blocks(block: bytes) -> None:
    with pytest.raises(ValueError, match="snappy"):
        _native.snappy_decompress(block)
    length = min(stated_length(block), 1 << 20)
    with pytest.raises(ValueError, match=r"snappy|parts"):
        _native.snappy_decompress_ranges(block, [(0, length)])


def test_literal_bytes() -> None:
    assert _native.snappy_compress(b"") == b"\x00"
    assert _native.snappy_compress(b"abc") == b"\x03\x08abc"
    assert _native.snappy_decompress(b"\x00") == b""
    assert _native.snappy_decompress(b"\x05\x00a\x01\x01") == b"aaaaa"
    assert _native.snappy_decompress(b"\x05\x00a\x0e\x01\x00") == b"aaaaa"
    assert _native.snappy_decompress(b"\x05\x00a\x0f\x01\x00\x00\x00") == b"aaaaa"
    assert _native.snappy_decompress(b"\x02\xf0\x01ab") == b"ab"
    assert _native.snappy_decompress(b"\x02\xfc\x01\x00\x00\x00ab") == b"ab"


@given(blocks, st.data())
def test_parts_of_a_block_are_those_of_the_whole(data: bytes, draw: st.DataObject) -> None:
    places = draw.draw(st.lists(st.integers(0, len(data)), max_size=8).map(sorted))
    ranges = list(zip(places[::2], places[1::2], strict=False))
    # A view, at whose end the memory does not end.
    block = memoryview(b"\xff" + compress(data) + b"\xff")[1:-1]
    assert _native.snappy_decompress_ranges(block, ranges) == [data[a:b] for a, b in ranges]


@given(blocks, st.data())
def test_parts_of_a_damaged_block(data: bytes, draw: st.DataObject) -> None:
    block = bytearray(compress(data))
    for _ in range(draw.draw(st.integers(1, 3))):
        block[draw.draw(st.integers(0, len(block) - 1))] = draw.draw(st.integers(0, 255))
    expected = None if stated_length(block) > 1 << 20 else decompress(bytes(block))
    length = len(data) if expected is None else len(expected)
    ranges = [(0, length // 2), (length // 2, length)]
    if expected is None:
        # What is behind the last part is not looked at, so that only the whole must be refused.
        if stated_length(block) == length:
            with pytest.raises(ValueError, match="snappy"):
                _native.snappy_decompress_ranges(bytes(block), ranges)
    else:
        assert b"".join(_native.snappy_decompress_ranges(bytes(block), ranges)) == expected


@pytest.mark.parametrize("kind", ["random", "mixed", "zeros"])
def test_parts_of_a_block_that_is_longer_than_what_copies_reach(kind: str) -> None:
    rng = random.Random(kind)
    some = rng.randbytes(1000)
    data = {
        "random": rng.randbytes(1_000_000),
        "mixed": b"".join(rng.choice([some, rng.randbytes(700)]) for _ in range(1200)),
        "zeros": bytes(1_000_000),
    }[kind]
    block = compress(data)
    for places in ([0, 1], [0, len(data)], [500_000, 500_001, 699_000, 699_000, 699_001, 700_000]):
        ranges = list(zip(places[::2], places[1::2], strict=True))
        found = _native.snappy_decompress_ranges(block, ranges)
        assert found == [data[start:end] for start, end in ranges]


def test_a_copy_from_far_back() -> None:
    """No encoder writes one, but the format has them."""
    size = 300_000
    data = random.Random(1).randbytes(size)
    literal = bytes([62 << 2]) + (size - 1).to_bytes(3, "little") + data
    copy = bytes([63 << 2 | 3]) + (size - 100).to_bytes(4, "little")
    length = size + 64
    stated = bytes([0x80 | length & 0x7F, 0x80 | length >> 7 & 0x7F, length >> 14])
    block = stated + literal + copy
    whole = data + data[100:164]
    assert _native.snappy_decompress(block) == whole
    for start in (0, size - 10, size + 10):
        assert _native.snappy_decompress_ranges(block, [(start, length)]) == [whole[start:]]


def test_what_is_behind_the_last_part_is_not_looked_at() -> None:
    damaged = b"\x08\x0cabcd\x01\x00"  # a copy from offset 0
    assert _native.snappy_decompress_ranges(damaged, [(1, 3), (3, 4)]) == [b"bc", b"d"]
    assert _native.snappy_decompress_ranges(damaged, []) == []
    with pytest.raises(ValueError, match="snappy"):
        _native.snappy_decompress_ranges(damaged, [(0, 5)])


@pytest.mark.parametrize("ranges", [[(2, 1)], [(0, 9)], [(0, 3), (2, 4)], [(3, 4), (0, 1)]])
def test_parts_that_cannot_be(ranges: list[tuple[int, int]]) -> None:
    with pytest.raises(ValueError, match="parts"):
        _native.snappy_decompress_ranges(b"\x08\x1cabcdefgh", ranges)
