"""Samples of several steps: what a job leaves, what drifts, and what is wrong on purpose."""

from __future__ import annotations

import itertools
import json
import math
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import tf_support

from monolith_cli import messages
from monolith_cli.checkpoint.inputs import read_step_inputs
from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.errors import UsageError
from monolith_cli.formats.ckpt_info import CkptInfo, read_ckpt_info
from monolith_cli.samples.sample import Sample, write_sample
from monolith_cli.tables.counts import CountOptions, count_checkpoint

Entries = dict[int, Any]
"""EntryDump messages by fid."""


def files(directory: Path) -> dict[str, tuple[bytes, int]]:
    """Contents and times of all that is of a step."""
    return {
        str(path.relative_to(directory)): (path.read_bytes(), int(path.stat().st_mtime))
        for path in directory.rglob("*-*")
        if path.is_file()
    }


def entries(model: Path, step: int, table: str) -> Entries:
    found: Entries = {}
    for path in sorted(model.glob(f"model.ckpt-{step}.assets/MonolithHashTable_{table}-*")):
        for record in tf_support.read_records(path):
            entry = messages.EntryDump.FromString(record)
            assert entry.id not in found
            found[entry.id] = entry
    return found


def is_nan(entry: Any) -> bool:
    return all(map(math.isnan, entry.num))


def counted(model: Path, step: int) -> CkptInfo:
    return count_checkpoint(open_model_dir(model).checkpoint(step), CountOptions()).ckpt_info()


@pytest.fixture(scope="module")
def drifting(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Sample]:
    model = tmp_path_factory.mktemp("drifting") / "model"
    return model, write_sample(model, steps=4, drift=True, shards=2)


def test_the_steps_are_listed_an_hour_apart(drifting: tuple[Path, Sample]) -> None:
    model, sample = drifting
    assert sample.steps == (1000, 2000, 3000, 4000)
    assert sample.step == 4000
    state = tf_support.tensorflow().train.get_checkpoint_state(model)
    assert list(state.all_model_checkpoint_paths) == [
        str(model / f"model.ckpt-{step}") for step in sample.steps
    ]
    times = list(state.all_model_checkpoint_timestamps)
    assert times == [1_750_000_000 - 3600 * hours for hours in (3, 2, 1, 0)]
    for step, time in zip(sample.steps, times, strict=True):
        index = model / f"model.ckpt-{step}.index"
        assert index.stat().st_mtime == time


def test_counts_and_manifests_are_right(drifting: tuple[Path, Sample]) -> None:
    model, sample = drifting
    for step in sample.steps:
        assert read_ckpt_info(model / f"ckpt.info-{step}") == counted(model, step)
        manifest = json.loads((model / f"ckpt.manifest-{step}").read_text())
        for file in manifest["files"]:
            assert (model / file["name"]).stat().st_size == file["bytes"]
        assert len(manifest["files"]) == 2 + 3 * 2 + 4 * 2
    entries_of = {table["name"]: table["entries"] for table in manifest["tables"]}
    assert entries_of == {table.name: table.entries for table in sample.tables}


def test_multi_tables_drift_too(tmp_path: Path) -> None:
    sample = write_sample(tmp_path, steps=3, drift=True, multi=True, shards=2, entries=2000)
    for step in sample.steps:
        info = counted(tmp_path, step)
        assert read_ckpt_info(tmp_path / f"ckpt.info-{step}") == info
        (table,) = json.loads((tmp_path / f"ckpt.manifest-{step}").read_text())["tables"]
        assert table["entries"] == sum(info.feature_counts.values())
    assert info.feature_counts == {table.name: table.entries for table in sample.tables}


def test_one_slot_explodes_and_the_others_do_not(drifting: tuple[Path, Sample]) -> None:
    model, sample = drifting
    infos = [read_ckpt_info(model / f"ckpt.info-{step}").slot_counts for step in sample.steps]
    growth = [
        {slot: after[slot] / before[slot] - 1 for slot in before}
        for before, after in itertools.pairwise(infos)
    ]
    for last in (False, True):
        found = (
            growth[-1] if last else {slot: max(g[slot] for g in growth[:-1]) for slot in infos[0]}
        )
        assert [slot for slot, share in found.items() if share > 0.2] == ([13] if last else [])
    assert sum(share > 0 for share in growth[0].values()) >= 4
    assert sum(share < 0 for share in growth[0].values()) >= 4


def test_entries_come_change_and_go(drifting: tuple[Path, Sample]) -> None:
    model, _ = drifting
    before, after = entries(model, 2000, "user"), entries(model, 3000, "user")
    common = before.keys() & after.keys()
    assert 0.02 < len(after.keys() - before.keys()) / len(before) < 0.04
    assert 0.001 < len(before.keys() - after.keys()) / len(before) < 0.008
    embedding = {fid for fid in common if before[fid].num != after[fid].num}
    optimizer = {fid for fid in common if before[fid].opt != after[fid].opt}
    time = {
        fid for fid in common if before[fid].last_update_ts_sec != after[fid].last_update_ts_sec
    }
    assert embedding == optimizer
    assert embedding < time
    assert 0.09 < len(embedding) / len(common) < 0.15
    assert 0.02 < len(time - embedding) / len(common) < 0.06
    commit = 1_750_000_000 - 3600
    for fid in (*time, *(after.keys() - before.keys())):
        assert commit - 3600 <= after[fid].last_update_ts_sec < commit
    assert max(entry.last_update_ts_sec for entry in before.values()) < commit - 3600


def test_nan_is_in_the_last_step_alone(drifting: tuple[Path, Sample]) -> None:
    model, sample = drifting
    assert len(set(sample.nan_fids)) == 3
    for step in sample.steps:
        found = [
            fid
            for table in ("user", "item", "author", "query")
            for fid, entry in entries(model, step, table).items()
            if is_nan(entry)
        ]
        assert found == (list(sample.nan_fids) if step == 4000 else [])


@pytest.mark.parametrize("drift", [False, True])
def test_so_many_nan_as_are_asked_for(tmp_path: Path, drift: bool) -> None:
    for name, nan, expected in (("some", 7, 7), ("none", 0, 0), ("too many", 10_000, None)):
        sample = write_sample(tmp_path / name, entries=300, shards=2, drift=drift, nan=nan)
        first = "MonolithHashTable_user-00000-of-00002"
        records = tf_support.read_records(tmp_path / name / "model.ckpt-1000.assets" / first)
        assert len(sample.nan_fids) == (len(records) if expected is None else expected)
        found = [messages.EntryDump.FromString(record) for record in records]
        assert [entry.id for entry in found if is_nan(entry)] == list(sample.nan_fids)


def test_dense_variables_move(drifting: tuple[Path, Sample]) -> None:
    model, _ = drifting
    tf = tf_support.tensorflow()
    readers = [tf.train.load_checkpoint(str(model / f"model.ckpt-{s}")) for s in (3000, 4000)]
    before, after = (reader.get_tensor("dense_1/kernel") for reader in readers)
    assert 0 < abs(after - before).mean() < 0.02
    assert [reader.get_tensor("global_step") for reader in readers] == [3000, 4000]


def test_without_drift_all_steps_have_the_same_tables(tmp_path: Path) -> None:
    write_sample(tmp_path / "one", entries=500)
    write_sample(tmp_path / "three", entries=500, steps=3, step=500)
    one = files(tmp_path / "one" / "model.ckpt-1000.assets")
    for step in (500, 1500, 2500):
        several = files(tmp_path / "three" / f"model.ckpt-{step}.assets")
        assert [data for data, _ in several.values()] == [data for data, _ in one.values()]


def test_drift_goes_by_the_seed_alone(tmp_path: Path) -> None:
    def write(name: str, **how: Any) -> dict[str, tuple[bytes, int]]:
        told: list[tuple[int, int]] = []
        write_sample(
            tmp_path / name,
            entries=9000,
            tables=2,
            shards=2,
            steps=3,
            drift=True,
            flip_bit=True,
            progress=lambda *at: told.append(at),
            **how,
        )
        assert told == sorted(told)
        done, total = told[-1]
        assert done == total
        return files(tmp_path / name)

    first = write("first", jobs=1)
    assert write("threads", jobs=3) == first
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        assert write("processes", executor=pool) == first
    assert write("other", seed=1) != first


@pytest.mark.parametrize("multi", [False, True])
def test_one_bit_is_flipped_and_nothing_else(tmp_path: Path, multi: bool) -> None:
    sizes = {"entries": 400, "steps": 2, "multi": multi}
    assert write_sample(tmp_path / "good", **sizes).flipped is None
    flipped = write_sample(tmp_path / "bad", flip_bit=True, **sizes).flipped
    assert flipped is not None
    good, bad = files(tmp_path / "good"), files(tmp_path / "bad")
    different = [name for name in good if good[name] != bad[name]]
    assert different == [flipped.file]
    assert flipped.file.startswith("model.ckpt-2000.assets/")
    (before, time), (after, same_time) = good[flipped.file], bad[flipped.file]
    assert time == same_time
    assert [i for i, byte in enumerate(before) if byte != after[i]] == [flipped.offset]
    assert before[flipped.offset] ^ after[flipped.offset] == 1 << flipped.bit
    with pytest.raises(Exception, match=r"DataLoss|corrupted|Corrupted"):
        tf_support.read_records(tmp_path / "bad" / flipped.file, snappy=multi)


def test_where_there_is_no_record_no_bit_flips(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no entry is there"):
        write_sample(tmp_path, entries=0, flip_bit=True)


def test_tensorflow_goes_on_from_the_iterator_states(drifting: tuple[Path, Sample]) -> None:
    """The pipeline that the states say they are of; its fingerprint is the one that TensorFlow's
    graph of it has."""
    tf = tf_support.tensorflow()
    from monolith_cli.training.fingerprint import fingerprint

    model, sample = drifting
    for worker in (0, 2):
        first = worker << 40
        with tf.Graph().as_default() as graph, tf.compat.v1.Session() as session:
            dataset = tf.data.Dataset.range(first, first + (1 << 40)).batch(256)
            iterator = tf.compat.v1.data.make_one_shot_iterator(dataset)
            following = iterator.get_next()
            known = fingerprint(graph.get_collection("iterators"))
            for step in sample.steps:
                reader = tf.train.load_checkpoint(f"{model}/input_worker_{worker}.ckpt-{step}")
                assert list(reader.get_variable_to_shape_map()) == ["OneShotIterator:0_STATE"]
                restored = tf.raw_ops.RestoreV2(
                    prefix=f"{model}/input_worker_{worker}.ckpt-{step}",
                    tensor_names=["OneShotIterator:0_STATE"],
                    shape_and_slices=[""],
                    dtypes=[tf.variant],
                )[0]
                session.run(
                    tf.raw_ops.DeserializeIterator(
                        resource_handle=iterator._iterator_resource, serialized=restored
                    )
                )
                batches = step // 3 + worker
                assert session.run(following)[0] == first + 256 * batches
                inputs = read_step_inputs(str(model), step)
                assert inputs is not None
                assert list(inputs.workers) == [0, 1, 2]
                assert inputs.workers[worker].finished
                assert inputs.workers[worker].fingerprint == known
    state = tf.train.get_checkpoint_state(model, "checkpoint_input_worker_2")
    assert state.model_checkpoint_path == f"{model}/input_worker_2.ckpt-4000"
