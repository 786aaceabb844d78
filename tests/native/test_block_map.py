"""Where a SNAPPY file's blocks lie: found once, and handed to whoever reads the file next."""

from __future__ import annotations

import os
import random
from pathlib import Path

import dump_support as ds
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monolith_cli import _native

RECORDS = ds.random_entries(31, 40, segments=(("adagrad", 3),))
FRAMED = ds.frame(*RECORDS)
SNAPPY = ds.snappy_blocks(FRAMED, 200)
RECORD_BYTES = 64 << 20

Found = tuple[list[bytes], list[tuple[str, int, int, int, int, bool]]]


def read(file: _native.File, start: int, end: int | None, *, skip: bool, how: str) -> Found:
    """The records of a range, and its damages."""
    end = file.stream_bytes if end is None else end
    reader = _native.Reader(file, start, end, how=how, skip=skip, check_stop=True)
    records = reader.records(2**63)
    damages = [
        (d.kind, d.position, d.end, d.offset, d.length, d.one_record) for d in reader.damages
    ]
    return records, damages


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("blocks") / "t"


def map_of(path: Path) -> bytes:
    found = _native.File(bytes(path), "snappy").block_map
    assert found is not None
    return found


def test_literal_bytes(path: Path) -> None:
    # Two blocks of 5 and of 300 bytes, an empty one, and five bytes that are none.
    first = b"\0\0\0\7" + _native.snappy_compress(b"abcde")
    second = _native.snappy_compress(bytes(300))
    second = len(second).to_bytes(4, "big") + second
    path.write_bytes(first + second + b"\0\0\0\1\0" + b"\0\0\0\0\0")
    stored = 11 + len(second) + 10
    assert stored < 64
    longest = (65 << 20).to_bytes(4, "big")  # a mebibyte more than a record
    assert longest == b"\4\x10\0\0"
    assert map_of(path) == (
        b"\1"  # version
        + bytes([stored])
        + b"\x80\x80\xc0\x20"
        + bytes([11 << 1, 5])
        + bytes([len(second) << 1])
        + b"\xac\2"
        + bytes([5 << 1, 0])
        + bytes([5 << 1 | 1])  # broken: nobody knows what it held
    )


def test_a_plain_file_has_none(path: Path) -> None:
    path.write_bytes(FRAMED)
    assert _native.File(bytes(path), "snappy").block_map is None


@pytest.mark.parametrize("data", [b"", SNAPPY])
def test_a_map_says_what_the_file_is(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    file = _native.File(bytes(path), block_map=map_of(path))
    assert file.compression == "snappy"
    assert file.stream_bytes == (len(FRAMED) if data else 0)
    assert file.block_map == map_of(path)
    assert read(file, 0, None, skip=False, how="exact") == (RECORDS if data else [], [])


def test_a_map_is_small(path: Path) -> None:
    path.write_bytes(ds.snappy_blocks(random.Random(1).randbytes(40 << 18)))
    assert len(map_of(path)) < 300


@given(st.integers(0, 2**32))
def test_a_damaged_file_reads_the_same_with_a_map(path: Path, seed: int) -> None:
    rng = random.Random(seed)
    path.write_bytes(ds.mutated(SNAPPY, rng))
    file = _native.File(bytes(path), "snappy")
    if file.block_map is None:
        return
    again = _native.File(bytes(path), block_map=file.block_map)
    assert again.block_map == file.block_map
    assert again.stream_bytes == file.stream_bytes
    start = rng.randrange(file.stream_bytes + 1)
    for skip in (False, True):
        for how in ("exact", "walk", "search"):
            start = 0 if how == "exact" else start
            wanted = read(file, start, None, skip=skip, how=how)
            assert read(again, start, None, skip=skip, how=how) == wanted


def test_a_map_of_another_file_is_refused(path: Path, tmp_path: Path) -> None:
    path.write_bytes(SNAPPY)
    block_map = map_of(path)
    other = tmp_path / "other"
    other.write_bytes(SNAPPY[:-1])
    with pytest.raises(_native.ChangedError) as raised:
        _native.File(bytes(other), block_map=block_map)
    assert raised.value.args == (len(SNAPPY) - 1,)
    other.write_bytes(SNAPPY + b"\0")
    with pytest.raises(_native.ChangedError) as raised:
        _native.File(bytes(other), block_map=block_map)
    assert raised.value.args == (len(SNAPPY),)
    # What a block is depends on how long records may be.
    with pytest.raises(ValueError, match="no block map"):
        _native.File(bytes(path), max_record_bytes=RECORD_BYTES - 1, block_map=block_map)


def test_what_is_no_map(path: Path) -> None:
    path.write_bytes(SNAPPY)
    block_map = map_of(path)
    for cut in range(len(block_map)):
        with pytest.raises(ValueError, match="no block map"):
            _native.File(bytes(path), block_map=block_map[:cut])
    with pytest.raises(ValueError, match="no block map"):
        _native.File(bytes(path), block_map=b"\2" + block_map[1:])
    with pytest.raises(ValueError, match="no block map"):
        _native.File(bytes(path), block_map=block_map + b"\3")


@given(st.integers(0, 2**32))
def test_a_damaged_map_is_refused_or_reads_to_an_end(path: Path, seed: int) -> None:
    path.write_bytes(SNAPPY)
    damaged = ds.mutated(map_of(path), random.Random(seed))
    try:
        file = _native.File(bytes(path), block_map=damaged)
    except (ValueError, _native.ChangedError):
        return
    records, _ = read(file, 0, None, skip=True, how="exact")
    assert set(records) <= set(RECORDS)


def test_files_of_a_map_can_be_gone(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.write_bytes(SNAPPY)
    block_map = map_of(gone)
    os.remove(gone)
    with pytest.raises(FileNotFoundError):
        _native.File(bytes(gone), block_map=block_map)
