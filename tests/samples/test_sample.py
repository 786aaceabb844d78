"""What `write_sample` writes, read by TensorFlow and protobuf."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import dump_support as ds
import numpy as np
import pytest
import tf_support

from monolith_cli import messages
from monolith_cli.errors import AlreadyExistsError, BrokenExecutorError, UsageError, WriteError
from monolith_cli.samples import entries as sample_entries
from monolith_cli.samples.plan import default_shards
from monolith_cli.samples.sample import write_sample


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def digest(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.rglob("*")
        if path.is_file()
    }


def entries_of(paths: list[Path], *, snappy: bool = False) -> list[Any]:
    return [
        messages.EntryDump.FromString(record)
        for path in paths
        for record in tf_support.read_records(path, snappy=snappy)
    ]


@pytest.fixture(scope="module")
def processes() -> Iterator[Executor]:
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.mark.parametrize("multi", [False, True])
def test_the_bytes_do_not_depend_on_who_writes(
    tmp_path: Path, multi: bool, processes: Executor
) -> None:
    hows: list[dict[str, Any]] = [
        {},
        {"jobs": 1},
        {"jobs": 3},
        {"executor": processes},
    ]
    found = []
    for number, how in enumerate(hows):
        told: list[tuple[int, int]] = []
        write_sample(
            tmp_path / str(number),
            entries=2000,
            tables=3,
            shards=2,
            multi=multi,
            progress=lambda *at, told=told: told.append(at),
            **how,
        )
        assert told == sorted(told)
        assert told[-1] == (2000, 2000)
        found.append(digest(tmp_path / str(number)))
    assert all(each == found[0] for each in found)


class Dead(Executor):
    def submit(self, *_: Any, **__: Any) -> Any:
        raise BrokenProcessPool("a process is gone")


def test_an_executor_that_breaks_leaves_no_tables(tmp_path: Path) -> None:
    with pytest.raises(BrokenExecutorError, match="a process is gone"):
        write_sample(tmp_path / "model", entries=100, executor=Dead())
    assert names(tmp_path / "model") == []


def test_single_tables(tmp_path: Path) -> None:
    written = write_sample(tmp_path / "model", entries=1000, tables=3, shards=2, dim=5, step=7)
    model = tmp_path / "model"
    assert names(model) == [
        "checkpoint",
        "model.ckpt-7.assets",
        "model.ckpt-7.data-00000-of-00001",
        "model.ckpt-7.index",
        "monolith_checkpoint",
    ]
    assets = model / "model.ckpt-7.assets"
    assert names(assets) == [
        f"MonolithHashTable_{table}-0000{shard}-of-00002"
        for table in ("author", "item", "user")
        for shard in (0, 1)
    ]
    assert written.path == str(model)
    assert written.step == 7
    assert written.shards == 2
    assert [table.name for table in written.tables] == [
        "MonolithHashTable_user",
        "MonolithHashTable_item",
        "MonolithHashTable_author",
    ]
    assert [table.entries for table in written.tables] == [546, 273, 181]
    assert written.stored_bytes == sum(path.stat().st_size for path in assets.iterdir())
    seen: set[int] = set()
    for table in written.tables:
        entries = entries_of([ds.shard_path(assets, table.name, shard, 2) for shard in (0, 1)])
        assert len(entries) == table.entries
        slots = {entry.id >> 48 for entry in entries}
        assert slots == set(table.slots)
        assert not slots & seen, "slots belong to one table"
        seen |= slots
        assert len({entry.id for entry in entries}) == table.entries
        assert all(len(entry.num) == 5 for entry in entries)


def test_multi_tables(tmp_path: Path) -> None:
    written = write_sample(tmp_path, entries=500, tables=3, shards=2, dim=4, multi=True)
    assets = tmp_path / "model.ckpt-1000.assets"
    assert names(assets) == [
        "MonolithMultiHashTable-00000-of-00002",
        "MonolithMultiHashTable-00001-of-00002",
        "MonolithMultiHashTable.meta-00000-of-00002",
        "MonolithMultiHashTable.meta-00001-of-00002",
    ]
    counts: dict[str, int] = {}
    for shard in (0, 1):
        meta = tf_support.read_records(
            ds.shard_path(assets, "MonolithMultiHashTable.meta", shard, 2)
        )
        entries = entries_of(
            [ds.shard_path(assets, "MonolithMultiHashTable", shard, 2)], snappy=True
        )
        for table, record in zip(written.tables, meta, strict=True):
            parsed = messages.MultiHashTableMetadata.FromString(record)
            assert parsed.table_name == table.name
            counts[table.name] = counts.get(table.name, 0) + parsed.num_entries
            own, entries = entries[: parsed.num_entries], entries[parsed.num_entries :]
            assert {entry.id >> 48 for entry in own} <= set(table.slots)
        assert entries == []
    assert counts == {table.name: table.entries for table in written.tables}
    assert counts == {"user": 273, "item": 137, "author": 90}


@pytest.mark.parametrize("optimizer", sorted(sample_entries.OPTIMIZERS))
@pytest.mark.parametrize("varied", [False, True])
def test_every_optimizer(tmp_path: Path, optimizer: str, varied: bool) -> None:
    write_sample(
        tmp_path, entries=60, tables=1, shards=1, dim=3, optimizer=optimizer, varied=varied
    )
    path = tmp_path / "model.ckpt-1000.assets" / "MonolithHashTable_user-00000-of-00001"
    records = tf_support.read_records(path)
    assert (len({len(record) for record in records}) > 1) == varied
    for record in records:
        entry = messages.EntryDump.FromString(record)
        # The bytes are those that protobuf's own serializer writes.
        assert entry.SerializeToString() == record
        kinds = [single.WhichOneof("type") for single in entry.opt.dump]
        assert kinds == (["dynamic_wd_adagrad", optimizer] if varied else [optimizer])
        dims = [1, 2] if varied else [3]
        for single, kind, dim in zip(entry.opt.dump, kinds, dims, strict=True):
            dump = getattr(single, kind)
            arrays, floats, _ = ds.OPTIMIZERS[kind]
            assert all(len(getattr(dump, name)) == dim for name in arrays)
            assert all(dump.HasField(name) for name in floats)


def test_values_vary(tmp_path: Path) -> None:
    write_sample(tmp_path, entries=4000, tables=1, shards=1, dim=3)
    path = tmp_path / "model.ckpt-1000.assets" / "MonolithHashTable_user-00000-of-00001"
    entries = entries_of([path])
    values = [value for entry in entries for value in entry.num]
    assert len(set(values)) > 0.99 * len(values)
    steps = [entry.opt.dump[0].dynamic_wd_adagrad for entry in entries]
    sizes = {(dump.last_update_step.bit_length() + 6) // 7 for dump in steps}
    assert sizes == {0, 1, 2, 3, 4, 5, 6}  # bytes on the wire; 0 where there is none
    assert 300 < sum(not dump.HasField("last_update_step") for dump in steps) < 700
    times = [entry.last_update_ts_sec for entry in entries]
    assert 300 < times.count(0) < 700
    assert {time // 1_000_000 for time in times} == {0, 1747, 1748, 1749}
    by_slot = ds.slot_counts(tf_support.read_records(path))
    assert list(by_slot) == [0, 1]
    assert by_slot[0] > 2 * by_slot[1] > 0


def test_tensorflow_reads_the_checkpoint(tmp_path: Path) -> None:
    write_sample(tmp_path, entries=10, step=123)
    tf = tf_support.tensorflow()
    latest = tf.train.latest_checkpoint(tmp_path)
    assert latest == str(tmp_path / "model.ckpt-123")
    reader = tf.train.load_checkpoint(latest)
    assert reader.get_variable_to_shape_map() == {
        "global_step": [],
        "dense_1/kernel": [16, 16],
        "dense_1/bias": [16],
        "dense_2/kernel": [16, 1],
        "dense_2/bias": [1],
    }
    assert reader.get_tensor("global_step") == 123
    assert reader.get_tensor("global_step").dtype == np.int64
    assert np.isfinite(reader.get_tensor("dense_1/kernel")).all()
    state = tf.train.get_checkpoint_state(tmp_path)
    assert list(state.all_model_checkpoint_paths) == [latest]


def test_protobuf_reads_monolith_checkpoint(tmp_path: Path) -> None:
    from google.protobuf import text_format

    for multi, expected in ((False, 1), (True, 2)):
        write_sample(tmp_path / str(multi), entries=10, multi=multi)
        text = (tmp_path / str(multi) / "monolith_checkpoint").read_text()
        state = text_format.Parse(text, messages.MonolithCheckpointState())
        assert state.builtin_hash_table_type == expected
        assert state.last_checkpoint_save_timestamp > 0


def test_equal_seeds_give_equal_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_sample(tmp_path / name, entries=3000, tables=2, shards=3, dim=2, seed=seed)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert digest(tmp_path / "a") != digest(tmp_path / "c")


def test_chunks_do_not_repeat_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_entries, "_CHUNK_FLOATS", 70)
    write_sample(tmp_path, entries=101, tables=1, shards=2, dim=2)
    assets = tmp_path / "model.ckpt-1000.assets"
    entries = entries_of(
        [ds.shard_path(assets, "MonolithHashTable_user", shard, 2) for shard in (0, 1)]
    )
    assert len({entry.id for entry in entries}) == 101
    assert len({tuple(entry.num) for entry in entries}) == 101


@pytest.mark.parametrize(
    ("entries", "tables", "multi", "shards"),
    [
        (0, 1, False, 1),
        (999_999, 1, False, 1),
        (2_000_000, 1, False, 2),
        (4_000_000, 1, False, 4),
        (40_000_000, 1, False, 4),
        (2_000_000, 4, True, 2),
        (2_000_000, 2, False, 1),
    ],
)
def test_default_number_of_shards(entries: int, tables: int, multi: bool, shards: int) -> None:
    assert default_shards(entries, tables, multi) == shards


@pytest.mark.parametrize("multi", [False, True])
@pytest.mark.parametrize("entries", [0, 1, 3])
def test_fewer_entries_than_files(tmp_path: Path, entries: int, multi: bool) -> None:
    written = write_sample(tmp_path, entries=entries, tables=10, shards=5, multi=multi)
    assert sum(table.entries for table in written.tables) == entries
    assert [table.name for table in written.tables][-2:] == (
        ["user2", "item2"] if multi else ["MonolithHashTable_user2", "MonolithHashTable_item2"]
    )
    assets = tmp_path / "model.ckpt-1000.assets"
    assert len(names(assets)) == (10 if multi else 50)
    data = [path for path in sorted(assets.iterdir()) if ".meta-" not in path.name]
    assert len(entries_of(data, snappy=multi)) == entries


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"entries": -1}, "entries -1"),
        ({"tables": 0}, "tables 0"),
        ({"shards": 0}, "shards 0"),
        ({"shards": 100_000}, "shards 100000"),
        ({"dim": 0}, "dim 0"),
        ({"seed": -1}, "seed -1"),
        ({"step": -1}, "step -1"),
        ({"optimizer": "nadam"}, "'nadam'"),
    ],
)
def test_arguments_out_of_range(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        write_sample(tmp_path / "model", **arguments)
    assert names(tmp_path) == []


def test_what_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(AlreadyExistsError, match="not empty"):
        write_sample(tmp_path, entries=10)
    with pytest.raises(AlreadyExistsError, match="is not a directory"):
        write_sample(tmp_path / "mine", entries=10)
    assert names(tmp_path) == ["mine"]
    assert (tmp_path / "mine").read_text() == "mine"


def test_force_replaces_the_step(tmp_path: Path) -> None:
    write_sample(tmp_path, entries=10, shards=3, step=1)
    write_sample(tmp_path, entries=10, shards=3, step=2, force=True)
    (tmp_path / "ckpt.info-1").write_text("slot_counts { key: 5 value: 5 }")
    (tmp_path / "ckpt.info-2").write_text("slot_counts { key: 6 value: 6 }")
    (tmp_path / "mine").write_text("mine")
    written = write_sample(tmp_path, entries=20, shards=2, step=2, force=True)
    assert names(tmp_path) == [
        "checkpoint",
        "ckpt.info-1",
        "mine",
        "model.ckpt-1.assets",
        "model.ckpt-1.data-00000-of-00001",
        "model.ckpt-1.index",
        "model.ckpt-2.assets",
        "model.ckpt-2.data-00000-of-00001",
        "model.ckpt-2.index",
        "monolith_checkpoint",
    ]
    assert len(names(tmp_path / "model.ckpt-2.assets")) == 2 * len(written.tables)


def test_force_removes_what_a_killed_run_has_left(tmp_path: Path) -> None:
    model = tmp_path / "model"
    script = (
        "import os, signal, sys; from monolith_cli.samples.sample import write_sample;"
        "write_sample(sys.argv[1], entries=5000, shards=2,"
        " progress=lambda done, total: os.kill(os.getpid(), signal.SIGKILL))"
    )
    for _ in range(2):
        killed = subprocess.run([sys.executable, "-I", "-c", script, model], check=False)
        assert killed.returncode == -signal.SIGKILL
        (left,) = names(model)
        assert left.startswith(".model.ckpt-1000.assets.")
        write_sample(model, entries=10, step=7, force=True)
        assert left in names(model)  # that is another step's
        write_sample(model, entries=10, force=True)
        assert not [name for name in names(model) if name.startswith(".")]
        shutil.rmtree(model)


def test_force_leaves_what_is_being_written(tmp_path: Path) -> None:
    unknown = f".model.ckpt-1000.assets.{2**22 + 1}.{16 * 'a'}.tmp"  # no process has such a number
    kept = [
        f".model.ckpt-1000.assets.{os.getppid()}.{16 * 'a'}.tmp",
        f".model.ckpt-10000.assets.{2**22 + 1}.{16 * 'a'}.tmp",
        f".mine.{2**22 + 1}.{16 * 'a'}.tmp",
        ".model.ckpt-1000.assets.tmp",
    ]
    gone = [
        unknown,
        f".checkpoint.{2**22 + 1}.{16 * 'b'}.tmp",
        f".checkpoint.{10**18}.{16 * 'b'}.tmp",
    ]
    for name in [*kept, *gone]:
        (tmp_path / name).mkdir()
    write_sample(tmp_path, entries=10, force=True)
    assert [name for name in names(tmp_path) if name.startswith(".")] == sorted(kept)


def test_a_failure_leaves_no_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> object:
        raise OSError(28, os.strerror(28), "somewhere")

    monkeypatch.setattr(sample_entries, "draw_rows", full)
    with pytest.raises(WriteError, match="No space left") as caught:
        write_sample(tmp_path, entries=1000)
    assert caught.value.errno == 28
    assert names(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(WriteError, match="Permission denied"):
            write_sample(tmp_path / "model", entries=10)
    finally:
        tmp_path.chmod(0o700)
