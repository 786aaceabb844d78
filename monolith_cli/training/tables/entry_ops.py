"""Serialized EntryDumps in a graph, by stock ops that run on any device's host.

The descriptors that the ops need are inside the graph: no file, no global pool, and no clash with a
trainer's own copy of the message.
"""

from __future__ import annotations

import functools
from typing import Any

import tensorflow as tf
from google.protobuf import descriptor_pb2

__all__ = ["decode_entries", "encode_entries", "entry_ids"]

_MESSAGE = "monolith.training.EntryDump"
_ID_BYTES = 8
_ID_TAG = 0x09
"""Field 1, eight bytes: the start of an entry with an id, if its writer keeps fields in order."""


@functools.cache
def _descriptors() -> bytes:
    """The fields of an EntryDump, without the optimizers' state, for the proto ops."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="entry.proto", package="monolith.training")
    entry = file.message_type.add(name="EntryDump")
    for number, name, kind, label in (
        (1, "id", kinds.TYPE_SFIXED64, kinds.LABEL_OPTIONAL),
        (2, "num", kinds.TYPE_FLOAT, kinds.LABEL_REPEATED),
        (4, "last_update_ts_sec", kinds.TYPE_INT64, kinds.LABEL_OPTIONAL),
    ):
        entry.field.add(name=name, number=number, type=kind, label=label)
    return b"bytes://" + descriptor_pb2.FileDescriptorSet(file=[file]).SerializeToString()


def entry_ids(dump: Any) -> Any:
    """The feature ids of serialized EntryDumps.

    Entries that start with their id, as all known writers write them, cost about 0.03 µs each. A
    page with any other entry (fields in another order; no id, which counts as 0) is parsed whole,
    which takes some 0.3 µs an entry. If an entry starts with an id and has a second one further
    on, which no known writer does, the first may be taken instead of the last.

    Parameters
    ----------
    dump
        String vector; may be empty.

    Returns
    -------
    int64 vector

    Raises
    ------
    tf.errors.DataLossError
        In `session.run`: an entry that does not start with an id is not an EntryDump.
    """
    dump = tf.ensure_shape(dump, [None])
    raw = tf.io.decode_raw(dump, tf.uint8, fixed_length=1 + _ID_BYTES)
    # A shorter string comes padded, so its length counts too.
    in_front = tf.logical_and(
        tf.equal(raw[:, 0], _ID_TAG), tf.strings.length(dump) >= 1 + _ID_BYTES
    )
    return tf.cond(
        tf.reduce_all(in_front),
        lambda: tf.bitcast(raw[:, 1:], tf.int64),
        lambda: tf.ensure_shape(_parse(dump, ["id"], [tf.int64])[1][0][:, 0], [None]),
    )


def encode_entries(ids: Any, rows: Any, times: Any) -> Any:
    """Serialized EntryDumps, fields in order, without optimizers.

    Parameters
    ----------
    ids, times
        int64 vectors; may be empty.
    rows
        float32 matrix, a row for each entry.
    """
    count, dim = tf.unstack(tf.shape(rows))
    dump = tf.io.encode_proto(
        sizes=tf.tile([[1, dim, 1]], [count, 1]),
        values=[ids[:, None], rows, times[:, None]],
        field_names=["id", "num", "last_update_ts_sec"],
        message_type=_MESSAGE,
        descriptor_source=_descriptors(),
    )
    return tf.ensure_shape(dump, [None])


def decode_entries(dump: Any) -> tuple[Any, Any, Any, Any]:
    """The parts of serialized EntryDumps, from any writer; optimizers are left out.

    Parameters
    ----------
    dump
        String vector, not empty.

    Returns
    -------
    ids, rows, dims, times
        int64 vector, float32 matrix as wide as the longest embedding, how many floats each entry
        has (int32 vector), int64 vector. Fields that an entry does not have are 0.

    Raises
    ------
    tf.errors.DataLossError
        In `session.run`: one is not an EntryDump.
    """
    sizes, (ids, rows, times) = _parse(
        dump, ["id", "num", "last_update_ts_sec"], [tf.int64, tf.float32, tf.int64]
    )
    return ids[:, 0], rows, sizes[:, 1], times[:, 0]


def _parse(dump: Any, fields: list[str], dtypes: list[Any]) -> tuple[Any, list[Any]]:
    sizes, values = tf.io.decode_proto(
        dump, _MESSAGE, fields, dtypes, descriptor_source=_descriptors()
    )
    return sizes, values
