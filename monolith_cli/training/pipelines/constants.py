"""The constants of a graph definition as arrays: those it has, and those computed from them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from monolith_cli.training.pipelines.nodes import data_inputs
from monolith_cli.training.pipelines.references import Place, Scope
from monolith_cli.training.pipelines.walk import DEEPEST

__all__ = ["array_digest", "constant", "tensor_array"]

_CALCULATE: dict[str, Callable[..., Any]] = {
    "Add": np.add,
    "AddV2": np.add,
    "Equal": np.equal,
    "FloorDiv": np.floor_divide,
    "LogicalAnd": np.logical_and,
    "Maximum": np.maximum,
    "Minimum": np.minimum,
    "Mul": np.multiply,
    "Reshape": np.reshape,
    "Select": np.where,
    "SelectV2": np.where,
    "Sub": np.subtract,
}


def constant(scope: Scope, reference: str, depth: int = 0) -> Any:
    """The value as an array, or None if it is not constant."""
    place = scope.resolve(reference)
    node = place.node if isinstance(place, Place) else None
    if node is None or depth > DEEPEST:
        return None
    if node.op == "Const":
        return tensor_array(node.attr["value"].tensor)
    calculate = _CALCULATE.get(node.op)
    if calculate is None and node.op not in ("Cast", "Pack"):
        return None
    values = [constant(place.scope, i, depth + 1) for i in data_inputs(node)]
    if any(value is None for value in values):
        return None
    try:
        if node.op == "Cast":
            return values[0].astype(tf.as_dtype(node.attr["DstT"].type).as_numpy_dtype)
        if node.op == "Pack":
            return np.stack(values, node.attr["axis"].i)
        assert calculate is not None
        return calculate(*values)
    except (ArithmeticError, TypeError, ValueError):  # it would also fail at run time
        return None


def tensor_array(tensor: Any) -> Any:
    """A `TensorProto` as an array, or None if it is a resource or a variant."""
    try:
        if tensor.dtype == tf.string.as_datatype_enum and tensor.tensor_content:
            return _string_array(tensor)
        return tf.make_ndarray(tensor)
    except (KeyError, TypeError, ValueError):  # KeyError: numpy has no such dtype
        return None


def _string_array(tensor: Any) -> Any:
    """Strings as TensorFlow serializes a dataset's: all lengths as varints, then the bytes."""
    content = tensor.tensor_content
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    strings = np.empty(shape, object)
    at = 0
    lengths: list[int] = []
    for _ in range(strings.size):
        length = shift = 0
        while True:
            length |= (content[at] & 0x7F) << shift
            at, shift, more = at + 1, shift + 7, content[at] & 0x80
            if not more:
                break
        lengths.append(length)
    for i, length in enumerate(lengths):
        strings.flat[i] = content[at : at + length]
        at += length
    return strings


def array_digest(array: Any) -> str:
    """16 hex digits, of an array's dtype, shape and elements."""
    digest = hashlib.sha256(f"{array.dtype} {array.shape}\n".encode())
    if array.dtype == object:
        for item in array.ravel():
            digest.update(b"%d:" % len(item) + item)
    else:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
