"""Tables of one file found in ranges: where one reader of the whole file finds them."""

from __future__ import annotations

import gzip
import random
from collections.abc import Sequence
from pathlib import Path

import dump_support as ds
import pytest
from table_support import SKIP, checkpoint_of, flip, open_all

from monolith_cli.errors import CorruptionError, RecordCountError
from monolith_cli.execution.workers import Workers
from monolith_cli.tables import ReadOptions, cutting, extents, open_tables, ranges
from monolith_cli.tables.extents import ShardExtents, find_extents
from monolith_cli.tables.folds import records
from monolith_cli.tables.multi_dump import MultiDump

ENTRIES = ds.random_entries(61, 300, segments=(("adagrad", 2),))
NESTED = [ds.put_bytes(15, ds.frame(*ENTRIES[start : start + 7])) for start in range(9)]


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extents, "SMALL_BYTES", 0)
    monkeypatch.setattr(ranges, "SMALL_BYTES", 0)
    monkeypatch.setattr(ranges, "RANGE_BYTES", 1000)
    monkeypatch.setattr(records, "_STEP", 7)


def write(
    directory: Path, sizes: Sequence[int], more: int = 0, block_bytes: int | None = None
) -> Path:
    """A dump of one file with tables of these sizes, and so many records more or fewer."""
    rng = random.Random(5)
    data = [rng.choice(ENTRIES + NESTED) for _ in range(sum(sizes))]
    assets = ds.write_model_dir(directory, multis={"M": {"t0": []}}, shards=1)
    meta = [ds.table_meta(f"t{index}", size) for index, size in enumerate(sizes)]
    ds.write_plain(ds.shard_path(assets, "M.meta", 0, 1), meta)
    path = ds.shard_path(assets, "M", 0, 1)
    framed = ds.frame(*data[: len(data) + more], *ENTRIES[: max(more, 0)])
    path.write_bytes(framed if block_bytes is None else ds.snappy_blocks(framed, block_bytes))
    return path


def dump_of(directory: Path, options: ReadOptions) -> MultiDump:
    return open_tables(checkpoint_of(directory), options=options)[0].dumps[0]


def found(directory: Path, jobs: int, options: ReadOptions = SKIP) -> object:
    dump = dump_of(directory, options)
    with Workers(jobs) as workers:
        find_extents([dump], workers)
    shard = dump.shard_extents(0)
    places = [(each.start, each.end, each.table) for each in shard.extents]
    assert {each.file for each in shard.extents} <= {dump.files[0]}
    return places, shard.skipped, shard.extra


@pytest.mark.parametrize("block_bytes", [None, 650])
@pytest.mark.parametrize("more", [0, 3, -3, -40])
@pytest.mark.parametrize(
    "sizes", [[300], [1] * 40, [0, 0, 5, 0, 90, 200, 0], [7, 7, 7, 14, 21, 1, 0, 70], [1]]
)
def test_what_one_reader_finds(
    tmp_path: Path, sizes: list[int], more: int, block_bytes: int | None
) -> None:
    if sum(sizes) + more <= 0:
        more = 0
    write(tmp_path, sizes, more, block_bytes)
    assert found(tmp_path, 3) == found(tmp_path, 1)


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("where", ["gzip", "cut in the first block", "first block broken", "empty"])
def test_a_file_without_any_stream(tmp_path: Path, where: str, skip: bool) -> None:
    """Damage is met even where there is nothing to read behind it."""
    path = write(tmp_path, [50, 80], block_bytes=1 << 20)
    data = path.read_bytes()
    broken = {
        "gzip": gzip.compress(data),
        "cut in the first block": data[:100],
        "first block broken": data[:8] + bytes(len(data) - 8),
        "empty": b"",
    }
    path.write_bytes(broken[where])

    def told(jobs: int) -> object:
        try:
            return found(tmp_path, jobs, ReadOptions(skip=skip))
        except CorruptionError as error:
            return (error.kind, error.what, error.offset)

    assert told(3) == told(1)


@pytest.mark.parametrize("block_bytes", [None, 650])
def test_damage_anywhere(tmp_path: Path, block_bytes: int | None) -> None:
    path = write(tmp_path, [50, 3, 80, 0, 20], block_bytes=block_bytes)
    sound = path.read_bytes()
    for at in range(20, len(sound), len(sound) // 25):
        path.write_bytes(sound)
        flip(path, at)
        assert found(tmp_path, 3) == found(tmp_path, 1), at


def test_too_few_records_fail(tmp_path: Path) -> None:
    path = write(tmp_path, [100, 50], -20)
    with pytest.raises(RecordCountError) as caught:
        found(tmp_path, 3, ReadOptions())
    assert str(caught.value).startswith(f"{path}: ends after 130 of the 150 records that its")


def test_few_files_are_cut_and_many_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ds.write_model_dir(tmp_path, multis={"M": {"a": ENTRIES}}, shards=3)
    cut: list[str] = []
    locate = cutting.locate_in_ranges

    def noted(file: object, *args: object) -> ShardExtents:
        cut.append(getattr(file, "path", ""))
        return locate(file, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(cutting, "locate_in_ranges", noted)
    assert list(open_all(tmp_path)["a"]) == ENTRIES
    page = open_all(tmp_path)["a"].page(limit=1000, jobs=3)
    assert (page.entries, cut) == (ENTRIES, [])
    page = open_all(tmp_path)["a"].page(limit=1000, jobs=4)
    assert (page.entries, len(cut)) == (ENTRIES, 3)
