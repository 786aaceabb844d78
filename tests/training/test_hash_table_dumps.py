"""Dumps of the hash table of stock ops: what it writes, and what of others it reads."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import tf_support
from dump_support import random_entry, scrambled, write_single_table
from hash_table_support import content, fill, hash_table, parse
from input_support import files_of_at_most

from monolith_cli import messages, open_model_dir, open_tables


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
