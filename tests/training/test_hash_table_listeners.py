"""The listeners that save and restore hash tables with the steps of a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tf_support
from dump_support import write_checkpoint_state, write_single_table
from hash_table_support import content, fill, hash_table, parse
from input_support import files_of_at_most

from monolith_cli import MonolithError, open_model_dir, open_tables
from monolith_cli.errors import StateFileError, TableNotFoundError, UsageError, WriteError


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
