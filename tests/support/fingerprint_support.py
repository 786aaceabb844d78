"""Fingerprints of pipelines, as graphs and eager code have them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from tf_support import tensorflow

Make = Callable[[Any], Any]
"""Makes a dataset, given the tensorflow module."""


def one_shot(module: Any, make: Make) -> Any:
    tf = tensorflow()
    with tf.Graph().as_default() as graph:
        tf.compat.v1.data.make_one_shot_iterator(make(tf))
        graph.finalize()
        return saved(module.fingerprint(graph.get_collection("iterators")))


def initializable(module: Any, make: Make, shift: int = 0) -> Any:
    tf = tensorflow()
    with tf.Graph().as_default() as graph:
        for i in range(shift):  # names and functions are counted on
            other = tf.data.TFRecordDataset(["other"]).map(lambda x, i=i: tf.strings.length(x) + i)
            other.shuffle(3).batch(2).prefetch(1)
        tf.compat.v1.data.make_initializable_iterator(make(tf))
        graph.finalize()
        return saved(module.fingerprint(graph.get_collection("iterators")))


def saved(value: Any) -> Any:
    """As JSON brings it back, which must be just as it was."""
    back = json.loads(json.dumps(value, allow_nan=False))
    assert back == value
    return back


def only(value: dict[str, Any]) -> Any:
    (entry,) = value.values()
    return entry


def ops(entry: Any) -> list[str]:
    return [node["op"] for node in entry["nodes"]]


def parameters(entry: Any, op: str) -> Any:
    (node,) = [node for node in entry["nodes"] if node["op"] == op]
    return node["parameters"]


def numbers() -> Iterator[int]:
    yield from range(3)


def parts(count: int, directory: str = ".") -> list[str]:
    return [f"{directory}/part-{i}" for i in range(count)]


KINDS: dict[str, tuple[Make, list[str], list[str] | None]] = {
    "slices": (
        lambda tf: tf.data.Dataset.from_tensor_slices(([1, 2], ["a", "b"])),
        ["TensorSliceDataset"],
        [],
    ),
    "range": (lambda tf: tf.data.Dataset.range(1, 9, 2), ["RangeDataset"], []),
    "TFRecord": (
        lambda tf: tf.data.TFRecordDataset(parts(2)),
        ["TensorSliceDataset", "FlatMapDataset"],
        ["part-0", "part-1"],
    ),
    "TextLine": (
        lambda tf: tf.data.TextLineDataset("part-3"),
        ["TensorSliceDataset", "FlatMapDataset"],
        ["part-3"],
    ),
    "FixedLength": (
        lambda tf: tf.data.FixedLengthRecordDataset(["part-1", "part-0"], 10),
        ["TensorSliceDataset", "FlatMapDataset"],
        ["part-1", "part-0"],
    ),
    "flat_map": (
        lambda tf: tf.data.Dataset.from_tensor_slices(parts(3)).flat_map(
            lambda name: tf.data.TFRecordDataset(name).map(tf.strings.length)
        ),
        ["TensorSliceDataset", "FlatMapDataset"],
        ["part-0", "part-1", "part-2"],
    ),
    "interleave": (
        lambda tf: (
            tf.data.Dataset.from_tensor_slices(parts(4))
            .shard(2, 1)
            .repeat()
            .interleave(tf.data.TFRecordDataset, cycle_length=2, block_length=3)
        ),
        ["TensorSliceDataset", "ShardDataset", "RepeatDataset", "InterleaveDataset"],
        ["part-1", "part-3"],
    ),
    "parallel interleave of a zip": (
        lambda tf: (
            tf.data.Dataset.zip(
                (tf.data.Dataset.range(4), tf.data.Dataset.from_tensor_slices(parts(4)).take(3))
            )
            .skip(1)
            .interleave(
                lambda i, name: tf.data.TextLineDataset(name).map(lambda line: (i, line)),
                num_parallel_calls=2,
            )
        ),
        [
            "RangeDataset",
            "TensorSliceDataset",
            "TakeDataset",
            "ZipDataset",
            "SkipDataset",
            "ParallelInterleaveDatasetV4",
        ],
        ["part-1", "part-2"],
    ),
    "list_files": (
        lambda tf: (
            tf.data.Dataset.list_files("part-*", shuffle=False)
            .shard(2, 0)
            .flat_map(tf.data.TFRecordDataset)
        ),
        ["TensorSliceDataset", "ShardDataset", "FlatMapDataset"],
        ["part-0", "part-2"],
    ),
    "shuffle": (
        lambda tf: tf.data.Dataset.range(9).shuffle(4, seed=7),
        ["RangeDataset", "ShuffleDataset"],
        [],
    ),
    "parallel map": (
        lambda tf: tf.data.Dataset.range(9).map(lambda x: x * 2, num_parallel_calls=2),
        ["RangeDataset", "ParallelMapDatasetV2"],
        [],
    ),
    "batch and prefetch": (
        lambda tf: tf.data.Dataset.range(9).batch(4, drop_remainder=True).prefetch(3),
        ["RangeDataset", "BatchDatasetV2", "PrefetchDataset"],
        [],
    ),
    "cache and filter": (
        lambda tf: tf.data.Dataset.range(9).cache().filter(lambda x: x > 2),
        ["RangeDataset", "CacheDataset", "FilterDataset"],
        [],
    ),
    "zip and concatenate": (
        lambda tf: tf.data.Dataset.zip(
            (tf.data.TFRecordDataset("part-0"), tf.data.TextLineDataset("part-1"))
        ).concatenate(tf.data.Dataset.from_tensors(("x", "y"))),
        [
            *["TensorSliceDataset", "FlatMapDataset"] * 2,
            "ZipDataset",
            "TensorDataset",
            "ConcatenateDataset",
        ],
        ["part-0", "part-1"],
    ),
    "numpy_function": (
        lambda tf: tf.data.Dataset.range(9).map(
            lambda x: tf.numpy_function(lambda y: y + 1, [x], tf.int64)
        ),
        ["RangeDataset", "MapDataset"],
        [],
    ),
    "generator": (
        lambda tf: tf.data.Dataset.from_generator(
            numbers, output_signature=tf.TensorSpec([], tf.int64)
        ),
        ["TensorDataset", "FlatMapDataset"],
        [],
    ),
    "options": (
        lambda tf: tf.data.Dataset.range(9).with_options(tf.data.Options()),
        ["RangeDataset", "OptionsDataset"],
        [],
    ),
    "control flow": (
        lambda tf: tf.data.Dataset.range(9).map(
            lambda x: tf.cond(
                x > 3,
                lambda: tf.while_loop(lambda i: i < 3, lambda i: i + 1, [x])[0],
                lambda: -x,
            )
        ),
        ["RangeDataset", "MapDataset"],
        [],
    ),
}


def pipeline(
    files: list[str] | None = None,
    batch: int = 4,
    prefetch: int = 2,
    shard: int = 0,
    plus: int = 1,
    captured: int = 5,
    compression: str = "",
    shuffle: int = 0,
    body: int = 0,
) -> Make:
    def make(tf: Any) -> Any:
        kept = tf.constant(captured)
        names = parts(4) if files is None else files
        dataset = tf.data.TFRecordDataset(names, compression).shard(2, shard)
        if body == 1:
            dataset = dataset.map(lambda x: (tf.strings.length(x) + plus) - kept)
        else:
            dataset = dataset.map(lambda x: (tf.strings.length(x) + plus) * kept)
        if shuffle:
            dataset = dataset.shuffle(shuffle)
        return dataset.batch(batch).prefetch(prefetch)

    return make
