"""Iterators set to where a worker's input was, in graphs and in eager mode."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from input_support import (
    Input,
    generated,
    graph,
    plain_session,
    save_in_graph,
    shuffled,
)
from tf_support import tensorflow, write_plain

from monolith_cli.errors import (
    CorruptionError,
    DifferentError,
    MissingShardError,
    PathNotFoundError,
    StepNotFoundError,
    UsageError,
)
from monolith_cli.iterators.rollback import roll_back

WORKER = 1


@pytest.fixture(scope="module")
def restore() -> Any:
    tensorflow()
    from monolith_cli.training import iterator_restore

    return iterator_restore


def without_shuffle() -> Any:
    return tensorflow().data.Dataset.range(100).batch(2).map(lambda x: x + 1).prefetch(2)


def unprefetched(data: Any) -> Any:
    """TensorFlow adds a prefetch at the end of most pipelines."""
    options = tensorflow().data.Options()
    options.experimental_optimization.inject_prefetch = False
    return data.with_options(options)


def take(iterator: Any, count: int = 1) -> list[Any]:
    return [next(iterator).numpy().tolist() for _ in range(count)]


# --- what comes next ------------------------------------------------------------------------


def test_in_a_graph(restore: Any, tmp_path: Path) -> None:
    following = save_in_graph(tmp_path, {10: 3, 20: 8}, shuffled)
    with graph():
        source = Input(shuffled())
        with plain_session() as session:
            done = restore.restore_iterator(session, tmp_path, WORKER)
            assert (done.step, done.warnings) == (20, [])
            assert source.take(session, 3) == following[20][0]
            restore.restore_iterator(session, tmp_path, WORKER, 10)
            assert source.take(session, 3) == following[10][0]


def test_several_iterators_each_by_its_name(restore: Any, tmp_path: Path) -> None:
    following = save_in_graph(tmp_path, {10: 3}, shuffled, without_shuffle)
    with graph():
        sources = [Input(shuffled()), Input(without_shuffle())]
        with plain_session() as session:
            restore.restore_iterator(session, tmp_path, WORKER, 10)
            assert [source.take(session, 3) for source in sources] == following[10]


def test_an_iterator_of_another_name(restore: Any, tmp_path: Path) -> None:
    following = save_in_graph(tmp_path, {10: 3}, shuffled)
    with graph():
        source = Input(shuffled(), initializable=True)
        with plain_session() as session:
            assert restore.restore_iterator(session, tmp_path, WORKER, 10).warnings == []
            assert source.take(session, 3) == following[10][0]


def test_in_eager_mode_the_state_of_a_job(restore: Any, tmp_path: Path) -> None:
    following = save_in_graph(tmp_path, {10: 3, 20: 8}, shuffled)
    iterator = iter(shuffled())
    done = restore.restore_iterator(iterator, tmp_path, WORKER, 10)
    assert (done.step, done.warnings) == (10, [])
    assert take(iterator, 3) == following[10][0]


def test_one_of_several_by_its_name(restore: Any, tmp_path: Path) -> None:
    following = save_in_graph(tmp_path, {10: 3}, without_shuffle, shuffled)
    iterator = iter(shuffled())
    with pytest.raises(UsageError) as caught:
        restore.restore_iterator(iterator, tmp_path, WORKER)
    assert str(caught.value) == (
        f"{tmp_path}/input_worker_1.ckpt-10.index: holds the states of 2 iterators; name the"
        " one that is meant; there are OneShotIterator:0, OneShotIterator_1:0"
    )
    restore.restore_iterator(iterator, tmp_path, WORKER, name="OneShotIterator_1:0")
    assert take(iterator, 3) == following[10][1]
    with pytest.raises(PathNotFoundError, match="holds no state of iterator other"):
        restore.restore_iterator(iterator, tmp_path, WORKER, name="other")


def test_states_of_tensorflows_checkpoint(restore: Any, tmp_path: Path) -> None:
    tf = tensorflow()
    iterator = iter(shuffled())
    take(iterator, 4)
    path = tf.train.Checkpoint(iterator=iterator).write(str(tmp_path / "input_worker_1.ckpt-7"))
    following = take(iterator, 3)
    again = iter(shuffled())
    assert restore.restore_iterator(again, path, None).step == 7
    assert take(again, 3) == following
    # In a directory without a model, and in a graph.
    restore.restore_iterator(again, tmp_path, WORKER)
    assert take(again, 3) == following
    with graph():
        source = Input(shuffled())
        with plain_session() as session:
            restore.restore_iterator(session, tmp_path, WORKER, 7)
            assert source.take(session, 3) == following


def test_where_the_job_would_go_on(restore: Any, tmp_path: Path) -> None:
    following = save_in_graph(tmp_path, {10: 3, 20: 8}, shuffled)
    roll_back(tmp_path, 10)
    iterator = iter(shuffled())
    assert restore.restore_iterator(iterator, tmp_path, WORKER).step == 10
    assert take(iterator, 3) == following[10][0]
    roll_back(tmp_path, 20)
    (tmp_path / "input_worker_1.ckpt-20.index").unlink()
    done = restore.restore_iterator(iterator, tmp_path, WORKER)
    assert done.step == 10
    assert done.warnings == [
        "there is no state of worker 1's input at step 20: this is the one of step 10"
    ]


# --- a graph that is finalized --------------------------------------------------------------


def test_a_monitored_session(restore: Any, tmp_path: Path) -> None:
    following = save_in_graph(tmp_path, {10: 3}, shuffled)
    with graph():
        source = Input(shuffled())
        restore.prepare_restore()
        with tensorflow().compat.v1.train.MonitoredSession() as session:
            restore.restore_iterator(session, tmp_path, WORKER)
            assert source.take(session, 3) == following[10][0]


def test_the_ops_of_a_jobs_helper_will_do(restore: Any, tmp_path: Path) -> None:
    from monolith_cli.training.ckpt_hooks import WorkerCkptHelper

    following = save_in_graph(tmp_path, {10: 3, 20: 8}, shuffled)
    with graph() as made:
        source = Input(shuffled())
        hook = WorkerCkptHelper(tmp_path, WORKER).create_restorer_hook()
        before = len(made.get_operations())
        restore.prepare_restore(made)
        assert len(made.get_operations()) == before
        made.finalize()
        v1 = tensorflow().compat.v1
        with v1.Session() as session:
            hook.after_create_session(session, None)
            assert source.take(session, 3) == following[20][0]
            restore.restore_iterator(session, tmp_path, WORKER, 10)
            assert source.take(session, 3) == following[10][0]


def test_without_ops_it_is_too_late(restore: Any, tmp_path: Path) -> None:
    save_in_graph(tmp_path, {10: 3}, shuffled)
    with graph() as made:
        Input(shuffled())
        made.finalize()
        with (
            tensorflow().compat.v1.Session() as session,
            pytest.raises(UsageError, match=r"the graph is finalized.*; call prepare_restore"),
        ):
            restore.restore_iterator(session, tmp_path, WORKER)


# --- what differs ---------------------------------------------------------------------------


def test_what_tensorflow_does_not_notice(restore: Any, tmp_path: Path) -> None:
    save_in_graph(tmp_path, {10: 3}, shuffled)
    differs = ["the input is not the one that was saved: batch_size of BatchDatasetV2 was 2, is 5"]
    assert restore.restore_iterator(iter(shuffled(5)), tmp_path, WORKER).warnings == differs
    with graph():
        Input(shuffled(5), initializable=True)
        with plain_session() as session:
            assert restore.restore_iterator(session, tmp_path, WORKER).warnings == differs


def test_other_files(restore: Any, tmp_path: Path) -> None:
    paths = [str(tmp_path / f"part-{i}") for i in range(3)]
    for path in paths:
        write_plain(path, [b"record"] * 10)
    data = tensorflow().data
    save_in_graph(tmp_path / "model", {10: 3}, lambda: data.TFRecordDataset(paths))
    done = restore.restore_iterator(
        iter(data.TFRecordDataset(paths[:2])), tmp_path / "model", WORKER
    )
    [line] = done.warnings
    assert line.endswith(": 1 fewer file: part-2")


def test_fingerprints_that_cannot_be_read(restore: Any, tmp_path: Path) -> None:
    following = save_in_graph(tmp_path, {10: 3}, shuffled)
    (tmp_path / "ckpt.inputs-10").write_text("{")
    iterator = iter(shuffled())
    [line] = restore.restore_iterator(iterator, tmp_path, WORKER, 10).warnings
    assert line.startswith("the input is not compared with the one that was saved: ")
    assert take(iterator, 3) == following[10][0]


# --- what does not fit ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (
            without_shuffle,
            "below BatchV2 the dataset has Range, and the state Shuffle",
        ),
        (
            lambda: shuffled().filter(lambda x: True),
            "below Prefetch the dataset has Filter, and the state ParallelMapV2",
        ),
        (
            lambda: unprefetched(tensorflow().data.Dataset.range(100)),
            "at its end the dataset has Range, and the state Prefetch",
        ),
        (
            lambda: tensorflow().data.Dataset.range(100).prefetch(2),
            "below Prefetch the dataset has Range, and the state ParallelMapV2",
        ),
    ],
)
def test_other_nodes(restore: Any, tmp_path: Path, make: Callable[[], Any], reason: str) -> None:
    save_in_graph(tmp_path, {10: 3}, shuffled)
    iterator = iter(make())
    take(iterator, 2)
    with pytest.raises(DifferentError) as caught:
        restore.restore_iterator(iterator, tmp_path, WORKER)
    assert str(caught.value) == (
        f"{tmp_path}/input_worker_1.ckpt-10.index: the state does not fit OneShotIterator:0:"
        f" {reason}"
    )
    other = iter(make())
    take(other, 2)
    assert take(iterator, 3) == take(other, 3)
    first = take(iter(make()), 3)
    with graph():
        source = Input(make(), initializable=True)
        with plain_session() as session:
            with pytest.raises(DifferentError) as caught:
                restore.restore_iterator(session, tmp_path, WORKER)
            assert str(caught.value).endswith(reason)
            assert source.take(session, 3) == first


def test_one_that_does_not_fit_keeps_the_others_where_they_are(
    restore: Any, tmp_path: Path
) -> None:
    save_in_graph(tmp_path, {10: 3}, shuffled, shuffled)
    with graph():
        first, second = Input(shuffled()), Input(without_shuffle())
        with plain_session() as session:
            expected = first.take(session, 2)
            with pytest.raises(DifferentError, match="OneShotIterator_1:0"):
                restore.restore_iterator(session, tmp_path, WORKER)
            rest = first.take(session, 3), second.take(session, 1)
        with plain_session() as session:
            assert first.take(session, 2) == expected
            assert rest == (first.take(session, 3), second.take(session, 1))


@pytest.mark.parametrize("is_relative", [False, True])
def test_a_file_that_has_moved(
    restore: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_relative: bool
) -> None:
    """TensorFlow opens the file that was being read by the name in the state."""
    monkeypatch.chdir(tmp_path)
    old = "part-0" if is_relative else str(tmp_path / "part-0")
    write_plain(old, [b"%d" % i for i in range(10)])
    data = tensorflow().data
    save_in_graph(tmp_path / "model", {10: 3}, lambda: data.TFRecordDataset([old]))
    os.rename(old, "moved")
    with pytest.raises(PathNotFoundError) as caught:
        restore.restore_iterator(iter(data.TFRecordDataset(["moved"])), tmp_path / "model", 1)
    assert caught.value.what == f"the input was in the file {old}, which is not there"
    assert (caught.value.hint or "").startswith("the name is relative") is is_relative


def test_more_iterators_than_states(restore: Any, tmp_path: Path) -> None:
    save_in_graph(tmp_path, {10: 3}, shuffled)
    with graph():
        Input(shuffled())
        Input(shuffled())
        with (
            plain_session() as session,
            pytest.raises(PathNotFoundError, match=r"no state of iterator OneShotIterator_1:0"),
        ):
            restore.restore_iterator(session, tmp_path, WORKER)


def test_where_it_is_cannot_be_kept(restore: Any, tmp_path: Path) -> None:
    """A generator's position cannot be saved; a state that does not fit it is told all the same."""
    save_in_graph(tmp_path, {10: 3}, shuffled)
    iterator = iter(generated())
    take(iterator)
    with pytest.raises(DifferentError):
        restore.restore_iterator(iterator, tmp_path, WORKER)


def test_an_initializer_that_did_not_run(restore: Any, tmp_path: Path) -> None:
    save_in_graph(tmp_path, {10: 3}, shuffled)
    with graph():
        tensorflow().compat.v1.data.make_initializable_iterator(shuffled()).get_next()
        with (
            tensorflow().compat.v1.Session() as session,
            pytest.raises(UsageError, match="not initialised; run its initializer"),
        ):
            restore.restore_iterator(session, tmp_path, WORKER)


# --- what is not there ----------------------------------------------------------------------


def test_no_such_step_or_worker(restore: Any, tmp_path: Path) -> None:
    save_in_graph(tmp_path, {10: 3, 20: 4}, shuffled)
    iterator = iter(shuffled())
    with pytest.raises(StepNotFoundError) as caught:
        restore.restore_iterator(iterator, tmp_path, WORKER, 15)
    assert str(caught.value) == (
        f"{tmp_path}: no state of worker 1's input at step 15; there are those of steps 10, 20"
    )
    with pytest.raises(StepNotFoundError, match="no states of worker 2's input; there are"):
        restore.restore_iterator(iterator, tmp_path, 2)
    with pytest.raises(PathNotFoundError):
        restore.restore_iterator(iterator, tmp_path / "absent", WORKER)
    with pytest.raises(PathNotFoundError):
        restore.restore_iterator(iterator, tmp_path / "absent", None)
    assert restore.restore_iterator(iterator, tmp_path, None).step == 20
    (tmp_path / "input_worker_2.ckpt-20.index").touch()
    with pytest.raises(UsageError, match=r"which worker\? There are 1, 2"):
        restore.restore_iterator(iterator, tmp_path, None)
    with pytest.raises(UsageError, match="a file has no other workers or steps"):
        restore.restore_iterator(iterator, tmp_path / "input_worker_1.ckpt-20.index", 1)


def test_a_damaged_state(restore: Any, tmp_path: Path) -> None:
    save_in_graph(tmp_path, {10: 3}, shuffled)
    data = tmp_path / "input_worker_1.ckpt-10.data-00000-of-00001"
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)
    iterator = iter(shuffled())
    with pytest.raises(CorruptionError) as caught:
        restore.restore_iterator(iterator, tmp_path, WORKER)
    assert caught.value.path == str(data)
    os.unlink(data)
    with pytest.raises(MissingShardError):
        restore.restore_iterator(iterator, tmp_path, WORKER)


def test_what_is_neither_a_session_nor_an_iterator(restore: Any, tmp_path: Path) -> None:
    save_in_graph(tmp_path, {10: 3}, shuffled)
    with pytest.raises(UsageError, match="is neither a session nor an iterator"):
        restore.restore_iterator(shuffled(), tmp_path, WORKER)
