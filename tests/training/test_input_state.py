"""The positions of a graph's iterators in a bundle; TensorFlow's own Saver is the witness."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from input_support import Input, files_of_at_most, generated, graph, numbers, plain_session
from tf_support import tensorflow, write_plain

from monolith_cli.errors import CorruptionError


@pytest.fixture(scope="module")
def states() -> Any:
    tensorflow()
    from monolith_cli.training.inputs import state as input_state

    return input_state


def new_state(states: Any) -> Any:
    return states.InputState(states.iterators_of_graph())


def stock_saver() -> Any:
    """One Saver for all iterators of the graph: the original's way."""
    from tensorflow.python.data.ops import iterator_ops

    tf = tensorflow()
    ignore = tf.data.experimental.ExternalStatePolicy.IGNORE
    saveables = [
        iterator_ops._IteratorSaveable(iterator, iterator.name, external_state_policy=ignore)
        for iterator in tf.compat.v1.get_collection("iterators")
    ]
    return tf.compat.v1.train.Saver(saveables, allow_empty=True)


def records(directory: Path) -> list[str]:
    paths = [str(directory / f"part-{i}") for i in range(3)]
    for i, path in enumerate(paths):
        write_plain(path, [b"%d-%d" % (i, j) for j in range(10)])
    return paths


PIPELINES: dict[str, Callable[[Any, Path], Any]] = {
    "slices": lambda data, _: data.from_tensor_slices(list(range(40))),
    "records": lambda data, path: tensorflow().data.TFRecordDataset(records(path)),
    "interleave": lambda data, path: data.from_tensor_slices(records(path)).interleave(
        tensorflow().data.TFRecordDataset, cycle_length=2
    ),
    "shuffle": lambda data, _: data.range(40).shuffle(10, seed=3),
    "prefetch": lambda data, _: data.range(40).map(lambda x: x * 2, 2).batch(2).prefetch(3),
    "cache": lambda data, _: data.range(15).cache().repeat(4),
}


@pytest.mark.parametrize("initializable", [False, True])
@pytest.mark.parametrize("name", PIPELINES)
def test_the_next_element_is_the_one_that_would_have_come(
    states: Any, tmp_path: Path, name: str, initializable: bool
) -> None:
    prefix = str(tmp_path / "in-1")
    with graph():
        tensorflow().compat.v1.set_random_seed(1)
        data = PIPELINES[name](tensorflow().data.Dataset, tmp_path)
        source = Input(data, initializable=initializable)
        state = new_state(states)
        with plain_session() as session:
            source.take(session, 11)
            assert state.save(session, prefix) == []
            expected = source.take(session, 5)
        with plain_session() as session:
            assert state.restore(session, prefix) == []
            assert source.take(session, 5) == expected


def test_an_input_that_has_ended_stays_ended(states: Any, tmp_path: Path) -> None:
    end = tensorflow().errors.OutOfRangeError
    with graph():
        source = Input(numbers(3))
        state = new_state(states)
        with plain_session() as session:
            source.take(session, 3)
            with pytest.raises(end):
                source.take(session)
            assert state.save(session, str(tmp_path / "in-1")) == []
        with plain_session() as session:
            assert state.restore(session, str(tmp_path / "in-1")) == []
            with pytest.raises(end):
                source.take(session)


def test_one_bundle_with_what_tensorflow_writes_into_it(states: Any, tmp_path: Path) -> None:
    with graph():
        first, second = Input(numbers()), Input(numbers(), initializable=True)
        state, stock = new_state(states), stock_saver()
        with plain_session() as session:
            first.take(session, 2)
            second.take(session, 3)
            state.save(session, str(tmp_path / "ours-1"))
            stock.save(session, str(tmp_path / "stock"), global_step=1, write_meta_graph=False)
        ours, theirs = (
            tensorflow().train.load_checkpoint(str(tmp_path / name)).get_variable_to_dtype_map()
            for name in ("ours-1", "stock-1")
        )
        assert sorted(ours) == ["IteratorV2:0_STATE", "OneShotIterator:0_STATE"]
        assert ours == theirs
        for restore in (
            lambda session: stock.restore(session, str(tmp_path / "ours-1")),
            lambda session: state.restore(session, str(tmp_path / "stock-1")),
        ):
            with plain_session() as session:
                restore(session)
                assert first.take(session) == [2]
                assert second.take(session) == [3]
    assert sorted(os.listdir(tmp_path)) == [
        "checkpoint",
        "ours-1.data-00000-of-00001",
        "ours-1.index",
        "stock-1.data-00000-of-00001",
        "stock-1.index",
    ]


@pytest.mark.parametrize(
    "makers",
    [(generated, numbers), (numbers, generated), (numbers, generated, numbers)],
    ids=["first of two", "last of two", "between two"],
)
def test_what_cannot_be_saved_loses_its_own_state_only(
    states: Any, tmp_path: Path, makers: Any, caplog: pytest.LogCaptureFixture
) -> None:
    lost = makers.index(generated)
    prefix = str(tmp_path / "in-1")
    with graph():
        sources = [Input(maker()) for maker in makers]
        state, stock = new_state(states), stock_saver()
        with plain_session() as session:
            for _ in range(2):  # the second time it knows
                caplog.clear()
                for source in sources:
                    source.take(session, 2)
                assert state.save(session, prefix) == [state.iterators[lost].name]
                [warning] = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
                assert warning.startswith(f"{state.iterators[lost].name} cannot be saved: ")
                assert "\n" not in warning
            # The original's way: nothing is saved of anybody.
            with pytest.raises(tensorflow().errors.OpError):
                stock.save(session, str(tmp_path / "stock"), global_step=1)
        with plain_session() as session:
            assert state.restore(session, prefix) == [state.iterators[lost].name]
            expected = [0 if maker is generated else 4 for maker in makers]
            assert [source.take(session)[0] for source in sources] == expected
    assert not list(tmp_path.glob("*stock*"))
    assert not list(tmp_path.glob("*.parts"))


def test_one_that_nobody_has_initialised(
    states: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    v1 = tensorflow().compat.v1
    with graph():
        source = Input(numbers())
        unused = v1.data.make_initializable_iterator(numbers())
        state, stock = new_state(states), stock_saver()
        with plain_session() as session:
            source.take(session, 2)
            assert state.save(session, str(tmp_path / "in-1")) == ["IteratorV2:0"]
            assert "IteratorV2:0 cannot be saved" in caplog.text
            with pytest.raises(tensorflow().errors.FailedPreconditionError):
                stock.save(session, str(tmp_path / "stock"))
            session.run(unused.initializer)
            assert state.save(session, str(tmp_path / "in-2")) == []
        with plain_session() as session:
            assert state.restore(session, str(tmp_path / "in-1")) == ["IteratorV2:0"]
            assert source.take(session) == [2]
            # There is a state now, but nothing to restore it into.
            assert state.restore(session, str(tmp_path / "in-2")) == ["IteratorV2:0"]


def test_nothing_can_be_saved(states: Any, tmp_path: Path) -> None:
    with graph():
        source = Input(generated())
        state = new_state(states)
        with plain_session() as session:
            source.take(session)
            assert state.save(session, str(tmp_path / "in-1")) == ["OneShotIterator:0"]
    assert os.listdir(tmp_path) == []


def test_no_iterators(states: Any, tmp_path: Path) -> None:
    with graph():
        state = new_state(states)
        with plain_session() as session:
            assert state.save(session, str(tmp_path / "in-1")) == []
            assert state.restore(session, str(tmp_path / "in-1")) == []
    assert os.listdir(tmp_path) == []


def saved(
    states: Any,
    tmp_path: Path,
    dataset: Callable[[], Any] = numbers,
    initializable: bool = False,
) -> str:
    """A bundle whose iterator comes to its third element next."""
    prefix = str(tmp_path / "in-1")
    with graph():
        source = Input(dataset(), initializable=initializable)
        state = new_state(states)
        with plain_session() as session:
            source.take(session, 2)
            assert state.save(session, prefix) == []
    return prefix


@pytest.mark.parametrize("initializable", [False, True])
@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (lambda: numbers(), lambda: numbers().batch(1)),
        (lambda: numbers().batch(1), lambda: numbers()),
        (lambda: numbers().prefetch(2), lambda: numbers().shuffle(1).prefetch(2)),
    ],
    ids=["added", "removed", "prefetched"],
)
def test_a_pipeline_of_other_nodes_stays_where_it_is(
    states: Any,
    tmp_path: Path,
    before: Any,
    after: Any,
    used: bool,
    initializable: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # TensorFlow lets a restore that fails end the input: OutOfRangeError, as if all were done.
    prefix = saved(states, tmp_path, before, initializable)
    with graph():
        source = Input(after(), initializable=initializable)
        state = new_state(states)
        name = state.iterators[0].name
        with plain_session() as session:
            seen = source.take(session) if used else []
            assert state.restore(session, prefix) == [name]
            seen += source.take(session, 5 - len(seen))
            assert np.ravel(seen).tolist() == [0, 1, 2, 3, 4]
            assert state.restore(session, prefix) == [name]
            assert np.ravel(source.take(session)).tolist() == [5]
    assert f"The state of {name} does not fit it: Failed to restore" in caplog.text


def test_another_iterator_has_no_state(states: Any, tmp_path: Path) -> None:
    prefix = saved(states, tmp_path)
    with graph():
        first, second = Input(numbers()), Input(numbers())
        state = new_state(states)
        with plain_session() as session:
            assert state.restore(session, prefix) == ["OneShotIterator_1:0"]
            assert (first.take(session), second.take(session)) == ([2], [0])


def cut(path: str) -> None:
    os.truncate(path, 20)


def flip(path: str) -> None:
    with open(path, "r+b") as file:
        file.seek(5)
        byte = file.read(1)[0]
        file.seek(5)
        file.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("harm", [cut, flip, os.unlink])
@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00001"])
def test_a_damaged_state_is_no_reason_to_start_over(
    states: Any, tmp_path: Path, harm: Callable[[str], None], suffix: str
) -> None:
    prefix = saved(states, tmp_path)
    harm(prefix + suffix)
    with graph():
        Input(numbers())
        state = new_state(states)
        with plain_session() as session, pytest.raises(CorruptionError) as caught:
            state.restore(session, prefix)
    # TensorFlow's own for a short file is OutOfRangeError, which trainers take for an end.
    assert not isinstance(caught.value, tensorflow().errors.OpError)
    assert str(caught.value).startswith(prefix)


def test_a_full_disk_raises(states: Any, tmp_path: Path) -> None:
    wide = tensorflow().zeros
    with graph():
        source = Input(numbers().map(lambda x: (x, wide([50_000]))).shuffle(10), initializable=True)
        Input(generated())
        state = new_state(states)
        with plain_session() as session:
            session.run(source.next)
            with files_of_at_most(100_000), pytest.raises(tensorflow().errors.OpError) as caught:
                state.save(session, str(tmp_path / "in-1"))
            assert not isinstance(caught.value, tensorflow().errors.UnimplementedError)
            assert not list(tmp_path.glob("*.index"))
            assert state.save(session, str(tmp_path / "in-2")) == []


def test_iterators_of_two_processes_in_one_bundle(states: Any, tmp_path: Path) -> None:
    tf = tensorflow()
    from input_support import servers

    targets = servers("a", "b")
    with graph():
        with tf.device("/job:a/task:0"):
            here = Input(numbers(), initializable=True)
        with tf.device("/job:b/task:0"):
            there = Input(numbers(), initializable=True)
            lost = Input(generated(), initializable=True)
        state = new_state(states)
        with plain_session(target=targets["a"]) as session:
            here.take(session, 2)
            there.take(session, 3)
            assert state.save(session, str(tmp_path / "in-1")) == []
            lost.take(session)
            assert state.save(session, str(tmp_path / "in-2")) == [state.iterators[2].name]
        for name, unfit in (("in-1", []), ("in-2", [state.iterators[2].name])):
            with plain_session(target=targets["a"]) as session:
                assert state.restore(session, str(tmp_path / name)) == unfit
                assert (here.take(session), there.take(session)) == ([2], [3])


def test_in_the_order_in_which_they_were_made(states: Any) -> None:
    with graph() as made:
        Input(numbers())
        Input(numbers(), initializable=True)
        iterators = states.iterators_of_graph()
        assert [it.name for it in iterators] == ["OneShotIterator:0", "IteratorV2:0"]
        made.add_to_collection("iterators", iterators[0])
        assert len(states.iterators_of_graph()) == 2
