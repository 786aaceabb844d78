"""Directories whose names TensorFlow takes for patterns: no saves there, but states are read."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from input_support import save_in_graph, shuffled
from tf_support import tensorflow

from monolith_cli.errors import UsageError

PATTERNS = ["run[1]", "run\\1", "run*", "ru?"]


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.name != "checkpoint")


@pytest.mark.parametrize("name", PATTERNS)
def test_what_tensorflow_does_there(tmp_path: Path, name: str) -> None:
    """Why they are refused: a saver finds nothing there, or deletes what is another job's."""
    tf = tensorflow()
    v1 = tf.compat.v1
    directory, other = tmp_path / name, tmp_path / "run"
    other.mkdir()
    directory.mkdir()
    (other / "model.ckpt-1.index").touch()
    with tf.Graph().as_default(), v1.Session() as session:
        session.run(v1.get_variable("x", initializer=1.0).initializer)
        saver = v1.train.Saver(max_to_keep=1)
        for step in (1, 2):
            saver.save(session, str(directory / "model.ckpt"), step, write_meta_graph=False)
        steps = {path.split(".")[1] for path in names(directory)}
        if name in ("run[1]", "run\\1"):
            assert steps == {"ckpt-1", "ckpt-2"}  # nothing was deleted
            assert tf.train.latest_checkpoint(str(directory)) is None
            with pytest.raises(ValueError, match="not a valid checkpoint"):
                saver.restore(session, str(directory / "model.ckpt-2"))
        else:
            assert steps == {"ckpt-2"}
            assert names(other) == []  # another job's


def savers(path: str) -> dict[str, Any]:
    """Everything that is told where a job saves and restores, up to its first look there."""
    from monolith_cli.training import hash_table, runs, save_utils
    from monolith_cli.training.barrier_ops import BarrierOp
    from monolith_cli.training.ckpt_hooks import WorkerCkptHelper
    from monolith_cli.training.ckpt_info import FidSlotCountSaverListener

    v1 = tensorflow().compat.v1
    v1.train.create_global_step()
    hash_table.HashTable("table", 4)
    barrier = BarrierOp(1)
    hook = save_utils.NoFirstSaveCheckpointSaverHook
    return {
        "saver hook": lambda: hook(path, save_steps=1, saver=object()).begin(),
        "worker": lambda: WorkerCkptHelper(path, 1),
        "counts": lambda: FidSlotCountSaverListener(path),
        "tables": lambda: hash_table.HashTableCheckpointSaverListener(f"{path}/model.ckpt"),
        "restored": lambda: hash_table.HashTableCheckpointRestorerListener(f"{path}/model.ckpt"),
        "session": lambda: runs.monitored_session(barrier, 0, path),
    }


@pytest.mark.parametrize("name", [*PATTERNS, "hdfs://nn/model"])
def test_who_saves_or_restores_there_is_refused_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = name if "://" in name else str(tmp_path / name)
    with tensorflow().Graph().as_default():
        for who, start in savers(path).items():
            with pytest.raises(UsageError, match=r"as a pattern|is a URL"):
                start()
            assert names(tmp_path) == [], who


def test_the_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensorflow()
    from monolith_cli.training.graph.paths import check_save_path

    text = (
        "there is a [ in it, and TensorFlow reads a path with that as a pattern when it restores"
        " and deletes; give the directory another name, or the path of a symbolic link to it"
    )
    with pytest.raises(UsageError) as caught:
        check_save_path("/jobs/run[1]/model")
    assert str(caught.value) == f"/jobs/run[1]/model: {text}"
    # Other processes are told the whole path.
    (tmp_path / "run[1]").mkdir()
    monkeypatch.chdir(tmp_path / "run[1]")
    with pytest.raises(UsageError) as caught:
        check_save_path("model")
    assert str(caught.value) == f"{tmp_path}/run[1]/model: {text}"


def test_what_is_no_pattern(tmp_path: Path) -> None:
    """As the hint says, the path of a link will do: a saver there finds all again."""
    tf = tensorflow()
    from monolith_cli.training.graph.paths import check_save_path

    (tmp_path / "run[1]").mkdir()
    (tmp_path / "link").symlink_to("run[1]")
    for name in ("link", "a{b}", "!~#%] b", "ä\nb"):
        path = tmp_path / name
        path.mkdir(exist_ok=True)
        check_save_path(str(path))
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            session.run(tf.compat.v1.get_variable("x", initializer=1.0).initializer)
            saver = tf.compat.v1.train.Saver(max_to_keep=1)
            for step in (1, 2):
                saver.save(session, str(path / "model.ckpt"), step, write_meta_graph=False)
            saver.restore(session, tf.train.latest_checkpoint(str(path)))
        assert {each.split(".")[1] for each in names(path)} == {"ckpt-2"}


@pytest.mark.parametrize("name", PATTERNS)
def test_states_there_are_restored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """In a graph and eagerly, of a job and of `tf.train.Checkpoint`; no links are left."""
    tf = tensorflow()
    from monolith_cli.training.iterator_restore import restore_iterator

    model = tmp_path / name
    links = tmp_path / "links"
    links.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(links))
    following = save_in_graph(model, {10: 3}, shuffled)[10][0]
    iterator = iter(shuffled())
    restore_iterator(iterator, model, 1)
    assert [next(iterator).numpy().tolist() for _ in range(3)] == following
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        element = tf.compat.v1.data.make_one_shot_iterator(shuffled()).get_next()
        restore_iterator(session, model, 1)
        assert [session.run(element).tolist() for _ in range(3)] == following
    next(iterator)
    prefix = tf.train.Checkpoint(iterator=iterator).write(str(model / "it[1]"))
    expected = next(iterator).numpy().tolist()
    iterator = iter(shuffled())
    restore_iterator(iterator, prefix, None)
    assert next(iterator).numpy().tolist() == expected
    assert [name for name in names(links) if name.startswith("monolith-")] == []


def test_links_where_the_temporary_directory_is_a_pattern_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensorflow()
    from monolith_cli.training.graph.paths import literal_prefix

    (tmp_path / "run[1]").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "run[1]"))
    with literal_prefix(str(tmp_path / "run[1]/it-3")) as prefix:
        assert "[" not in prefix
    assert not Path(prefix).parent.exists()
    with literal_prefix("plain/it-3") as prefix:
        assert prefix == "plain/it-3"
