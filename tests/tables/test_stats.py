"""Statistics of tables, against NumPy in double precision."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from pathlib import Path

import dump_support as ds
import numpy as np
import pytest
from stats_support import Witness
from table_support import SKIP, flip, open_all

from monolith_cli import messages
from monolith_cli.errors import CorruptionError, UsageError
from monolith_cli.tables import EntryFilter, ReadOptions, ranges
from monolith_cli.tables.stats import StatsOptions, TablesStats, table_stats

SEGMENTS = (
    ("adagrad", 4),
    ("dynamic_wd_adagrad", 2),
    ("adam", 9),
    ("group_adagrad", 1),
    ("sgd", 3),
)
TABLES: dict[str, list[bytes]] = {
    "finite": ds.random_entries(1, 400, segments=SEGMENTS),
    "special": ds.random_entries(2, 400, segments=SEGMENTS, special=True),
    "any": [
        ds.scrambled(ds.random_entry(random.Random(seed)), random.Random(seed))
        for seed in range(300)
    ],
    "empty": [],
}
MULTI = {"a": TABLES["finite"][:150], "b": TABLES["special"][:90], "none": []}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Written by TensorFlow."""
    directory = tmp_path_factory.mktemp("stats")
    ds.write_model_dir(
        directory, singles=TABLES, multis={"Multi": MULTI}, hash_filters=0, shards=3, tf=True
    )
    return directory


def stats_of(
    model: Path, options: StatsOptions | None = None, name: str | None = None
) -> TablesStats:
    tables = [table for table in open_all(model).values() if name in (None, table.name)]
    return table_stats(tables, ReadOptions(), options)


@pytest.fixture
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "SMALL_BYTES", 0)
    monkeypatch.setattr(ranges, "RANGE_BYTES", 3000)


def newest_of(records: list[bytes]) -> int:
    times = [messages.EntryDump.FromString(record).last_update_ts_sec for record in records]
    return max((time for time in times if 0 < time < 2**33), default=0)


@pytest.mark.parametrize("jobs", [1, 2])
def test_by_table(model: Path, jobs: int, small_ranges: None) -> None:
    found = stats_of(model, StatsOptions(jobs=jobs))
    groups = {group.table: group for group in found.groups}
    assert list(groups) == [*sorted(TABLES), *MULTI]
    for name, records in {**TABLES, **MULTI}.items():
        Witness(records).check(groups[name])
    assert found.entries == sum(map(len, [*TABLES.values(), *MULTI.values()]))


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_by_slot(model: Path, version: str, small_ranges: None) -> None:
    options = StatsOptions(by="slot", chosen=EntryFilter((), (), version), jobs=2)
    found = stats_of(model, options)
    for name, records in {**TABLES, **MULTI}.items():
        by_slot: dict[int, list[bytes]] = {}
        for record in records:
            fid = messages.EntryDump.FromString(record).id % 2**64
            slot = fid >> 54 if version == "v1" else fid >> 48 & 0x7FFF
            by_slot.setdefault(slot, []).append(record)
        groups = [group for group in found.groups if group.table == name]
        assert [group.slot for group in groups] == sorted(by_slot)
        for group in groups:
            assert group.slot is not None
            Witness(by_slot[group.slot]).check(group, newest_of(records))


def test_some_entries(model: Path) -> None:
    fids = [messages.EntryDump.FromString(record).id for record in TABLES["finite"]]
    slots = StatsOptions(chosen=EntryFilter([(7, 301)]))
    [group] = stats_of(model, slots, "finite").groups
    Witness(
        record
        for record, fid in zip(TABLES["finite"], fids, strict=True)
        if 7 <= fid >> 48 & 0x7FFF <= 301
    ).check(group)
    [group] = stats_of(model, StatsOptions(chosen=EntryFilter((), fids[3:5])), "finite").groups
    Witness(TABLES["finite"][3:5]).check(group)


def test_tables_under_one_name(model: Path) -> None:
    names = {"a": "both", "special": "both"}
    found = stats_of(model, StatsOptions(names=names))
    groups = {group.table: group for group in found.groups}
    assert set(groups) == {*TABLES, *MULTI, "both"} - {"a", "special"}
    assert groups["both"].tables == 2
    Witness([*TABLES["special"], *MULTI["a"]]).check(groups["both"])


def test_the_same_bits_whoever_reads(model: Path, small_ranges: None) -> None:
    """Whatever the number of threads; with ranges that begin in the midst of records."""
    for by in ("table", "slot"):
        found = [stats_of(model, StatsOptions(by=by, examples=7, jobs=jobs)) for jobs in (1, 2, 8)]
        assert repr(found[0]) == repr(found[1]) == repr(found[2])


def test_examples(model: Path, small_ranges: None) -> None:
    """Worse ones first; each is what and where it says."""
    found = stats_of(model, StatsOptions(examples=25, jobs=2), "special")
    assert len(found.examples) == 25
    everything = stats_of(model, StatsOptions(examples=10_000, jobs=1), "special").examples
    assert everything[:25] == found.examples
    assert [each.rank for each in everything] == sorted(
        (each.rank for each in everything), reverse=True
    )
    kinds = {each.what for each in everything}
    assert kinds == {"nan", "inf", "huge", "norm"}
    entries = {entry.id: entry for entry in map(messages.EntryDump.FromString, TABLES["special"])}
    for each in everything:
        data = Path(each.path).read_bytes()
        (length,) = struct.unpack_from("<Q", data, each.offset)
        entry = messages.EntryDump.FromString(data[each.offset + 12 :][:length])
        assert (entry.id, each.table) == (each.fid, "special")
        assert entry == entries[each.fid] or "nan" in str(entry)
        witness = Witness([entry.SerializeToString()])
        values = np.concatenate([row for rows in witness.rows.values() for row in rows])
        expected = {
            "nan": np.isnan(values).sum(),
            "inf": np.isinf(values).sum(),
            "huge": np.abs(values[np.isfinite(values)], dtype=np.float64).max(),
            "norm": np.sqrt((np.array(entry.num, np.float64) ** 2).sum()),
        }[each.what]
        assert each.value == pytest.approx(expected)
        assert each.field in witness.rows


def test_examples_of_compressed_tables_lie_in_their_block(tmp_path: Path) -> None:
    records = ds.random_entries(5, 300)
    assets = ds.write_model_dir(tmp_path, multis={"M": {"m": records}}, shards=1)
    data = ds.shard_path(assets, "M", 0, 1)
    stream = ds.frame(*records)
    data.write_bytes(ds.snappy_blocks(stream, 1000))
    blocks = [0]
    while blocks[-1] < data.stat().st_size:
        (size,) = struct.unpack_from(">I", data.read_bytes(), blocks[-1])
        blocks.append(blocks[-1] + 4 + size)
    starts = ds.frame_starts(records)
    fids = [messages.EntryDump.FromString(record).id for record in records]
    for each in stats_of(tmp_path, StatsOptions(examples=20)).examples:
        assert each.offset == blocks[starts[fids.index(each.fid)] // 1000]


def numbers(seed: int, mean: float, spread: float) -> Iterator[bytes]:
    rng = np.random.default_rng(seed)
    for fid in range(5000):
        entry = messages.EntryDump(id=fid, last_update_ts_sec=1)
        entry.num.extend(rng.normal(mean, spread, 5).astype(np.float32))
        yield entry.SerializeToString()


@pytest.mark.parametrize(
    ("mean", "spread"), [(0, 1), (1e6, 1), (-3e4, 1e-2), (1e30, 1e25), (1e-40, 1e-42), (5, 0)]
)
def test_means_far_from_zero(
    tmp_path: Path, mean: float, spread: float, small_ranges: None
) -> None:
    records = list(numbers(3, mean, spread))
    ds.write_model_dir(tmp_path, singles={"t": records}, shards=2)
    [group] = stats_of(tmp_path, StatsOptions(jobs=2)).groups
    Witness(records).check(group)
    if spread == 0:
        assert group.fields[0].std == 0


def test_one_value_far_off(tmp_path: Path) -> None:
    """Also where it is the first, about which the sums are made."""
    for place in (0, 1, 4999):
        records = list(numbers(4, 1, 1e-3))
        outlier = messages.EntryDump(id=-1, last_update_ts_sec=1, num=[1e9])
        records.insert(place, outlier.SerializeToString())
        ds.write_model_dir(tmp_path / str(place), singles={"t": records}, shards=1)
        [group] = stats_of(tmp_path / str(place)).groups
        Witness(records).check(group)


def test_rows_of_zeros(tmp_path: Path) -> None:
    entries = [
        messages.EntryDump(id=1, num=[0.0, -0.0, 0.0]),
        messages.EntryDump(id=2, num=[0.0, 1e-45, 0.0]),
        messages.EntryDump(id=3, num=[0.0] * 9),
        messages.EntryDump(id=4, num=[0.0] * 8 + [float("nan")]),
        messages.EntryDump(id=5),
    ]
    records = [entry.SerializeToString() for entry in entries]
    ds.write_model_dir(tmp_path, singles={"t": records}, shards=1)
    [group] = stats_of(tmp_path).groups
    Witness(records).check(group)
    [field] = group.fields
    assert (field.rows, field.zero_rows, field.nan) == (4, 2, 1)
    assert str(field.min) == "0.0"
    assert (group.norms.entries, group.norms.zero, group.norms.p50) == (3, 2, 0)
    assert group.dims == (0, 9)
    assert group.ages.without == 5


def test_many_optimizers(tmp_path: Path) -> None:
    """Those behind the 64th are one."""
    entry = messages.EntryDump(id=1)
    for value in range(70):
        entry.opt.dump.add().adagrad.norm.append(value)
    ds.write_model_dir(tmp_path, singles={"t": [entry.SerializeToString()]}, shards=1)
    [group] = stats_of(tmp_path).groups
    assert [field.name for field in group.fields] == [f"opt.{i}.adagrad.norm" for i in range(65)]
    assert [field.values for field in group.fields] == [1] * 64 + [6]
    assert (group.fields[63].min, group.fields[64].min, group.fields[64].max) == (63, 64, 69)
    assert group.fields[64].rows == 1


@pytest.mark.parametrize("name", ["s", "m"])
def test_damage(tmp_path: Path, name: str, small_ranges: None) -> None:
    records = ds.random_entries(8, 300)
    ds.write_model_dir(tmp_path, singles={"s": records}, multis={"M": {"m": records}}, shards=1)
    base = {"s": "s-", "m": "M-0"}[name]
    [path] = [path for path in tmp_path.glob("*.assets/*") if path.name.startswith(base)]
    flip(path, path.stat().st_size // 2)
    with pytest.raises(CorruptionError):
        stats_of(tmp_path, name=name)
    tables = [open_all(tmp_path, SKIP)[name]]
    found = [
        table_stats(tables, SKIP, StatsOptions(unattributed=True, jobs=jobs)) for jobs in (1, 2)
    ]
    assert repr(found[0]) == repr(found[1])
    if name == "s":
        starts = ds.frame_starts(records)
        lost = next(i for i, start in enumerate(starts) if start > path.stat().st_size // 2) - 1
        [group] = found[0].groups
        Witness([*records[:lost], *records[lost + 1 :]]).check(group)
        assert [damage.offset for damage in found[0].skipped] == [starts[lost]]
    else:
        assert 0 < sum(group.entries for group in found[0].groups) < len(records)
        assert tables[0].skipped() or found[0].skipped


def test_what_is_refused(model: Path) -> None:
    for options in (
        StatsOptions(by="fid"),
        StatsOptions(examples=-1),
        StatsOptions(jobs=0),
        StatsOptions(chosen=EntryFilter((), (), "v3")),
    ):
        with pytest.raises(UsageError):
            stats_of(model, options)


def test_many_tables(tmp_path: Path) -> None:
    records = ds.random_entries(9, 3)
    tables = {f"t{number}": records[: number % 4] for number in range(2000)}
    ds.write_model_dir(tmp_path, multis={"M": tables}, shards=2)
    found = stats_of(tmp_path, StatsOptions(by="slot", jobs=2))
    assert [group.table for group in found.tables] == list(tables)
    assert [group.entries for group in found.tables] == [n % 4 for n in range(2000)]
    assert found.entries == found.whole.entries == 3000
    assert found.slots is not None
    assert sum(group.entries for group in found.slots) == 3000
    Witness([record for each in tables.values() for record in each]).check(found.whole)
