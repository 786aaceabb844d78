"""The table of stock ops: what is written, found and added, and its place in a graph."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hash_table_support import content, fill, hash_table, parse

from monolith_cli.errors import UsageError

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
