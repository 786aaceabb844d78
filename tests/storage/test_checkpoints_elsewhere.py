"""A whole checkpoint in a store that is no file system is read as one in a directory is."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import dump_support as ds
import pytest
from memory_store import SCHEME, MemoryFile, MemoryStore

from monolith_cli import open_model_dir, open_tables
from monolith_cli.checkpoint.checkpoint import Checkpoint
from monolith_cli.errors import (
    ChangedWhileReadError,
    CorruptionError,
    MissingShardError,
    PathNotFoundError,
    UsageError,
)
from monolith_cli.execution.workers import Workers
from monolith_cli.formats.tfrecord import read_records
from monolith_cli.samples.sample import write_sample
from monolith_cli.storage import store as stores
from monolith_cli.storage.store import ReadSizes
from monolith_cli.tables import EntryFilter, ReadOptions
from monolith_cli.tables.ckpt_info_file import settle_ckpt_info
from monolith_cli.tables.counts import CheckpointCounts, CountOptions, count_checkpoint
from monolith_cli.tables.folds.count import CountFold
from monolith_cli.tables.ranges import FileTask

TOP = f"{SCHEME}://bucket/a b/model"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    store = MemoryStore()
    monkeypatch.setitem(stores._stores, SCHEME, store)
    return store


def checkpoint_at(location: str) -> Checkpoint:
    return open_model_dir(location).checkpoint()


def told(counts: CheckpointCounts) -> object:
    return (counts.tables, counts.slot_counts, counts.feature_counts, counts.warnings)


@pytest.mark.parametrize("multi", [False, True], ids=["single", "multi"])
@pytest.mark.parametrize("jobs", [1, 3])
def test_counting(tmp_path: Path, store: MemoryStore, multi: bool, jobs: int) -> None:
    write_sample(str(tmp_path), entries=3000, multi=multi, shards=3)
    store.take(tmp_path, TOP)
    options = CountOptions(scan_multi=True, by_table=True, jobs=jobs)
    there = count_checkpoint(checkpoint_at(TOP), options)
    assert there.entries == 3000
    assert told(there) == told(count_checkpoint(checkpoint_at(str(tmp_path)), options))
    written = settle_ckpt_info(f"{TOP}/ckpt.info-1000", there).written
    assert written == f"{TOP}/ckpt.info-1000"
    settle_ckpt_info(str(tmp_path / "ckpt.info-1000"), there)
    assert store.read(written) == (tmp_path / "ckpt.info-1000").read_bytes()


def test_entries_and_pages(tmp_path: Path, store: MemoryStore) -> None:
    write_sample(str(tmp_path), entries=600, multi=True, shards=2)
    store.take(tmp_path, TOP)
    here, there = (open_tables(checkpoint_at(place)) for place in (str(tmp_path), TOP))
    assert [list(table) for table in there] == [list(table) for table in here]
    page = there[0].page(0, 7)
    assert page == here[0].page(0, 7)
    assert there[0].page(page.next_offset, 7) == here[0].page(page.next_offset, 7)


def test_large_files_take_large_reads(store: MemoryStore) -> None:
    records = [bytes(100)] * 100_000
    store.put(f"{TOP}/records", ds.frame(*records))
    assert sum(1 for _ in read_records(f"{TOP}/records")) == 100_000
    assert store.reads <= 20  # of 12 MB: for 1 MiB at first


@pytest.mark.parametrize("multi", [False, True], ids=["single", "multi"])
def test_how_much_is_read_at_a_time(tmp_path: Path, store: MemoryStore, multi: bool) -> None:
    write_sample(str(tmp_path), entries=5000, tables=1, multi=multi, shards=1)
    store.take(tmp_path, TOP)
    found = []
    for options in (ReadOptions(), ReadOptions(read_bytes=5000, read_ahead=3)):
        [table] = open_tables(checkpoint_at(TOP), options=options)
        store.reads = 0
        found.append((list(table), store.reads))
    [(suited, few), (chosen, many)] = found
    assert suited == chosen
    assert few < 10 < 50 < many
    for wrong in (ReadOptions(read_bytes=0), ReadOptions(read_ahead=-1)):
        [table] = open_tables(checkpoint_at(TOP), options=wrong)
        with pytest.raises(UsageError, match=r"read_(bytes|ahead) (0|-1) is not in"):
            list(table)


def test_a_store_says_how_it_wants_to_be_read(tmp_path: Path, store: MemoryStore) -> None:
    write_sample(str(tmp_path), entries=5000, tables=1, shards=1)
    store.take(tmp_path, TOP)
    reads = []
    for wanted, options in (
        (ReadSizes(), CountOptions()),
        (ReadSizes(5000, 0), CountOptions()),
        (ReadSizes(5000, 0), CountOptions(read_bytes=1 << 20)),
        (ReadSizes(), CountOptions(read_bytes=5000, read_ahead=3)),
    ):
        store.read_sizes, store.reads = wanted, 0
        assert count_checkpoint(checkpoint_at(TOP), options).entries == 5000
        reads.append(store.reads)
    [suited, small, large, asked] = reads
    assert max(suited, large) < 15 < 50 < min(small, asked)


def test_damage_is_told_with_its_place(tmp_path: Path, store: MemoryStore) -> None:
    write_sample(str(tmp_path), entries=300, shards=2)
    store.take(tmp_path, TOP)
    [location] = [key for key in store.kept if "_user-00000" in key]
    data = bytearray(store.read(location))
    data[1000] ^= 1
    store.put(location, bytes(data))
    with pytest.raises(CorruptionError) as caught:
        count_checkpoint(checkpoint_at(TOP))
    assert (caught.value.kind, caught.value.path) == ("bad_data_crc", location)
    store.delete(location)
    with pytest.raises(MissingShardError):
        count_checkpoint(checkpoint_at(TOP))


@pytest.mark.parametrize("gone", [False, True])
def test_what_changes_while_it_is_read(
    tmp_path: Path, store: MemoryStore, monkeypatch: pytest.MonkeyPatch, gone: bool
) -> None:
    location = f"{TOP}/records"
    store.put(location, ds.frame(*[bytes(1000)] * 5000))
    records = read_records(location)
    next(records)
    store.delete(location) if gone else store.put(location, ds.frame(*[bytes(1001)] * 5000))
    with pytest.raises(PathNotFoundError if gone else ChangedWhileReadError) as caught:
        list(records)
    assert caught.value.path == location


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("by_table", [False, True])
def test_snappy_is_read_once(tmp_path: Path, store: MemoryStore, jobs: int, by_table: bool) -> None:
    """Nobody walks over the headers of blocks first: that would be a pass of its own."""
    write_sample(str(tmp_path), entries=60_000, dim=32, multi=True, shards=2)
    store.take(tmp_path, TOP)
    options = CountOptions(scan_multi=True, jobs=jobs)
    counts = count_checkpoint(checkpoint_at(TOP), options)
    assert counts.entries == 60_000
    assert told(counts) == told(count_checkpoint(checkpoint_at(str(tmp_path)), options))
    [table, *_] = open_tables(checkpoint_at(TOP))
    store.bytes_read = 0
    if by_table:
        table.extents(jobs)
    else:
        count_checkpoint(checkpoint_at(TOP), options)
    stored = sum(file.stored_bytes for file in table.files)
    assert stored > 4 << 20
    assert stored <= store.bytes_read < 1.1 * stored
    assert all(file.is_mapped for file in table.files) or not by_table


def test_snappy_is_mapped_at_once_where_seeks_are_cheap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_sample(str(tmp_path), entries=2000, multi=True, shards=1)
    found = []
    for cheap in (False, True):
        store = MemoryStore(cheap_seeks=cheap)
        monkeypatch.setitem(stores._stores, SCHEME, store)
        store.take(tmp_path, TOP)
        [table, *_] = open_tables(checkpoint_at(TOP))
        found.append([file.is_mapped for file in table.files])
        assert len(list(table)) == table.promised_entries
    assert found == [[False], [True]]


def test_a_pass_that_nobody_waits_for_ends_soon(
    tmp_path: Path, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_sample(str(tmp_path), entries=20_000, tables=1, multi=True, shards=1)
    store.take(tmp_path, TOP)
    [table] = open_tables(checkpoint_at(TOP))
    [file] = table.files
    begun = threading.Event()
    read = MemoryFile.read

    def read_slowly(source: MemoryFile, offset: int, size: int) -> bytes:
        if threading.current_thread() is not threading.main_thread():
            begun.set()
            time.sleep(0.01)
        return read(source, offset, size)

    monkeypatch.setattr(MemoryFile, "read", read_slowly)
    options = ReadOptions(read_bytes=2000)
    reads = file.stored_bytes // 2000
    store.reads = 0
    with Workers(2) as workers:
        workers.submit(FileTask(file, options, CountFold(EntryFilter())))
        assert begun.wait(10)
    assert 0 < store.reads < reads // 2
    monkeypatch.setattr(MemoryFile, "read", read)
    assert len(list(table)) == 20_000  # it is read by others later


@pytest.mark.parametrize("skip", [False, True])
def test_damaged_snappy(tmp_path: Path, store: MemoryStore, skip: bool) -> None:
    write_sample(str(tmp_path), entries=20_000, multi=True, shards=2)
    [path] = [path for path in tmp_path.rglob("*-00001-of-00002") if "meta" not in path.name]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    store.take(tmp_path, TOP)
    options = CountOptions(scan_multi=True, skip_corrupt=skip)
    found = []
    for place in (str(tmp_path), TOP):
        try:
            counts = count_checkpoint(checkpoint_at(place), options)
        except CorruptionError as error:
            found.append((error.kind, error.what, error.offset))
        else:
            found.append((told(counts), [damage[1:] for damage in counts.skipped]))
    assert found[0] == found[1]
