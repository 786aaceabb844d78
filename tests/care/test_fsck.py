"""What a check finds besides damage: manifests, other steps, inputs, and what lies about."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

import dump_support as ds
import judge_support as js
import numpy as np
import pytest
import tf_support

from monolith_cli.care.findings import SEVERITY, Finding
from monolith_cli.care.fsck import Judgement, dense, newest_verified, scan
from monolith_cli.errors import PathNotFoundError, StepNotFoundError, UsageError
from monolith_cli.formats.manifest import read_manifest, write_manifest
from monolith_cli.formats.tensor_bundle_writer import write_tensor_bundle

check_module = sys.modules["monolith_cli.care.fsck.check"]
"""Its name in the package is that of the function."""

ASSETS = "model.ckpt-200.assets"
A, MULTI = "MonolithHashTable_a", js.MULTI
A0, A1 = f"{ASSETS}/{A}-00000-of-00002", f"{ASSETS}/{A}-00001-of-00002"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return js.write_judged(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def model(sound: Path, tmp_path: Path) -> Path:
    return js.copied(sound, tmp_path / "model")


def notes(judgement: Judgement, directory: Path) -> set[tuple[str, str]]:
    return js.told(judgement, directory, notes=True)


def only(judgement: Judgement) -> Finding:
    (finding,) = judgement.findings
    return finding


# --- manifests ------------------------------------------------------------------------------


@pytest.mark.parametrize("quick", [True, False])
def test_a_sound_directory(sound: Path, quick: bool) -> None:
    judgement = js.judged(sound, quick=quick)
    assert judgement.findings == []
    assert judgement.verdict == "sound"
    assert judgement.depth == ("quick" if quick else "full")
    assert [(each.step, each.verdict) for each in judgement.steps] == [
        (100, "sound"),
        (200, "sound"),
        (300, "sound"),
    ]
    data = sum(
        path.stat().st_size
        for path in sound.rglob("*")
        if ".assets/" in str(path) or (".data-" in path.name)
    )
    assert (judgement.bytes_read > data) is not quick


def test_a_table_that_is_gone_is_named_by_the_manifest(model: Path) -> None:
    js.remove([model / A0, model / A1])
    finding = only(js.judged(model, 200))
    assert (finding.id, finding.table, finding.file) == ("table_gone", A, str(model / A0))


def test_a_shard_that_is_emptied(model: Path) -> None:
    js.cut(model / A1, 0)
    assert js.told(js.judged(model, quick=True), model) == {("manifest_differs", A1)}


def test_a_shard_that_was_cut_between_two_records(model: Path) -> None:
    js.change(model / A1, lambda _: ds.frame(*tf_support.read_records(model / A1)[:-1]))
    assert js.told(js.judged(model), model) == {("manifest_differs", A1)}


def test_a_shard_that_is_gone_is_said_once(model: Path) -> None:
    for name in (f"{MULTI}-00000-of-00002", f"{MULTI}.meta-00001-of-00002", f"{A}-00001-of-00002"):
        (model / ASSETS / name).unlink()
    told = sorted((f.id, js.below(f, model), f.table) for f in js.judged(model, 200).findings)
    assert told == [
        ("missing_shard", A1, A),
        ("missing_shard", f"{ASSETS}/{MULTI}-00000-of-00002", MULTI),
        ("missing_shard", f"{ASSETS}/{MULTI}.meta-00001-of-00002", MULTI),
    ]


def test_damage_that_the_format_shows_is_said_once(model: Path) -> None:
    js.cut(model / A1, (model / A1).stat().st_size - 1)
    assert js.told(js.judged(model), model) == {("truncated_data", A1)}


def test_every_damaged_record_of_a_block_is_named(model: Path) -> None:
    path = model / ASSETS / f"{MULTI}-00000-of-00002"
    records = tf_support.read_records(path, snappy=True)
    data = bytearray(ds.frame(*records))
    places = [ds.frame_starts(records)[at] for at in (2, 5, 20)]
    for start in places:
        data[start + 14] ^= 0x5A
    js.change(path, lambda _: ds.snappy_blocks(bytes(data)))
    found = [each for each in js.judged(model, 200).findings if each.severity == "error"]
    assert [(each.id, each.file, each.offset) for each in found] == 3 * [
        ("bad_data_crc", str(path), 0)
    ]
    for each, start in zip(found, places, strict=True):
        assert f"(uncompressed byte {start})" in each.message


def test_checksums_that_the_manifest_has_are_compared(model: Path) -> None:
    js.judged(model, "all", record=True)
    js.make_old(model)
    first, second = model / A0, model / f"model.ckpt-100.assets/{A}-00000-of-00002"
    js.change(first, lambda _: ds.frame(*reversed(tf_support.read_records(first))))
    judgement = js.judged(model)
    assert js.told(judgement, model) == {("manifest_differs", A0)}
    assert "checksum" in judgement.findings[0].message
    assert second.exists()


def test_a_manifest_of_another_save(model: Path) -> None:
    tf_support.save_checkpoint(model, 200, {"dense/kernel": np.zeros(4, np.float32)})
    ds.write_checkpoint_state(model, js.STEPS)
    js.make_old(model)
    js.cut(model / A1, 0)  # which the manifest would have shown
    assert notes(js.judged(model), model) == {("manifest_stale", "ckpt.manifest-200")}


def test_a_manifest_that_does_not_parse(model: Path) -> None:
    js.cut(model / "ckpt.manifest-200", 40)
    assert js.told(js.judged(model), model) == {("bad_state_file", "ckpt.manifest-200")}


def test_a_step_without_a_manifest(model: Path) -> None:
    (model / "ckpt.manifest-200").unlink()
    judgement = js.judged(model)
    assert notes(judgement, model) == {("no_manifest", "ckpt.manifest-200")}
    assert judgement.verdict == "sound"
    assert js.judged(model, strict=True).verdict == "doubtful"


def test_counts_of_the_manifest(model: Path) -> None:
    path = model / "ckpt.manifest-200"
    manifest = read_manifest(path)
    tables = [
        table._replace(entries={MULTI: 79, A: 41}.get(table.name)) for table in manifest.tables
    ]
    write_manifest(path, manifest._replace(tables=tuple(tables)))
    # A single table may have had more entries before some expired.
    finding = only(js.judged(model))
    assert (finding.id, finding.table, finding.severity) == ("manifest_differs", MULTI, "error")


def test_two_jobs_that_save_in_turns(model: Path) -> None:
    js.write_manifest(model, 200, "other")
    finding = only(js.judged(model))
    assert (finding.id, finding.file) == ("two_writers", str(model / "ckpt.manifest-300"))


# --- steps ----------------------------------------------------------------------------------


def test_a_step_that_is_listed_and_gone(model: Path) -> None:
    for path in model.glob("*-100*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    judgement = js.judged(model)
    told = js.told(judgement, model)
    assert told == {("step_gone", "checkpoint")}
    assert ("damaged", 100) in {(each.verdict, each.step) for each in judgement.steps}
    assert js.judged(model, 300).verdict == "damaged"


def test_a_step_that_is_not_listed(model: Path) -> None:
    ds.write_checkpoint_state(model, [100, 300])
    js.make_old(model)
    finding = only(js.judged(model))
    assert (finding.id, finding.file) == ("unlisted_step", str(model / "model.ckpt-200.index"))


def test_a_save_that_is_running(model: Path) -> None:
    (model / "model.ckpt-400.assets").mkdir()
    (model / "model.ckpt-400.assets" / "t-00000-of-00002").write_bytes(b"1234")
    (model / "model.ckpt-400_temp").mkdir()
    judgement = js.judged(model)
    assert {each.id for each in judgement.findings} == {"running_save"}
    assert judgement.verdict == "sound"


def test_what_a_save_has_left(model: Path) -> None:
    (model / "model.ckpt-400.assets").mkdir()
    (model / "model.ckpt-100.index.tempstate123").touch()
    (model / "ckpt.manifest-50").write_text("{}")
    js.make_old(model)
    judgement = js.judged(model)
    assert notes(judgement, model) == {
        ("leftover", "model.ckpt-400.assets"),
        ("leftover", "model.ckpt-100.index.tempstate123"),
        ("leftover", "ckpt.manifest-50"),
    }


def test_what_is_no_table(model: Path) -> None:
    (model / ASSETS / "README").touch()
    (model / ASSETS / f".{MULTI}-00000-of-00002.12.0123456789abcdef.tmp").touch()
    js.make_old(model)
    assert notes(js.judged(model), model) == {
        ("foreign_file", f"{ASSETS}/README"),
        ("leftover", f"{ASSETS}/.{MULTI}-00000-of-00002.12.0123456789abcdef.tmp"),
    }


def test_tables_that_come_and_go(model: Path) -> None:
    assets = model / "model.ckpt-300.assets"
    ds.write_single_table(assets, "MonolithHashTable_c", ds.random_entries(5, 5), 2)
    js.remove(assets.glob("MonolithHashTable_b-*"))
    (model / "ckpt.manifest-300").unlink()
    js.make_old(model)
    js.write_manifest(model, 300)
    judgement = js.judged(model)
    assert {(f.id, f.table, f.step) for f in judgement.findings} == {
        ("table_came", "MonolithHashTable_c", 300),
        ("table_went", "MonolithHashTable_b", 300),
    }


def test_a_shard_that_is_much_larger(model: Path) -> None:
    big = ds.frame(*ds.random_entries(3, 4000, segments=(("adagrad", 64),)))
    assets = model / "model.ckpt-300.assets"
    paths = [assets / f"MonolithHashTable_c-{number:05d}-of-00003" for number in range(3)]
    for path in paths:
        path.write_bytes(big if path is paths[1] else b"")
    js.write_manifest(model, 300)
    judgement = js.judged(model, 300)
    uneven = [each for each in judgement.findings if each.id == "shard_uneven"]
    assert [each.file for each in uneven] == [str(paths[1])]


def test_habits_of_the_original_are_no_damage(tmp_path: Path) -> None:
    """A step a day that is not listed, counts of steps that are gone, a stale address, tables whose
    features have died, no inputs and no manifests, and a save that is running."""
    model = js.write_judged(tmp_path, manifests=False, inputs=False)
    ds.write_checkpoint_state(model, [200, 300], "/data/moved/")
    for step in (10, 20):
        shutil.copy(model / "ckpt.info-100", model / f"ckpt.info-{step}")
    (model / "controller_server_addr.txt").write_text("10.0.0.7:4000")
    (model / "graph.pbtxt").touch()
    (model / "events.out.tfevents.1").touch()
    dead = model / "model.ckpt-300.assets" / "MonolithHashTable_dead-00000-of-00001"
    dead.touch()
    singles = model / "model.ckpt-200.assets"
    js.remove(singles.glob(f"{MULTI}*"))
    slots = "".join(f"slot_counts {{ key: {slot} value: 99 }}" for slot in range(32768))
    (model / "ckpt.info-200").write_text(slots)  # of entries that have expired since
    js.make_old(model)
    running = model / "model.ckpt-400.assets"
    running.mkdir()
    (running / "MonolithHashTable_a-00000-of-00002").write_bytes(b"12")
    for quick in (True, False):
        judgement = js.judged(model, quick=quick)
        assert js.told(judgement, model) == set()
        assert judgement.verdict == "sound"
        assert not judgement.unread


def test_a_checkpoint_in_the_old_format_is_not_judged(model: Path) -> None:
    (model / "model.ckpt-7").write_bytes(b"1234")
    ds.write_checkpoint_state(model, [7, 100, 200, 300])
    js.make_old(model)
    judgement = js.judged(model)
    assert [error.kind for error in judgement.unread] == ["v1_format"]
    assert (only(judgement).id, only(judgement).step) == ("v1_format", 7)
    assert judgement.verdict == "doubtful"
    assert [(each.step, each.verdict) for each in judgement.steps] == [
        (7, "doubtful"),
        (100, "sound"),
        (200, "sound"),
        (300, "sound"),
    ]


def test_dense_variables_alone_are_a_directory_of_their_own(model: Path) -> None:
    dense_only = model / "dense_only"
    dense_only.mkdir()
    tf_support.save_checkpoint(dense_only, 200, js.VARIABLES)
    js.make_old(model)
    data = "dense_only/model.ckpt-200.data-00000-of-00001"
    js.flip(model / data, 3)
    assert js.told(js.judged(model), model) == {("bad_bundle_value", data)}


# --- inputs ---------------------------------------------------------------------------------


def without_states(model: Path, worker: int, *steps: int) -> None:
    for step in steps:
        js.remove(model.glob(f"input_worker_{worker}.ckpt-{step}.*"))


def test_an_input_that_is_behind(model: Path) -> None:
    without_states(model, 1, 200, 300)
    judgement = js.judged(model, 300)
    behind = [each for each in judgement.findings if each.id == "input_behind"]
    assert [(each.worker, each.step) for each in behind] == [(1, 300)]
    assert judgement.verdict == "doubtful"


def test_a_state_that_was_dropped_before_its_step(model: Path) -> None:
    """As the original does: five states, and ten steps."""
    without_states(model, 1, 100)
    judgement = js.judged(model, 100)
    finding = only(judgement)
    assert (finding.id, finding.severity, finding.worker) == ("input_missing", "note", 1)


def test_a_state_file_that_names_what_is_gone(model: Path) -> None:
    without_states(model, 1, 300)
    told = js.told(js.judged(model, 200), model)
    assert told == {("input_missing", "checkpoint_input_worker_1")}


def test_a_state_file_and_the_step_that_it_names_are_one_finding(model: Path) -> None:
    without_states(model, 1, 300)
    told = [(each.id, js.below(each, model)) for each in js.judged(model, 300).findings]
    assert told == [("input_behind", "input_worker_1.ckpt-300.index")]


@pytest.mark.parametrize("quick", [True, False])
def test_states_that_only_the_manifest_names(model: Path, quick: bool) -> None:
    js.remove(
        [*model.glob("input_worker_*"), *model.glob("*_input_*"), *model.glob("ckpt.inputs-*")]
    )
    judgement = js.judged(model, 200, quick=quick)
    assert {(f.id, f.severity, f.worker) for f in judgement.findings} == {
        ("input_missing", "warning", 0),
        ("input_missing", "warning", 1),
    }


def test_states_that_the_manifest_names_and_the_original_has_dropped(model: Path) -> None:
    (model / "ckpt.inputs-100").unlink()
    without_states(model, 1, 100)
    assert {(f.id, f.severity) for f in js.judged(model, 100).findings} == {
        ("input_missing", "note")
    }


@pytest.mark.parametrize("quick", [True, False])
def test_a_state_file_that_is_gone(model: Path, quick: bool) -> None:
    (model / "checkpoint_input_worker_1").unlink()
    finding = only(js.judged(model, 300, quick=quick))
    assert (finding.id, finding.worker) == ("input_missing", 1)
    assert finding.file == str(model / "checkpoint_input_worker_1")


def test_a_first_state_is_saved_before_its_state_file(model: Path) -> None:
    (model / "checkpoint_input_worker_1").unlink()
    (model / "input_worker_1.ckpt-300.index").touch()
    assert js.judged(model, 300).findings == []


def test_a_state_that_is_cut_off_is_one_finding(model: Path) -> None:
    name = "input_worker_1.ckpt-200.data-00000-of-00001"
    js.cut(model / name, 3)
    finding = only(js.judged(model, 200))
    assert (finding.id, finding.file) == ("bad_input_state", str(model / name))


def test_a_state_that_has_another_checksum_is_its_worker_s(model: Path) -> None:
    js.judged(model, 200, record=True)
    manifest = read_manifest(model / "ckpt.manifest-200")
    files = [
        file._replace(crc32c="00000000") if file.name.startswith("input_worker_1") else file
        for file in manifest.files
    ]
    write_manifest(model / "ckpt.manifest-200", manifest._replace(files=tuple(files)))
    found = js.judged(model, 200).findings
    assert {(each.id, each.worker) for each in found} == {("manifest_differs", 1)}


def test_a_job_without_inputs(tmp_path: Path) -> None:
    model = js.write_judged(tmp_path, inputs=False)
    assert js.judged(model).findings == []


# --- reading --------------------------------------------------------------------------------


def test_a_read_that_is_not_the_same_twice(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is stored is right; what this machine remembers of it is not."""
    data = "model.ckpt-200.data-00000-of-00001"
    right = {str(model / name): (model / name).read_bytes() for name in (A0, data)}
    for name, at in ((A0, 60), (data, 3)):
        js.flip(model / name, at)

    def forget(path: str) -> None:
        js.change(Path(path), lambda _: right[path])

    monkeypatch.setattr(scan, "forget_cached", forget)
    monkeypatch.setattr(dense, "forget_cached", forget)
    judgement = js.judged(model)
    assert js.told(judgement, model) == {("unstable_read", A0), ("unstable_read", data)}
    assert judgement.verdict == "doubtful"


def test_the_result_does_not_depend_on_the_number_of_threads(model: Path) -> None:
    js.flip(model / A0, 60)
    js.flip(model / f"{ASSETS}/{MULTI}-00000-of-00002", 99)
    alone = js.judged(model)
    assert js.judged(model)._replace(bytes_read=0) == alone._replace(bytes_read=0)


def test_no_more_is_read_in_a_second_than_allowed(model: Path) -> None:
    size = js.judged(model, 300).bytes_read
    start = time.monotonic()
    js.judged(model, 300, bytes_per_second=2 * size)
    assert time.monotonic() - start > 0.3


# --- what is asked for ----------------------------------------------------------------------


def test_findings_can_be_left_out(model: Path) -> None:
    js.flip(model / A0, 60)
    js.remove([model / A1])
    assert js.judged(model, ignore=["bad_data_crc", "missing_shard"]).verdict == "sound"
    assert js.judged(model, ignore=[f"bad_data_crc:*/{A}-*", f"missing_shard:{A1}"]).findings == []
    assert js.judged(model, ignore=["bad_data_crc:b*"]).verdict == "damaged"
    assert js.judged(model, ignore=["missing_shard", f"bad_data_crc:{A}"]).verdict == "sound"
    with pytest.raises(UsageError, match="no finding is called 'bad'"):
        js.judged(model, ignore=["bad"])


def test_steps_that_are_not_there(model: Path) -> None:
    with pytest.raises(StepNotFoundError):
        js.judged(model, 250)
    with pytest.raises(PathNotFoundError):
        js.judged(model / "none")


def test_a_step_that_is_deleted_meanwhile(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As TensorFlow's Saver does it: the index first."""
    read = scan.scan_files

    def deleting(*args: object) -> object:
        for path in (model / "model.ckpt-200.index", model / A0):
            path.unlink(missing_ok=True)
        return read(*args)  # type: ignore[arg-type]

    monkeypatch.setattr("monolith_cli.care.fsck.tables.scan_files", deleting)
    judgement = js.judged(model)
    assert judgement.left_out == [200]
    assert [each.step for each in judgement.steps] == [100, 300]
    assert judgement.findings == []


def test_the_step_before_may_be_deleted_meanwhile(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = f"model.ckpt-100.assets/{MULTI}.meta-00000-of-00002"
    checks = check_module.check_inputs

    def deleting(*args: object) -> object:
        (model / contents).unlink(missing_ok=True)
        return checks(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(check_module, "check_inputs", deleting)
    judgement = js.judged(model, 200, quick=True)
    assert (judgement.findings, judgement.unread) == ([], [])


# --- records --------------------------------------------------------------------------------


def test_a_record_spares_the_reading(model: Path) -> None:
    judgement = js.judged(model, 300, record=True)
    assert [each.step for each in judgement.recorded] == [300]
    manifest = read_manifest(model / "ckpt.manifest-300")
    assert all(file.crc32c for file in manifest.files)
    assert manifest.run_id == "run"
    again = js.judged(model, 300, max_age_seconds=3600.0)
    assert again.verdict == "sound"
    assert again.bytes_read < judgement.bytes_read / 3
    assert newest_verified(model) == 300
    os.utime(model / f"model.ckpt-300.assets/{A}-00000-of-00002")
    again = js.judged(model, 300, max_age_seconds=3600.0)
    assert again.bytes_read > judgement.bytes_read / 2


def test_a_record_of_another_step_spares_nothing(model: Path) -> None:
    js.judged(model, 300, record=True)
    shutil.copy2(model / "ckpt.checked-300", model / "ckpt.checked-200")
    js.flip(model / A0, 60)
    assert js.judged(model, 200, max_age_seconds=3600.0).verdict == "damaged"


def test_files_that_a_record_does_not_name_are_read(model: Path) -> None:
    js.judged(model, 200, record=True)
    ds.write_single_table(model / ASSETS, "MonolithHashTable_c", [b"\x0a\xff"], 1)
    assert js.judged(model, 200, max_age_seconds=3600.0).verdict == "damaged"


def test_whose_inputs_of_another_step(model: Path) -> None:
    shutil.copy2(model / "ckpt.inputs-100", model / "ckpt.inputs-200")
    assert js.told(js.judged(model), model) == {("bad_state_file", "ckpt.inputs-200")}


def test_no_record_of_what_is_damaged(model: Path) -> None:
    js.flip(model / A0, 60)
    assert js.judged(model, 200, record=True).recorded == []
    assert not (model / "ckpt.checked-200").exists()


def test_a_record_against_what_the_manifest_says(model: Path) -> None:
    js.remove([model / A0, model / A1])
    assert js.judged(model, 200, record=True).recorded == []
    judgement = js.judged(model, 200, re_record=True)
    assert judgement.recorded[0].forgotten[-1] == f"table {A}, which is gone"
    assert js.judged(model, 200).verdict == "sound"


def test_the_newest_step_that_passes(model: Path) -> None:
    assert newest_verified(model) == 300
    js.flip(model / f"model.ckpt-300.assets/{A}-00000-of-00002", 60)
    assert newest_verified(model) == 200
    for step in (100, 200):
        js.flip(model / f"model.ckpt-{step}.data-00000-of-00001", 2)
    assert newest_verified(model) is None


# --- exports --------------------------------------------------------------------------------


def test_copies_of_an_export_that_differ(model: Path, tmp_path: Path) -> None:
    for server in ("ps_0", "ps_1"):
        version = tmp_path / "export" / server / "1"
        shutil.copytree(model / ASSETS, version / "assets")
        (version / "variables").mkdir()
        write_tensor_bundle(version / "variables" / "variables", {"v": np.zeros(3)})
    export = tmp_path / "export"
    assert js.judged(export).verdict == "sound"
    copy = f"ps_1/1/assets/{A}-00000-of-00002"
    js.flip(export / copy, 60)
    assert js.judged(export, quick=True).verdict == "sound"
    assert js.told(js.judged(export), export) == {("copies_differ", copy)}


def test_an_assets_directory_by_itself(model: Path) -> None:
    directory = model / ASSETS
    for quick in (True, False):
        assert js.told(js.judged(directory, "latest", quick=quick), directory) == set()
    js.flip(model / A0, 60)
    shard = os.path.basename(A0)
    assert js.told(js.judged(directory, "latest"), directory) == {("bad_data_crc", shard)}


def test_a_part_of_a_partitioned_variable(tmp_path: Path) -> None:
    tf = tf_support.tensorflow()
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        parts = v1.fixed_size_partitioner(2)
        v1.get_variable("emb", initializer=tf.ones([6, 2]), partitioner=parts)
        session.run(v1.global_variables_initializer())
        variables = v1.global_variables()
        saver = v1.train.Saver([variables[0]])
        saver.save(session, str(tmp_path / "model.ckpt"), global_step=7)
    judgement = js.judged(tmp_path, 7, quick=True)
    assert {(f.id, f.variable) for f in judgement.findings if f.severity == "error"} == {
        ("missing_slice", "emb")
    }


def test_every_id_has_a_severity_and_a_rank() -> None:
    assert list(SEVERITY.values()) == sorted(
        SEVERITY.values(), key=["error", "warning", "note"].index
    )
