"""Elements of datasets as JSON; eager values and those of sessions look the same."""

from __future__ import annotations

import dataclasses
import json
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tf_support import tensorflow

Pair = namedtuple("Pair", ["user", "item"])


@pytest.fixture(scope="module")
def elements() -> Any:
    tensorflow()
    from monolith_cli.training.pipelines import elements

    return elements


def written(elements: Any, dataset: Any, **options: Any) -> tuple[Any, int]:
    """The first element of a dataset, and how many floats of it JSON cannot say."""
    writer = elements.ElementWriter(**options)
    element = next(iter(dataset))
    return json.loads(writer.write(element, elements.leaves(element))), writer.non_finite


def of(value: Any) -> Callable[[], Any]:
    return lambda: tensorflow().data.Dataset.from_tensors(value)


FLOATS = np.array([0.1, 1 / 3, 1e30, 16777217, -0.0], np.float32)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.int64(2**60 + 1), "1152921504606846977"),
        (np.array([[1, -2], [3, 4]], np.int64), [["1", "-2"], ["3", "4"]]),
        (np.uint64(2**64 - 1), "18446744073709551615"),
        (np.array([1, 2], np.int32), [1, 2]),
        (np.uint8(7), 7),
        (True, True),
        (FLOATS, [0.1, 0.33333334, 1e30, 16777216.0, -0.0]),
        (np.array([0.1], np.float16), [0.099975586]),
        (np.array([0.1], np.float64), [0.1]),
        (np.array([1 / 3], np.float64), [1 / 3]),
        (np.array([1 + 2j], np.complex64), [[1.0, 2.0]]),
        (b"caf\xc3\xa9", "café"),
        (b"a\0b\0", "a\0b\0"),
        (b"\xff\x00", {"base64": "/wA="}),
        ([b"a", b"", b"\x80"], ["a", "", {"base64": "gA=="}]),
        (np.zeros((0, 3), np.float32), []),
        (np.zeros((2, 0), np.int64), [[], []]),
        ({"b": 1.5, "a": (b"x", [1.0, 2.0])}, {"b": 1.5, "a": ["x", [1.0, 2.0]]}),
        (Pair(np.int64(1), b"i"), {"user": "1", "item": "i"}),
        ((np.int64(1),), ["1"]),
    ],
    ids=repr,
)
def test_values(elements: Any, value: Any, expected: Any) -> None:
    assert written(elements, of(value)())[0] == expected


def test_numbers_where_they_are_asked_for(elements: Any) -> None:
    said, _ = written(elements, of(np.array([2**60 + 1]))(), number_ids=True)
    assert said == [2**60 + 1]


def test_what_json_cannot_say_is_null_and_counted(elements: Any) -> None:
    value = (np.array([1.0, np.nan, np.inf], np.float32), np.float64(-np.inf))
    assert written(elements, of(value)()) == ([[1.0, None, None], None], 3)


def test_bfloat16(elements: Any) -> None:
    tf = tensorflow()
    assert written(elements, of(tf.constant([1.5, 0.1], tf.bfloat16))())[0] == [1.5, 0.100097656]


def test_sparse(elements: Any) -> None:
    tf = tensorflow()
    value = tf.SparseTensor([[0, 1], [2, 0]], tf.constant([7, 8], tf.int64), [3, 2])
    assert written(elements, of(value)())[0] == {
        "indices": [[0, 1], [2, 0]],
        "values": ["7", "8"],
        "dense_shape": [3, 2],
    }


def test_ragged(elements: Any) -> None:
    tf = tensorflow()
    value = tf.ragged.constant([[[0.1], []], [], [[1.5, 2.5]]])
    assert written(elements, of(value)())[0] == [[[0.1], []], [], [[1.5, 2.5]]]
    named = {"rows": tf.ragged.constant([[b"a"], [], [b"b", b"\xff"]])}
    assert written(elements, of(named)())[0] == {"rows": [["a"], [], ["b", {"base64": "/w=="}]]}


def test_a_dataset_in_a_dataset(elements: Any) -> None:
    said, _ = written(elements, tensorflow().data.Dataset.range(10).window(3))
    assert said == {"type": "dataset of TensorSpec(shape=(), dtype=tf.int64, name=None)"}


def test_what_has_no_values(elements: Any) -> None:
    tf = tensorflow()
    made = tf.data.experimental.to_variant(tf.data.Dataset.range(3))
    assert json.loads(elements.ElementWriter().write(made, [made])) == {
        "type": "<dtype: 'variant'>"
    }


def test_structures_of_other_kinds(elements: Any) -> None:
    @dataclasses.dataclass
    class Row:
        user: Any
        rest: Any = None

    writer = elements.ElementWriter()
    row = Row(np.float32(0.5))
    assert json.loads(writer.write(row, elements.leaves(row))) == {"user": 0.5, "rest": None}


def test_what_a_session_has_computed(elements: Any) -> None:
    tf = tensorflow()
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        element = {
            "sparse": tf.SparseTensor([[0, 1]], [0.1], [1, 2]),
            "ragged": tf.RaggedTensor.from_row_lengths(
                tf.constant([1, 2, 3], tf.int64), tf.constant([2, 0, 1], tf.int64)
            ),
            "text": tf.constant(b"a\0"),
            "number": tf.constant(5, tf.int64),
        }
        values = session.run(elements.leaves(element))
        assert json.loads(elements.ElementWriter().write(element, values)) == {
            "sparse": {"indices": [[0, 1]], "values": [0.1], "dense_shape": [1, 2]},
            "ragged": [["1", "2"], [], ["3"]],
            "text": "a\0",
            "number": "5",
        }
