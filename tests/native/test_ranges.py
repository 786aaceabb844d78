"""Ranges of one file, each read on its own: together they are the file."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import dump_support as ds
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monolith_cli import _native

RECORDS = ds.random_entries(21, 30, segments=(("adagrad", 3),))
FRAMED = ds.frame(*RECORDS)
STARTS = ds.frame_starts(RECORDS)


def read_ranges(
    path: Path, shards: int, *, skip: bool = False
) -> tuple[list[list[bytes]], list[Any]]:
    """What each of the ranges of a file gives, and the damages of all of them."""
    file = _native.File(bytes(path))
    total = file.stream_bytes
    found, damages = [], []
    for shard in range(shards):
        reader = _native.Reader(
            file,
            total * shard // shards,
            total * (shard + 1) // shards,
            how="walk",
            skip=skip,
            check_stop=True,
        )
        found.append(reader.entries(2**63))
        damages += reader.damages
    return found, damages


def joined(parts: list[list[bytes]]) -> list[bytes]:
    return [record for part in parts for record in part]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ranges") / "records"


@pytest.mark.parametrize("shards", [1, 2, 3, 4, 10, 97, 1000])
@pytest.mark.parametrize("block_bytes", [0, 50, 1000, 262_144])
def test_every_record_once(path: Path, shards: int, block_bytes: int) -> None:
    path.write_bytes(ds.snappy_blocks(FRAMED, block_bytes) if block_bytes else FRAMED)
    parts, damages = read_ranges(path, shards)
    assert damages == []
    assert joined(parts) == RECORDS
    # A range owns the records that start in it.
    owners = [
        next(shard for shard in range(shards) if start < STARTS[-1] * (shard + 1) // shards)
        for start in STARTS[:-1]
    ]
    assert [len(part) for part in parts] == [owners.count(shard) for shard in range(shards)]


@pytest.mark.parametrize("block_bytes", [0, 50, 1000])
def test_search_finds_the_next_start_in_the_range(path: Path, block_bytes: int) -> None:
    path.write_bytes(ds.snappy_blocks(FRAMED, block_bytes) if block_bytes else FRAMED)
    file = _native.File(bytes(path))
    for start in range(0, STARTS[-1], 3):
        for end in (start + 1, start + 60, STARTS[-1]):
            reader = _native.Reader(file, start, end, how="search")
            following = min(first for first in STARTS if first >= start)
            assert reader.first == following or (following > end and reader.first == end)
            assert len(reader.entries(2**63)) == sum(start <= at < end for at in STARTS[:-1])
            assert reader.damages == []


@given(
    st.lists(st.binary(max_size=120), max_size=30),
    st.sampled_from([1, 2, 3, 7, 40]),
    st.sampled_from([0, 1, 13, 300]),
)
def test_records_of_any_kind(
    path: Path, records: list[bytes], shards: int, block_bytes: int
) -> None:
    framed = ds.frame(*records)
    path.write_bytes(ds.snappy_blocks(framed, block_bytes) if block_bytes else framed)
    file = _native.File(bytes(path), "snappy" if block_bytes else "plain")
    total = file.stream_bytes
    found = []
    for shard in range(shards):
        reader = _native.Reader(
            file, total * shard // shards, total * (shard + 1) // shards, how="walk"
        )
        found += reader.records(2**63)
        assert reader.damages == []
    assert found == records


@pytest.mark.parametrize("shards", [1, 4, 9])
def test_a_payload_that_is_a_record_file_itself(path: Path, shards: int) -> None:
    inner = ds.frame(*RECORDS)
    records = [ds.put_bytes(15, inner), *RECORDS, ds.put_bytes(15, inner * 3), RECORDS[0]]
    path.write_bytes(ds.frame(*records))
    parts, damages = read_ranges(path, shards)
    assert joined(parts) == records
    assert damages == []


@pytest.mark.parametrize("shards", [1, 2, 4, 13])
def test_every_flipped_bit_is_reported(path: Path, shards: int) -> None:
    rng = random.Random(shards)
    for at in range(len(FRAMED)):
        damaged = bytearray(FRAMED)
        damaged[at] ^= 1 << rng.randrange(8)
        victim = max(index for index, start in enumerate(STARTS[:-1]) if start <= at)
        path.write_bytes(damaged)
        parts, damages = read_ranges(path, shards)
        assert damages, at
        assert set(joined(parts)) <= set(RECORDS[:victim] + RECORDS[victim + 1 :]), at
        parts, damages = read_ranges(path, shards, skip=True)
        assert joined(parts) == RECORDS[:victim] + RECORDS[victim + 1 :], at
        assert STARTS[victim] in {damage.position for damage in damages}, at


@pytest.mark.parametrize("shards", [1, 4])
def test_truncation_at_every_place(path: Path, shards: int) -> None:
    for cut in range(len(FRAMED)):
        path.write_bytes(FRAMED[:cut])
        whole = sum(end <= cut for end in STARTS[1:])
        parts, damages = read_ranges(path, shards, skip=True)
        assert joined(parts) == RECORDS[:whole], cut
        assert bool(damages) == (cut not in STARTS), cut


@pytest.mark.parametrize("shards", [1, 4, 9])
def test_every_flipped_bit_of_a_compressed_file(path: Path, shards: int) -> None:
    rng = random.Random(shards)
    size = 250
    blocks = [ds.snappy_blocks(FRAMED[at : at + size]) for at in range(0, len(FRAMED), size)]
    data = b"".join(blocks)
    for at in range(len(blocks[0]), len(data)):
        bad, end = 0, len(blocks[0])
        while end <= at:
            bad += 1
            end += len(blocks[bad])
        damaged = bytearray(data)
        damaged[at] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        parts, damages = read_ranges(path, shards, skip=True)
        if not damages:  # a copy from another place where the same bytes are
            assert joined(parts) == RECORDS, at
            continue
        # Nothing that lies outside the damaged block is lost, and nothing comes twice.
        found = joined(parts)
        for record, start in zip(RECORDS, STARTS, strict=False):
            beside = start + len(record) + 16 <= bad * size or start >= (bad + 1) * size
            assert found.count(record) == 1 or (not beside and record not in found), at
        assert set(found) <= set(RECORDS), at
