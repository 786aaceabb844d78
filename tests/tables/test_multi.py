"""Many tables in one file: which entries are whose, also around damage."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import dump_support as ds
import pytest
import tf_support
from cli_support import call
from table_support import SKIP, checkpoint_of, flip, open_all, parse, read_shards

from monolith_cli import _native
from monolith_cli.errors import (
    ChangedWhileReadError,
    CorruptionError,
    PathNotFoundError,
    RecordCountError,
)
from monolith_cli.execution.workers import Workers, is_given_up
from monolith_cli.formats.tfrecord import DumpFile
from monolith_cli.tables import ReadOptions, Table, extents, open_tables
from monolith_cli.tables.dump import Dump
from monolith_cli.tables.multi import MultiTable
from monolith_cli.tables.multi_dump import MultiDump
from monolith_cli.tables.pages import ShardReader
from monolith_cli.tables.table import entry_stream

A = ds.random_entries(51, 8, segments=(("adagrad", 2),))
B = ds.random_entries(52, 6, segments=(("adagrad", 2),))
C = ds.random_entries(53, 7, segments=(("adagrad", 2),))
ALL = A + B + C
TABLES = {"a": A, "b": B, "c": C}
BLOCK = 100  # uncompressed bytes; records are longer than half of it


def one_file(directory: Path, tables: Mapping[str, Sequence[bytes]] = TABLES) -> Path:
    """A multi dump of one shard, plain, so that one damaged byte hits one record. Its path."""
    assets = ds.write_model_dir(directory, multis={"Multi": tables}, shards=1)
    path = ds.shard_path(assets, "Multi", 0, 1)
    ds.write_plain(path, [entry for entries in tables.values() for entry in entries])
    return path


def by_table(directory: Path, options: ReadOptions = SKIP) -> dict[str | None, list[bytes]]:
    """All entries by table; None for those whose table nobody knows."""
    tables = list(open_all(directory, options).values())
    stream = entry_stream(tables, unattributed=True)
    reader = ShardReader(stream, options, 0, stream.size)
    found: dict[str | None, list[bytes]] = {}

    def one(native: _native.Reader) -> tuple[tuple[str | None, list[bytes]], int]:
        entries = native.entries(1)
        return (reader.table, entries), len(entries)

    while (piece := reader.read(one)) is not None:
        name, entries = piece[0]
        found.setdefault(name, []).extend(entries)
    for table in tables:
        assert list(table) == found.get(table.name, [])
    return found


# --- sound files ----------------------------------------------------------------------------


@pytest.mark.parametrize("files", [1, 3])
def test_tables_written_by_tensorflow(tmp_path: Path, files: int) -> None:
    ds.write_model_dir(tmp_path, multis={"Multi": TABLES}, shards=files, tf=True)
    tables = open_all(tmp_path)
    assert {name: list(table) for name, table in tables.items()} == TABLES
    for name, table in tables.items():
        assert isinstance(table, MultiTable)
        assert (table.kind, table.shards, table.stored_bytes) == ("multi", files, None)
        assert table.promised_entries == len(TABLES[name])
        assert table.skipped() == []
        assert read_shards(table, 2, 5) == TABLES[name]


def test_extents_are_found_by_threads_too(tmp_path: Path) -> None:
    ds.write_model_dir(tmp_path, multis={"Multi": TABLES}, shards=5)
    alone = open_all(tmp_path)["b"].extents()
    together = open_all(tmp_path)["b"].extents(jobs=3)
    assert [(e.file.path, e.start, e.end, e.table) for e in alone] == [
        (e.file.path, e.start, e.end, e.table) for e in together
    ]
    assert {extent.table for extent in alone} == {"b"}


def test_the_pass_for_extents_is_made_once(tmp_path: Path) -> None:
    path = one_file(tmp_path)
    [dump] = {id(t.dumps[0]): t.dumps[0] for t in multi_tables(tmp_path)}.values()
    first = dump.shard_extents(0)
    assert dump.shard_extents(0) is first
    starts = ds.frame_starts(ALL)
    assert [(e.start, e.end, e.table) for e in first.extents] == [
        (0, starts[8], "a"),
        (starts[8], starts[14], "b"),
        (starts[14], starts[21], "c"),
    ]
    assert first.extents[0].file.path == str(path)
    assert (first.skipped, first.extra) == ([], 0)


def multi_tables(directory: Path, options: ReadOptions | None = None) -> list[MultiTable]:
    tables = open_tables(checkpoint_of(directory), options=options)
    return [table for table in tables if isinstance(table, MultiTable)]


def dump_of(directory: Path, options: ReadOptions | None = None) -> MultiDump:
    return multi_tables(directory, options)[0].dumps[0]


def test_a_table_in_two_dumps_and_twice_in_one(tmp_path: Path) -> None:
    assets = ds.write_model_dir(tmp_path, multis={"M": {"a": A, "b": B}, "N": {"a": C}}, shards=1)
    # Twice in one contents file: both parts count.
    meta = [ds.table_meta("a", 3), ds.table_meta("b", 6), ds.table_meta("a", 5)]
    ds.write_plain(ds.shard_path(assets, "M.meta", 0, 1), meta)
    ds.write_snappy(ds.shard_path(assets, "M", 0, 1), A[:3] + B + A[3:])
    tables = open_all(tmp_path)
    assert {name: list(table) for name, table in tables.items()} == {"a": A + C, "b": B}
    assert tables["a"].promised_entries == 15
    assert tables["a"].shards == 2


def test_names_of_any_bytes(tmp_path: Path) -> None:
    names = ["", "a b", 'quo"te', "naïve/表", "line\nbreak", b"\xff\xfe".decode("utf-8", "replace")]
    surrogates = b"caf\xe9".decode("utf-8", "surrogateescape")
    tables = dict(zip([*names, surrogates], map(list, zip(A, strict=False)), strict=False))
    ds.write_model_dir(tmp_path, multis={"Multi": tables}, shards=2)
    assert {name: list(table) for name, table in open_all(tmp_path).items()} == tables


# --- contents files ---------------------------------------------------------------------


@pytest.mark.parametrize("missing", [1, 5, 7, 20, 21])
def test_fewer_entries_than_promised(tmp_path: Path, missing: int) -> None:
    path = one_file(tmp_path)
    ds.write_plain(path, ALL[: 21 - missing])
    if missing == 21:
        with pytest.raises(RecordCountError, match="no bytes, where"):
            open_all(tmp_path)
    for table in open_all(tmp_path).values() if missing < 21 else ():
        with pytest.raises(RecordCountError) as caught:
            table.page()
        assert str(caught.value) == (
            f"{path}: ends after {21 - missing} of the 21 records that its contents file"
            f" promises, at byte {path.stat().st_size};"
            " restore it"
        )
    # With damage to be skipped, what is there belongs to the first tables.
    left = ALL[: 21 - missing]
    tables = open_all(tmp_path, SKIP)
    assert {name: list(table) for name, table in tables.items()} == {
        "a": left[:8],
        "b": left[8:14],
        "c": left[14:],
    }
    [skipped] = tables["a"].skipped()
    assert (skipped.path, skipped.kind) == (str(path), "too_few_records")
    assert skipped.what == (
        f"ends after {21 - missing} of the 21 records that its contents file promises"
    )
    assert skipped.offset == path.stat().st_size


def test_more_entries_than_promised(tmp_path: Path) -> None:
    path = one_file(tmp_path)
    ds.write_plain(path, [*ALL, *A[:3]])
    assert by_table(tmp_path, ReadOptions()) == TABLES
    assert dump_of(tmp_path).shard_extents(0).extra == 3


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (ds.frame(b"\x0a\xffname"), "bad_message"),
        (ds.frame(ds.table_meta("a", 8)) + b"litter", "truncated_header"),
        (ds.frame(ds.table_meta("a", 8))[:-1] + b"?", "bad_data_crc"),
        (b"some other file, longer than a header", "bad_length_crc"),
    ],
)
@pytest.mark.parametrize("options", [ReadOptions(), SKIP])
def test_a_damaged_table_of_contents_is_never_skipped(
    tmp_path: Path, content: bytes, kind: str, options: ReadOptions
) -> None:
    path = one_file(tmp_path)
    meta = path.with_name("Multi.meta-00000-of-00001")
    meta.write_bytes(content)
    with pytest.raises(CorruptionError) as caught:
        open_all(tmp_path, options)
    assert (caught.value.path, caught.value.kind) == (str(meta), kind)


def test_every_flipped_bit_of_a_table_of_contents(tmp_path: Path) -> None:
    path = one_file(tmp_path)
    meta = path.with_name("Multi.meta-00000-of-00001")
    sound = meta.read_bytes()
    for at in range(len(sound)):
        meta.write_bytes(sound)
        flip(meta, at, at % 8)
        with pytest.raises(CorruptionError) as caught:
            open_all(tmp_path, SKIP)
        assert caught.value.path == str(meta)


def test_an_empty_table_of_contents(tmp_path: Path) -> None:
    path = one_file(tmp_path)
    meta = path.with_name("Multi.meta-00000-of-00001")
    meta.write_bytes(b"")
    with pytest.raises(CorruptionError) as caught:
        open_all(tmp_path, SKIP)
    assert caught.value.kind == "empty_contents"
    assert str(caught.value) == (
        f"{meta}: an empty contents file, beside {path.stat().st_size} bytes of entries;"
        " restore it: without it nobody knows which entries belong to which table"
    )
    path.write_bytes(b"")
    assert open_all(tmp_path) == {}


def test_an_empty_table_of_contents_beside_others(tmp_path: Path) -> None:
    """The training system names all tables in each of them, those without entries too."""
    assets = ds.write_model_dir(tmp_path, multis={"Multi": TABLES}, shards=3)
    meta = ds.shard_path(assets, "Multi.meta", 1, 3)
    meta.write_bytes(b"")
    ds.shard_path(assets, "Multi", 1, 3).write_bytes(b"")
    with pytest.raises(CorruptionError) as caught:
        open_all(tmp_path)
    assert str(caught.value).startswith(
        f"{meta}: an empty contents file, while others of the dump name tables; restore it"
    )


# --- damage ---------------------------------------------------------------------------------


def damage(path: Path, *records: int, lost: bool = False) -> None:
    """Damage these records. With `lost`, so that nobody can tell how many there were."""
    data = bytearray(path.read_bytes())
    starts = ds.frame_starts(ALL)
    for record in records:
        start, end = starts[record], starts[record + 1]
        data[start + 12] ^= 1
        if lost:
            data[start : end - 1] = bytes(end - 1 - start)
    path.write_bytes(data)


@pytest.mark.parametrize("options", [ReadOptions()])
def test_damage_anywhere_fails_every_table(tmp_path: Path, options: ReadOptions) -> None:
    path = one_file(tmp_path)
    damage(path, 10)
    for table in open_all(tmp_path, options).values():
        with pytest.raises(CorruptionError) as caught:
            table.page()
        assert (caught.value.path, caught.value.kind) == (str(path), "bad_data_crc")
        assert caught.value.offset == ds.frame_starts(ALL)[10]


# Not the first one: its header tells this plain file from the SNAPPY one that is expected here.
@pytest.mark.parametrize("record", range(1, 21))
@pytest.mark.parametrize("lost", [False, True], ids=["one record", "unknown loss"])
def test_one_damaged_place_leaves_no_doubt(tmp_path: Path, record: int, lost: bool) -> None:
    path = one_file(tmp_path)
    damage(path, record, lost=lost)
    expected = {
        name: [entry for entry in entries if entry != ALL[record]]
        for name, entries in TABLES.items()
    }
    assert by_table(tmp_path) == expected
    [skipped] = open_all(tmp_path, SKIP)["a"].skipped()
    assert skipped.position == ds.frame_starts(ALL)[record]
    assert skipped.one_record != lost


def test_damage_of_single_records_leaves_no_doubt_either(tmp_path: Path) -> None:
    path = one_file(tmp_path)
    damage(path, 2, 9, 10, 20)
    assert by_table(tmp_path) == {
        "a": A[:2] + A[3:],
        "b": B[:1] + B[3:],
        "c": C[:6],
    }


def test_between_two_places_the_table_is_unknown(tmp_path: Path) -> None:
    path = one_file(tmp_path)
    damage(path, 5, 16, lost=True)
    assert by_table(tmp_path) == {"a": A[:5], None: ALL[6:16], "c": C[3:]}
    [first, second] = open_all(tmp_path, SKIP)["b"].skipped()
    assert not first.one_record
    assert not second.one_record


def test_known_losses_on_either_side_of_unknown_ones(tmp_path: Path) -> None:
    path = one_file(tmp_path)
    damage(path, 1, 12, 19)
    damage(path, 4, 9, lost=True)
    assert by_table(tmp_path) == {
        "a": [A[0], *A[2:4]],
        None: ALL[5:9],
        "b": [ALL[10], ALL[11], ALL[13]],
        "c": C[:5] + C[6:],
    }


def test_unattributed_entries_come_with_no_table_of_jsonl(tmp_path: Path) -> None:
    path = one_file(tmp_path)
    damage(path, 5, 16, lost=True)
    stream = entry_stream(list(open_all(tmp_path, SKIP).values()), unattributed=True)
    lines = b"".join(Dump(stream, SKIP, columns=["table"])).splitlines()
    assert lines == ([b'{"table":"a"}'] * 5 + [b'{"table":"c"}'] * 4 + [b'{"table":null}'] * 10)


def test_more_records_than_promised_with_damage(tmp_path: Path) -> None:
    path = one_file(tmp_path)
    framed = path.read_bytes()
    path.write_bytes(framed + ds.frame(*A[:2]))
    damage(path, 3)
    shard = dump_of(tmp_path, SKIP).shard_extents(0)
    assert shard.extra == 2
    found = by_table(tmp_path)
    assert found == {"a": A[:3] + A[4:], "b": B, "c": C}


@pytest.mark.parametrize("block_bytes", [None, BLOCK])
def test_every_flipped_bit(tmp_path: Path, block_bytes: int | None) -> None:
    """No flip goes unreported, none makes an entry another table's, none costs a sound entry."""
    rng = random.Random(9)
    path = one_file(tmp_path)
    framed = ds.frame(*ALL)
    starts = ds.frame_starts(ALL)
    size = block_bytes or len(framed)
    blocks = [framed[at : at + size] for at in range(0, len(framed), size)]
    if block_bytes:
        blocks = [ds.snappy_blocks(block) for block in blocks]
    owners = {entry: name for name, entries in TABLES.items() for entry in entries}
    unreported = 0
    for bad, block in enumerate(blocks):
        first = sum(map(len, blocks[:bad]))
        for at in range(first, first + len(block)):
            if at < 12 and not block_bytes:
                continue  # what tells a plain file from the SNAPPY one that is expected here
            path.write_bytes(b"".join(blocks))
            flip(path, at, rng.randrange(8))
            found = by_table(tmp_path)
            entries = [entry for some in found.values() for entry in some]
            reported = dump_of(tmp_path, SKIP).shard_extents(0).skipped
            assert len(set(entries)) == len(entries), at
            assert all(owners[e] == name for name, some in found.items() for e in some if name), at
            if reported:
                with pytest.raises(CorruptionError):
                    dump_of(tmp_path).shard_extents(0)
            else:  # a copy from another place where the same bytes are
                assert found == TABLES, at
                unreported += 1
            for entry, start, end in zip(ALL, starts, starts[1:], strict=False):
                if block_bytes:
                    hit = end > bad * size and start < (bad + 1) * size
                else:
                    hit = start <= at < end
                assert hit or entry in entries, at
    assert unreported <= (len(b"".join(blocks)) / 20 if block_bytes else 0)


@pytest.mark.parametrize("block_bytes", [None, BLOCK])
def test_truncated_data(tmp_path: Path, block_bytes: int | None) -> None:
    path = one_file(tmp_path)
    framed = ds.frame(*ALL)
    sound = framed if block_bytes is None else ds.snappy_blocks(framed, block_bytes)
    for cut in range(0, len(sound), 3):
        path.write_bytes(sound[:cut])
        with pytest.raises(CorruptionError) as caught:
            open_all(tmp_path)["a"].page()
        assert caught.value.path == str(path)
        found = by_table(tmp_path)
        left = [entry for name in "abc" for entry in found.get(name, [])]
        assert left == ALL[: len(left)]
        assert None not in found
        if block_bytes is None:
            assert len(left) == sum(end <= cut for end in ds.frame_starts(ALL)[1:])


def test_bad_messages_are_seen_when_entries_are_read(tmp_path: Path) -> None:
    path = one_file(tmp_path)
    # In a good frame, so the pass for extents does not see it: the tables stay where they are.
    ds.write_plain(path, [*A[:3], b"\x09", *A[4:], *B, *C])
    tables = open_all(tmp_path)
    assert list(tables["b"]) == B
    with pytest.raises(CorruptionError, match="a record of 1 byte that is not an EntryDump"):
        list(tables["a"])
    assert by_table(tmp_path) == {"a": A[:3] + A[4:], "b": B, "c": C}


# --- files that change ----------------------------------------------------------------------


def opened_before(path: Path) -> list[Table]:
    tables = list(open_all(path.parent).values())
    assert tables[0].files[0].stored_bytes == path.stat().st_size
    return tables


def test_a_data_file_that_changes_before_its_pass(tmp_path: Path) -> None:
    path = one_file(tmp_path)
    a, *_ = opened_before(path)
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(ChangedWhileReadError) as caught:
        a.page()
    assert caught.value.path == str(path)
    a, *_ = opened_before(path)
    path.unlink()
    with pytest.raises(PathNotFoundError) as gone:
        a.page()
    assert gone.value.path == str(path)


def test_a_data_file_that_changes_after_its_pass(tmp_path: Path) -> None:
    path = one_file(tmp_path)
    a, b, _ = opened_before(path)
    assert a.page(0, 3).entries == A[:3]
    with path.open("ab") as file:
        file.write(ds.frame(A[0]))
    with pytest.raises(ChangedWhileReadError):
        b.page()


def test_a_table_of_contents_that_vanishes(tmp_path: Path) -> None:
    path = one_file(tmp_path)
    meta = path.with_name("Multi.meta-00000-of-00001")
    checkpoint = checkpoint_of(tmp_path)
    files = checkpoint.table_files()
    meta.unlink()
    data, contents = files.multis["Multi"]
    with pytest.raises(PathNotFoundError) as caught:
        MultiDump(data, contents, ReadOptions())
    assert caught.value.path == str(meta)


def test_equal_to_what_tensorflow_reads(tmp_path: Path) -> None:
    assets = ds.write_model_dir(tmp_path, multis={"Multi": TABLES}, shards=2, tf=True)
    records = []
    for shard in range(2):
        path = ds.shard_path(assets, "Multi", shard, 2)
        records += tf_support.read_records(path, snappy=True)
    ours = [entry for table in open_all(tmp_path).values() for entry in parse(list(table))]
    assert sorted(entry.id for entry in ours) == sorted(entry.id for entry in parse(records))


@pytest.fixture
def two_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files that are worth a thread each."""
    ds.write_model_dir(tmp_path, multis={"M": TABLES}, shards=2)
    monkeypatch.setattr(extents, "SMALL_BYTES", 0)
    return tmp_path


READ_IN_THREADS: dict[str, Callable[[Sequence[Table]], object]] = {
    "entry_stream": lambda tables: entry_stream(tables, jobs=2).size,
    "extents": lambda tables: tables[0].extents(2),
    "read_columns": lambda tables: tables[0].read_columns(["fid"], jobs=2)["fid"],
}


@pytest.mark.parametrize("way", READ_IN_THREADS)
def test_threads_look_for_extents(
    two_shards: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    tables = open_tables(checkpoint_of(two_shards))
    alone = [table.extents() for table in tables]
    threads = set()
    locate = extents._locate

    def noted(*args: Any) -> Any:
        threads.add(threading.current_thread().name)
        both.wait(10)  # neither ends before the other has begun
        return locate(*args)

    both = threading.Barrier(2)
    monkeypatch.setattr(extents, "_locate", noted)
    tables = open_tables(checkpoint_of(two_shards))
    READ_IN_THREADS[way](tables)
    assert len(threads) == 2
    assert threading.current_thread().name not in threads
    found = [table.extents() for table in tables]
    places = [[(e.file.path, e.start, e.end, e.table) for e in each] for each in alone]
    assert [[(e.file.path, e.start, e.end, e.table) for e in each] for each in found] == places


@pytest.mark.parametrize("command", [["dump"], ["get", "17"]])
def test_jobs_reach_the_pass_for_extents(
    two_shards: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    asked = []
    find = extents.find_extents

    def noted(dumps: Sequence[MultiDump], workers: Workers) -> None:
        asked.append(workers.jobs)
        find(dumps, workers)

    monkeypatch.setattr(extents, "find_extents", noted)
    name, *fids = command
    done = call("table", name, "--jobs", "3", "--columns", "fid", two_shards, *fids)
    assert done.code == (name == "get"), done.err
    assert asked[0] == 3


def test_an_interrupt_waits_for_no_pass(two_shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = open_tables(checkpoint_of(two_shards))
    asked = threading.Event()
    ended = []

    def locate(file: DumpFile, contents: Any, options: Any) -> Any:
        if file.path.endswith("00000-of-00002"):
            asked.wait(10)
            raise KeyboardInterrupt
        asked.set()
        while not is_given_up():
            time.sleep(0.001)
        ended.append(file.path)
        raise CorruptionError("nobody hears this")

    monkeypatch.setattr(extents, "_locate", locate)
    with pytest.raises(KeyboardInterrupt):
        entry_stream(tables, jobs=2)
    assert len(ended) == 1
