"""Clipping by the global norm, at almost no cost while there is nothing to clip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

__all__ = ["clip_by_global_norm"]

_SMALL = 16384
"""Tensors of at most so many elements are joined, because for them an op itself costs most."""


def clip_by_global_norm(
    t_list: list[Any], clip_norm: Any, use_norm: Any = None
) -> tuple[list[Any], Any]:
    """Scale tensors so that their global norm is at most `clip_norm`.

    Like `tf.clip_by_global_norm`: a norm that is not finite makes every value NaN, None stays
    None, and `tf.IndexedSlices` are clipped by their values. Inputs are never changed in place.

    One pass over the values for the norm, and a second one only if there is something to clip;
    otherwise the values come back unchanged. Many small tensors are joined for both passes, so a
    copy of them is held. Locks nothing. On a GPU the values are always multiplied, because a
    condition would make the host wait for the norm.

    Parameters
    ----------
    t_list
        Tensors, `tf.IndexedSlices`, variables and None, of one floating dtype; with `use_norm`,
        of any floating dtypes.
    clip_norm
        The largest norm; a number or a scalar tensor. A negative one clips nothing.
    use_norm
        Used as the global norm, and returned, instead of computing it. The scale is computed in its
        dtype, and cast to that of each tensor.

    Returns
    -------
    clipped, norm
        A list like `t_list`, and the global norm before clipping. For an empty list, that list and
        0.

    Raises
    ------
    TypeError
        If t_list is not a list, a dtype is not floating, or the dtypes differ and there is no
        `use_norm`.
    """
    if not isinstance(t_list, list):
        raise TypeError("t_list should be a list")
    if not t_list:
        return t_list, 0
    tensors = _values(t_list)
    given = [value for value in tensors if value is not None]
    _check_dtypes(given, mixed=use_norm is not None)
    if not given:
        return list(t_list), tf.constant(0.0) if use_norm is None else use_norm
    with tf.name_scope("clip_by_global_norm"):
        small, large = _partition(given)
        joined = [tf.concat([tf.reshape(given[i], [-1]) for i in ids], 0) for ids in small]
        pieces = joined + [given[i] for i in large]
        norm = _norm_of(pieces) if use_norm is None else use_norm
        clipped_pieces = _clip(pieces, norm, clip_norm)
        clipped: list[Any] = [None] * len(given)
        for ids, flat in zip(small, clipped_pieces, strict=False):
            shapes = [given[i].shape for i in ids]
            parts = tf.split(flat, [shape.num_elements() for shape in shapes])
            for i, part, shape in zip(ids, parts, shapes, strict=True):
                clipped[i] = tf.reshape(part, shape)
        for i, value in zip(large, clipped_pieces[len(small) :], strict=True):
            clipped[i] = value
        rest = iter(clipped)
        return [_like(t, next(rest)) if t is not None else None for t in t_list], norm


def _global_norm(t_list: Sequence[Any]) -> Any:
    """The square root of the sum of all squares, a scalar tensor; None if there is no tensor."""
    given = [value for value in _values(t_list) if value is not None]
    if not given:
        return None
    _check_dtypes(given)
    return _norm_of(given)


def _norm_of(tensors: Sequence[Any]) -> Any:
    halves = []
    for tensor in tensors:
        with tf.compat.v1.colocate_with(tensor):
            halves.append(tf.nn.l2_loss(tensor))
    return tf.sqrt(tf.add_n(halves) * tf.constant(2.0, halves[0].dtype), name="global_norm")


def _clip(tensors: list[Any], norm: Any, clip_norm: Any) -> list[Any]:
    if not tf.is_tensor(norm):
        norm = tf.convert_to_tensor(norm, dtype=_widest(tensors))
    dtype = norm.dtype.base_dtype
    clip_norm = tf.cast(clip_norm, dtype)
    one = tf.constant(1.0, dtype)
    # norm - norm is NaN for a norm that isn't finite, and so is the scale.
    scale = clip_norm * tf.minimum(one / norm, one / clip_norm) + (norm - norm)

    def scaled() -> list[Any]:
        return [tensor * tf.cast(scale, tensor.dtype.base_dtype) for tensor in tensors]

    if any("GPU" in tensor.device for tensor in tensors):
        return scaled()
    # Exactly where the scale is 1, but for rounding. An infinite clip_norm gives NaN there too.
    fits = (norm >= 0) & tf.math.is_finite(norm) & tf.math.is_finite(clip_norm)
    fits &= (clip_norm < 0) | ((clip_norm > 0) & (norm <= clip_norm))
    result = _cond(fits, lambda: [tf.identity(tensor) for tensor in tensors], scaled)
    return list(result)


def _cond(
    predicate: Any, if_true: Callable[[], list[Any]], if_false: Callable[[], list[Any]]
) -> Sequence[Any]:
    result = tf.cond(predicate, if_true, if_false)
    return result if isinstance(result, (list, tuple)) else [result]


def _values(t_list: Sequence[Any]) -> list[Any]:
    return [
        None
        if t is None
        else tf.convert_to_tensor(t.values if isinstance(t, tf.IndexedSlices) else t)
        for t in t_list
    ]


def _like(original: Any, value: Any) -> Any:
    if isinstance(original, tf.IndexedSlices):
        return tf.IndexedSlices(value, original.indices, original.dense_shape)
    return value


def _check_dtypes(tensors: Sequence[Any], *, mixed: bool = False) -> None:
    dtypes = {tensor.dtype.base_dtype for tensor in tensors}
    if (len(dtypes) > 1 and not mixed) or not all(dtype.is_floating for dtype in dtypes):
        names = ", ".join(sorted(dtype.name for dtype in dtypes))
        wanted = "floating dtypes" if mixed else "one floating dtype"
        raise TypeError(f"t_list should be of {wanted}, not of {names}")


def _widest(tensors: Sequence[Any]) -> Any:
    """The dtype of a number beside these tensors: theirs, or one that holds all of theirs."""
    dtypes = {tensor.dtype.base_dtype for tensor in tensors}
    if len(dtypes) == 1:
        return dtypes.pop()
    return tf.float64 if tf.float64 in dtypes else tf.float32


def _partition(tensors: Sequence[Any]) -> tuple[list[list[int]], list[int]]:
    """Indices of small tensors by device and dtype, if there are several, and of all others."""
    kinds: dict[Any, list[int]] = {}
    large = []
    for i, tensor in enumerate(tensors):
        size = tensor.shape.num_elements()
        if size is not None and size <= _SMALL:
            kinds.setdefault((tensor.device, tensor.dtype.base_dtype), []).append(i)
        else:
            large.append(i)
    small = [ids for ids in kinds.values() if len(ids) > 1]
    large += [ids[0] for ids in kinds.values() if len(ids) == 1]
    return small, large
