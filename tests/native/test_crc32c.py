from __future__ import annotations

import random
from pathlib import Path

import dump_support as ds
import pytest
import tf_support
from hypothesis import given
from hypothesis import strategies as st

from monolith_cli import _native


@pytest.mark.parametrize(
    ("data", "crc"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        # RFC 3720, appendix B.4 (it lists the bytes of the checksum in network order).
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (
            bytes.fromhex(
                "01c00000000000000000000000000000"
                "14000000000004000000001400000018"
                "28000000000000000200000000000000"
            ),
            0xD9963A56,
        ),
    ],
)
def test_known_vectors(data: bytes, crc: int) -> None:
    assert _native.crc32c(data) == crc
    assert ds.crc32c(data) == crc


@given(st.binary(max_size=600), st.integers(0, 2**32 - 1))
def test_all_implementations_agree(data: bytes, start: int) -> None:
    names = _native.implementations()
    assert "portable" in names
    expected = ds.crc32c(data, start)
    assert {name: _native.crc32c_by(name, data, start) for name in names} == dict.fromkeys(
        names, expected
    )
    assert _native.crc32c(data, start) == expected


@given(st.binary(max_size=600), st.integers(0, 600))
def test_in_two_parts(data: bytes, cut: int) -> None:
    whole = ds.crc32c(data)
    assert _native.crc32c(data) == whole
    assert _native.crc32c(data[cut:], _native.crc32c(data[:cut])) == whole


@given(st.binary(max_size=100))
def test_masked(data: bytes) -> None:
    assert _native.masked_crc32c(data) == ds.masked_crc32c(data)


def test_frames_are_tensorflows(tmp_path: Path) -> None:
    records = [b"x" * length for length in range(70)]
    tf_support.write_plain(tmp_path / "tf", records)
    assert _native.frame_records(records) == (tmp_path / "tf").read_bytes()


def test_frames_in_literal_bytes() -> None:
    assert _native.frame_records([]) == b""
    assert _native.frame_records([b"", b"a"]) == bytes.fromhex(
        "0000000000000000 29039807 d8ea82a2"  # length, its checksum, the data's checksum
        "0100000000000000 0175de41 61 786ee428"
    )


@given(st.lists(st.binary(max_size=50), max_size=8))
def test_frames(records: list[bytes]) -> None:
    assert _native.frame_records(records) == ds.frame(*records)


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=9), st.data())
def test_frames_are_checked_alike_by_all_implementations(
    records: list[bytes], draw: st.DataObject
) -> None:
    # Records of equal and of different lengths take different ways through the code.
    framed = ds.frame(*records)
    starts = ds.frame_starts(records)
    damaged = draw.draw(st.integers(0, len(records) - 1))
    at = draw.draw(st.integers(starts[damaged] + 12, starts[damaged + 1] - 1))
    flipped = bytearray(framed)
    flipped[at] ^= 1 << draw.draw(st.integers(0, 7))
    for name in _native.implementations():
        n = len(records)
        assert _native.check_frames(name, framed) == (n, n, starts[n], "end")
        stop = (n, damaged, starts[damaged], "bad_data")
        assert _native.check_frames(name, bytes(flipped)) == stop
        stop = (n - 1, n - 1, starts[n - 1], "data")
        assert _native.check_frames(name, framed[:-1]) == stop


@pytest.mark.parametrize("name", _native.implementations())
def test_records_of_every_length_are_checked_wherever_they_lie(name: str) -> None:
    # From one step of the widest way through the code to a few of them, and far beyond.
    noise = random.Random(1).randbytes(70_000)
    for length in [*range(330), 959, 960, 961, 4096, 65_535, 70_000]:
        record = noise[:length]
        framed = _native.frame_records([record])
        assert framed[-4:] == _native.masked_crc32c(record).to_bytes(4, "little")
        good = (1, 1, length + 16, "end")
        for lead in range(64) if length < 330 else [0, 1, 31, 63]:
            assert _native.check_frames(name, framed, lead=lead) == good, (length, lead)


@pytest.mark.parametrize("name", _native.implementations())
@pytest.mark.parametrize("length", [0, 1, 8, 31, 32, 33, 63, 64, 65, 127, 128, 129, 186, 300])
def test_every_flipped_bit_is_found_by_every_implementation(name: str, length: int) -> None:
    rng = random.Random(length)
    # Behind two of its own length and before one: the records in front set up what it is read with.
    records = [rng.randbytes(length) for _ in range(4)]
    framed = ds.frame(*records)
    starts = ds.frame_starts(records)
    shape = bytes(length)  # that all records have, so that reading compares them on its way
    for bit in range(8 * starts[2], 8 * starts[3]):
        damaged = bytearray(framed)
        damaged[bit // 8] ^= 1 << bit % 8
        in_header = bit // 8 < starts[2] + 12
        expected = (2, 2, starts[2], "bad_length") if in_header else (4, 2, starts[2], "bad_data")
        assert _native.check_frames(name, bytes(damaged)) == expected, bit
        if length >= 2:
            assert _native.matches(name, shape, shape, bytes(damaged)) == [True, True], bit


@pytest.mark.parametrize("name", _native.implementations())
def test_all_implementations_stop_at_the_same_places(name: str) -> None:
    records = [random.Random(3).randbytes(length) for length in (200, 0, 65, 200)]
    framed = ds.frame(*records)
    starts = ds.frame_starts(records)
    for cut in range(len(framed) + 1):
        whole = sum(end <= cut for end in starts[1:])
        left = cut - starts[whole]
        stop = "end" if left == 0 else "header" if left < 12 else "data"
        expected = (whole, whole, starts[whole], stop)
        assert _native.check_frames(name, framed[:cut]) == expected, cut
        owned = sum(start < cut for start in starts[:-1])
        expected = (owned, owned, starts[owned], "end")
        assert _native.check_frames(name, framed, own=cut) == expected, cut
    expected = (0, 0, 0, "too_long")
    assert _native.check_frames(name, framed, max_record_bytes=199) == expected
    expected = (4, 4, starts[4], "end")
    assert _native.check_frames(name, framed, max_record_bytes=200) == expected


@given(st.integers(2, 960), st.binary(max_size=960), st.data())
def test_shapes_are_compared_alike_by_all_implementations(
    length: int, noise: bytes, draw: st.DataObject
) -> None:
    keep = st.sampled_from([0, 0x80, 0xFF])
    some = draw.draw(st.lists(keep, min_size=1, max_size=20))
    mask = bytes(some[i % len(some)] for i in range(length))
    first = noise.ljust(length, b"\x5a")[:length]
    want = bytes(a & b for a, b in zip(first, mask, strict=True))
    records = [first, first + b"a", first[:-1], b"", first]
    at = draw.draw(st.one_of(st.integers(0, length - 1), st.sampled_from([0, length - 1])))
    changed = bytearray(first)
    changed[at] ^= 1 << draw.draw(st.integers(0, 7))
    records.append(bytes(changed))
    expected = [
        len(record) == length
        and all(r & m == w for r, m, w in zip(record, mask, want, strict=True))
        for record in records
    ]
    framed = _native.frame_records(records)
    for name in _native.implementations():
        assert _native.matches(name, mask, want, framed) == expected


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_checksums_of_two_parts_make_that_of_both(first: bytes, second: bytes) -> None:
    combined = _native.crc32c_combine(_native.crc32c(first), _native.crc32c(second), len(second))
    assert combined == _native.crc32c(first + second)


def test_a_long_second_part() -> None:
    second = bytes(range(256)) * 5000
    combined = _native.crc32c_combine(_native.crc32c(b"x"), _native.crc32c(second), len(second))
    assert combined == _native.crc32c(b"x" + second)


def test_unknown_implementation() -> None:
    with pytest.raises(ValueError, match="implementation"):
        _native.crc32c_by("abacus", b"", 0)
