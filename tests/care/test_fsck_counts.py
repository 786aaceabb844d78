"""Entries that are there against those that were saved: contents, manifests, `ckpt.info`."""

from __future__ import annotations

from pathlib import Path

import dump_support as ds
import judge_support as js
import pytest
import tf_support

from monolith_cli import messages
from monolith_cli.care.findings import Finding
from monolith_cli.care.fsck import newest_verified
from monolith_cli.formats.ckpt_info import CkptInfo, write_ckpt_info

ASSETS = "model.ckpt-300.assets"
A, MULTI = "MonolithHashTable_a", js.MULTI
META0, META1 = (f"{ASSETS}/{MULTI}.meta-0000{number}-of-00002" for number in (0, 1))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = js.write_judged(tmp_path_factory.mktemp("sound"))
    js.write_manifest(directory, 300, entries={MULTI: 80})
    return directory


@pytest.fixture
def model(sound: Path, tmp_path: Path) -> Path:
    return js.copied(sound, tmp_path / "model")


@pytest.fixture
def unlisted(model: Path) -> Path:
    """Without manifests."""
    js.remove(model.glob("ckpt.manifest-*"))
    return model


def promise(path: Path, **entries: int) -> None:
    """Make a contents file as another save would have, of the same size."""
    metas = [
        messages.MultiHashTableMetadata(table_name=name, num_entries=number)
        for name, number in entries.items()
    ]
    js.change(path, lambda _: ds.frame(*(meta.SerializeToString() for meta in metas)))


def only(directory: Path, *, quick: bool = False) -> Finding:
    (finding,) = (
        each for each in js.judged(directory, 300, quick=quick).findings if each.id != "no_manifest"
    )
    return finding


# --- contents files of another save -----------------------------------------------------------


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize(("contents", "item", "user"), [(META0, 15, 21), (META1, 20, 25)])
def test_contents_of_another_save(
    model: Path, contents: str, item: int, user: int, quick: bool
) -> None:
    promise(model / contents, item=item, user=user)
    finding = only(model, quick=quick)
    assert (finding.id, finding.severity) == ("manifest_differs", "error")
    assert finding.file == str(model / contents)
    assert "count" not in str(finding.suggest)


def test_contents_of_another_save_leave_no_record(model: Path) -> None:
    promise(model / META0, item=15, user=21)
    assert js.judged(model, 300, record=True).recorded == []
    assert newest_verified(model) == 200


def test_contents_that_changed_places(model: Path) -> None:
    """Together they promise as much as was saved."""
    promise(model / META0, item=15, user=24)
    promise(model / META1, item=15, user=26)
    told = js.told(js.judged(model, 300), model)
    assert told == {("manifest_differs", META0), ("manifest_differs", META1)}


def test_data_of_another_save(model: Path) -> None:
    """The contents are what was saved, so the data is not."""
    data = f"{ASSETS}/{MULTI}-00001-of-00002"
    records = tf_support.read_records(model / data, snappy=True)
    (model / data).unlink()
    tf_support.write_snappy(model / data, records[:-2])
    js.write_manifest(model, 300, entries={MULTI: 80})
    assert js.told(js.judged(model, 300), model) == {("too_few_entries", data)}


def test_contents_of_another_save_without_a_manifest(unlisted: Path) -> None:
    promise(unlisted / META1, item=15, user=21)
    finding = only(unlisted)
    assert (finding.id, finding.severity) == ("extra_entries", "error")
    assert finding.file == str(unlisted / META1)
    finding = only(unlisted, quick=True)
    assert (finding.id, finding.file) == ("counts_differ", str(unlisted / "ckpt.info-300"))
    assert "which of the two" in str(finding.suggest)


# --- without a manifest ------------------------------------------------------------------------


def test_counts_that_expiry_may_explain_are_a_note(unlisted: Path) -> None:
    js.remove((unlisted / ASSETS).glob(f"{MULTI}*"))
    counts = js.slots_of(unlisted / ASSETS)
    slot = max(counts)
    write_ckpt_info(unlisted / "ckpt.info-300", CkptInfo({**counts, slot: counts[slot] + 7}, {}))
    judgement = js.judged(unlisted, 300)
    (note,) = (each for each in judgement.findings if each.id == "counts_differ")
    assert (note.severity, note.file) == ("note", str(unlisted / "ckpt.info-300"))
    assert "7 entries more than are there" in note.message
    assert judgement.verdict == "sound"
    write_ckpt_info(unlisted / "ckpt.info-300", CkptInfo(counts, {}))
    assert "counts_differ" not in {each.id for each in js.judged(unlisted, 300).findings}


def test_what_is_as_it_was_saved_has_lost_nothing(model: Path) -> None:
    js.remove((model / ASSETS).glob(f"{MULTI}*"))
    counts = js.slots_of(model / ASSETS)
    write_ckpt_info(model / "ckpt.info-300", CkptInfo(dict.fromkeys(counts, 99), {}))
    js.write_manifest(model, 300)
    assert {each.id for each in js.judged(model, 300).findings} == {"table_went"}


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize(("share", "shards"), [(0, 2), (0, 4), (0.2, 2), (0.2, 4)])
def test_a_shard_that_is_much_smaller(
    unlisted: Path, share: float, shards: int, quick: bool
) -> None:
    records = ds.random_entries(3, 400, segments=(("adagrad", 32),))
    end = int(len(records) * share)
    for number in range(shards):
        path = unlisted / ASSETS / f"MonolithHashTable_c-{number:05d}-of-{shards:05d}"
        path.write_bytes(ds.frame(*(records[:end] if number == 1 else records)))
    js.make_old(unlisted)
    uneven = [f for f in js.judged(unlisted, 300, quick=quick).findings if f.id == "shard_uneven"]
    name = f"MonolithHashTable_c-00001-of-{shards:05d}"
    assert [each.file for each in uneven] == [str(unlisted / ASSETS / name)]


def test_an_emptied_shard_is_one_finding(model: Path) -> None:
    assets = model / ASSETS
    ds.write_single_table(assets, A, ds.random_entries(3, 800, segments=(("adagrad", 32),)), 2)
    js.write_manifest(model, 300)
    js.cut(assets / f"{A}-00001-of-00002", 0)
    assert only(model).id == "manifest_differs"
