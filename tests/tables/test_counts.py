"""Counts, against those made with TensorFlow's reader and protobuf's parser."""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import dump_support as ds
import pytest
import tf_support
from table_support import (
    EXPORT,
    checkpoint_of,
    export_by_tensorflow,
    flip,
    needs_export,
    parse,
)

from monolith_cli.errors import (
    ChangedWhileReadError,
    CorruptionError,
    MissingShardError,
    PathNotFoundError,
    RecordCountError,
    TableNotFoundError,
    UsageError,
)
from monolith_cli.formats.ckpt_info import CkptInfo
from monolith_cli.tables import ranges
from monolith_cli.tables.counts import (
    CheckpointCounts,
    CountOptions,
    TableCount,
    count_checkpoint,
)

SEGMENTS = {
    "one": (("adagrad", 4),),
    "two": (("ftrl", 2), ("adam", 3), ("", 5)),
    "three": (("sgd", 8),),
}
SINGLES = {
    "MonolithHashTable_one": ds.random_entries(1, 300, segments=SEGMENTS["one"]),
    "MonolithHashTable_two": ds.random_entries(2, 91, segments=SEGMENTS["two"]),
    "MonolithHashTable_none": [],
}
MULTIS = {
    "user": ds.random_entries(3, 120, segments=SEGMENTS["three"], slots=(5, 900)),
    "item": ds.random_entries(4, 45, segments=SEGMENTS["one"], slots=(7, 8)),
    "empty": [],
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory of both kinds of tables, written by TensorFlow."""
    directory = tmp_path_factory.mktemp("model")
    ds.write_model_dir(
        directory, singles=SINGLES, multis={"Multi": MULTIS}, hash_filters=2, shards=3, tf=True
    )
    return directory


@pytest.fixture
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranges that split records, read by threads whatever their size."""
    monkeypatch.setattr(ranges, "SMALL_BYTES", 0)
    monkeypatch.setattr(ranges, "RANGE_BYTES", 100)


def read_by_tensorflow(directory: Path, base: str, *, snappy: bool = False) -> list[bytes]:
    return [
        record
        for path in sorted(directory.glob(f"*.assets/{base}-*"))
        for record in tf_support.read_records(path, snappy=snappy)
    ]


def slots_of(records: Iterable[bytes], version: str = "v2") -> dict[int, int]:
    """Entries by slot, counted with protobuf."""
    fids = [entry.id & (2**64 - 1) for entry in parse(list(records))]
    slots = [fid >> 54 if version == "v1" else fid >> 48 & 0x7FFF for fid in fids]
    return dict(sorted(Counter(slots).items()))


def count(directory: Path, progress: Any = None, **options: Any) -> CheckpointCounts:
    return count_checkpoint(checkpoint_of(directory), CountOptions(**options), progress)


def table(counts: CheckpointCounts, name: str) -> TableCount:
    [found] = [table for table in counts.tables if table.name == name]
    return found


# --- sound checkpoints ----------------------------------------------------------------------


@pytest.mark.parametrize("jobs", [1, 2, 4, None])
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_counts_equal_those_of_tensorflow(model: Path, version: str, jobs: int | None) -> None:
    counts = count(model, fid_version=version, jobs=jobs)
    records = read_by_tensorflow(model, "MonolithHashTable_*")
    assert len(records) == 391
    assert counts.slot_counts == counts.single_slot_counts == slots_of(records, version)
    assert list(counts.slot_counts) == sorted(counts.slot_counts)
    assert counts.feature_counts == {"empty": 0, "item": 45, "user": 120}
    assert counts.entries == 391 + 165
    for name, entries in SINGLES.items():
        assert table(counts, name).slot_counts == slots_of(entries, version)
    assert (counts.unattributed, counts.skipped, counts.warnings) == (0, [], [])


@pytest.mark.usefixtures("small_ranges")
@pytest.mark.parametrize("jobs", [1, 2, 4])
@pytest.mark.parametrize("more", [{}, {"by_table": True}, {"skip_corrupt": True}])
def test_counts_do_not_depend_on_ranges(model: Path, jobs: int, more: dict[str, Any]) -> None:
    counts = count(model, jobs=jobs, scan_multi=True, **more)
    records = read_by_tensorflow(model, "MonolithHashTable_*")
    multi = read_by_tensorflow(model, "Multi", snappy=True)
    assert counts.single_slot_counts == slots_of(records)
    assert counts.slot_counts == slots_of(records + multi)
    assert counts.feature_counts == {"empty": 0, "item": 45, "user": 120}
    assert counts.entries == len(records) + len(multi) == 556


@pytest.mark.usefixtures("small_ranges")
@pytest.mark.parametrize("jobs", [1, 4])
def test_payloads_that_are_record_streams_change_no_count(tmp_path: Path, jobs: int) -> None:
    entries = ds.random_entries(9, 40)
    inner = ds.frame(*entries)
    records = [
        entries[0],
        ds.put_fixed64(1, 11 << 48) + ds.put_bytes(15, inner),
        *entries[1:4],
        ds.put_bytes(15, ds.frame(ds.put_bytes(15, inner), *entries)) + ds.put_fixed64(1, 12 << 48),
        ds.put_bytes(15, inner[:-2]),
        ds.put_bytes(15, bytes(5000)),
    ]
    ds.write_model_dir(
        tmp_path, singles={"t": records * 3}, multis={"Multi": {"m": records * 3}}, shards=2
    )
    counts = count(tmp_path, jobs=jobs, scan_multi=True)
    assert counts.single_slot_counts == slots_of(records * 3)
    assert counts.slot_counts == slots_of(records * 6)
    assert counts.entries == 48


def test_what_a_count_says_of_a_table(model: Path) -> None:
    counts = count(model)
    names = [table.name for table in counts.tables]
    assert names == [
        "MonolithHashTable_none",
        "MonolithHashTable_one",
        "MonolithHashTable_two",
        "empty",
        "item",
        "user",
    ]
    size = sum(path.stat().st_size for path in model.glob("*.assets/MonolithHashTable_two-*"))
    assert table(counts, "MonolithHashTable_two") == TableCount(
        name="MonolithHashTable_two",
        kind="single",
        entries=91,
        shards=3,
        bytes=size,
        verified=True,
        dim=10,
        dims=(10, 10),
        optimizers=["ftrl", "adam"],
        slot_counts=slots_of(SINGLES["MonolithHashTable_two"]),
    )
    none = table(counts, "MonolithHashTable_none")
    assert (none.entries, none.dim, none.dims, none.optimizers) == (0, None, None, [])
    assert (none.slot_counts, none.bytes, none.verified) == ({}, 0, True)
    # Read from the contents file alone.
    assert table(counts, "user") == TableCount("user", "multi", 120, 3, None, False)


def test_tables_of_a_multi_file_by_themselves(model: Path) -> None:
    counts = count(model, scan_multi=True, by_table=True)
    assert table(counts, "user") == TableCount(
        "user", "multi", 120, 3, None, True, 8, (8, 8), ["sgd"], slots_of(MULTIS["user"])
    )
    assert table(counts, "item").slot_counts == slots_of(MULTIS["item"])
    whole = count(model, scan_multi=True)
    assert table(whole, "user") == TableCount("user", "multi", 120, 3, None, True)
    assert not table(count(model, scan_multi=True, verify=False), "user").verified


def test_dims_that_differ(tmp_path: Path) -> None:
    entries = [*ds.random_entries(1, 5), *ds.random_entries(2, 5, segments=(("momentum", 2),))]
    ds.write_model_dir(tmp_path, singles={"t": entries}, shards=2)
    [counted] = count(tmp_path).tables
    assert (counted.dim, counted.dims) == (None, (2, 7))
    assert counted.optimizers == ["adagrad", "adam", "momentum"]


def test_ckpt_info(model: Path) -> None:
    slots = slots_of([record for records in SINGLES.values() for record in records])
    names = {"user": 120, "item": 45, "empty": 0}
    # With any multi table the training system writes names alone.
    assert count(model).ckpt_info() == CkptInfo({}, names)
    assert count(model).everything() == CkptInfo(slots, names)
    # A scan of multi tables adds nothing: their slots are not the file's business.
    assert count(model, scan_multi=True).everything() == count(model).everything()
    assert count(model, patterns=["Mono*"]).ckpt_info() == CkptInfo(slots, {})


def test_progress(model: Path) -> None:
    seen: list[tuple[int, int]] = []
    count(model, lambda done, total: seen.append((done, total)), scan_multi=True, jobs=1)
    assert seen == sorted(seen)
    [total] = {total for _, total in seen}
    assert seen[-1] == (total, total)
    everything = [*SINGLES.values(), *MULTIS.values()]
    assert total == sum(ds.frame_starts(entries)[-1] for entries in everything)


@needs_export
def test_the_export() -> None:
    counts = count(EXPORT)
    assert (counts.entries, len(counts.tables)) == (30, 20)
    assert counts.slot_counts == {0: 30}
    assert counts.feature_counts == {}
    assert {counted.dim for counted in counts.tables} <= {16, 17, 32, 33, None}
    for counted in counts.tables:
        records = export_by_tensorflow()[counted.name]
        assert counted.entries == len(records), counted.name
        assert counted.slot_counts == slots_of(records)


# --- selections -----------------------------------------------------------------------------


@pytest.mark.parametrize("jobs", [1, 4])
def test_slots(model: Path, jobs: int) -> None:
    everything = [entry for entries in [*SINGLES.values(), *MULTIS.values()] for entry in entries]
    chosen = {slot: n for slot, n in slots_of(everything).items() if slot in (1, 7, 8, 900)}
    # Multi tables are read too: their contents say nothing of slots.
    counts = count(model, slots=[(1, 1), (7, 8), (900, 5000)], jobs=jobs)
    assert counts.slot_counts == chosen
    assert counts.entries == sum(chosen.values())
    assert table(counts, "item").entries == 45
    assert table(counts, "user").slot_counts == {900: chosen[900]}


def test_slots_of_v1_ids(model: Path) -> None:
    everything = [entry for entries in [*SINGLES.values(), *MULTIS.values()] for entry in entries]
    by_slot = slots_of(everything, "v1")
    first = next(iter(by_slot))
    counts = count(model, slots=[(first, first)], fid_version="v1")
    assert counts.slot_counts == {first: by_slot[first]}


def test_fids(model: Path) -> None:
    one, item = parse(SINGLES["MonolithHashTable_one"])[5], parse(MULTIS["item"])[6]
    counts = count(model, fids=[one.id, item.id, 12345])
    assert counts.entries == 2
    assert table(counts, "MonolithHashTable_one").entries == 1
    assert table(counts, "item").entries == 1


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ({"fids": [2**65]}, f"feature id {2**65} does not fit"),
        ({"fids": [1, -(2**63) - 1]}, f"feature id {-(2**63) - 1} does not fit"),
        ({"slots": [(-3, 2)]}, "slot -3: slots begin at 0"),
        ({"slots": [(2, -3)]}, "slot -3: slots begin at 0"),
        ({"slots": [(0, 2**40)]}, f"slot {2**40}: those of v2"),
        ({"jobs": -1}, "-1 jobs: at least one"),
        ({"max_record_bytes": -1}, "no record can be -1 bytes long"),
        ({"max_record_bytes": 2**64}, "no record can be"),
    ],
)
def test_numbers_that_make_no_sense(model: Path, how: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        count(model, **how)
    assert count(model, slots=[(2**40, 2)]).entries == 0


def test_patterns(model: Path) -> None:
    counts = count(model, patterns=["*_t*", "user"])
    assert [table.name for table in counts.tables] == ["MonolithHashTable_two", "user"]
    assert counts.entries == 91 + 120
    assert counts.feature_counts == {"user": 120}
    assert counts.hash_filters == []
    scanned = count(model, patterns=["item"], scan_multi=True)
    assert scanned.slot_counts == slots_of(MULTIS["item"])
    with pytest.raises(TableNotFoundError) as caught:
        count(model, patterns=["user", "nobody*"])
    assert str(caught.value) == (f"{model}/model.ckpt-300.assets: no table matches 'nobody*'")


# --- damage ---------------------------------------------------------------------------------


@pytest.fixture
def copy(model: Path, tmp_path: Path) -> Path:
    """The model directory, to be damaged."""
    return Path(shutil.copytree(model, tmp_path / "copy"))


def file_of(directory: Path, base: str, shard: int = 0) -> Path:
    return directory / "model.ckpt-300.assets" / f"{base}-{shard:05d}-of-00003"


@pytest.mark.parametrize("jobs", [1, 4])
def test_a_flipped_bit(copy: Path, jobs: int) -> None:
    path = file_of(copy, "MonolithHashTable_one", 1)
    records = SINGLES["MonolithHashTable_one"][100:200]
    start = ds.frame_starts(records)[40]
    flip(path, start + 20)
    with pytest.raises(CorruptionError) as caught:
        count(copy, jobs=jobs)
    assert (caught.value.path, caught.value.offset) == (str(path), start)
    assert caught.value.kind == "bad_data_crc"
    counts = count(copy, jobs=jobs, skip_corrupt=True)
    assert counts.entries == 556 - 1
    assert [(s.path, s.offset, s.one_record) for s in counts.skipped] == [(str(path), start, True)]
    assert table(counts, "MonolithHashTable_one").entries == 299
    assert not table(counts, "MonolithHashTable_one").verified
    assert table(counts, "MonolithHashTable_two").verified
    # The bit is one of a fid: without the checksum nobody sees it.
    assert count(copy, jobs=jobs, verify=False).entries == 556


@pytest.mark.usefixtures("small_ranges")
@pytest.mark.parametrize("jobs", [1, 3])
def test_every_flipped_bit_is_reported(tmp_path: Path, jobs: int) -> None:
    rng = random.Random(jobs)
    entries = ds.random_entries(8, 10, segments=(("adagrad", 2),))
    assets = ds.write_model_dir(tmp_path, singles={"t": entries}, shards=2)
    path = ds.shard_path(assets, "t", 0, 2)
    sound = path.read_bytes()
    starts = ds.frame_starts(entries[:5])
    for at in range(len(sound)):
        path.write_bytes(sound)
        flip(path, at, rng.randrange(8))
        victim = max(n for n, start in enumerate(starts[:-1]) if start <= at)
        with pytest.raises(CorruptionError) as caught:
            count(tmp_path, jobs=jobs)
        assert (caught.value.path, caught.value.offset) == (str(path), starts[victim]), at
        counts = count(tmp_path, jobs=jobs, skip_corrupt=True)
        assert counts.slot_counts == slots_of(entries[:victim] + entries[victim + 1 :]), at
        assert [damage.offset for damage in counts.skipped] == [starts[victim]], at


def test_bad_messages(copy: Path) -> None:
    path = file_of(copy, "MonolithHashTable_one")
    records = SINGLES["MonolithHashTable_one"][:100]
    ds.write_plain(path, [*records[:7], b"no entry", *records[8:]])
    with pytest.raises(CorruptionError, match="a record of 8 bytes that is not an EntryDump"):
        count(copy)
    assert count(copy, skip_corrupt=True).entries == 555


@pytest.mark.parametrize("more", [{}, {"by_table": True}, {"patterns": ["user"]}])
def test_fewer_entries_than_promised(copy: Path, more: dict[str, Any]) -> None:
    path = file_of(copy, "Multi", 2)
    records = tf_support.read_records(path, snappy=True)
    ds.write_snappy(path, records[:-3])
    with pytest.raises(RecordCountError) as caught:
        count(copy, scan_multi=True, **more)
    assert str(caught.value) == (
        f"{path}: ends after {len(records) - 3} of the {len(records)} records that its contents"
        f" file promises, at byte {path.stat().st_size}; restore it"
    )
    # The contents files alone do not tell.
    assert count(copy).feature_counts == {"empty": 0, "item": 45, "user": 120}
    counts = count(copy, scan_multi=True, skip_corrupt=True)
    assert counts.entries == 553
    assert [damage.kind for damage in counts.skipped] == ["too_few_records"]


@pytest.mark.parametrize("more", [{}, {"by_table": True}, {"skip_corrupt": True}])
@pytest.mark.parametrize("extra", [1, 4])
def test_more_entries_than_promised(copy: Path, more: dict[str, Any], extra: int) -> None:
    path = file_of(copy, "Multi", 1)
    records = tf_support.read_records(path, snappy=True)
    ds.write_snappy(path, records + records[:extra])
    counts = count(copy, scan_multi=True, **more)
    noun = "record" if extra == 1 else "records"
    assert counts.warnings == [
        f"{path}: {extra} {noun} more than its contents file promises; left out"
    ]
    assert counts.extra == {str(path): extra}
    assert {each.kind: each.verified for each in counts.tables} == {"single": True, "multi": False}
    everything = [entry for entries in [*SINGLES.values(), *MULTIS.values()] for entry in entries]
    assert counts.slot_counts == slots_of(everything)
    assert counts.entries == 556


def test_damage_in_a_multi_file_is_counted_once(copy: Path) -> None:
    path = file_of(copy, "Multi")
    records = tf_support.read_records(path, snappy=True)
    framed = bytearray(ds.frame(*records))
    framed[ds.frame_starts(records)[10] + 14] ^= 1
    path.write_bytes(ds.snappy_blocks(bytes(framed)))
    with pytest.raises(CorruptionError):
        count(copy, scan_multi=True)
    counts = count(copy, scan_multi=True, skip_corrupt=True)
    assert counts.entries == 555
    assert len(counts.skipped) == 1


def test_entries_of_unknown_tables(tmp_path: Path) -> None:
    a, b = MULTIS["user"][:20], MULTIS["item"][:20]
    assets = ds.write_model_dir(tmp_path, multis={"Multi": {"a": a, "b": b}}, shards=1)
    starts = ds.frame_starts(a + b)
    framed = bytearray(ds.frame(*a, *b))
    for record in (15, 25):  # lost, and nobody knows how many were in their place
        start, end = starts[record], starts[record + 1]
        framed[start : end - 1] = bytes(end - 1 - start)
    ds.shard_path(assets, "Multi", 0, 1).write_bytes(framed)
    counts = count(tmp_path, scan_multi=True, skip_corrupt=True)
    assert counts.feature_counts == {"a": 15, "b": 14}
    assert counts.unattributed == 9
    assert counts.entries == 38
    assert counts.slot_counts == slots_of(a[:15] + a[16:] + b[:5] + b[6:])
    assert len(counts.skipped) == 2
    # Where single tables are asked for, those of nobody are not.
    only = count(tmp_path, scan_multi=True, skip_corrupt=True, patterns=["a"])
    assert (only.feature_counts, only.unattributed) == ({"a": 15}, 0)


def test_a_missing_shard(copy: Path) -> None:
    file_of(copy, "MonolithHashTable_one", 1).unlink()
    with pytest.raises(MissingShardError) as caught:
        count(copy, skip_corrupt=True)
    assert caught.value.path == str(file_of(copy, "MonolithHashTable_one", 1))


# --- checkpoints that change ----------------------------------------------------------------


def shrink(directory: Path) -> None:
    os.truncate(file_of(directory, "MonolithHashTable_two", 2), 10)


def grow(directory: Path) -> None:
    with file_of(directory, "MonolithHashTable_two", 2).open("ab") as file:
        file.write(ds.frame(b""))


def replace(directory: Path) -> None:
    path = file_of(directory, "MonolithHashTable_two", 2)
    other = directory / "other"
    other.write_bytes(path.read_bytes())
    other.replace(path)


def rewrite(directory: Path) -> None:
    """In place, with what was there: the size stays, the time of modification does not."""
    path = file_of(directory, "MonolithHashTable_two", 2)
    with path.open("r+b") as file:
        file.write(path.read_bytes())


def spoil(directory: Path) -> None:
    """In place, with something else: what was read of both is no damage of either."""
    path = file_of(directory, "MonolithHashTable_two", 2)
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))


def delete_file(directory: Path) -> None:
    file_of(directory, "MonolithHashTable_two", 2).unlink()


def delete_checkpoint(directory: Path) -> None:
    # In the order of TensorFlow: the index goes first.
    (directory / "model.ckpt-300.index").unlink()
    shutil.rmtree(directory / "model.ckpt-300.assets")


def delete_index(directory: Path) -> None:
    (directory / "model.ckpt-300.index").unlink()


@pytest.mark.parametrize("jobs", [1, 4])
@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (shrink, ChangedWhileReadError, "changed while it was read, at byte "),
        (grow, ChangedWhileReadError, "changed while it was read, at byte "),
        (replace, ChangedWhileReadError, "changed while it was read, at byte 0"),
        (rewrite, ChangedWhileReadError, "changed while it was read, at byte 0"),
        (spoil, ChangedWhileReadError, "changed while it was read, at byte 0"),
        (delete_file, PathNotFoundError, "gone: deleted since the checkpoint was found"),
        (delete_checkpoint, PathNotFoundError, "gone: deleted since the checkpoint was found"),
        # Nothing that was read is missing, but the checkpoint was being deleted.
        (delete_index, PathNotFoundError, "gone: deleted since the checkpoint was found"),
    ],
)
def test_a_checkpoint_that_changes_while_it_is_counted(
    copy: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path], None],
    error: type[Exception],
    text: str,
    jobs: int,
) -> None:
    monkeypatch.setattr(ranges, "SMALL_BYTES", 0)
    changed = []

    def change_once(done: int, total: int) -> None:
        if not changed:
            changed.append(done)
            change(copy)

    with pytest.raises(error) as caught:
        count(copy, change_once, jobs=jobs)
    assert text in str(caught.value)
    assert str(caught.value).startswith(f"{copy}/model.ckpt-300.")


@pytest.mark.parametrize("change", [delete_file, delete_checkpoint, delete_index])
def test_a_checkpoint_that_is_deleted_before_it_is_counted(
    copy: Path, change: Callable[[Path], None]
) -> None:
    checkpoint = checkpoint_of(copy)
    checkpoint.table_files()
    change(copy)
    with pytest.raises((PathNotFoundError, MissingShardError)):
        count_checkpoint(checkpoint)
