"""`ckpt.info-<step>` as the trainer writes it: the same file as the command's."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from socket import socket
from typing import Any

import cli_support
import numpy as np
import pytest
import tf_support
from dump_support import random_entries, random_entry, scrambled, slot_counts

from monolith_cli import count_checkpoint, messages, open_model_dir
from monolith_cli.errors import UsageError, WriteError
from monolith_cli.fid import make_fid
from monolith_cli.formats.ckpt_info import format_ckpt_info, read_ckpt_info


@pytest.fixture
def tf() -> Iterator[Any]:
    """TensorFlow, with a new graph as the default."""
    tensorflow = tf_support.tensorflow()
    with tensorflow.Graph().as_default():
        yield tensorflow


class Foreign:
    """A trainer's own table: constant entries, on the device of its scope."""

    def __init__(
        self, tf: Any, entries: list[bytes], collection: str = "monolith_hash_tables"
    ) -> None:
        self.tf = tf
        self.table = tf.constant(0)
        self.entries = tf.constant(entries, tf.string, [len(entries)])
        tf.compat.v1.add_to_collection(collection, self)

    def save_as_tensor(self, shard_idx: Any, num_shards: Any, limit: Any, offset: Any) -> Any:
        tf = self.tf
        own = self.entries[shard_idx::num_shards]
        start = tf.maximum(offset - 1, 0)
        dump = own[start : start + limit]
        return start + tf.size(dump, out_type=tf.int64) + 1, dump


def listener(model_dir: Path) -> Any:
    from monolith_cli.training.ckpt_info import FidSlotCountSaverListener

    return FidSlotCountSaverListener(str(model_dir))


def saved(tf: Any, made: Any, model_dir: Path, step: int = 7) -> dict[int, int]:
    """The slot counts that the listener writes in a session."""
    with tf.compat.v1.Session() as session:
        made.before_save(session, step)
    return read_ckpt_info(model_dir / f"ckpt.info-{step}").slot_counts


def test_one_id(tf: Any, tmp_path: Path) -> None:
    from monolith_cli.training.hash_table import HashTable

    table = HashTable("t", 1)
    made = listener(tmp_path / "new" / "model")
    with tf.compat.v1.Session() as session:
        session.run(table.assign([1], [[0.5]]))
        made.before_save(session, 100)
    [path] = (tmp_path / "new" / "model").iterdir()
    assert path.name == "ckpt.info-100"
    assert path.read_bytes() == b"slot_counts {\n  key: 0\n  value: 1\n}\n"


def test_the_command_writes_the_same_file(tf: Any, tmp_path: Path) -> None:
    """Saved in a session with everything that belongs to it, counted by the library after it."""
    from monolith_cli.training.hash_table import HashTable, HashTableCheckpointSaverListener

    v1 = tf.compat.v1
    rng = np.random.default_rng(5)
    tables = [HashTable("MonolithHashTable_a", 2), HashTable("MonolithHashTable_b", 3)]
    slots = np.array([0, 1, 7, 1000, 32767, -32768, -1])  # the sign bit is no part of the slot
    fills = []
    for table, count in zip(tables, (5000, 700), strict=True):
        fids = rng.choice(slots, count) * 2**48 + rng.integers(0, 2**48, count)
        fills.append(table.assign(fids, rng.random((count, table.dim_size), np.float32), 5).as_op())
    step = v1.train.get_or_create_global_step()
    train = tf.group(step.assign_add(3), *fills)
    savers = [
        HashTableCheckpointSaverListener(str(tmp_path / "model.ckpt")),
        listener(tmp_path),
    ]
    hook = v1.train.CheckpointSaverHook(str(tmp_path), save_steps=100, listeners=savers)
    with v1.train.MonitoredTrainingSession(hooks=[hook]) as session:
        session.run(train)

    path = tmp_path / "ckpt.info-3"
    written = path.read_bytes()
    counts = count_checkpoint(open_model_dir(tmp_path).checkpoint(3))
    assert counts.entries == 5700
    assert set(counts.slot_counts) == {0, 1, 7, 1000, 32767}
    assert format_ckpt_info(counts.ckpt_info()) == written
    assert cli_support.call("ckpt-info", "--check", tmp_path).code == 0
    path.unlink()
    assert cli_support.call("ckpt-info", tmp_path).code == 0
    assert path.read_bytes() == written
    assert (tmp_path / "ckpt.info-0").read_bytes() == b""  # the save at the start, of no entries


def test_every_save_counts_anew(tf: Any, tmp_path: Path) -> None:
    from monolith_cli.training.hash_table import HashTable

    table = HashTable("t", 1)
    made = listener(tmp_path)
    with tf.compat.v1.Session() as session:
        for step, fids in ((1, [1, 2]), (2, [make_fid(3, 3)]), (3, [1])):
            session.run(table.assign(fids, np.zeros((len(fids), 1))))
            made.before_save(session, step)
        session.run(table.clear())
        made.before_save(session, 4)
        made.before_save(session, 4)  # a save that is tried again
    found = [read_ckpt_info(tmp_path / f"ckpt.info-{k}").slot_counts for k in (1, 2, 3, 4)]
    assert found == [{0: 2}, {0: 2, 3: 1}, {0: 2, 3: 1}, {}]


@pytest.mark.parametrize("count", [0, 1, 3999, 4000, 4001])
def test_foreign_tables(tf: Any, tmp_path: Path, count: int) -> None:
    entries = random_entries(count, count, segments=(("", 1),))
    more = random_entries(-1, 50)
    Foreign(tf, entries)
    Foreign(tf, more)
    assert saved(tf, listener(tmp_path), tmp_path) == slot_counts(entries + more)


def test_entries_of_any_writer(tf: Any, tmp_path: Path) -> None:
    """Ids that are not in front, or missing; the first entries are as usual."""
    rng = random.Random(3)
    entries = [random_entry(rng, segments=(("adam", 2),)) for _ in range(600)]
    records = random_entries(4, 3000) + [scrambled(entry, rng) for entry in entries]
    records += [b"", messages.EntryDump(num=[1.0] * 9).SerializeToString(), b"\x20\x09"]
    records += [b"\x12\x08" + np.ones(2, np.float32).tobytes()]
    rng.shuffle(records)
    # An entry with two ids may count by the first, which is in front; nobody writes such.
    records = [
        record for record in records if record[:1] != b"\x09" or front(record) == fid(record)
    ]
    Foreign(tf, records)
    expected = Counter((fid(record) >> 48) & 0x7FFF for record in records)
    assert saved(tf, listener(tmp_path), tmp_path) == dict(sorted(expected.items()))


def front(record: bytes) -> int:
    return int.from_bytes(record[1:9], "little", signed=True)


def fid(record: bytes) -> int:
    found: int = messages.EntryDump.FromString(record).id
    return found


@pytest.mark.parametrize("record", [b"abc", b"\x09\x01\x02", b"\x09"])
def test_what_is_no_entry(tf: Any, tmp_path: Path, record: bytes) -> None:
    Foreign(tf, [*random_entries(1, 5), record])
    with pytest.raises(tf.errors.DataLossError):
        saved(tf, listener(tmp_path), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_tables_of_several_devices(tf: Any, tmp_path: Path) -> None:
    """Two parameter servers, each counting its own tables."""
    v1 = tf.compat.v1
    with socket() as one, socket() as other:
        for free in (one, other):
            free.bind(("localhost", 0))
        addresses = [f"localhost:{free.getsockname()[1]}" for free in (one, other)]
    cluster = {"ps": addresses}
    running = [v1.train.Server(cluster, job_name="ps", task_index=k) for k in (0, 1)]
    all_entries = []
    for k, count in enumerate((3000, 10, 2500, 0)):
        with tf.device(f"/job:ps/task:{k % 2}"):
            all_entries += random_entries(k, count)
            Foreign(tf, random_entries(k, count))
    with tf.device("/job:ps/task:1"), tf.name_scope("some"), v1.variable_scope("where"):
        made = listener(tmp_path)
    with v1.train.MonitoredTrainingSession(running[0].target) as session:
        made.before_save(session, 9)
    assert read_ckpt_info(tmp_path / "ckpt.info-9").slot_counts == slot_counts(all_entries)
    graph = v1.get_default_graph()
    for k in (0, 1):
        name = f"monolith_fid_slot_count//job_ps/task_{k}"
        assert graph.get_operation_by_name(name).device == f"/job:ps/task:{k}"


def test_the_variable_is_in_no_collection(tf: Any, tmp_path: Path) -> None:
    with tf.device("/device:CPU:0"):
        Foreign(tf, random_entries(1, 5))
    listener(tmp_path)
    listener(tmp_path)  # a second one in a graph is fine
    graph = tf.compat.v1.get_default_graph()
    keys = [key for key in graph.get_all_collection_keys() if graph.get_collection(key)]
    assert keys == ["monolith_hash_tables"]
    variable = graph.get_operation_by_name("monolith_fid_slot_count//device_CPU_0")
    assert variable.type == "VarHandleOp"
    assert variable.get_attr("dtype") == tf.int64
    assert variable.get_attr("shape").dim[0].size == 102400


def test_multi_tables_are_counted_by_their_own_saver(tf: Any, tmp_path: Path) -> None:
    Foreign(tf, random_entries(1, 5))
    tf.compat.v1.add_to_collection("monolith_multi_hash_tables", object())
    made = listener(tmp_path / "new")
    with tf.compat.v1.Session() as session:
        made.before_save(session, 3)
    assert list(tmp_path.iterdir()) == []


def test_made_before_the_model(tf: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the listener was made before the model"):
        listener(tmp_path)


def test_a_directory_that_cannot_be_made(tf: Any, tmp_path: Path) -> None:
    Foreign(tf, [])
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file" / "below", tmp_path / "file"):
        with pytest.raises(WriteError, match=str(path)) as caught:
            saved(tf, listener(path), path)
        assert isinstance(caught.value, OSError)


def test_a_file_that_cannot_be_written(tf: Any, tmp_path: Path) -> None:
    Foreign(tf, [])
    (tmp_path / "ckpt.info-7").mkdir()
    with pytest.raises(WriteError, match=r"ckpt\.info-7: not written"):
        saved(tf, listener(tmp_path), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["ckpt.info-7"]


def test_slots_beyond_the_last_count_as_the_last(
    tf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monolith_cli.training.tables.slot_counts.MAX_SLOTS", 8)
    entries = [messages.EntryDump(id=make_fid(slot, 1)).SerializeToString() for slot in (6, 7, 99)]
    Foreign(tf, entries)
    assert saved(tf, listener(tmp_path), tmp_path) == {6: 1, 7: 2}


def test_many_tables_of_one_device_at_once(tf: Any, tmp_path: Path) -> None:
    """Additions by several ops to one variable at the same time would get lost."""
    entries = [messages.EntryDump(id=1).SerializeToString()] * 5000
    for _ in range(8):
        Foreign(tf, entries)
    assert saved(tf, listener(tmp_path), tmp_path) == {0: 40_000}


def test_an_old_file_is_replaced(tf: Any, tmp_path: Path) -> None:
    (tmp_path / "ckpt.info-7").write_text("old")
    Foreign(tf, [messages.EntryDump(id=1).SerializeToString()])
    assert saved(tf, listener(tmp_path), tmp_path) == {0: 1}


def test_tables_that_know_their_device_only(tf: Any, tmp_path: Path) -> None:
    for device in ("/job:ps/task:0", "/job:ps/task:1", "/job:ps/task:1"):
        table = Foreign(tf, [])
        del table.table
        table.device = device  # type: ignore[attr-defined]
    devices = [count.device for count in listener(tmp_path)._counts]
    assert devices == ["/job:ps/task:0", "/job:ps/task:1"]


def test_a_url(tf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from monolith_cli.training.ckpt_info import FidSlotCountSaverListener

    monkeypatch.chdir(tmp_path)
    Foreign(tf, [])
    with pytest.raises(UsageError, match="hdfs://nn/model is a URL"):
        FidSlotCountSaverListener("hdfs://nn/model")
    assert list(tmp_path.iterdir()) == []
