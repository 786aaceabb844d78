"""The table of stock ops, its dumps, and the listeners that save and restore it."""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tf_support
from dump_support import random_entry, scrambled, write_checkpoint_state, write_single_table
from input_support import files_of_at_most

from monolith_cli import MonolithError, messages, open_model_dir, open_tables
from monolith_cli.errors import StateFileError, TableNotFoundError, UsageError, WriteError

Content = dict[int, tuple[tuple[float, ...], int]]
"""By id: the floats, and the time."""


@pytest.fixture
def tf() -> Iterator[Any]:
    """TensorFlow, with a new graph as the default."""
    tensorflow = tf_support.tensorflow()
    with tensorflow.Graph().as_default():
        yield tensorflow


def hash_table(name: str = "t", dim: int = 2) -> Any:
    from monolith_cli.training.hash_table import HashTable

    return HashTable(name, dim)


def parse(entries: Any) -> Content:
    parsed = [messages.EntryDump.FromString(bytes(entry)) for entry in entries]
    return {entry.id: (tuple(entry.num), entry.last_update_ts_sec) for entry in parsed}


def content(table: Any, session: Any) -> Content:
    """Everything, read through a graph that is not finalized."""
    return parse(session.run(table.save_as_tensor(0, 1, 1 << 40, 0))[1])


def fill(table: Any, count: int = 5, time: int = 9) -> Any:
    values = np.arange(count * table.dim_size, dtype=np.float32).reshape(count, table.dim_size)
    return table.assign(np.arange(count), values, time)


# --- assign, add, look up ---------------------------------------------------------------------


def test_a_chain(tf: Any) -> None:
    table = hash_table()
    after = table.assign([1, -2, 1], [[1, 2], [3, 4], [5, 6]], 7)
    after = after.assign_add([-2, 9, 9], [[1, 1], [1, 1], [1, 2]])
    values, size = after.lookup([[1, -2], [9, 5]]), after.size()
    with tf.compat.v1.Session() as session:
        assert session.run(table.size()) == 0
        found = session.run([values, size])
        assert found[0].tolist() == [[[5, 6], [4, 5]], [[2, 3], [0, 0]]]
        assert found[1] == 3
        assert content(table, session) == {1: ((5, 6), 7), -2: ((4, 5), 7), 9: ((2, 3), 0)}


def test_a_write_waits_for_its_values_without_the_mutex(tf: Any) -> None:
    """What is written comes from a lookup of the same step, and that is late."""
    table = hash_table()

    def late(ids: Any) -> Any:
        time.sleep(0.3)
        return ids

    ids = tf.py_function(late, [tf.constant([1], tf.int64)], tf.int64)
    with tf.control_dependencies([ids]):
        values = table.lookup(tf.ensure_shape(ids, [1]))
    after = table.assign_add([1], values + 1)
    options = tf.compat.v1.RunOptions(timeout_in_ms=20_000)
    with tf.compat.v1.Session() as session:
        session.run(after, options=options)
        session.run(after, options=options)
        assert content(table, session) == {1: ((3, 3), 0)}


def test_times(tf: Any) -> None:
    table = hash_table("t", 1)
    both = [[1.0], [2.0]]
    steps = [
        (table.assign([1, 2], both, [10, 20]), {1: 10, 2: 20}),
        (table.assign([2, 3], both), {1: 10, 2: 20, 3: 0}),
        (table.assign_add([3, 1], both, 5), {1: 5, 2: 20, 3: 5}),
        (table.assign_add([3, 4], both), {1: 5, 2: 20, 3: 5, 4: 0}),
        (table.assign([4, 4], both, [7, 6]), {1: 5, 2: 20, 3: 5, 4: 6}),
    ]
    with tf.compat.v1.Session() as session:
        for step, times in steps:
            session.run(step)
            assert {fid: time for fid, (_, time) in content(table, session).items()} == times


@pytest.mark.parametrize("seed", range(3))
def test_against_a_dict(tf: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    v1 = tf.compat.v1
    table = hash_table("t", 3)
    ids, values = v1.placeholder(tf.int64, [None]), v1.placeholder(tf.float32, [None, 3])
    assign, add = table.assign(ids, values).as_op(), table.assign_add(ids, values).as_op()
    clear, lookup = table.clear().as_op(), table.lookup(ids)
    expected: dict[int, Any] = {}
    with v1.Session() as session:
        for _ in range(30):
            keys = rng.integers(-3000, 3000, rng.choice([0, 1, 700]))
            rows = rng.integers(-5, 5, (len(keys), 3)).astype(np.float32)
            kind = rng.choice(["assign", "add", "clear"], p=[0.45, 0.5, 0.05])
            if kind == "clear":
                session.run(clear)
                expected.clear()
            else:
                session.run(assign if kind == "assign" else add, {ids: keys, values: rows})
            for key, row in zip(keys.tolist(), rows, strict=True):
                if kind == "assign":
                    expected[key] = row
                elif kind == "add":
                    expected[key] = expected.get(key, 0) + row
            keys = rng.integers(-3000, 3000, 500)
            wanted = [expected.get(key, np.zeros(3)) for key in keys.tolist()]
            np.testing.assert_array_equal(session.run(lookup, {ids: keys}), wanted)
            assert session.run(table.size()) == len(expected)


def test_additions_from_many_threads(tf: Any) -> None:
    v1 = tf.compat.v1
    table = hash_table("t", 1)
    ids = v1.placeholder(tf.int64, [None])
    add = table.assign_add(ids, tf.ones([tf.size(ids), 1])).as_op()
    same_run = tf.group(*[table.assign_add([7], [[1.0]]) for _ in range(20)])
    with v1.Session() as session:

        def work(start: int) -> None:
            for _ in range(25):
                session.run(add, {ids: list(range(start, start + 200))})

        threads = [threading.Thread(target=work, args=(start,)) for start in (0, 100, 200, 300)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = {fid: row[0] for fid, (row, _) in content(table, session).items()}
        assert found == {fid: 50 if 100 <= fid < 400 else 25 for fid in range(500)}
        session.run(same_run)
        assert session.run(table.lookup([7])).tolist() == [[45]]


def test_what_fails_lets_the_table_go(tf: Any) -> None:
    table = fill(hash_table())
    limit = tf.compat.v1.placeholder(tf.int64, [])
    page = table.save_as_tensor(0, 1, limit, 0)
    with tf.compat.v1.Session() as session:
        with pytest.raises(tf.errors.InvalidArgumentError, match="no such page"):
            session.run(page, {limit: 0})
        with pytest.raises(tf.errors.InvalidArgumentError):
            session.run(
                table.assign(
                    tf.compat.v1.placeholder_with_default(np.array([1]), [None]), [[1, 2]] * 2
                )
            )
        assert session.run(table.size()) == 5


def test_a_cancelled_step_leaves_whole_entries(tf: Any) -> None:
    """As when a client dies: whatever was added is there with all that belongs to it, or not."""
    v1 = tf.compat.v1
    table = hash_table("t", 1)
    first = v1.placeholder(tf.int64, [])
    ids = first + tf.range(3000, dtype=tf.int64)
    add = table.assign(ids, tf.cast(ids, tf.float32)[:, None], ids).as_op()
    with v1.Session() as session:
        for k in range(40):
            options = v1.RunOptions(timeout_in_ms=1 + k % 5)
            with contextlib.suppress(tf.errors.OpError):
                session.run(add, {first: 3000 * k}, options=options)
            found = content(table, session)
            assert len(found) == session.run(table.size())
            assert all(entry == ((fid,), fid) for fid, entry in found.items())
        session.run(add, {first: 1_000_000})
        assert session.run(table.lookup([1_002_999])).tolist() == [[1_002_999]]


def test_pages_see_each_entry_once_though_others_come(tf: Any) -> None:
    v1 = tf.compat.v1
    table = hash_table("t", 1)
    fid, offset, shard = (v1.placeholder(tf.int64, []) for _ in range(3))
    add = table.assign([fid], [[0.0]]).as_op()
    page = table.save_as_tensor(shard, 3, 2, offset)
    seen: list[int] = []
    with v1.Session() as session:
        session.run(table.assign(range(20), np.zeros((20, 1))))
        for k in range(3):
            at, dump = session.run(page, {shard: k, offset: 0})
            while len(dump) == 2:
                seen += parse(dump)
                session.run(add, {fid: 1000 + at * 3 + k})
                at, dump = session.run(page, {shard: k, offset: at})
            seen += parse(dump)
    assert len(seen) == len(set(seen))
    assert set(range(20)) <= set(seen)


# --- its place in a graph -----------------------------------------------------------------------


def test_it_registers_itself(tf: Any) -> None:
    with tf.device("/job:ps/task:3"), tf.name_scope("some"):
        table = hash_table("a/b:c", 4)
    assert tf.compat.v1.get_collection("monolith_hash_tables") == [table]
    assert (table.name, table.dim_size, table.table.device) == ("a/b:c", 4, "/job:ps/task:3")
    after = table.assign([1], [[1, 2, 3, 4]])
    assert (after.name, after.dim_size, after.table.device) == ("a/b:c", 4, "/job:ps/task:3")
    assert tf.compat.v1.get_collection("monolith_hash_tables") == [table]
    assert {
        op.device
        for op in tf.compat.v1.get_default_graph().get_operations()
        if "HashTable" in op.name and op.type != "Const"
    } == {"/job:ps/task:3"}


def test_it_is_in_no_checkpoint_and_needs_no_initializer(tf: Any) -> None:
    table = hash_table()
    assert tf.compat.v1.get_default_graph().get_all_collection_keys() == ["monolith_hash_tables"]
    op = fill(table).as_op()
    size = table.size()
    with tf.compat.v1.train.MonitoredSession() as session:
        assert session.run(size) == 0
        session.run(op)
        assert session.run(size) == 5


def test_a_table_is_taken_for_an_operation(tf: Any) -> None:
    table = hash_table()
    with tf.control_dependencies([fill(table)]):
        size = table.size()
    group = tf.group(fill(table).as_op("named"))
    with tf.compat.v1.Session() as session:
        session.run(table)
        session.run(table.as_op())
        assert session.run(size) == 5
        assert session.run(fill(table)) is None
        session.run(group)


def test_names(tf: Any) -> None:
    hash_table("a")
    hash_table("a:b")
    for taken in ("a", "a/b", "a-b"):
        with pytest.raises(ValueError, match="in this graph already"):
            hash_table(taken)
    with tf.Graph().as_default():
        hash_table("a")


@pytest.mark.parametrize("name", ["", ".t", "hash_filter_0", "t.meta", "a\0", "t-00000-of-00001"])
def test_names_that_a_dump_cannot_have(tf: Any, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name"):
        hash_table(name)


def test_no_dim(tf: Any) -> None:
    with pytest.raises(ValueError, match="dim_size 0: at least one float"):
        hash_table("t", 0)


@pytest.mark.parametrize(
    "page", [(0, 1, 0, 0), (0, 0, 1, 0), (2, 2, 1, 0), (-1, 2, 1, 0), (0, 1, 1, -1)]
)
def test_no_such_page(tf: Any, page: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"limit|shard|offset"):
        hash_table().save_as_tensor(*page)


def test_on_a_server(tf: Any, tmp_path: Path) -> None:
    """Shared by sessions of several processes; who joins later clears nothing."""
    v1 = tf.compat.v1
    server = v1.train.Server({"ps": ["localhost:0"]}, job_name="ps", task_index=0)
    dump = str(tmp_path / "new" / "t")
    for joined in range(3):
        with tf.Graph().as_default():
            with tf.device("/job:ps/task:0"):
                table = hash_table()
            add = table.assign_add([1 + joined, 1], np.ones((2, 2))).as_op()
            saved = table.save(dump).as_op()
            restored = table.clear().restore(dump).lookup([1])
            with v1.train.MonitoredTrainingSession(server.target, is_chief=joined == 0) as session:
                session.run(add)
                session.run(saved)
                assert session.run(restored).tolist() == [[2.0 + joined] * 2]


# --- dumps ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "shards"), [(0, 1), (1, 1), (1000, 1), (1001, 2), (9000, 9)])
def test_a_dump_for_others(
    tf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, shards: int
) -> None:
    # A record of three floats has 51 bytes at most, whatever its time is.
    monkeypatch.setattr("monolith_cli.training.tables.table._FILE_BYTES", 51_000)
    table = hash_table("MonolithHashTable_a/b", 3)
    base = tmp_path / "x" / "model.ckpt-3.assets" / "MonolithHashTable_a-b"
    with tf.compat.v1.Session() as session:
        session.run(fill(table, count).save(str(base)))
        expected = content(table, session)
    names = [f"{base.name}-{shard:05d}-of-{shards:05d}" for shard in range(shards)]
    assert sorted(path.name for path in base.parent.iterdir()) == names
    [dump] = open_tables(open_model_dir(base.parent).checkpoint())
    assert dump.name == "MonolithHashTable_a-b"
    assert parse(dump) == expected
    assert len(expected) == count
    with ThreadPoolExecutor(1) as thread:  # another thread has no default graph
        read = thread.map(tf_support.read_records, [base.parent / name for name in names])
        by_tensorflow = [record for records in read for record in records]
    assert by_tensorflow == list(dump)


def test_dumps_of_others(tf: Any, tmp_path: Path) -> None:
    """Several files, written by TensorFlow: any order of fields, optimizers, unknown fields."""
    rng = random.Random(4)
    kinds = (("adagrad", 2), ("adam", 3), ("", 1))
    entries = [random_entry(rng, fid=fid - 50, segments=kinds, special=False) for fid in range(100)]
    expected = parse(entry.SerializeToString() for entry in entries)
    records = [scrambled(entry, rng) for entry in entries]
    write_single_table(tmp_path, "t", records, 7, tf=True)
    write_single_table(tmp_path, "t_1", records[:9], 2, tf=True)
    (tmp_path / "t-00000-of-00007-tmp-123").write_bytes(b"left by a writer that died")
    (tmp_path / "t-other-of-names").write_bytes(b"something else")
    table = hash_table("t", 6)
    with tf.compat.v1.Session() as session:
        session.run(fill(table).restore(str(tmp_path / "t")))
        assert content(table, session) == expected


def test_what_an_entry_does_not_say_is_zero(tf: Any, tmp_path: Path) -> None:
    records = [messages.EntryDump(num=[1, 2]).SerializeToString()]
    write_single_table(tmp_path, "t", records)
    table = hash_table()
    with tf.compat.v1.Session() as session:
        session.run(table.restore(str(tmp_path / "t")))
        assert content(table, session) == {0: ((1, 2), 0)}


@pytest.mark.parametrize("name", ["a*b", "[x]", "q?", "back\\slash", "sp ace", "ü"])
def test_names_that_mean_something_to_patterns(tf: Any, tmp_path: Path, name: str) -> None:
    table = hash_table(name)
    base = str(tmp_path / name)
    write_single_table(tmp_path, "axb", [], 2)
    with tf.compat.v1.Session() as session:
        session.run(fill(table).save(base).clear().restore(base))
        assert session.run(table.size()) == 5


def test_dumps_that_are_not_whole(tf: Any, tmp_path: Path) -> None:
    rng = random.Random(1)
    records = [
        random_entry(rng, fid=fid, segments=(("", 2),)).SerializeToString() for fid in range(9)
    ]
    missing, lost, mixed, damaged, short = (
        write_single_table(tmp_path, name, records, 3)
        for name in ("missing", "lost", "mixed", "damaged", "short")
    )
    missing[1].unlink()
    lost[2].unlink()
    mixed[2].rename(tmp_path / "mixed-00002-of-00004")
    data = bytearray(damaged[1].read_bytes())
    data[20] ^= 1
    damaged[1].write_bytes(data)
    short[1].write_bytes(short[1].read_bytes()[:-1])
    write_single_table(
        tmp_path, "wide", [random_entry(rng, segments=(("", 3),)).SerializeToString()]
    )
    write_single_table(tmp_path, "garbage", [b"no entry"])
    errors = {
        "none": "there is no dump",
        "missing": "shards of a dump are missing",
        "lost": "shards of a dump are missing",
        "mixed": "disagree on their number",
        "damaged": "corrupted record",
        "short": "truncated record",
        "wide": "2 floats an entry",
        "garbage": "DecodeProto",
    }
    table = hash_table()
    basename = tf.compat.v1.placeholder(tf.string, [])
    restore = table.restore(basename).as_op()
    with tf.compat.v1.Session() as session:
        for name, message in errors.items():
            with pytest.raises(tf.errors.OpError, match=message):
                session.run(restore, {basename: str(tmp_path / name)})


@pytest.mark.parametrize("count", [600, 5000])
def test_a_full_disk(tf: Any, tmp_path: Path, count: int) -> None:
    """As it shows late: files of more than 20,000 bytes cannot be written."""
    table = fill(hash_table("t", 8), count)
    # Inside the test alone: the limit holds for what pytest writes, too.
    with (
        tf.compat.v1.Session() as session,
        files_of_at_most(20_000),
        pytest.raises(tf.errors.OpError),
    ):
        session.run(table.save(str(tmp_path / "t")))


# --- listeners ----------------------------------------------------------------------------------


def listeners(model_dir: Path) -> tuple[Any, Any]:
    from monolith_cli.training.hash_table import (
        HashTableCheckpointRestorerListener,
        HashTableCheckpointSaverListener,
    )

    basename = str(model_dir / "model.ckpt")
    return (
        HashTableCheckpointSaverListener(basename),
        HashTableCheckpointRestorerListener(basename),
    )


def commit(model_dir: Path, *steps: int) -> None:
    """The rest of a save, as far as the library looks at it."""
    for step in steps:
        (model_dir / f"model.ckpt-{step}.index").write_bytes(b"")
    write_checkpoint_state(model_dir, list(steps))


def test_save_and_restore_by_hooks(tf: Any, tmp_path: Path) -> None:
    from monolith_cli.training.basic_restore_hook import CheckpointRestorerHook

    v1 = tf.compat.v1
    for restart in range(3):
        with tf.Graph().as_default():
            step = v1.train.get_or_create_global_step()
            one, other = hash_table("one", 1), hash_table("other", 2)
            train = tf.group(
                step.assign_add(1),
                one.assign_add([1], [[1.0]]),
                other.assign_add([1, 2], [[1.0, 2], [3, 4]]),
            )
            found = [one.lookup([1, 2]), other.lookup([2])]
            saver, restorer = listeners(tmp_path)
            hooks = [
                CheckpointRestorerHook([restorer]),
                v1.train.CheckpointSaverHook(str(tmp_path), save_steps=2, listeners=[saver]),
            ]
            with v1.train.MonitoredTrainingSession(
                checkpoint_dir=str(tmp_path), save_checkpoint_secs=None, hooks=hooks
            ) as session:
                for k in range(4):
                    session.run(train)
                    done = 4 * restart + k + 1.0
                    assert session.run(found[0]).tolist() == [[done], [0]]
                    assert session.run(found[1]).tolist() == [[3 * done, 4 * done]]
    assert open_model_dir(tmp_path).steps()[-1] == 12
    tables = {
        table.name: parse(table) for table in open_tables(open_model_dir(tmp_path).checkpoint())
    }
    assert tables == {"one": {1: ((12,), 0)}, "other": {1: ((12, 24), 0), 2: ((36, 48), 0)}}
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_saved_again(tf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of an attempt that was given up go, those of others stay."""
    table = hash_table()
    saver, _ = listeners(tmp_path)
    assets = tmp_path / "model.ckpt-5.assets"
    write_single_table(assets, "t", [b"old"], 3)
    write_single_table(assets, "t_1", [b"foreign"], 1)
    (tmp_path / ".model.ckpt-4.assets.tmp").mkdir()
    (tmp_path / ".model.ckpt-4.assets.tmp" / "t-00000-of-00001").write_bytes(b"left behind")
    with tf.compat.v1.Session() as session:
        session.run(fill(table))
        saver.before_save(session, 5)
    assert sorted(path.name for path in assets.iterdir()) == [
        "t-00000-of-00001",
        "t_1-00000-of-00001",
    ]
    assert [path.name for path in tmp_path.iterdir()] == [assets.name]


def test_a_save_that_fails_leaves_nothing(tf: Any, tmp_path: Path) -> None:
    table = hash_table("t", 8)
    saver, _ = listeners(tmp_path)
    with tf.compat.v1.Session() as session:
        session.run(fill(table, 10))
        saver.before_save(session, 1)
        session.run(fill(table, 5000))
        for step in (2, 1):
            with files_of_at_most(20_000), pytest.raises(tf.errors.OpError):
                saver.before_save(session, step)
    [assets] = tmp_path.iterdir()
    assert assets.name == "model.ckpt-1.assets"
    [dump] = open_tables(open_model_dir(assets).checkpoint())
    assert len(list(dump)) == 10


def test_a_directory_that_cannot_be_made(tf: Any, tmp_path: Path) -> None:
    hash_table()
    (tmp_path / "file").write_bytes(b"")
    saver, _ = listeners(tmp_path / "file")
    with (
        tf.compat.v1.Session() as session,
        pytest.raises(WriteError, match="directory not made: Not a"),
    ):
        saver.before_save(session, 1)


def test_assets_that_cannot_be_made(tf: Any, tmp_path: Path) -> None:
    hash_table()
    (tmp_path / "model.ckpt-1.assets").write_bytes(b"")
    saver, _ = listeners(tmp_path)
    with tf.compat.v1.Session() as session, pytest.raises(WriteError, match="File exists"):
        saver.before_save(session, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["model.ckpt-1.assets"]


def test_what_is_restored(tf: Any, tmp_path: Path) -> None:
    table = hash_table("t", 1)
    saver, restorer = listeners(tmp_path)
    with tf.compat.v1.Session() as session:

        def restored() -> Any:
            session.run(table.assign([1, 5], [[-1.0], [-1.0]]))
            restorer.before_restore(session)
            return [row[0] for row, _ in content(table, session).values()]

        for step in (10, 20, 30):
            session.run(table.assign([1], [[float(step)]]))
            saver.before_save(session, step)
        # Nothing was committed yet: the job starts anew.
        assert restored() == []
        commit(tmp_path, 10, 20)
        assert restored() == [20]
        (tmp_path / "ckpt.override").write_text(json.dumps({"model_step": 10, "inputs": {}}))
        assert restored() == [10]
        for text in ("{", "[]", '{"model_step": "10"}', '{"model_step": true}'):
            (tmp_path / "ckpt.override").write_text(text)
            with pytest.raises(StateFileError, match=r"ckpt\.override"):
                restored()
        (tmp_path / "ckpt.override").write_text('{"model_step": 30}')
        with pytest.raises(MonolithError, match="30"):
            restored()


def test_a_table_that_was_not_saved(tf: Any, tmp_path: Path) -> None:
    hash_table("a")
    saver, _ = listeners(tmp_path)
    hash_table("b")
    _, restorer = listeners(tmp_path)
    with tf.compat.v1.Session() as session:
        saver.before_save(session, 1)
        commit(tmp_path, 1)
        with pytest.raises(TableNotFoundError, match=r"model.ckpt-1.assets: no dump of .*'b'"):
            restorer.before_restore(session)


def test_a_checkpoint_whose_files_are_gone(tf: Any, tmp_path: Path) -> None:
    hash_table()
    _, restorer = listeners(tmp_path)
    write_checkpoint_state(tmp_path, [3])
    with tf.compat.v1.Session() as session, pytest.raises(MonolithError, match="3"):
        restorer.before_restore(session)


def test_made_before_the_model(tf: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="made before the model"):
        listeners(tmp_path)
    hash_table()
    from monolith_cli.training.hash_table import HashTableCheckpointRestorerListener

    with tf.Graph().as_default(), pytest.raises(ValueError, match="made before the model"):
        HashTableCheckpointRestorerListener(str(tmp_path / "model.ckpt"))


def test_a_url(tf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from monolith_cli.training import hash_table as module

    monkeypatch.chdir(tmp_path)
    hash_table()
    for name in ("HashTableCheckpointSaverListener", "HashTableCheckpointRestorerListener"):
        with pytest.raises(UsageError, match="is a URL, and only local paths"):
            getattr(module, name)("hdfs://nn/model/model.ckpt")
    assert list(tmp_path.iterdir()) == []


def test_what_is_renamed_is_on_disk_before(
    tf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "other"):
        hash_table(name)
    saver, _ = listeners(tmp_path)
    with tf.compat.v1.Session() as session, tf_support.renames(monkeypatch) as renamed:
        saver.before_save(session, 5)
    assets = tmp_path / "model.ckpt-5.assets"
    assert renamed == [(str(path), True) for path in sorted(assets.iterdir())]
    assert len(renamed) == 2
