from __future__ import annotations

import pytest
import tf_support
from hypothesis import given
from hypothesis import strategies as st

from monolith_cli.formats.dtypes import (
    DTYPE_BYTES,
    dtype_name,
    dtype_number,
    format_shape,
    parse_shape,
)

shapes = st.lists(st.integers(0, 2**63 - 1), max_size=8).map(tuple)


def test_dtypes_are_tensorflows() -> None:
    tf = tf_support.tensorflow()
    from tensorflow.core.framework import types_pb2

    numbers = set()
    for number in types_pb2.DataType.values():
        try:
            dtype = tf.dtypes.as_dtype(number)
        except TypeError:  # DT_INVALID
            continue
        if dtype._is_ref_dtype:
            continue
        numbers.add(number)
        assert dtype_name(number) == dtype.name
        assert dtype_number(dtype.name) == number
        # Of a string and the like it says 0, or nothing.
        assert DTYPE_BYTES.get(dtype.name, 0) == (dtype.size or 0)
    assert len(numbers) >= 25


def test_a_dtype_that_is_not_known() -> None:
    assert dtype_name(99) == "dtype 99"
    with pytest.raises(KeyError):
        dtype_number("float99")


@given(shapes)
def test_shapes_there_and_back(shape: tuple[int, ...]) -> None:
    assert parse_shape(format_shape(shape)) == shape
    assert parse_shape(memoryview(format_shape(shape))) == shape


@given(st.lists(st.integers(0, 2**40), max_size=8))
def test_shapes_are_tensorflows(shape: list[int]) -> None:
    tf_support.tensorflow()
    from tensorflow.core.framework import tensor_shape_pb2 as pb

    message = pb.TensorShapeProto(dim=[pb.TensorShapeProto.Dim(size=size) for size in shape])
    assert parse_shape(message.SerializeToString()) == tuple(shape)
    assert pb.TensorShapeProto.FromString(format_shape(shape)) == message


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\x12\x0b\x08" + b"\xff" * 9 + b"\x01", "unknown size"),  # -1
        (b"\x18\x01", "unknown rank"),
        (b"\x12\x00" * 255, "255 dimensions"),
        (b"\x12\x05\x08\x01", "beyond the end"),
        (b"\x12\x02\x08\x80", "beyond the end"),
    ],
)
def test_shapes_that_cannot_be(data: bytes, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        parse_shape(data)
