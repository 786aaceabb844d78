"""Elements of datasets as JSON: their structure as it is, their tensors as lists."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import tensorflow as tf

__all__ = ["ElementWriter", "leaves"]


def leaves(structure: Any) -> list[Any]:
    """The parts of an element, in the order of `ElementWriter`."""
    found: list[Any] = []
    _walk(structure, found.append)
    return found


class ElementWriter:
    """Writes elements; their parts may have been computed in between.

    Numbers are numbers, but 64-bit integers are strings unless `number_ids`, and a float that is
    not finite is null. A string is text if it is UTF-8, else `{"base64": ...}`. Tensors are lists
    of lists, ragged ones too; sparse ones `{"indices", "values", "dense_shape"}`. Dictionaries and
    named tuples are objects. Parts without values, such as a nested dataset, are `{"type": ...}`.

    Attributes
    ----------
    non_finite
        How many floats were written as null.
    """

    def __init__(self, *, number_ids: bool = False) -> None:
        self._number_ids = number_ids
        self.non_finite = 0

    def write(self, structure: Any, values: list[Any]) -> str:
        """An element as JSON in one line.

        Parameters
        ----------
        structure
            The element, or tensors that stand for it.
        values
            The values of its leaves.
        """
        rest = iter(values)
        return json.dumps(_walk(structure, lambda _: self._value(next(rest))), allow_nan=False)

    def _value(self, value: Any) -> Any:
        if isinstance(value, (tf.SparseTensor, tf.compat.v1.SparseTensorValue)):
            return {
                "indices": _array(value.indices).tolist(),
                "values": self._value(value.values),
                "dense_shape": _array(value.dense_shape).tolist(),
            }
        if isinstance(value, (tf.RaggedTensor, tf.compat.v1.ragged.RaggedTensorValue)):
            rows = self._value(value.values)
            ends = _array(value.row_splits).tolist()
            return [rows[start:end] for start, end in pairwise(ends)]
        if isinstance(value, (bytes, str, np.generic, np.ndarray, tf.Tensor)):
            array = _array(value)
            if array is not None:
                return self._listed(array)
        if isinstance(value, tf.data.Dataset):
            return {"type": f"dataset of {value.element_spec}"}
        return {"type": str(getattr(value, "dtype", type(value)))}

    def _listed(self, array: np.ndarray[Any, Any]) -> Any:
        kind = array.dtype.kind
        if kind == "b":
            return array.tolist()
        if kind in "iu":
            is_id = array.dtype.itemsize == 8 and not self._number_ids
            return _mapped(array, str if is_id else int)
        if kind == "f" and array.dtype.itemsize == 8:
            return _mapped(array, self._double)
        if kind == "c":
            parts = np.stack([array.real, array.imag], axis=-1)
            return self._listed(parts)
        if kind in "OSU":
            return _mapped(array, _text)
        # float32, and smaller ones, which NumPy itself may not know.
        return _mapped(array.astype(np.float32), self._float)

    def _float(self, value: Any) -> float | None:
        # NumPy's text is the shortest that reads back as the same float32.
        return self._double(float(str(value)))

    def _double(self, value: Any) -> float | None:
        if math.isfinite(value):
            return float(value)
        self.non_finite += 1
        return None


def _walk(structure: Any, leaf: Callable[[Any], Any]) -> Any:
    if structure is None:
        return None
    if isinstance(structure, Mapping):
        return {str(key): _walk(item, leaf) for key, item in structure.items()}
    if isinstance(structure, tuple) and hasattr(structure, "_fields") and not _is_value(structure):
        return {key: _walk(getattr(structure, key), leaf) for key in structure._fields}
    if isinstance(structure, (list, tuple)) and not _is_value(structure):
        return [_walk(item, leaf) for item in structure]
    if hasattr(type(structure), "__attrs_attrs__"):
        names = [field.name for field in type(structure).__attrs_attrs__]
        return {name: _walk(getattr(structure, name), leaf) for name in names}
    if dataclasses.is_dataclass(structure) and not isinstance(structure, type):
        names = [field.name for field in dataclasses.fields(structure)]
        return {name: _walk(getattr(structure, name), leaf) for name in names}
    return leaf(structure)


def _is_value(value: Any) -> bool:
    """Whether it is a tensor, even if it is a tuple as well."""
    return isinstance(value, tf.compat.v1.SparseTensorValue)


def _array(value: Any) -> Any:
    """An array of the values; None if there are none."""
    if isinstance(value, tf.Tensor):
        if value.dtype in (tf.variant, tf.resource) or not hasattr(value, "numpy"):
            return None
        value = value.numpy()
    if isinstance(value, (bytes, str)):  # NumPy would drop zeros at the end
        array = np.empty((), object)
        array[()] = value
        return array
    return np.asarray(value)


def _mapped(array: np.ndarray[Any, Any], convert: Callable[[Any], Any]) -> Any:
    if array.ndim == 0:
        return convert(array[()])
    return (
        [_mapped(part, convert) for part in array]
        if array.ndim > 1
        else [convert(value) for value in array]
    )


def _text(value: Any) -> Any:
    if isinstance(value, str):
        return value
    try:
        return bytes(value).decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}
