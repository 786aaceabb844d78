"""The repair of a step: bits put back, the rest kept, and TensorFlow starts from what is made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import dump_support as ds
import pytest
import repair_support as rs
import tf_support
from repair_support import ASSETS, MULTI, OTHER, SINGLE, STEP, scribble, shard
from table_support import flip

from monolith_cli import messages
from monolith_cli.care.repair.step import LeftOut, Repaired, repair_step
from monolith_cli.checkpoint.inputs import read_step_inputs
from monolith_cli.checkpoint.manifests import file_crc32c, read_step_manifest
from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.errors import CorruptionError, ShardMismatchError
from monolith_cli.formats.checkpoint_state import (
    MonolithCheckpointState,
    read_checkpoint_state,
    read_monolith_checkpoint_state,
)
from monolith_cli.formats.ckpt_info import CkptInfo, read_ckpt_info, write_ckpt_info
from monolith_cli.tables.counts import CountOptions, count_checkpoint

OURS = {f"ckpt.manifest-{STEP}", f"ckpt.repaired-{STEP}"}
JOBS_OWN = {
    "ckpt.override",
    "controller_server_addr.txt",
    f"model.ckpt-{STEP + 50}_item_pool_0_0_1",
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rs.write_job(tmp_path_factory.mktemp("repair") / "model")


@pytest.fixture
def model(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "model")


def repaired(model: Path) -> tuple[Repaired, Path]:
    """Repair it; checks what holds for every repair."""
    before = rs.contents_of(model)
    target = model.parent / "repaired"
    done = repair_step(model, target, jobs=2)
    assert rs.contents_of(model) == before
    assert {path.name for path in model.parent.iterdir()} == {"model", "repaired"}
    check_made(done, target)
    return done, target


def check_made(done: Repaired, target: Path) -> None:
    # Its counts and its manifest are those of what is there.
    options = CountOptions(scan_multi=True)
    checkpoint = open_model_dir(target).checkpoint()
    counts = count_checkpoint(checkpoint, options)
    assert not checkpoint.lost_files()
    assert read_ckpt_info(target / f"ckpt.info-{STEP}") == counts.ckpt_info()
    manifest = read_step_manifest(str(target), STEP)
    assert manifest is not None
    for file in manifest.files:
        assert file_crc32c(str(target / file.name)) == (file.size_bytes, file.crc32c)
    entries = {table.name: table.entries for table in manifest.tables}
    for base in (SINGLE, OTHER):
        assert entries[base] == len(rs.records_of(target, base))
    assert entries[MULTI] == len(rs.records_of(target, MULTI, snappy=True))
    assert sum(map(len, rs.tables_of(target).values())) == entries[MULTI]
    for path in (target / ASSETS).glob(f"{MULTI}-*"):
        assert all(size <= 262_144 for size in rs.block_sizes(path))
    document = json.loads((target / f"ckpt.repaired-{STEP}").read_text())
    assert document["step"] == STEP
    assert document["bits"] == [bit.as_json() for bit in done.bits]
    assert document["left_out"] == [each.as_json() for each in done.left_out]


# --- whole ------------------------------------------------------------------------------------


def test_an_undamaged_step_is_copied(model: Path) -> None:
    done, target = repaired(model)
    assert done.is_whole
    assert not done.bits
    rs.assert_restores(target)
    old, new = rs.bytes_of(model), rs.bytes_of(target)
    changed = {"checkpoint", "monolith_checkpoint", "checkpoint_input_worker_0"}
    changed |= {"checkpoint_input_worker_1"}
    of_200 = {name for name in old if ".ckpt-200" in name}
    assert set(new) == set(old) - of_200 - JOBS_OWN | OURS
    for name in set(new) - OURS - changed:
        assert new[name] == old[name], name
    state = read_checkpoint_state(str(target / "checkpoint"))
    assert state.all_model_checkpoint_paths == (f"model.ckpt-{STEP}",)
    # This Saver records no time of the commit.
    committed = (model / f"model.ckpt-{STEP}.index").stat().st_mtime
    assert state.all_model_checkpoint_timestamps == (committed,)
    assert read_monolith_checkpoint_state(
        str(target / "monolith_checkpoint")
    ) == MonolithCheckpointState((f"model.ckpt-{STEP}",), 17, "MULTI_CUCKOO_HASH_MAP")
    for worker in (0, 1):
        state = read_checkpoint_state(str(target / f"checkpoint_input_worker_{worker}"))
        assert state.all_model_checkpoint_paths == (f"input_worker_{worker}.ckpt-{STEP}",)


def test_bits_are_put_back(model: Path) -> None:
    # In data, a length, the checksum of the last record; in a filter, in contents, an item pool.
    size = (model / shard(SINGLE)).stat().st_size
    flips = [
        (shard(SINGLE), 0, 1),
        (shard(SINGLE), size // 2, 7),
        (shard(SINGLE), size - 1, 3),
        (shard("hash_filter_0", 1), 20_001, 5),
        (shard(f"{MULTI}.meta"), 16, 2),
        (f"model.ckpt-{STEP}_item_pool_0_0_1", 14, 0),
    ]
    whole = rs.bytes_of(model)
    for name, at, bit in flips:
        flip(model / name, at, bit)
    done, target = repaired(model)
    assert done.is_whole
    assert sorted((bit.file, bit.flip.offset, bit.flip.bit) for bit in done.bits) == sorted(flips)
    new = rs.bytes_of(target)
    for name, _, _ in flips:
        assert new[name] == whole[name]
    fields = {bit.file: bit.flip.change for bit in done.bits}
    assert fields[shard(f"{MULTI}.meta")] == "table_name: usar → user"
    assert fields[shard("hash_filter_0", 1)].startswith("data[")


def test_a_second_repair_keeps_the_record_of_the_first(model: Path, tmp_path: Path) -> None:
    flip(model / shard(SINGLE), 100)
    repair_step(model, tmp_path / "one")
    repair_step(tmp_path / "one", tmp_path / "two")
    document = json.loads((tmp_path / "two" / f"ckpt.repaired-{STEP}").read_text())
    assert document["bits"] == []
    assert [bit["offset"] for bit in document["before"]["bits"]] == [100]


# --- tables -----------------------------------------------------------------------------------


def test_damaged_entries_of_a_single_table_are_left_out(model: Path) -> None:
    whole = rs.records_of(model, SINGLE)
    starts = ds.frame_starts(whole[:150])
    scribble(model / shard(SINGLE), starts[7] + 20)
    scribble(model / shard(SINGLE), starts[149] + 20)
    flip(model / shard(SINGLE), starts[80] + 20)
    done, target = repaired(model)
    assert [bit.flip.position for bit in done.bits] == [starts[80]]
    assert [each._replace(what="") for each in done.left_out] == [
        LeftOut(shard(SINGLE), "", 2, SINGLE)
    ]
    kept = [record for number, record in enumerate(whole) if number not in (7, 149)]
    assert rs.records_of(target, SINGLE) == kept
    rs.assert_restores(target)
    paths = sorted((target / ASSETS).glob(f"{SINGLE}-*"))
    assert [each for path in paths for each in tf_support.read_records(path)] == kept


def test_a_record_that_is_no_entry_is_left_out(model: Path) -> None:
    whole = rs.records_of(model, OTHER)
    # The byte flipped before it was framed: its checksum holds.
    tf_support.write_plain(model / shard(OTHER), [b"\xff" + whole[0][1:], *whole[1:20]])
    done, target = repaired(model)
    assert [(each.file, each.records) for each in done.left_out] == [(shard(OTHER), 1)]
    assert rs.records_of(target, OTHER) == whole[1:]


def test_a_file_that_was_cut(model: Path) -> None:
    whole = rs.records_of(model, SINGLE)
    path = model / shard(SINGLE)
    path.write_bytes(path.read_bytes()[: ds.frame_starts(whole)[100] + 30])
    done, target = repaired(model)
    # The manifest knows how many there were.
    assert [(each.file, each.records) for each in done.left_out] == [(shard(SINGLE), 50)]
    assert rs.records_of(target, SINGLE) == whole[:100] + whole[150:]


def test_a_file_that_was_cut_between_records(model: Path) -> None:
    whole = rs.records_of(model, SINGLE)
    path = model / shard(SINGLE)
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[: ds.frame_starts(whole)[100]])
    done, target = repaired(model)
    sizes = f"{path.stat().st_size:,} of {size:,} bytes that the manifest has"
    assert done.left_out == [LeftOut(shard(SINGLE), sizes, 50, SINGLE)]
    assert rs.records_of(target, SINGLE) == whole[:100] + whole[150:]


def test_an_emptied_shard_is_named(model: Path) -> None:
    (model / shard(SINGLE, 1)).write_bytes(b"")
    done, _ = repaired(model)
    [left] = done.left_out
    assert (left.file, left.records, left.table) == (shard(SINGLE, 1), 150, SINGLE)
    assert left.what.startswith("empty, 0 of ")


def test_several_emptied_shards_are_named(model: Path) -> None:
    for number in (0, 1):
        (model / shard(SINGLE, number)).write_bytes(b"")
    done, _ = repaired(model)
    assert [(each.file, each.records) for each in done.left_out] == [
        (shard(SINGLE, 0), None),
        (shard(SINGLE, 1), None),
    ]
    assert all("300 entries fewer in all files of the table" in each.what for each in done.left_out)


def test_counts_that_are_made_anew_are_named(model: Path) -> None:
    (model / f"ckpt.info-{STEP}").write_text("{")
    done, target = repaired(model)
    assert done.is_whole
    assert [each.file for each in done.anew] == [f"ckpt.info-{STEP}"]
    document = json.loads((target / f"ckpt.repaired-{STEP}").read_text())
    assert [each["file"] for each in document["made_anew"]] == [f"ckpt.info-{STEP}"]
    assert read_ckpt_info(target / f"ckpt.info-{STEP}").feature_counts


def test_a_missing_shard_is_an_empty_one(model: Path) -> None:
    whole = rs.records_of(model, SINGLE)
    (model / shard(SINGLE, 1)).unlink()
    done, target = repaired(model)
    assert done.left_out == [LeftOut(shard(SINGLE, 1), "missing", 150, SINGLE)]
    assert rs.records_of(target, SINGLE) == whole[:150]
    assert (target / shard(SINGLE, 1)).read_bytes() == b""


def test_a_table_that_is_gone_is_an_empty_one(model: Path) -> None:
    for number in (0, 1):
        (model / shard(OTHER, number)).unlink()
        (model / shard(MULTI, number)).unlink()
        (model / shard(f"{MULTI}.meta", number)).unlink()
    done, target = repaired(model)
    assert {each.file for each in done.left_out} >= {shard(OTHER), shard(OTHER, 1), shard(MULTI)}
    assert rs.records_of(target, OTHER) == []
    # The counts have their names.
    assert rs.tables_of(target) == {"user": [], "item": [], "ad": []}


def test_damage_of_shared_files(model: Path) -> None:
    whole = rs.tables_of(model)
    path = model / shard(MULTI)
    scribble(path, path.stat().st_size // 3)
    done, target = repaired(model)
    kept = rs.tables_of(target)
    lost = {name: len(whole[name]) - len(kept[name]) for name in whole}
    assert sum(lost.values()) > 0
    assert {each.table: each.records for each in done.left_out} == {
        name: number for name, number in lost.items() if number
    }
    for name, entries in kept.items():
        left = iter(whole[name])
        assert all(entry in left for entry in entries), name  # in their order, none changed
    read = [tf_support.read_records(target / shard(MULTI, n), snappy=True) for n in (0, 1)]
    assert sum(map(len, read)) == sum(map(len, kept.values()))
    other = rs.bytes_of(model)[shard(MULTI, 1)]
    assert (target / shard(MULTI, 1)).read_bytes() == other


def test_each_table_of_a_shared_file_has_its_own_damage(model: Path) -> None:
    whole = rs.tables_of(model)
    path = model / shard(MULTI)
    records = rs.read(path, snappy=True)
    data = bytearray(ds.frame(*records))
    places = ds.frame_starts(records)[999:1001]  # the last of one table, the first of the next
    for start in places:
        data[start + 14] ^= 0x5A
    path.write_bytes(ds.snappy_blocks(bytes(data)))
    done, target = repaired(model)
    kept = rs.tables_of(target)
    assert [(each.table, each.records) for each in done.left_out] == [("user", 1), ("item", 1)]
    for each, start in zip(done.left_out, places, strict=True):
        assert f"(uncompressed byte {start})" in each.what
    assert sum(map(len, kept.values())) == sum(map(len, whole.values())) - 2


def test_a_shared_file_that_was_cut(model: Path) -> None:
    whole = rs.tables_of(model)
    path = model / shard(MULTI, 1)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    done, target = repaired(model)
    kept = rs.tables_of(target)
    missing = sum(map(len, whole.values())) - sum(map(len, kept.values()))
    assert missing > 0
    assert sum(each.records or 0 for each in done.left_out) == missing
    assert list(kept) == list(whole)


def test_a_shared_file_without_its_contents(model: Path) -> None:
    whole = rs.tables_of(model)
    scribble(model / shard(f"{MULTI}.meta", 1), 3, 20)
    done, target = repaired(model)
    assert [(each.file, each.records) for each in done.left_out] == [(shard(MULTI, 1), 1500)]
    kept = rs.tables_of(target)
    assert {name: len(entries) for name, entries in kept.items()} == {
        "user": 1000,
        "item": 495,
        "ad": 5,
    }
    assert all(entries == whole[name][: len(entries)] for name, entries in kept.items())


def test_shared_files_without_any_contents(model: Path) -> None:
    (model / f"ckpt.manifest-{STEP}").unlink()
    for number in (0, 1):
        (model / shard(f"{MULTI}.meta", number)).unlink()
    done, target = repaired(model)
    assert [each.file for each in done.left_out] == [shard(MULTI), shard(MULTI, 1)]
    assert [each.records for each in done.left_out] == [1500, 1500]
    assert rs.tables_of(target) == {"user": [], "item": [], "ad": []}


def test_damage_of_entries_that_belong_to_no_table(model: Path) -> None:
    (model / f"ckpt.manifest-{STEP}").unlink()
    names = ("user", "item", "ad")
    contents = [ds.table_meta(name, 0) for name in names]
    ds.write_plain(model / shard(f"{MULTI}.meta", 1), contents)
    counts = CkptInfo({}, {"user": 1000, "item": 495, "ad": 5})
    write_ckpt_info(model / f"ckpt.info-{STEP}", counts)
    path = model / shard(MULTI, 1)
    scribble(path, path.stat().st_size // 2)
    _, target = repaired(model)
    assert (target / shard(MULTI, 1)).read_bytes() == b""
    assert sum(map(len, rs.tables_of(target).values())) == 1500


def test_a_missing_shared_file(model: Path) -> None:
    (model / shard(MULTI, 0)).unlink()
    done, target = repaired(model)
    assert done.left_out == [LeftOut(shard(MULTI, 0), "missing", 1500)]
    assert sum(map(len, rs.tables_of(target).values())) == 1500


def test_two_totals_are_refused(model: Path) -> None:
    shutil.copy(model / shard(SINGLE), model / shard(SINGLE, 0, 3))
    with pytest.raises(ShardMismatchError):
        repair_step(model, model.parent / "repaired")
    assert not (model.parent / "repaired").exists()


# --- filters ----------------------------------------------------------------------------------


def cells_of(path: Path) -> list[int]:
    cells: list[int] = []
    for record in rs.read(path)[1:]:
        dump = messages.HashFilterSplitDataDump.FromString(record)
        assert dump.offset == len(cells)
        cells += dump.data
    return cells


def test_damaged_cells_of_a_filter_are_empty(model: Path) -> None:
    path = model / shard("hash_filter_0")
    whole = cells_of(path)
    second = ds.frame_starts(rs.read(path))[2]
    scribble(path, second + 100)
    done, target = repaired(model)
    assert [each.file for each in done.left_out] == [shard("hash_filter_0")]
    assert "10,000 cells" in done.left_out[0].what
    found = cells_of(target / shard("hash_filter_0"))
    assert found == whole[:10_000] + [0] * 10_000 + whole[20_000:]


def test_a_filter_takes_its_first_record_from_another_split(model: Path) -> None:
    path = model / shard("hash_filter_0")
    whole = cells_of(path)
    scribble(path, 14)
    _, target = repaired(model)
    assert cells_of(target / shard("hash_filter_0")) == whole
    one, other = (rs.read(target / shard("hash_filter_0", n)) for n in (0, 1))
    assert one[0] == other[0]


def test_a_missing_split_of_a_filter_is_an_empty_one(model: Path) -> None:
    (model / shard("hash_filter_0", 1)).unlink()
    done, target = repaired(model)
    assert [each.file for each in done.left_out] == [shard("hash_filter_0", 1)]
    assert cells_of(target / shard("hash_filter_0", 1)) == [0] * 25_064
    one, other = (rs.read(target / shard("hash_filter_0", n)) for n in (0, 1))
    assert one[0] == other[0]


def test_an_empty_split_and_one_that_was_cut(model: Path) -> None:
    whole = cells_of(model / shard("hash_filter_0"))
    path = model / shard("hash_filter_0")
    path.write_bytes(path.read_bytes()[: ds.frame_starts(rs.read(path))[3]])
    (model / shard("hash_filter_0", 1)).write_bytes(b"")
    done, target = repaired(model)
    assert ["5,064 cells" in done.left_out[0].what, "25,064 cells" in done.left_out[1].what]
    assert cells_of(target / shard("hash_filter_0")) == whole[:20_000] + [0] * 5064
    assert cells_of(target / shard("hash_filter_0", 1)) == [0] * 25_064


def test_a_first_record_that_is_none_of_a_filter(model: Path) -> None:
    path = model / shard("hash_filter_0")
    whole, records = cells_of(path), rs.read(path)
    path.write_bytes(ds.frame(b"\xff\xff", *records[1:]))
    done, target = repaired(model)
    assert len(done.left_out) == 1
    assert cells_of(target / shard("hash_filter_0")) == whole
    assert rs.read(target / shard("hash_filter_0"))[0] == records[0]


def test_a_filter_without_a_first_record_is_refused(tmp_path: Path) -> None:
    model = rs.write_job(tmp_path / "model", filters=1)
    scribble(model / shard("hash_filter_0", 0, 1), 14)
    with pytest.raises(CorruptionError, match="filter") as caught:
        repair_step(model, tmp_path / "repaired")
    assert caught.value.path == str(model / shard("hash_filter_0", 0, 1))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


# --- dense variables and inputs ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "at"),
    [
        (f"model.ckpt-{STEP}.index", 30),
        (f"model.ckpt-{STEP}.data-00000-of-00001", 1000),
        (f"model.ckpt-{STEP}.data-00000-of-00001", None),
    ],
)
def test_damaged_dense_variables_are_refused(model: Path, name: str, at: int | None) -> None:
    if at is None:
        (model / name).unlink()
    else:
        flip(model / name, at)
    with pytest.raises(CorruptionError, match="take another step") as caught:
        repair_step(model, model.parent / "repaired")
    assert caught.value.path == str(model / name)
    assert [path.name for path in model.parent.iterdir()] == ["model"]


def test_a_damaged_state_of_an_input_is_left_out(model: Path) -> None:
    flip(model / f"input_worker_1.ckpt-{STEP}.data-00000-of-00001", 50)
    done, target = repaired(model)
    assert [each.worker for each in done.left_out] == [1]
    assert not list(target.glob("*input_worker_1*"))
    inputs = read_step_inputs(str(target), STEP)
    assert inputs is not None
    assert {worker: entry.finished for worker, entry in inputs.workers.items()} == {
        0: True,
        1: False,
    }


def test_an_input_that_stands_at_an_older_step(model: Path) -> None:
    for path in model.glob(f"input_worker_1.ckpt-{STEP}.*"):
        path.unlink()
    done, target = repaired(model)
    assert [each.worker for each in done.left_out] == [1]  # it had finished at that step
    state = read_checkpoint_state(str(target / "checkpoint_input_worker_1"))
    assert state.model_checkpoint_path == "input_worker_1.ckpt-200"


def test_records_of_inputs_and_counts_that_do_not_parse(model: Path) -> None:
    for name in (f"ckpt.inputs-{STEP}", "monolith_checkpoint", f"ckpt.info-{STEP}"):
        (model / name).write_text("{ no such thing")
    done, target = repaired(model)
    assert {each.file for each in done.left_out} == {f"ckpt.inputs-{STEP}", "monolith_checkpoint"}
    assert (target / f"ckpt.info-{STEP}").exists()  # made anew: see `check_made`


def test_a_damaged_item_pool_is_left_out(model: Path) -> None:
    name = f"model.ckpt-{STEP}_item_pool_0_0_1"
    scribble(model / name, 14, 4)
    done, target = repaired(model)
    assert [each.file for each in done.left_out] == [name]
    assert not (target / name).exists()
