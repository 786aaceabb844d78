"""What a save tells the workers, and what they report about their inputs, in graph variables.

The chief writes the step into a variable on the parameter server, `WorkerCkptMetaInfo`, and asks at
the barrier; the workers' callbacks write the iterator states and acknowledge.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import tensorflow as tf

from monolith_cli import messages
from monolith_cli.training.graph.shared import plain, shared_device

__all__ = [
    "SAVE_ACTION",
    "SavedInput",
    "assign_ckpt_info",
    "get_ckpt_info",
    "get_fingerprints",
    "get_saved_inputs",
    "meta_of",
]

v1 = tf.compat.v1

SAVE_ACTION = "Save"


class Meta:
    """What a graph's hooks share: the step that is being saved, and what the inputs are."""

    def __init__(self, is_chief: bool) -> None:
        keys = v1.GraphKeys
        with v1.name_scope(None), v1.device(shared_device()), tf.control_dependencies(None):
            self.info = v1.Variable(
                "",
                name="WorkerCkptMetaInfo",
                dtype=tf.string,
                trainable=False,
                collections=[keys.LOCAL_VARIABLES if is_chief else keys.GLOBAL_VARIABLES],
                use_resource=True,
            )
            with v1.name_scope("WorkerCkptMetaInfo_ops"):
                self.text = v1.placeholder(tf.string, [], name="info_placeholder")
                self.assign = self.info.assign(self.text).op
                self.read = self.info.read_value()
                # A table needs no initializer, and no capacity.
                table = tf.raw_ops.MutableHashTableV2(
                    key_dtype=tf.int64, value_dtype=tf.string, shared_name="WorkerCkptInputs"
                )
                self.index = v1.placeholder(tf.int64, [1], name="index_placeholder")
                self.input = v1.placeholder(tf.string, [1], name="input_placeholder")
                self.insert = tf.raw_ops.LookupTableInsertV2(
                    table_handle=table, keys=self.index, values=self.input
                )
                self.inputs = tf.raw_ops.LookupTableExportV2(
                    table_handle=table, Tkeys=tf.int64, Tvalues=tf.string
                )


# In the graph itself, which the variables refer to. Meta graphs leave out keys that are no strings.
_METAS = ("monolith_worker_ckpt_meta",)


def meta_of(graph: tf.Graph, is_chief: bool = True) -> Meta:
    """The graph's, made when it is first asked for."""
    metas = graph.get_collection_ref(_METAS)
    if not metas:
        with graph.as_default():
            metas.append(Meta(is_chief))
    meta: Meta = metas[0]
    return meta


def assign_ckpt_info(session: Any, info: Any) -> None:
    """Store a WorkerCkptInfo message, of any protobuf class, where the workers read it.

    One round trip to the parameter server. The first use in a graph makes ops.
    """
    raw = plain(session)
    meta = meta_of(raw.graph)
    raw.run(meta.assign, {meta.text: info.SerializeToString()})


def get_ckpt_info(session: Any) -> Any:
    """The WorkerCkptInfo message that was stored last; an empty one before the first.

    One round trip to the parameter server. The first use in a graph makes ops.
    """
    message = messages.get_message("monolith.hooks.WorkerCkptInfo")
    raw = plain(session)
    return message.FromString(raw.run(meta_of(raw.graph).read))


class SavedInput(NamedTuple):
    """What a worker reports about the input whose state it has saved.

    Attributes
    ----------
    fingerprint
        What the input is; None if that is not known.
    rollback_ns
        The time of the rollback by which the worker has gone back since its TensorFlow session
        began, which distinguishes it from others; None without one.
    """

    fingerprint: Any
    rollback_ns: int | None


def get_saved_inputs(session: Any) -> dict[int, SavedInput]:
    """By worker, the input whose state it has saved last; 0 is the chief.

    One round trip to the parameter server.
    """
    raw = plain(session)
    workers, texts = raw.run(meta_of(raw.graph).inputs)
    return {
        int(worker): SavedInput(*json.loads(text))
        for worker, text in zip(workers, texts, strict=True)
    }


def get_fingerprints(session: Any) -> dict[int, Any]:
    """By worker, the fingerprint of the input whose state it has saved last; 0 is the chief.

    One round trip to the parameter server.
    """
    return {worker: said.fingerprint for worker, said in get_saved_inputs(session).items()}
