"""How constants and attributes are shown: as plain values, in the types of JSON."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import tensorflow as tf
from google.protobuf import json_format, message
from tensorflow.core.framework import dataset_options_pb2

from monolith_cli.training.pipelines.constants import array_digest, tensor_array

__all__ = ["shown_array", "shown_attribute", "shown_options"]

_SHOWN_ELEMENTS = 16
_SHOWN_CHARACTERS = 256


def shown_array(array: Any) -> Any:
    """A small vector or scalar as it is; others as `{"dtype", "shape", "digest"}`."""
    if array.size > _SHOWN_ELEMENTS or array.ndim > 1:
        dtype = "string" if array.dtype == object else str(array.dtype)
        shape = [int(size) for size in array.shape]
        return {"dtype": dtype, "shape": shape, "digest": array_digest(array)}
    values = [_shown_scalar(value) for value in array.ravel().tolist()]
    return values[0] if array.ndim == 0 else values


def shown_attribute(value: Any) -> Any:
    """An `AttrValue` that contains no functions."""
    kind = value.WhichOneof("value")
    if kind == "list":
        lists = value.list
        shown = [
            _shown_scalar(item) for field in ("s", "i", "f", "b") for item in getattr(lists, field)
        ]
        shown += [_shown_type(item) for item in lists.type]
        return shown + [_shown_shape(item) for item in lists.shape]
    if kind == "type":
        return _shown_type(value.type)
    if kind == "shape":
        return _shown_shape(value.shape)
    if kind == "tensor":
        array = tensor_array(value.tensor)
        return _shown_type(value.tensor.dtype) if array is None else shown_array(array)
    return None if kind is None else _shown_scalar(getattr(value, kind))


def shown_options(serialized: bytes) -> Any:
    """The `tf.data.Options` that are set; versions of TensorFlow leave different empty groups."""
    try:
        options = json_format.MessageToDict(
            dataset_options_pb2.Options.FromString(serialized), preserving_proto_field_name=True
        )
    except (message.DecodeError, json_format.Error):
        return _shown_scalar(serialized)
    return {name: value for name, value in options.items() if value != {}}


def _shown_scalar(value: Any) -> Any:
    if isinstance(value, bytes):
        text = value.decode("utf-8", "backslashreplace")
        if len(text) <= _SHOWN_CHARACTERS:
            return text
        return {"bytes": len(value), "digest": hashlib.sha256(value).hexdigest()[:16]}
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no such numbers
    return value if isinstance(value, (bool, int, float, str)) else str(value)


def _shown_type(number: int) -> str:
    try:
        return str(tf.as_dtype(number).name)
    except TypeError:
        return str(number)


def _shown_shape(shape: Any) -> str:
    if shape.unknown_rank:
        return "?"
    return "[" + ",".join("?" if d.size < 0 else str(d.size) for d in shape.dim) + "]"
