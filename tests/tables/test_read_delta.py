"""Deltas read back: what `DeltaWriter` has written, and bytes that are no delta."""

from __future__ import annotations

import os
import pickle
import random
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import dump_support as ds
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from table_support import checkpoint_of, flip, open_all

from monolith_cli import _native, messages
from monolith_cli.errors import (
    CorruptionError,
    DifferentError,
    NotReadableError,
    PathNotFoundError,
)
from monolith_cli.tables import ReadOptions
from monolith_cli.tables.diff.compare import DiffOptions, TablesDiff, diff_tables
from monolith_cli.tables.diff.delta import DeltaWriter
from monolith_cli.tables.diff.read_delta import DeltaTable, read_delta
from monolith_cli.tables.stream import open_reader

FIDS = st.integers(-(2**63), 2**63 - 1)
ADD, REPLACE, REMOVE = 1, 2, 3


def entry(fid: int, value: float = 0.5) -> bytes:
    record: bytes = messages.EntryDump(id=fid, num=[value]).SerializeToString()
    return record


def change(op: int, fid: int, record: bytes | None = None, table: int = 0) -> bytes:
    made = messages.DeltaRecord()
    made.change.table, made.change.op, made.change.fid = table, op, fid
    if record is not None:
        made.change.entry = record
    serialized: bytes = made.SerializeToString()
    return serialized


def header(*names: str, version: int = 1, in_b: bool = True) -> bytes:
    made = messages.DeltaRecord()
    made.header.version = version
    for name in names:
        made.header.tables.add(name=name.encode(), in_a=True, in_b=in_b)
    serialized: bytes = made.SerializeToString()
    return serialized


def end(changes: int) -> bytes:
    made = messages.DeltaRecord()
    made.end.changes = changes
    serialized: bytes = made.SerializeToString()
    return serialized


def place(fid: int) -> int:
    """Where a fid stands in order of the hash by which tables are compared."""
    h = fid & (2**64 - 1)
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        h = (h ^ h >> 33) * factor & (2**64 - 1)
    return h ^ h >> 33


@settings(max_examples=60)
@given(st.lists(FIDS, max_size=80, unique=True), st.lists(FIDS, max_size=20))
def test_an_index_is_a_set(
    tmp_path_factory: pytest.TempPathFactory, fids: list[int], others: list[int]
) -> None:
    path = tmp_path_factory.getbasetemp() / "index.delta"
    removed = [change(REMOVE, fid) for fid in sorted(fids, key=place)]
    path.write_bytes(ds.frame(header("t"), *removed, end(len(fids))))
    index = read_delta(path).tables[0].gone or _native.FidIndex()
    again = pickle.loads(pickle.dumps(index))
    assert len(index) == len(again) == len(fids)
    for fid in (*fids, *others, 0, -1):
        assert index.has(fid) == again.has(fid) == (fid in fids)


def test_the_index_takes_some_nine_bytes_an_entry(tmp_path: Path) -> None:
    fids = sorted(range(-3000, 3000), key=place)
    records = [header("t"), *(change(REMOVE, fid) for fid in fids), end(6000)]
    (tmp_path / "d").write_bytes(ds.frame(*records))
    assert 8 <= read_delta(tmp_path / "d").index_bytes / 6000 < 10


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Two directories, TensorFlow having written the first, and the delta from one to the other."""
    root = tmp_path_factory.mktemp("two")
    rng = random.Random(11)
    records = ds.random_entries(2, 400, slots=None, segments=None, special=True)
    again = [entry(fid, value) for fid in (-5, 7, 8) for value in (1.0, 2.0, 2.0)]
    later = [entry(7, 2.0), entry(8, 1.0), entry(8, 3.0), entry(8, 2.0), entry(9), entry(9)]
    a = {"s": records[:200] + again, "gone": records[:30], "m": records[:150], "same": records[:9]}
    kept = [record for record in records[:200] if rng.random() < 0.8]
    changed = [rescaled(record) if rng.random() < 0.2 else record for record in kept]
    b = {"s": changed + records[350:] + later, "new": records[:20], "m": records[50:220]}
    ds.write_model_dir(
        root / "a",
        singles={"s": a["s"], "gone": a["gone"]},
        multis={"M": {"m": a["m"], "same": a["same"]}},
        shards=3,
        tf=True,
    )
    ds.write_model_dir(
        root / "b",
        singles={"s": b["s"]},
        multis={"M_0": {"m": b["m"], "same": a["same"]}, "M_1": {"new": b["new"]}},
    )
    diff(root / "a", root / "b", root / "d")
    return root / "a", root / "b", root / "d"


def rescaled(record: bytes) -> bytes:
    made = messages.EntryDump.FromString(record)
    made.num.append(1.5)
    serialized: bytes = made.SerializeToString()
    return serialized


def diff(a: Path, b: Path, path: Path) -> TablesDiff:
    writer = DeltaWriter(os.fspath(path), 10, None)
    options = DiffOptions(memory_bytes=16 << 20)
    return diff_tables(checkpoint_of(a), checkpoint_of(b), options, delta=writer)


def brought(path: Path, table: DeltaTable) -> list[bytes]:
    """The entries that it brings, by the native reader."""
    delta = read_delta(path)
    found: list[bytes] = []
    reader = open_reader(delta.extent(table), ReadOptions(), table.start, table.end)
    while not reader.done:
        frames, count = reader.delta_entries(300)
        records = unframed(frames)
        assert len(records) == count
        found += records
    return found


def unframed(frames: bytes) -> list[bytes]:
    found = []
    while frames:
        size = int.from_bytes(frames[:8], "little")
        found.append(frames[12 : 12 + size])
        assert ds.frame(found[-1]) == frames[: 16 + size]
        frames = frames[16 + size :]
    return found


def fids(records: Iterable[bytes]) -> list[int]:
    return [messages.EntryDump.FromString(record).id for record in records]


def test_what_was_written_is_read_back(two: tuple[Path, Path, Path]) -> None:
    a, b, path = two
    delta = read_delta(path)
    assert (delta.step_a, delta.step_b) == (10, None)
    tables = {table.name: table for table in delta.tables}
    assert list(tables) == ["gone", "s", "m", "same", "new"]
    assert [tables[name].dumps_b for name in tables] == [(), (), ("M_0",), ("M_0",), ("M_1",)]
    assert (tables["gone"].is_in_b, tables["new"].is_in_a) == (False, False)
    assert tables["same"].changes == 0
    assert delta.changes == sum(table.changes for table in delta.tables) > 150
    befores, afters = open_all(a), open_all(b)
    for name, table in tables.items():
        before = list(befores[name]) if name in befores else []
        after = list(afters[name]) if name in afters else []
        assert (table.entries_a, table.entries_b) == (len(before), len(after))
        gone = [
            record
            for record in before
            if table.gone is not None and table.gone.has(*fids([record]))
        ]
        left = Counter(before) - Counter(gone)
        assert left + Counter(brought(path, table)) == Counter(after)
        assert len(brought(path, table)) == table.brought


def sieve(a: Path, name: str, gone: _native.FidIndex | None) -> _native.DeltaSieve:
    """What the native sieve finds of a table, and that it lets through the right entries."""
    found = _native.DeltaSieve(gone)
    kept: list[bytes] = []
    table = open_all(a)[name]
    for extent in table.extents():
        reader = open_reader(extent, ReadOptions(), extent.start, extent.end)
        while not reader.done:
            frames, count = reader.sieved(found, 500)
            kept += unframed(frames)
            assert count <= len(kept)
    assert kept == [each for each in table if gone is None or not gone.has(*fids([each]))]
    looked = _native.DeltaSieve(gone)
    for extent in table.extents():
        reader = open_reader(extent, ReadOptions(), extent.start, extent.end)
        assert reader.sieved(looked)[0] == b""
    assert (looked.entries, looked.sum) == (found.entries, found.sum)
    assert (looked.gone_entries, looked.gone_sum) == (found.gone_entries, found.gone_sum)
    return found


def test_digests_tell_the_base_and_the_result(two: tuple[Path, Path, Path]) -> None:
    a, b, path = two
    for table in read_delta(path).tables:
        if not table.is_in_a:
            table.check_result(0, 0, 0)
            continue
        found = sieve(a, table.name, table.gone)
        table.check_base(found.entries, found.sum, None)
        table.check_result(found.sum, found.gone_entries, found.gone_sum)
        if table.changes and table.is_in_b:
            other = sieve(b, table.name, table.gone)
            with pytest.raises(DifferentError, match="is not the base of the delta") as caught:
                table.check_base(other.entries, other.sum, "some/path")
            assert caught.value.kind == "another_base"
            assert caught.value.path == "some/path"
            wrong = table._replace(brought=table.brought + 1)
            with pytest.raises(CorruptionError, match="where the delta promises") as error:
                wrong.check_result(found.sum, found.gone_entries, found.gone_sum)
            assert error.value.kind == "delta_differs"
            assert error.value.path == os.fspath(path)
    assert sieve(a, "same", None).gone_entries == 0


NEAR, FAR = sorted((1, 2), key=place)

BAD: dict[str, tuple[list[bytes], str]] = {
    "nothing": ([], "an empty file"),
    "no header": ([change(REMOVE, 1), end(1)], "does not begin with a header"),
    "no message": ([b"\x0a\xff"], "does not begin with a header"),
    "an entry": ([entry(1)], "does not begin with a header"),
    "no record": ([header("t"), b"", end(0)], "no record of a delta"),
    "no record either": ([header("t"), b"\x12\x05\x08", end(0)], "no record of a delta"),
    "two headers": ([header("t"), header("t"), end(0)], "a second header"),
    "no end": ([header("t"), change(REMOVE, 1)], "the end of the delta is missing"),
    "fewer": ([header("t"), end(1)], "tells another number of changes"),
    "more behind": ([header("t"), end(0), end(0)], "behind the end"),
    "no table": ([header("t"), change(REMOVE, 1, table=1), end(1)], "of table 1, where the header"),
    "no op": ([header("t"), change(0, 1), end(1)], "says nothing to do"),
    "no entry": ([header("t"), change(ADD, 1), end(1)], "without its entry"),
    "gone": ([header("t", in_b=False), change(ADD, 1, entry(1)), end(1)], "which is to go"),
    "removed": ([header("t"), change(REMOVE, 1, entry(1)), end(1)], "is to be removed"),
    "another": ([header("t"), change(ADD, 1, entry(2)), end(1)], "of another feature id"),
    "not an entry": ([header("t"), change(ADD, 0, b"\x0a"), end(1)], "holds no EntryDump"),
    "order": ([header("t"), change(REMOVE, FAR), change(REMOVE, NEAR), end(2)], "in no order"),
    "twice": (
        [header("t"), change(REPLACE, 1, entry(1)), change(REMOVE, 1), end(2)],
        "a second change of all entries",
    ),
    "added before": (
        [header("t"), change(ADD, 1, entry(1)), change(REPLACE, 1, entry(1)), end(2)],
        "a second change of all entries",
    ),
    "apart": (
        [
            header("t", "u"),
            change(REMOVE, NEAR),
            change(REMOVE, 1, table=1),
            change(REMOVE, FAR),
            end(3),
        ],
        "not in one place",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_delta(tmp_path: Path, name: str) -> None:
    records, what = BAD[name]
    path = tmp_path / "d"
    path.write_bytes(ds.frame(*records))
    with pytest.raises(CorruptionError, match=what) as caught:
        read_delta(path)
    assert caught.value.path == os.fspath(path)
    assert caught.value.kind == ("truncated_data" if name == "no end" else "bad_message")
    assert caught.value.offset is not None


def test_a_delta_of_a_later_version(tmp_path: Path) -> None:
    (tmp_path / "d").write_bytes(ds.frame(header("t", version=2), b"something else"))
    with pytest.raises(NotReadableError, match="a delta of version 2"):
        read_delta(tmp_path / "d")


def test_damage(two: tuple[Path, Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "d"
    good = two[2].read_bytes()
    rng = random.Random(4)
    for at in [0, len(good) - 1, *(rng.randrange(len(good)) for _ in range(40))]:
        path.write_bytes(good)
        flip(path, at)
        with pytest.raises(CorruptionError):
            read_delta(path)
    starts = ds.frame_starts(unframed(good))
    for size in (*starts[1:-1], len(good) - 3):
        path.write_bytes(good[:size])
        with pytest.raises(CorruptionError):
            read_delta(path)
    with pytest.raises(PathNotFoundError):
        read_delta(tmp_path / "none")


def test_fields_that_are_not_known(tmp_path: Path) -> None:
    strange = change(ADD, 1, entry(1)) + ds.put_int(900, 5)
    path = tmp_path / "d"
    path.write_bytes(ds.frame(header("t"), strange, end(1)))
    [table] = read_delta(path).tables
    assert (table.dumps_b, table.brought) == ((), 1)
    assert table.gone is not None
    assert len(table.gone) == 0
    assert brought(path, table) == [entry(1)]
