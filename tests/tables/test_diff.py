"""Comparing tables: a Python dictionary is the witness."""

from __future__ import annotations

import random
import shutil
import struct
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import dump_support as ds
import pytest
from hypothesis import given
from hypothesis import strategies as st
from table_support import checkpoint_of, flip

from monolith_cli import messages
from monolith_cli.errors import CorruptionError, PathNotFoundError, TableNotFoundError, UsageError
from monolith_cli.reports.diff_rows import FATES
from monolith_cli.tables.diff.compare import DiffOptions, TablesDiff, diff_tables
from monolith_cli.tables.diff.joining import Fates, total
from monolith_cli.tables.diff.values import ValueOptions

LITTLE = DiffOptions(memory_bytes=16 << 20)


def compare(a: Path, b: Path, options: DiffOptions = LITTLE, **more: Any) -> TablesDiff:
    return diff_tables(checkpoint_of(a), checkpoint_of(b), options, **more)


def parsed(record: bytes) -> Any:
    entry = messages.EntryDump.FromString(record)
    entry.DiscardUnknownFields()  # they are no values
    return entry


def expected(a: Iterable[bytes], b: Iterable[bytes]) -> tuple[Fates, Counter[tuple[int, str]]]:
    """Fates of entries whose fids differ from each other, and which entries are not the same."""
    sides = [{entry.id: entry for entry in map(parsed, side)} for side in (a, b)]
    fates: Counter[str] = Counter()
    changes: Counter[tuple[int, str]] = Counter()
    for fid in sides[0].keys() | sides[1].keys():
        one, other = (side.get(fid) for side in sides)
        if one is None or other is None:
            fate = "added" if one is None else "removed"
        else:
            embedding = bits(one.num) != bits(other.num)
            optimizer = one.opt.SerializeToString() != other.opt.SerializeToString()
            time = one.last_update_ts_sec != other.last_update_ts_sec
            fate = "touched" if time else "same"
            if embedding or optimizer:
                fate = "embedding" if not optimizer else "both" if embedding else "optimizer"
        fates[fate] += 1
        if fate != "same":
            changes[fid, fate] += 1
    return Fates(**fates), changes


def bits(values: Sequence[float]) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def changed(rng: random.Random, record: bytes) -> bytes | None:
    """The entry later, which may be gone; some are the same in other bytes."""
    entry = parsed(record)
    what = rng.randrange(8)
    if what == 0:
        return None
    if what in (1, 3) and len(entry.num):
        entry.num[rng.randrange(len(entry.num))] = rng.choice((1.25, -0.0, float("nan")))
    if what in (2, 3) and len(entry.opt.dump):
        del entry.opt.dump[-1]
    if what in (3, 4):
        entry.last_update_ts_sec += 60
    return ds.scrambled(entry, rng) if what == 5 else entry.SerializeToString()


def later(rng: random.Random, records: Sequence[bytes], added: Sequence[bytes]) -> list[bytes]:
    found = [each for record in records if (each := changed(rng, record)) is not None]
    found += added
    rng.shuffle(found)
    return found


def mixed(seed: int, count: int) -> list[bytes]:
    """Entries of all optimizers and dims, some fids with the top bit, NaN and infinities."""
    return ds.random_entries(seed, count, slots=None, segments=None, special=True)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Any]]:
    """Two directories, one by TensorFlow, with other numbers of files; and their entries."""
    root = tmp_path_factory.mktemp("two")
    rng = random.Random(7)
    a: dict[str, list[bytes]] = {}
    b: dict[str, list[bytes]] = {}
    for number, name in enumerate(("s", "t", "u", "v")):
        records = mixed(number, 150)
        a[name] = records[:120]
        b[name] = later(rng, records[:120], records[120:])
    b["u"] = []
    ds.write_model_dir(
        root / "a",
        singles={"s": a["s"], "u": a["u"], "gone": a["s"]},
        multis={"M": {"t": a["t"], "v": a["v"], "empty": []}},
        tf=True,
    )
    ds.write_model_dir(
        root / "b",
        singles={"s": b["s"], "u": b["u"], "new": b["s"]},
        multis={"M": {"t": b["t"], "empty": []}, "N": {"v": b["v"]}},
        shards=5,
    )
    return root / "a", root / "b", {"a": a, "b": b}


def test_what_was_added_removed_and_changed(two: tuple[Path, Path, dict[str, Any]]) -> None:
    a, b, entries = two
    rows: dict[str, Counter[tuple[int, str]]] = {}

    def take(table: str, changes: bytes) -> None:
        found = struct.iter_unpack("<qqqBB6x", changes)
        rows[table] = Counter((fid, FATES[fate]) for fid, _, _, fate, _ in found)

    found = compare(a, b, DiffOptions(sums=True), on_changes=take)
    tables = {table.name: table for table in found.tables}
    assert list(tables) == ["gone", "s", "u", "empty", "t", "v", "new"]
    assert [name for name, table in tables.items() if not table.is_in_b] == ["gone"]
    assert [name for name, table in tables.items() if not table.is_in_a] == ["new"]
    assert not tables["empty"].differs
    assert tables["empty"].sum_a == tables["empty"].sum_b == 0
    sides = entries["a"], entries["b"]
    for name in ("s", "t", "u", "v"):
        fates, changes = expected(sides[0][name], sides[1][name])
        assert tables[name].fates == fates
        assert rows[name] == changes
        assert fates.added + fates.removed > 10
        assert tables[name].sum_a != tables[name].sum_b
    assert min(tables["s"].fates[:7]) > 0
    assert tables["gone"].fates == Fates(removed=120)
    assert tables["gone"].sum_a == tables["s"].sum_a
    assert found.fates.entries_a == 120 * 5
    by_slot = [fates for table in found.tables for fates in table.slots.values()]
    assert sum(fates.entries_b for fates in by_slot) == found.fates.entries_b
    assert list(found.slots) == sorted(found.slots)
    assert found.differs
    assert not found.errors


def test_a_comparison_with_itself(two: tuple[Path, Path, dict[str, Any]]) -> None:
    for path in two[:2]:
        found = compare(path, path, DiffOptions(sums=True, jobs=1, values=ValueOptions()))
        assert not found.differs
        assert all(table.sum_a == table.sum_b for table in found.tables)
        assert found.fates == Fates(same=found.fates.entries_a)


def test_spilling_and_jobs_change_nothing(
    two: tuple[Path, Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def everything(options: DiffOptions) -> list[Any]:
        rows: list[tuple[str, bytes]] = []
        asked = options._replace(sums=True, values=ValueOptions())
        found = compare(*two[:2], asked, on_changes=lambda *row: rows.append(row))
        joined: dict[str, bytes] = {}
        for name, data in rows:
            joined[name] = joined.get(name, b"") + data
        return [found.tables, joined]

    plain = everything(DiffOptions(jobs=1))
    held = "monolith_cli.tables.diff.held"
    monkeypatch.setattr(f"{held}._SMALL_BYTES", 0)
    monkeypatch.setattr(f"{held}._LITTLE_BYTES", 0)
    monkeypatch.setattr("monolith_cli.tables.diff.compare.RANGE_BYTES", 3000)
    monkeypatch.setattr("monolith_cli.tables.diff.compare._LEAST_RANGE_BYTES", 3000)
    monkeypatch.setattr("monolith_cli.tables.ranges.SMALL_BYTES", 0)
    assert everything(DiffOptions(jobs=3)) == plain
    monkeypatch.setattr("monolith_cli.tables.diff.compare._SHARE", 1 << 24)
    for jobs in (1, 2):
        spilled = DiffOptions(jobs=jobs, memory_bytes=16 << 20, tmp=str(tmp_path))
        assert everything(spilled) == plain
    assert list(tmp_path.iterdir()) == []


few = st.integers(0, 2)
some_entries = st.lists(
    st.tuples(st.sampled_from([0, 1, -1, 2**63 - 1, -(2**63), 7]), few, few, few), max_size=12
)


def entry_of(fid: int, value: int, state: int, time: int) -> bytes:
    entry = messages.EntryDump(id=fid, num=[value], last_update_ts_sec=time)
    entry.opt.dump.add().adagrad.norm.append(state)
    return bytes(entry.SerializeToString())


@given(some_entries, some_entries)
def test_duplicates_are_multisets(
    tmp_path_factory: pytest.TempPathFactory, a: list[Any], b: list[Any]
) -> None:
    root = tmp_path_factory.mktemp("duplicates")
    for name, entries in (("a", a), ("b", b)):
        ds.write_model_dir(root / name, singles={"t": [entry_of(*each) for each in entries]})
    found = compare(root / "a", root / "b", DiffOptions(sums=True, values=ValueOptions()))
    [table] = found.tables
    assert table.fates.same == (Counter(a) & Counter(b)).total()
    assert table.differs == (Counter(a) != Counter(b)) == (table.sum_a != table.sum_b)
    assert table.fates.entries_a == len(a)
    assert table.fates.entries_b == len(b)
    assert table.fates.again_a == len(a) - len({each[0] for each in a})
    assert table.values is not None
    assert table.values.changed == table.fates.changed
    shutil.rmtree(root)


def test_servers_and_patterns(tmp_path: Path) -> None:
    records = ds.random_entries(3, 40)
    ds.write_model_dir(tmp_path / "a", singles={"user_0": records[:20], "user_1": records[20:]})
    three = {f"user_{i}": records[i::3] for i in range(3)}
    ds.write_model_dir(tmp_path / "b", singles=three)
    found = compare(tmp_path / "a", tmp_path / "b", LITTLE._replace(merge_servers=True))
    assert [table.name for table in found.tables] == ["user"]
    assert not found.differs
    for pattern in ("user", "us*", "user_1"):
        some = LITTLE._replace(merge_servers=True, patterns=[pattern])
        assert compare(tmp_path / "a", tmp_path / "b", some).tables[0].name == "user"
    apart = compare(tmp_path / "a", tmp_path / "b", LITTLE._replace(patterns=["*_2"]))
    assert [(table.name, table.is_in_a) for table in apart.tables] == [("user_2", False)]
    with pytest.raises(TableNotFoundError, match="no table matches 'x'"):
        compare(tmp_path / "a", tmp_path / "b", LITTLE._replace(patterns=["x"]))
    slot = LITTLE._replace(slots=[(7, 7)], merge_servers=True)
    assert list(compare(tmp_path / "a", tmp_path / "b", slot).slots) == [7]
    with pytest.raises(UsageError, match="at least 16 MiB"):
        compare(tmp_path / "a", tmp_path / "b", DiffOptions(memory_bytes=1 << 20))


def test_values(tmp_path: Path) -> None:
    """How far entries have moved, against plain Python."""
    rng = random.Random(5)
    a = [
        ds.random_entry(rng, fid=fid, segments=[("adagrad", 4)], special=False) for fid in range(50)
    ]
    for entry in a:
        entry.num[:] = [rng.uniform(-1, 1) for _ in range(4)]
    b = [parsed(entry.SerializeToString()) for entry in a]
    for fid, entry in enumerate(b[:20]):
        entry.num[0] += 0.5 * fid / 20
    b[30].num.append(1.0)
    b[31].num[0] = float("nan")
    b[32].opt.dump[0].adagrad.norm[0] += 1
    for name, entries in (("a", a), ("b", b)):
        ds.write_model_dir(
            tmp_path / name, singles={"t": [entry.SerializeToString() for entry in entries]}
        )
    moved = {
        one.id: sum((y - x) ** 2 for x, y in zip(one.num, other.num, strict=True)) ** 0.5
        for one, other in zip(a, b, strict=True)
        if one.id not in (30, 31) and one != other
    }
    options = LITTLE._replace(values=ValueOptions(top=3))
    [table] = compare(tmp_path / "a", tmp_path / "b", options).tables
    values = table.values
    assert values is not None
    assert values.changed == table.fates.changed == 19 + 3
    assert (values.shapes, values.non_finite, values.close) == (1, 1, 0)
    assert [move.fid for move in values.moves] == [19, 18, 17]
    assert [move.distance for move in values.moves] == [moved[fid] for fid in (19, 18, 17)]
    assert values.largest == values.moves[0].largest == moved[19]
    assert values.distance_mean == pytest.approx(sum(moved.values()) / len(moved), rel=1e-15)
    near = LITTLE._replace(values=ValueOptions(absolute=0.3, tolerant=True))
    [table] = compare(tmp_path / "a", tmp_path / "b", near).tables
    close = sum(moved[fid] <= 0.3 for fid in range(1, 20))
    assert table.values is not None
    assert table.values.close == close
    assert table.fates == Fates(same=50 - 22 + close, embedding=21 - close, optimizer=1)
    assert table.fates.differing == 22 - close
    everything = LITTLE._replace(values=ValueOptions(absolute=2.0, tolerant=True))
    [table] = compare(tmp_path / "a", tmp_path / "b", everything).tables
    assert table.fates.differing == 2


@given(some_entries, some_entries)
def test_what_is_close_is_the_same_everywhere(
    tmp_path_factory: pytest.TempPathFactory, a: list[Any], b: list[Any]
) -> None:
    """Counts, slots and rows agree with each other, and with a comparison that forgives nothing."""
    root = tmp_path_factory.mktemp("close")
    for name, entries in (("a", a), ("b", b)):
        ds.write_model_dir(root / name, singles={"t": [entry_of(*each) for each in entries]})
    [strict] = compare(root / "a", root / "b").tables
    for tolerance in (0.0, 1.0, 2.0):
        rows: Counter[str] = Counter()

        def take(_: str, changes: bytes, rows: Counter[str] = rows) -> None:
            rows.update(FATES[fate] for *_, fate, _ in struct.iter_unpack("<qqqBB6x", changes))

        asked = LITTLE._replace(values=ValueOptions(absolute=tolerance, tolerant=True))
        found = compare(root / "a", root / "b", asked, on_changes=take)
        [table] = found.tables
        fates, values = table.fates, table.values
        assert values is not None
        assert total(table.slots.values()) == fates
        assert rows == {name: n for name in FATES[1:] if (n := getattr(fates, name))}
        assert fates.touched == 0
        assert table.touched == strict.fates.touched
        assert fates.changed == strict.fates.changed - values.close
        assert fates.same == strict.fates.same + strict.fates.touched + values.close
        assert (fates.added, fates.removed) == (strict.fates.added, strict.fates.removed)
        assert (fates.again_a, fates.again_b) == (strict.fates.again_a, strict.fates.again_b)
    assert fates.changed == 0  # no value is further apart than 2
    shutil.rmtree(root)


def test_damage_and_steps_that_vanish(tmp_path: Path) -> None:
    records = ds.random_entries(3, 60)
    for name in ("a", "b"):
        ds.write_model_dir(tmp_path / name, singles={"t": records, "u": records})
    assets = tmp_path / "b" / "model.ckpt-300.assets"
    lost = ds.shard_path(assets, "u", 1, 2)
    kept = lost.read_bytes()
    lost.unlink()
    found = compare(tmp_path / "a", tmp_path / "b")
    assert [table.name for table in found.tables] == ["t"]  # u may be whole elsewhere
    assert [error.kind for error in found.errors] == ["missing_shard"]
    lost.write_bytes(kept)
    shard = ds.shard_path(assets, "t", 0, 2)
    flip(shard, 200)
    with pytest.raises(CorruptionError) as caught:
        compare(tmp_path / "a", tmp_path / "b")
    assert caught.value.path == str(shard)
    first, second = checkpoint_of(tmp_path / "a"), checkpoint_of(tmp_path / "b")
    (tmp_path / "b" / "model.ckpt-300.index").unlink()
    shutil.rmtree(assets)
    with pytest.raises(PathNotFoundError, match="gone"):
        diff_tables(first, second, LITTLE)
