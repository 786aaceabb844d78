"""Ranges read by several threads: the same as one thread gives, whatever the records hold."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import dump_support as ds
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from table_support import SKIP, flip

from monolith_cli import _native
from monolith_cli.errors import ChangedWhileReadError, CorruptionError, PathNotFoundError
from monolith_cli.execution.workers import Workers
from monolith_cli.formats.tfrecord import DumpFile
from monolith_cli.tables import ReadOptions, ranges
from monolith_cli.tables.ranges import Piece
from monolith_cli.tables.stream import EntryStream, Extent

RECORDS = ds.random_entries(41, 60, segments=(("adagrad", 3),))
INNER = ds.frame(*RECORDS)


def nested(framed: bytes) -> bytes:
    """An entry, by its unknown field, that holds a stream of records."""
    return ds.put_bytes(15, framed)


CASES = {
    "equal lengths": RECORDS,
    "longer than several ranges": [
        entry
        for index, small in enumerate(RECORDS[:20])
        for entry in (small, ds.put_bytes(15, bytes(97 * index)))
    ],
    "record streams inside": [
        RECORDS[0],
        nested(INNER),
        *RECORDS[1:5],
        nested(ds.frame(nested(INNER), nested(ds.frame(RECORDS[7], RECORDS[8])))),
        nested(INNER[:-3]),
        nested(INNER[5:]),
        RECORDS[5],
    ],
    "empty": [b""] * 50,
    "one": RECORDS[:1],
    "none": [],
}


@pytest.fixture(autouse=True)
def small_streams_are_read_by_threads_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "SMALL_BYTES", 0)


def stream_of(*paths: Path) -> EntryStream:
    files = [DumpFile(os.fspath(path), "plain") for path in paths]
    return EntryStream([Extent(file, 0, file.stream_bytes, "t") for file in files])


class Found(list[bytes]):
    def merge(self, other: Found, /) -> None:
        self += other


class AllRecords:
    """A fold: whatever the records hold."""

    def run(self, reader: _native.Reader, extent: Extent, /) -> Found:
        found = Found()
        while not reader.done:
            found += reader.records(7)
        return found


def read(
    stream: EntryStream, options: ReadOptions | None = None, jobs: int = 1, **how: Any
) -> list[Piece[Found]]:
    with Workers(jobs) as workers:
        options = options or ReadOptions()
        return list(ranges.read_ranges(stream, options, AllRecords(), workers=workers, **how))


def joined(pieces: list[Piece[Found]]) -> list[bytes]:
    return [record for piece in pieces for record in piece.value]


def write(path: Path, records: list[bytes], block_bytes: int | None = None) -> None:
    framed = ds.frame(*records)
    path.write_bytes(framed if block_bytes is None else ds.snappy_blocks(framed, block_bytes))


@pytest.mark.parametrize("block_bytes", [None, 130])
@pytest.mark.parametrize("jobs", [1, 2, 4])
@pytest.mark.parametrize("range_bytes", [1, 16, 100, 999, 1 << 20])
@pytest.mark.parametrize("case", CASES)
def test_the_records_of_ranges_of_any_size(
    tmp_path: Path, case: str, range_bytes: int, jobs: int, block_bytes: int | None
) -> None:
    records = CASES[case]
    if range_bytes == 1:  # a range a byte
        records = records[:5]
    parts = ds.cut_evenly(records, 3)
    paths = [tmp_path / f"t-{index}" for index in range(3)]
    for path, part in zip(paths, parts, strict=True):
        write(path, part, block_bytes)
    pieces = read(stream_of(*paths), jobs=jobs, range_bytes=range_bytes)
    assert joined(pieces) == records
    assert all(piece.skipped == [] for piece in pieces)


@pytest.mark.parametrize("jobs", [1, 4])
@pytest.mark.parametrize("nshards", [2, 5, 97])
@pytest.mark.parametrize("case", ["equal lengths", "record streams inside"])
def test_shards_in_ranges(tmp_path: Path, case: str, nshards: int, jobs: int) -> None:
    paths = [tmp_path / "t-0", tmp_path / "t-1"]
    for path, part in zip(paths, ds.cut_evenly(CASES[case], 2), strict=True):
        write(path, part)
    found = []
    for shard in range(nshards):
        stream = stream_of(*paths)
        found += joined(read(stream, shard=shard, nshards=nshards, jobs=jobs, range_bytes=150))
    assert found == CASES[case]


def test_from_a_record_on(tmp_path: Path) -> None:
    path = tmp_path / "t"
    write(path, RECORDS)
    for index, start in enumerate(ds.frame_starts(RECORDS)):
        found = read(stream_of(path), start=start, jobs=2, range_bytes=333)
        assert joined(found) == RECORDS[index:]


def test_sizes_add_up_to_the_stream(tmp_path: Path) -> None:
    path = tmp_path / "t"
    write(path, RECORDS)
    stream = stream_of(path)
    assert sum(piece.size for piece in read(stream, range_bytes=10_000)) == stream.size
    [piece] = read(stream)
    assert piece.extent == stream.extents[0]


def test_pieces_keep_the_extent_they_are_of(tmp_path: Path) -> None:
    path = tmp_path / "t"
    write(path, RECORDS)
    starts = ds.frame_starts(RECORDS)
    file = DumpFile(os.fspath(path), "plain")
    extents = [
        Extent(file, 0, starts[20], "a"),
        Extent(file, starts[20], starts[20], "empty"),
        Extent(file, starts[20], starts[-1], None),
    ]
    found: dict[str | None, list[bytes]] = {}
    for piece in read(EntryStream(extents), jobs=2, range_bytes=200):
        found.setdefault(piece.extent.table, []).extend(piece.value)
    assert found.pop("empty", []) == []
    assert found == {"a": RECORDS[:20], None: RECORDS[20:]}


@settings(max_examples=150)
@given(
    records=st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.integers(0, 3000).map(bytes),
            st.lists(st.binary(max_size=30), max_size=5).map(lambda some: ds.frame(*some)),
        ),
        max_size=12,
    ),
    range_bytes=st.integers(10, 3000),
    jobs=st.sampled_from([1, 3]),
    block_bytes=st.sampled_from([None, 64, 1000]),
)
def test_records_of_any_kind(
    tmp_path_factory: pytest.TempPathFactory,
    records: list[bytes],
    range_bytes: int,
    jobs: int,
    block_bytes: int | None,
) -> None:
    path = tmp_path_factory.getbasetemp() / "any-records"
    write(path, records, block_bytes)
    pieces = read(stream_of(path), jobs=jobs, range_bytes=range_bytes)
    assert joined(pieces) == records


# --- damage ---------------------------------------------------------------------------------


def outcome(
    path: Path, options: ReadOptions, jobs: int, range_bytes: int
) -> tuple[list[bytes], list[Any]]:
    """Records, and kind and place of damage, each once: ranges may share a damaged block."""
    found: list[bytes] = []
    places: list[Any] = []
    try:
        with Workers(jobs) as workers:
            for piece in ranges.read_ranges(
                stream_of(path), options, AllRecords(), workers=workers, range_bytes=range_bytes
            ):
                found += piece.value
                places += [(damage.kind, damage.offset) for damage in piece.skipped]
    except CorruptionError as error:
        places.append((error.kind, error.offset))
    return found, list(dict.fromkeys(places))


@pytest.mark.parametrize("options", [ReadOptions(), SKIP], ids=["fail", "skip"])
@pytest.mark.parametrize(
    ("case", "block_bytes"),
    [("equal lengths", None), ("equal lengths", 130), ("record streams inside", None)],
)
def test_damage_is_what_one_thread_finds(
    tmp_path: Path, case: str, block_bytes: int | None, options: ReadOptions
) -> None:
    rng = random.Random(7)
    records = CASES[case][:25]
    path = tmp_path / "t"
    write(path, records, block_bytes)
    sound = path.read_bytes()
    for at in range(0, len(sound), max(len(sound) // 400, 1)):
        path.write_bytes(sound)
        flip(path, at, rng.randrange(8))
        alone = outcome(path, options, jobs=1, range_bytes=1 << 30)
        assert alone[0] != records or alone[1] == []
        for jobs, range_bytes in ((1, 100), (2, 170)):
            together = outcome(path, options, jobs=jobs, range_bytes=range_bytes)
            assert together == alone, (at, jobs)


@pytest.mark.parametrize("jobs", [1, 4])
def test_values_before_damage_come_first(tmp_path: Path, jobs: int) -> None:
    path = tmp_path / "t"
    write(path, RECORDS)
    flip(path, ds.frame_starts(RECORDS)[50] + 14)
    found, places = outcome(path, ReadOptions(), jobs=jobs, range_bytes=500)
    assert found == RECORDS[:50]
    assert places == [("bad_data_crc", ds.frame_starts(RECORDS)[50])]


# --- files that change, and callers that stop ------------------------------------------------


class ChangeInTheMiddle(AllRecords):
    """Makes a change when it is run for the third time."""

    def __init__(self, change: Callable[[], object]) -> None:
        self.change = change
        self.calls = iter(range(1000))
        self.lock = threading.Lock()

    def run(self, reader: _native.Reader, extent: Extent, /) -> Found:
        with self.lock:
            if next(self.calls) == 2:
                self.change()
        return super().run(reader, extent)


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("change", ["shrink", "grow", "replace", "vanish"])
def test_a_file_that_changes_while_it_is_read(tmp_path: Path, change: str, jobs: int) -> None:
    path = tmp_path / "t"
    write(path, RECORDS * 300)
    size = path.stat().st_size

    def replace() -> None:
        other = tmp_path / "other"
        other.write_bytes(path.read_bytes())
        other.replace(path)

    changes: dict[str, Callable[[], object]] = {
        "shrink": partial(os.truncate, path, size // 2),
        "grow": partial(os.truncate, path, size + 1),
        "replace": replace,
        "vanish": path.unlink,
    }
    fold = ChangeInTheMiddle(changes[change])
    with (
        Workers(jobs) as workers,
        pytest.raises((ChangedWhileReadError, PathNotFoundError)) as caught,
    ):
        list(
            ranges.read_ranges(
                stream_of(path), ReadOptions(), fold, workers=workers, range_bytes=size // 10
            )
        )
    assert caught.value.path == str(path)
    if change == "vanish":
        assert isinstance(caught.value, PathNotFoundError)
    else:
        assert isinstance(caught.value, ChangedWhileReadError)
        assert str(caught.value).startswith(f"{path}: changed while it was read, at byte ")
        assert caught.value.hint == "try again when nobody writes it"


@pytest.mark.parametrize("jobs", [1, 3])
def test_an_error_of_the_caller_comes_through(tmp_path: Path, jobs: int) -> None:
    path = tmp_path / "t"
    write(path, RECORDS)

    def interrupt() -> None:
        raise KeyboardInterrupt

    with Workers(jobs) as workers:
        pieces = ranges.read_ranges(
            stream_of(path),
            ReadOptions(),
            ChangeInTheMiddle(interrupt),
            workers=workers,
            range_bytes=100,
        )
        with pytest.raises(KeyboardInterrupt):
            list(pieces)


def test_a_caller_that_stops_leaves_no_threads(tmp_path: Path) -> None:
    path = tmp_path / "t"
    write(path, RECORDS)
    before = threading.active_count()
    pieces = ranges.read_ranges(
        stream_of(path), ReadOptions(), AllRecords(), workers=Workers(4), range_bytes=100
    )
    assert len(next(iter(pieces)).value) > 0
    assert threading.active_count() > before
    del pieces
    assert threading.active_count() == before


def test_an_error_leaves_no_threads(tmp_path: Path) -> None:
    """Not even while the error is kept: ending threads is no work for the garbage collector."""
    path = tmp_path / "t"
    write(path, RECORDS * 20)
    os.truncate(path, path.stat().st_size - 1)
    before = threading.active_count()
    with pytest.raises(CorruptionError) as caught:
        read(stream_of(path), jobs=4, range_bytes=1000)
    assert caught.value.kind == "truncated_data"
    assert threading.active_count() == before
