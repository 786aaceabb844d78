"""Clipping by the global norm, against TensorFlow's own."""

from __future__ import annotations

from typing import Any

import pytest
from tf_support import tensorflow

INF, NAN = float("inf"), float("nan")


@pytest.fixture(scope="module")
def ops() -> Any:
    tensorflow()
    from monolith_cli.training import clip_ops

    return clip_ops


def in_session(build: Any) -> Any:
    """What `build` makes in a graph, fetched from a session."""
    tf = tensorflow()
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        return session.run(build())


@pytest.mark.parametrize("clip_norm", [2.5, 5.0, 49.0, 0.0, -1.0, INF, NAN, 1e-30])
@pytest.mark.parametrize(
    "values",
    [[[3.0], [0.0, 4.0]], [[0.0], [0.0]], [[INF], [1.0]], [[NAN], [1.0]], [[1e30], [1.0]]],
)
@pytest.mark.parametrize("small", [0, 16384])
def test_as_tensorflow_does(
    ops: Any, monkeypatch: pytest.MonkeyPatch, values: Any, clip_norm: float, small: int
) -> None:
    tf = tensorflow()
    monkeypatch.setattr(ops, "_SMALL", small)

    def both() -> Any:
        tensors = [tf.constant(value) for value in values]
        return ops.clip_by_global_norm(tensors, clip_norm), tf.clip_by_global_norm(
            tensors, clip_norm
        )

    (mine, norm), (theirs, their_norm) = in_session(both)
    import numpy as np

    np.testing.assert_allclose(norm, their_norm, rtol=1e-6)
    for a, b in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.parametrize("use_norm", [10.0, 1.0, 0.0, -4.0, INF, NAN])
def test_use_norm(ops: Any, use_norm: float) -> None:
    tf = tensorflow()
    (mine, norm), (theirs, _) = in_session(
        lambda: (
            ops.clip_by_global_norm([tf.constant([3.0, 4.0])], 2.0, use_norm=tf.constant(use_norm)),
            tf.clip_by_global_norm([tf.constant([3.0, 4.0])], 2.0, use_norm=tf.constant(use_norm)),
        )
    )
    import numpy as np

    np.testing.assert_allclose(mine[0], theirs[0], rtol=1e-6)
    assert norm == pytest.approx(use_norm, nan_ok=True)


def test_use_norm_is_returned_as_it_is(ops: Any) -> None:
    tf = tensorflow()
    with tf.Graph().as_default():
        norm = tf.constant(10.0)
        assert ops.clip_by_global_norm([tf.constant([3.0])], 2.0, norm)[1] is norm


def test_none_slices_and_shapes(ops: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tf = tensorflow()
    for small in (0, 16384):
        monkeypatch.setattr(ops, "_SMALL", small)
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            unknown = tf.compat.v1.placeholder(tf.float32, [None, 1])
            slices = tf.IndexedSlices(
                tf.constant([[3.0], [0.0]]), tf.constant([7, 1]), tf.constant([9, 1])
            )
            scalar = tf.constant(4.0)
            clipped, norm = ops.clip_by_global_norm(
                [None, slices, scalar, unknown, tf.zeros([2, 3]), tf.zeros([0])], 2.5
            )
            assert clipped[0] is None
            assert isinstance(clipped[1], tf.IndexedSlices)
            assert clipped[1].indices is slices.indices
            assert clipped[1].dense_shape is slices.dense_shape
            assert [t.shape.as_list() for t in clipped[4:]] == [[2, 3], [0]]
            values = session.run(
                [clipped[1].values, clipped[2], clipped[3], norm], {unknown: [[0.0]]}
            )
        assert values[0].tolist() == [[1.5], [0.0]]
        assert values[1] == 2.0
        assert values[2].tolist() == [[0.0]]
        assert values[3] == 5.0


@pytest.mark.parametrize("t_list", [(), (1.0,), None, 3, "x"])
def test_no_list(ops: Any, t_list: Any) -> None:
    with pytest.raises(TypeError, match="t_list should be a list"):
        ops.clip_by_global_norm(t_list, 1.0)


def test_nothing(ops: Any) -> None:
    empty: list[Any] = []
    assert ops.clip_by_global_norm(empty, 1.0) == ([], 0)
    assert ops.clip_by_global_norm(empty, 1.0)[0] is empty
    assert ops._global_norm([]) is None
    assert ops._global_norm([None]) is None


def test_none_alone_has_a_norm_that_a_session_fetches(ops: Any) -> None:
    tf = tensorflow()
    for t_list in ([None], [None, None]):
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            clipped, norm = ops.clip_by_global_norm(t_list, 1.0)
            theirs, their_norm = tf.clip_by_global_norm(t_list, 1.0)
            assert clipped == theirs == t_list
            assert norm.dtype is their_norm.dtype
            assert session.run([norm, their_norm]) == [0.0, 0.0]
            given = tf.constant(2.0)
            assert ops.clip_by_global_norm(t_list, 1.0, given)[1] is given


def test_global_norm(ops: Any) -> None:
    tf = tensorflow()
    assert in_session(lambda: ops._global_norm([tf.constant([3.0]), tf.constant([[4.0]])])) == 5.0


def test_dtypes(ops: Any) -> None:
    tf = tensorflow()
    with tf.Graph().as_default():
        for bad in (
            [tf.constant([1, 2])],
            [tf.constant([1.0]), tf.constant([1.0], tf.float64)],
        ):
            with pytest.raises(TypeError, match="one floating dtype"):
                ops.clip_by_global_norm(bad, 1.0)
        with pytest.raises(TypeError, match="floating dtypes, not of int32"):
            ops.clip_by_global_norm([tf.constant([1, 2])], 1.0, 1.0)
        clipped, norm = ops.clip_by_global_norm([tf.constant([3.0, 4.0], tf.float64)], 1)
        assert clipped[0].dtype == norm.dtype == tf.float64


@pytest.mark.parametrize("norm_dtype", ["float32", "bfloat16", "float16", "float64"])
@pytest.mark.parametrize(
    "dtypes",
    [
        ["bfloat16"],
        ["float16"],
        ["float64"],
        ["bfloat16", "float32"],
        ["float32", "float16", "float32"],
        ["float32", "float64", "bfloat16"],
    ],
)
@pytest.mark.parametrize("clip_norm", [1.0, 100.0])
@pytest.mark.parametrize("small", [0, 16384])
def test_a_norm_of_another_dtype(
    ops: Any,
    monkeypatch: pytest.MonkeyPatch,
    norm_dtype: str,
    dtypes: list[str],
    clip_norm: float,
    small: int,
) -> None:
    """Mixed precision: the norm is computed elsewhere, in float32, and the scale is cast."""
    tf = tensorflow()
    monkeypatch.setattr(ops, "_SMALL", small)

    def both() -> Any:
        tensors = [tf.constant([3.0, 4.0], dtype) for dtype in dtypes]
        norm = tf.constant(10.0, norm_dtype)
        arguments = tensors, clip_norm, norm
        return ops.clip_by_global_norm(*arguments), tf.clip_by_global_norm(*arguments)

    (mine, norm), (theirs, _) = in_session(both)
    assert norm == 10.0
    assert norm.dtype.name == norm_dtype
    assert [value.dtype.name for value in mine] == dtypes
    assert [value.tolist() for value in mine] == [value.tolist() for value in theirs]


def test_a_number_as_norm_of_a_mixed_list(ops: Any) -> None:
    tf = tensorflow()

    def clipped() -> Any:
        tensors = [tf.constant([3.0]), tf.constant([4.0], tf.bfloat16)]
        return ops.clip_by_global_norm(tensors, tf.constant(5.0, tf.float64), 10)[0]

    assert [value.tolist() for value in in_session(clipped)] == [[1.5], [2.0]]


@pytest.mark.parametrize("clip_norm", [1.0, 100.0])
@pytest.mark.parametrize("small", [0, 16384])
def test_inputs_stay(
    ops: Any, monkeypatch: pytest.MonkeyPatch, clip_norm: float, small: int
) -> None:
    tf = tensorflow()
    v1 = tf.compat.v1
    monkeypatch.setattr(ops, "_SMALL", small)
    with tf.Graph().as_default(), v1.Session() as session:
        variables = [v1.get_variable(f"v{i}", initializer=[3.0, 4.0]) for i in range(3)]
        clipped, _ = ops.clip_by_global_norm(variables, clip_norm)
        session.run(v1.global_variables_initializer())
        x, y = session.run(clipped)[0].tolist()
        doubled = [v.assign_add(value) for v, value in zip(variables, clipped, strict=True)]
        session.run(variables)
        assert session.run(variables[0]).tolist() == [3.0, 4.0]
        session.run(doubled)
        assert session.run(variables[0]).tolist() == pytest.approx([3.0 + x, 4.0 + y])


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("small", [0, 16384])
def test_nothing_is_multiplied_when_nothing_needs_clipping(
    ops: Any, monkeypatch: pytest.MonkeyPatch, count: int, small: int
) -> None:
    """41 * (1 / 41) is not 1 in float32: a multiplication shows."""
    tf = tensorflow()
    monkeypatch.setattr(ops, "_SMALL", small)

    def build() -> Any:
        tensors = [tf.constant([1.1, 2.3, 0.7])] * count
        return (
            tensors,
            ops.clip_by_global_norm(tensors, 41.0)[0],
            tf.clip_by_global_norm(tensors, 41.0)[0],
        )

    given, mine, theirs = in_session(build)
    assert [a.tolist() for a in mine] == [a.tolist() for a in given]
    assert [a.tolist() for a in theirs] != [a.tolist() for a in given]


def test_multiplications_are_in_a_branch(ops: Any) -> None:
    tf = tensorflow()
    with tf.Graph().as_default() as graph:
        ops.clip_by_global_norm([tf.ones([20000]) for _ in range(3)], 1.0)
        products = [op.outputs[0].shape.rank for op in graph.get_operations() if op.type == "Mul"]
    assert products == [0, 0]  # the norm's and the scale's


def test_in_a_function_and_eagerly(ops: Any) -> None:
    tf = tensorflow()
    if not tf.executing_eagerly():
        pytest.skip("eager execution is off")
    tensors = [tf.constant([3.0]), tf.constant([4.0])]
    function = tf.function(lambda: ops.clip_by_global_norm(tensors, 2.5))
    for clipped, norm in (function(), ops.clip_by_global_norm(tensors, 2.5)):
        assert [float(t[0]) for t in clipped] == [1.5, 2.0]
        assert float(norm) == 5.0
