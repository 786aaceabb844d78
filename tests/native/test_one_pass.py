"""A SNAPPY file that is read, mapped and decoded at once: as if it had been mapped in advance."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import dump_support as ds
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monolith_cli import _native

RECORDS = ds.random_entries(41, 40, segments=(("adagrad", 3),))
FRAMED = ds.frame(*RECORDS)
SNAPPY = ds.snappy_blocks(FRAMED, 200)
EMPTY = ds.EMPTY_BLOCK

Found = tuple[list[bytes], list[tuple[str, int, int, int, int, bool]], int, bool]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("one-pass") / "t"


def read(file: _native.File, *, skip: bool, limit: int = 2**63, read_bytes: int = 100) -> Found:
    reader = _native.Reader(file, 0, None, skip=skip, check_stop=True, read_bytes=read_bytes)
    records = reader.records(limit)
    while not reader.done:
        records += reader.records(limit)
    damages = [
        (d.kind, d.position, d.end, d.offset, d.length, d.one_record) for d in reader.damages
    ]
    return records, damages, reader.position, reader.failed


def opened(path: Path, *, cheap: bool, max_record_bytes: int = 64 << 20) -> _native.File:
    return _native.File(bytes(path), "snappy", max_record_bytes, seek_is_cheap=cheap)


@pytest.mark.parametrize("read_bytes", [1, 7, 300, 100_000])
def test_one_pass_maps_on_its_way(path: Path, read_bytes: int) -> None:
    path.write_bytes(SNAPPY)
    file = opened(path, cheap=False)
    assert file.compression == "snappy"
    assert not file.mapped
    assert read(file, skip=False, read_bytes=read_bytes) == (RECORDS, [], len(FRAMED), False)
    assert file.mapped
    assert file.block_map == opened(path, cheap=True).block_map
    assert file.stream_bytes == len(FRAMED)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        EMPTY,
        b"\0\0\0\2\0\0",
        SNAPPY + EMPTY,
        EMPTY + SNAPPY,
        FRAMED,
        SNAPPY[:-1],
        b"\0",
        SNAPPY * 2,
    ],
)
def test_ends(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    for skip in (False, True):
        wanted = read(opened(path, cheap=True), skip=skip)
        assert read(opened(path, cheap=False), skip=skip) == wanted


@given(st.integers(0, 2**32))
def test_a_damaged_file_has_the_same_damages_either_way(path: Path, seed: int) -> None:
    rng = random.Random(seed)
    stream = FRAMED if rng.randrange(3) else ds.mutated(FRAMED, rng)  # damage inside of good blocks
    data = ds.snappy_blocks(stream, rng.randint(20, 400))
    path.write_bytes(ds.mutated(data, rng) if rng.randrange(4) else data)
    longest = rng.choice([64 << 20, rng.randint(1, 300)])
    for skip in (False, True):
        for limit in (2**63, rng.randint(1, 5)):
            wanted = read(
                opened(path, cheap=True, max_record_bytes=longest), skip=skip, limit=limit
            )
            file = opened(path, cheap=False, max_record_bytes=longest)
            found = read(file, skip=skip, limit=limit, read_bytes=rng.choice([1, 50, 1000]))
            assert found == wanted
            if file.compression == "snappy":
                mapped = opened(path, cheap=True, max_record_bytes=longest)
                assert file.block_map == mapped.block_map


def test_every_way_to_read(path: Path) -> None:
    path.write_bytes(SNAPPY)
    mapped = opened(path, cheap=True)

    def both(read: object) -> None:
        assert callable(read)
        wanted = read(_native.Reader(mapped, 0, mapped.stream_bytes))
        assert read(_native.Reader(opened(path, cheap=False), 0, None)) == wanted

    def count(reader: _native.Reader) -> tuple[int, dict[int, int]]:
        counter = _native.Counter()
        return reader.count(counter), counter.slot_counts()

    both(count)
    both(lambda r: (r.starts_well(), r.skip(7), r.records(1), r.starts_well(), r.records(99)))
    both(lambda r: r.frames(9, 10**6))
    both(lambda r: r.json_lines(100, 10**6))
    both(lambda r: r.columns(3)["fid"])


def test_other_ranges_need_the_map(path: Path) -> None:
    path.write_bytes(SNAPPY)
    middle = len(FRAMED) // 2
    for start, end in [(0, middle), (middle, None), (middle, len(FRAMED))]:
        file = opened(path, cheap=False)
        reader = _native.Reader(file, start, end, how="walk")
        assert file.mapped
        wanted = _native.Reader(opened(path, cheap=True), start, end, how="walk")
        assert reader.records(2**63) == wanted.records(2**63)


def test_a_file_that_is_replaced_meanwhile(path: Path) -> None:
    path.write_bytes(SNAPPY)
    file = opened(path, cheap=False)
    reader = _native.Reader(file, 0, None, skip=True, read_bytes=64)
    assert reader.records(3) == RECORDS[:3]
    # In place, and as long; of another blocks' sizes, and damaged where the reader comes next.
    other = ds.snappy_blocks(FRAMED, 150)
    other = (other + b"\0" * len(SNAPPY))[: len(SNAPPY)]
    with path.open("r+b") as out:
        out.write(other)
    with pytest.raises(_native.ChangedError):
        reader.records(2**63)


def test_several_threads_map_one_file(path: Path) -> None:
    path.write_bytes(SNAPPY)
    file = opened(path, cheap=False)
    found: list[Found] = []
    threads = [
        threading.Thread(target=lambda: found.append(read(file, skip=False))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [(RECORDS, [], len(FRAMED), False)] * 8


def test_options_that_cannot_be(path: Path) -> None:
    path.write_bytes(FRAMED)
    file = _native.File(bytes(path))
    for read_bytes in (0, (1 << 30) + 1):
        with pytest.raises(ValueError, match="read_bytes"):
            _native.Reader(file, 0, None, read_bytes=read_bytes)
    with pytest.raises(ValueError, match="read_ahead"):
        _native.Reader(file, 0, None, read_ahead=65)
    with pytest.raises(ValueError, match="how"):
        _native.Reader(file, 0, None, how="guess")


@pytest.mark.parametrize("read_bytes", [1, 13, 4096])
@pytest.mark.parametrize("read_ahead", [None, 0, 3])
def test_how_much_is_read_at_once_changes_nothing(
    path: Path, read_bytes: int, read_ahead: int | None
) -> None:
    for data in (FRAMED, SNAPPY):
        path.write_bytes(data)
        file = _native.File(bytes(path), "plain")
        found = []
        for start, end in [(0, 1000), (1000, 3000), (3000, None), (10**6, None)]:
            reader = _native.Reader(
                file, start, end, how="walk", read_bytes=read_bytes, read_ahead=read_ahead
            )
            found += reader.records(2**63)
        assert found == RECORDS
