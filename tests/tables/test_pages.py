"""Pages: the shards together are every entry once, from the start or from a cursor."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import dump_support as ds
import pytest
import tf_support
from table_support import (
    SKIP,
    checkpoint_of,
    flip,
    open_all,
    open_table,
    read_shard,
    read_shards,
)

from monolith_cli import _native, messages
from monolith_cli.errors import (
    ChangedWhileReadError,
    CorruptionError,
    CursorError,
    PathNotFoundError,
    UsageError,
)
from monolith_cli.formats.tfrecord import Skipped
from monolith_cli.tables import EntryFilter, Page, ReadOptions, Table, open_tables
from monolith_cli.tables.pages import ShardReader

FILES = (1, 4, 7)


def varied_entries(seed: int, count: int) -> list[bytes]:
    """Entries of very different lengths, so that shards and blocks are cut everywhere."""
    rng = random.Random(seed)
    records = ds.random_entries(seed, count, slots=(0, 3, 7))
    for index in range(0, count, 6):
        big = messages.EntryDump(id=index, num=[rng.random() for _ in range(3000)])
        records[index] = big.SerializeToString()
    return records


RECORDS = varied_entries(1, 110)
BESIDE = varied_entries(2, 40)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str, int], Path]:
    """Model directories written by TensorFlow, by kind, compression and number of files.

    Training jobs write single tables plain and multi tables with SNAPPY; we read any.
    """
    root = tmp_path_factory.mktemp("written")
    writers = {"plain": tf_support.write_plain, "snappy": tf_support.write_snappy}
    found = {}
    for compression, write in writers.items():
        for files in FILES:
            parts = ds.cut_evenly(RECORDS, files)
            single = root / f"single-{compression}-{files}"
            assets = ds.write_model_dir(single, singles={"t": RECORDS}, shards=files)
            for index, part in enumerate(parts):
                write(ds.shard_path(assets, "t", index, files), part)
            found["single", compression, files] = single
            multi = root / f"multi-{compression}-{files}"
            tables = {"a": BESIDE, "t": RECORDS, "z": BESIDE}
            assets = ds.write_model_dir(multi, multis={"Multi": tables}, shards=files)
            beside = ds.cut_evenly(BESIDE, files)
            for index, part in enumerate(parts):
                data = [*beside[index], *part, *beside[index]]
                write(ds.shard_path(assets, "Multi", index, files), data)
            found["multi", compression, files] = multi
    return found


@pytest.fixture(params=["single", "multi"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["plain", "snappy"])
def compression(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def directory(written: dict[tuple[str, str, int], Path], kind: str, compression: str) -> Path:
    return written[kind, compression, 4]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Ten entries in two files."""
    ds.write_model_dir(tmp_path, singles={"t": SMALL}, shards=2)
    return tmp_path


SMALL = ds.random_entries(3, 10, segments=(("adagrad", 2),))


# --- every entry once -----------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 1000])
@pytest.mark.parametrize("nshards", [1, 3, 4, 10, 97])
@pytest.mark.parametrize("files", FILES)
def test_shards_together_are_every_entry_once(
    written: dict[tuple[str, str, int], Path],
    kind: str,
    compression: str,
    files: int,
    nshards: int,
    limit: int,
) -> None:
    table = open_table(written[kind, compression, files])
    assert table.kind == kind
    assert table.shards == files
    assert read_shards(table, limit, nshards) == RECORDS


@pytest.mark.parametrize("block_bytes", [1, 37, 1000])
def test_blocks_of_any_size(tmp_path: Path, block_bytes: int) -> None:
    assets = ds.write_model_dir(tmp_path, singles={"t": SMALL}, shards=2)
    for index, part in enumerate(ds.cut_evenly(SMALL, 2)):
        path = ds.shard_path(assets, "t", index, 2)
        path.write_bytes(ds.snappy_blocks(ds.frame(*part), block_bytes))
    for nshards in (1, 3, 97):
        assert read_shards(open_table(tmp_path), 2, nshards) == SMALL


def test_iterating_gives_every_entry(directory: Path) -> None:
    assert list(open_table(directory)) == RECORDS


@pytest.mark.parametrize("nshards", [1, 5])
def test_the_protocol_of_all_tables(directory: Path, nshards: int) -> None:
    table = open_table(directory)
    found = []
    for shard in range(nshards):
        offset, count = 0, 7
        while count == 7:
            new_offset, entries = table.save_as_tensor(shard, nshards, 7, offset)
            count = len(entries)
            assert new_offset > offset or (count == 0 and new_offset > 0)
            found += entries
            offset = new_offset
    assert found == RECORDS


def test_interleaved_shards(directory: Path) -> None:
    # More shards than the pager keeps readers for.
    nshards = 23
    table = open_table(directory)
    found: list[list[bytes]] = [[] for _ in range(nshards)]
    offsets: dict[int, int] = dict.fromkeys(range(nshards), 0)
    while offsets:
        for shard in list(offsets):
            page = table.page(offsets.pop(shard), 2, shard=shard, nshards=nshards)
            found[shard] += page.entries
            if not page.done:
                offsets[shard] = page.next_offset
    assert [entry for entries in found for entry in entries] == RECORDS


def test_a_parked_reader_and_a_fresh_one_give_the_same(directory: Path) -> None:
    table = open_table(directory)
    for shard in range(3):
        offset, done = 0, False
        while not done:
            fresh = open_table(directory).page(offset, 5, shard=shard, nshards=3)
            assert fresh == table.page(offset, 5, shard=shard, nshards=3)
            _, offset, done = fresh


def test_a_page_can_be_asked_for_again(directory: Path) -> None:
    table = open_table(directory)
    first = table.page(0, 10)
    second = table.page(first.next_offset, 10)
    assert table.page(0, 10) == first
    assert table.page(first.next_offset, 10) == second
    # A cursor does not bind to the limit.
    assert table.page(first.next_offset, 3).entries == RECORDS[10:13]


def test_threads_page_at_the_same_time(directory: Path) -> None:
    table = open_table(directory)
    with ThreadPoolExecutor(4) as pool:
        # Two threads a shard; they may take each other's readers.
        shards = [pool.submit(read_shard, table, 3, shard, 2) for shard in (0, 1, 0, 1)]
    found = [shard.result() for shard in shards]
    assert found[0] + found[1] == found[2] + found[3] == RECORDS


PAGE_IN_A_PROCESS = """\
import json, sys
from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.tables import ReadOptions, open_tables
from monolith_cli.tables.single import SingleTable
checkpoint = open_model_dir(sys.argv[1]).checkpoint()
singles = checkpoint.table_files().singles
[table] = (
    [SingleTable("t", singles["t"], ReadOptions())] if singles else open_tables(checkpoint, ["t"])
)
page = table.page(int(sys.argv[2]), 30, shard=1, nshards=2)
print(json.dumps([[entry.hex() for entry in page.entries], page.next_offset, page.done]))
"""


def test_a_cursor_works_in_another_process(directory: Path) -> None:
    expected = read_shard(open_table(directory), 1000, 1, 2)
    found: list[bytes] = []
    offset, done = 0, False
    while not done:
        ran = subprocess.run(
            [sys.executable, "-c", PAGE_IN_A_PROCESS, directory, str(offset)],
            check=True,
            capture_output=True,
            cwd=directory,  # in the checkout, its sources would be imported instead
        )
        entries, offset, done = json.loads(ran.stdout)
        found += map(bytes.fromhex, entries)
    assert found == expected
    assert open_table(directory).page(offset, 1, shard=1, nshards=2) == Page([], offset, True)


@pytest.mark.parametrize("limit", [1, 4, 1000])
def test_chosen_entries(directory: Path, limit: int) -> None:
    table = open_table(directory)
    in_slot = [e for e in RECORDS if (messages.EntryDump.FromString(e).id >> 48) & 0x7FFF == 7]
    assert 20 < len(in_slot) < 60
    assert read_shards(table, limit, 3, EntryFilter(slots=[(7, 9)])) == in_slot
    fids = [messages.EntryDump.FromString(RECORDS[index]).id for index in (100, 5)]
    chosen = EntryFilter(fids=fids)
    assert read_shards(table, limit, 1, chosen) == [RECORDS[5], RECORDS[100]]
    assert read_shards(table, limit, 1, EntryFilter(slots=[(500, 600)])) == []


@pytest.mark.parametrize("sizes", [[0], [0, 0, 0], [0, 4, 0, 0, 6, 0], [0, 0, 10], [10, 0]])
def test_empty_files(tmp_path: Path, sizes: list[int]) -> None:
    assets = ds.write_model_dir(tmp_path, singles={})
    parts = iter(SMALL)
    for index, size in enumerate(sizes):
        part = [next(parts) for _ in range(size)]
        ds.write_plain(ds.shard_path(assets, "t", index, len(sizes)), part)
    table = open_table(tmp_path)
    for nshards in (1, 3, 97):
        for limit in (1, 4, 1000):
            assert read_shards(table, limit, nshards) == SMALL[: sum(sizes)]


def test_a_table_without_entries_in_a_multi_file(tmp_path: Path) -> None:
    ds.write_model_dir(tmp_path, multis={"Multi": {"a": SMALL, "none": [], "z": SMALL}}, shards=2)
    tables = open_all(tmp_path)
    assert list(tables) == ["a", "none", "z"]
    assert tables["none"].page() == Page([], 1, True)
    assert read_shards(tables["z"], 3, 4) == SMALL


def test_positions_are_those_of_the_stream(small: Path) -> None:
    table = open_table(small)
    starts = ds.frame_starts(SMALL)
    offsets = [0]
    while not (page := table.page(offsets[-1], 1)).done:
        offsets.append(page.next_offset)
    assert offsets == [0, *(start + 1 for start in starts[1:-1])]
    assert page == Page([SMALL[-1]], starts[-1] + 1, True)


# --- what is refused ------------------------------------------------------------------------


def test_every_malformed_cursor_is_refused(tmp_path: Path, compression: str) -> None:
    assets = ds.write_model_dir(tmp_path, singles={"t": SMALL}, shards=2)
    if compression == "snappy":
        for index, part in enumerate(ds.cut_evenly(SMALL, 2)):
            path = ds.shard_path(assets, "t", index, 2)
            path.write_bytes(ds.snappy_blocks(ds.frame(*part), 100))
    table = open_table(tmp_path)
    starts = ds.frame_starts(SMALL)
    for position in range(starts[-1]):
        if position in starts:
            assert table.page(1 + position, 1).entries == [SMALL[starts.index(position)]]
        else:
            with pytest.raises(CursorError) as caught:
                table.page(1 + position, 1)
            assert str(caught.value).endswith(
                f"cursor {position + 1} points at no record of this partition; use one that a"
                " page of the same step, table and partition ended with, or 0"
            )


@pytest.mark.parametrize("beyond", [0, 1, 2**40, 2**63 - 1])
def test_at_the_end_and_behind_it_there_is_an_empty_page(small: Path, beyond: int) -> None:
    offset = min(ds.frame_starts(SMALL)[-1] + 1 + beyond, 2**63 - 1)
    for shard in range(2):
        page = open_table(small).page(offset, 5, shard=shard, nshards=2)
        assert page == Page([], offset, True)


def test_a_cursor_of_an_earlier_shard_is_refused(small: Path) -> None:
    table = open_table(small)
    offset = table.page(0, 1, shard=0, nshards=2).next_offset
    with pytest.raises(CursorError):
        table.page(offset, 1, shard=1, nshards=2)
    for cursor in (-1, -(2**63)):
        with pytest.raises(CursorError):
            table.page(cursor, 1)


@pytest.mark.parametrize(("shard", "nshards"), [(-1, 2), (2, 2), (0, 0), (0, -1)])
def test_no_such_shard(small: Path, shard: int, nshards: int) -> None:
    with pytest.raises(UsageError, match=f"no partition {shard} of {nshards}"):
        open_table(small).page(shard=shard, nshards=nshards)


@pytest.mark.parametrize("limit", [0, -1])
def test_no_such_limit(small: Path, limit: int) -> None:
    with pytest.raises(UsageError, match=f"limit {limit}: a page has at least one entry"):
        open_table(small).page(limit=limit)


# --- damage ---------------------------------------------------------------------------------


def damaged(directory: Path, record: int, byte: int) -> Table:
    """The small table with a flipped bit in a record of its first file, newly opened."""
    path = ds.shard_path(Path(checkpoint_of(directory).assets[0]), "t", 0, 2)
    flip(path, ds.frame_starts(SMALL)[record] + byte)
    return open_table(directory)


@pytest.mark.parametrize("byte", [0, 9, 12])
def test_pages_before_damage_are_fine(small: Path, byte: int) -> None:
    table = damaged(small, 3, byte)
    start = ds.frame_starts(SMALL)[3]
    page = table.page(0, 3)
    assert page.entries == SMALL[:3]
    assert page.next_offset == 1 + start
    for fresh in (table, table, open_table(small)):
        with pytest.raises(CorruptionError) as caught:
            fresh.page(page.next_offset, 3)
        assert caught.value.offset == start
    with pytest.raises(CorruptionError):
        open_table(small).page(0, 1000)


@pytest.mark.parametrize("byte", [0, 9, 12])
@pytest.mark.parametrize("limit", [1, 2, 3, 1000])
@pytest.mark.parametrize("fresh", [False, True])
def test_pages_with_damage_skipped(small: Path, byte: int, limit: int, fresh: bool) -> None:
    damaged(small, 3, byte)
    table = open_table(small, options=SKIP)
    found: list[bytes] = []
    offset, done = 0, False
    while not done:
        if fresh:
            table = open_table(small, options=SKIP)
        entries, offset, done = table.page(offset, limit)
        found += entries
    assert found == SMALL[:3] + SMALL[4:]


def test_checksums_are_not_checked_where_that_is_not_wanted(small: Path) -> None:
    damaged(small, 3, 20)
    options = SKIP._replace(skip=False, verify=False)
    [table] = open_tables(checkpoint_of(small), ["t"], options)
    assert len(table.page(0, 1000).entries) == 10


class Shards(NamedTuple):
    """What independent readers of all shards gave, each with a table of its own."""

    entries: list[bytes]
    errors: list[CorruptionError]
    skipped: list[Skipped]


def read_alone(directory: Path, nshards: int, options: ReadOptions) -> Shards:
    result = Shards([], [], [])
    for shard in range(nshards):
        stream = open_table(directory, options=options).stream
        reader = ShardReader(stream, options, *stream.shard(shard, nshards))
        try:
            while (found := reader.read(first_three)) is not None:
                result.entries.extend(found[0])
        except CorruptionError as error:
            result.errors.append(error)
        result.skipped.extend(reader.skipped)
    return result


def first_three(reader: _native.Reader) -> tuple[list[bytes], int]:
    found = reader.entries(3)
    return found, len(found)


@pytest.mark.parametrize("nshards", [1, 4])
def test_every_flipped_bit_is_reported(small: Path, nshards: int) -> None:
    rng = random.Random(nshards)
    assets = Path(checkpoint_of(small).assets[0])
    for index, part in enumerate(ds.cut_evenly(SMALL, 2)):
        path = ds.shard_path(assets, "t", index, 2)
        sound = path.read_bytes()
        starts = ds.frame_starts(part)
        for at in range(len(sound)):
            path.write_bytes(sound)
            flip(path, at, rng.randrange(8))
            victim = max(n for n, start in enumerate(starts[:-1]) if start <= at)
            others = [entry for entry in SMALL if entry != part[victim]]

            stopped = read_alone(small, nshards, ReadOptions())
            assert stopped.errors, at
            assert starts[victim] in {error.offset for error in stopped.errors}, at
            assert {error.path for error in stopped.errors} == {str(path)}, at
            assert set(stopped.entries) <= set(others), at
            if nshards == 1:
                assert stopped.entries == SMALL[: SMALL.index(part[victim])], at

            skipped = read_alone(small, nshards, SKIP)
            assert skipped.entries == others, at
            assert skipped.errors == [], at
            assert (str(path), starts[victim]) in {(s.path, s.position) for s in skipped.skipped}
        path.write_bytes(sound)


@pytest.mark.parametrize("nshards", [1, 4])
def test_every_flipped_bit_of_a_compressed_file_is_reported(tmp_path: Path, nshards: int) -> None:
    rng = random.Random(nshards)
    assets = ds.write_model_dir(tmp_path, singles={"t": SMALL}, shards=1)
    path = ds.shard_path(assets, "t", 0, 1)
    size = 150
    framed = ds.frame(*SMALL)
    starts = ds.frame_starts(SMALL)
    blocks = [ds.snappy_blocks(framed[at : at + size]) for at in range(0, len(framed), size)]
    unreported = 0
    for bad, block in enumerate(blocks):
        before = sum(map(len, blocks[:bad]))
        outside = [
            entry
            for entry, start, end in zip(SMALL, starts, starts[1:], strict=False)
            if end <= bad * size or start >= (bad + 1) * size
        ]
        for at in range(before, before + len(block)):
            path.write_bytes(b"".join(blocks))
            flip(path, at, rng.randrange(8))
            stopped = read_alone(tmp_path, nshards, ReadOptions())
            skipped = read_alone(tmp_path, nshards, SKIP)
            assert bool(stopped.errors) == bool(skipped.skipped), at
            assert skipped.errors == [], at
            if not stopped.errors:  # a copy from another place where the same bytes are
                assert stopped.entries == skipped.entries == SMALL, at
                unreported += 1
                continue
            assert set(stopped.entries) <= set(SMALL), at
            assert len(set(skipped.entries)) == len(skipped.entries), at
            assert set(outside) <= set(skipped.entries) <= set(SMALL), at
    assert unreported < len(b"".join(blocks)) / 20


@pytest.mark.parametrize("nshards", [1, 4])
def test_truncation_at_every_place(small: Path, nshards: int) -> None:
    # At the end of the first file, in the middle of the stream.
    path = ds.shard_path(Path(checkpoint_of(small).assets[0]), "t", 0, 2)
    sound = path.read_bytes()
    starts = ds.frame_starts(SMALL[:5])
    for cut in range(len(sound)):
        path.write_bytes(sound[:cut])
        whole = sum(end <= cut for end in starts[1:])
        skipped = read_alone(small, nshards, SKIP)
        assert skipped.entries == SMALL[:whole] + SMALL[5:], cut
        stopped = read_alone(small, nshards, ReadOptions())
        assert bool(stopped.errors) == bool(skipped.skipped) == (cut not in starts), cut
        assert {error.offset for error in stopped.errors} <= {starts[whole]}, cut


@pytest.mark.parametrize("block_bytes", [None, 60])
def test_cursors_go_on_around_damage(tmp_path: Path, block_bytes: int | None) -> None:
    """Each page by a table of its own, as in a process of its own."""
    rng = random.Random(5)
    assets = ds.write_model_dir(tmp_path, singles={"t": SMALL}, shards=1)
    path = ds.shard_path(assets, "t", 0, 1)
    framed = ds.frame(*SMALL)
    sound = framed if block_bytes is None else ds.snappy_blocks(framed, block_bytes)
    for at in range(0, len(sound), 7):
        path.write_bytes(sound)
        flip(path, at, rng.randrange(8))
        expected = open_table(tmp_path, options=SKIP).page(0, 1000).entries
        found: list[bytes] = []
        offset, done = 0, False
        while not done:
            entries, offset, done = open_table(tmp_path, options=SKIP).page(offset, 1)
            found += entries
        assert found == expected, at


# --- files that change ----------------------------------------------------------------------

LARGE = [messages.EntryDump(id=n, num=[n / 7] * 5000).SerializeToString() for n in range(40)]


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file of a megabyte: more than is read at a time. Returns its path."""
    assets = ds.write_model_dir(tmp_path / "model", singles={"t": LARGE}, shards=1)
    return ds.shard_path(assets, "t", 0, 1)


def page_to_the_end(table: Table, offset: int) -> None:
    done = False
    while not done:
        _, offset, done = table.page(offset, 5)


@pytest.mark.parametrize("parked", [True, False], ids=["parked reader", "fresh reader"])
def test_a_file_that_shrinks_between_pages(large: Path, parked: bool) -> None:
    table = open_table(large.parent)
    offset = table.page(0, 30).next_offset
    if not parked:
        table.page(offset, 1)  # takes the reader that waits there
    with large.open("r+b") as file:
        file.truncate(500_000)
    with pytest.raises(ChangedWhileReadError) as caught:
        page_to_the_end(table, offset)
    error = caught.value
    assert (error.path, error.kind) == (str(large), "changed_while_read")
    assert error.hint == "try again when nobody writes it"
    assert error.offset is not None
    assert str(error) == (
        f"{large}: changed while it was read, at byte {error.offset};"
        " try again when nobody writes it"
    )


def test_a_file_that_grows_between_pages(large: Path) -> None:
    table = open_table(large.parent)
    offset = table.page(0, 30).next_offset
    size = large.stat().st_size
    with large.open("ab") as file:
        file.write(ds.frame(LARGE[0]))
    with pytest.raises(ChangedWhileReadError) as caught:
        page_to_the_end(table, offset)
    assert (caught.value.path, caught.value.offset) == (str(large), size)


def test_a_file_that_is_replaced_between_pages(large: Path) -> None:
    table = open_table(large.parent)
    offset = table.page(0, 30).next_offset
    other = large.with_name(".other")
    other.write_bytes(large.read_bytes())
    other.replace(large)
    with pytest.raises(ChangedWhileReadError) as caught:
        page_to_the_end(table, offset)
    assert (caught.value.path, caught.value.offset) == (str(large), 0)


def test_a_file_that_vanishes_between_pages(large: Path) -> None:
    table = open_table(large.parent)
    offset = table.page(0, 30).next_offset
    large.unlink()
    with pytest.raises(PathNotFoundError) as caught:
        page_to_the_end(table, offset)
    assert str(caught.value) == f"{large}: no such file, or it was deleted meanwhile"


def test_a_file_that_vanishes_before_the_first_page(large: Path) -> None:
    table = open_table(large.parent)
    large.unlink()
    with pytest.raises(PathNotFoundError):
        table.page()
