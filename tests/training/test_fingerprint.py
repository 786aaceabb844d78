"""Fingerprints of real pipelines, and what is said of two that differ."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tf_support
from hypothesis import given, settings
from hypothesis import strategies as st
from tf_support import tensorflow

pytestmark = pytest.mark.filterwarnings("ignore")
Make = Callable[[Any], Any]
"""Makes a dataset, given the tensorflow module."""


@pytest.fixture(scope="module")
def module() -> Any:
    tensorflow()
    from monolith_cli.training import fingerprint

    return fingerprint


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """The working directory: part-0 to part-3, of 100 to 400 bytes."""
    before = os.getcwd()
    os.chdir(tmp_path)
    for i in range(4):
        Path(f"part-{i}").write_bytes(bytes(100 * (i + 1)))
    yield tmp_path
    os.chdir(before)


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


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_in_every_form(module: Any, directory: Path, kind: str) -> None:
    make, nodes, files = KINDS[kind]
    first = initializable(module, make)
    assert list(first) == ["IteratorV2:0"]
    entry = first["IteratorV2:0"]
    assert ops(entry) == nodes
    assert files is not None
    assert [Path(file["path"]).name for file in entry["files"]] == files
    assert all(file["bytes"] == 100 * (int(file["path"][-1]) + 1) for file in entry["files"])

    assert initializable(module, make, shift=3) == first
    assert only(one_shot(module, make)) == entry
    assert list(one_shot(module, make)) == ["OneShotIterator:0"]
    assert module.differences(first, initializable(module, make, shift=1)) == []

    eager = saved(module.dataset_fingerprint(make(tensorflow())))
    told = module.differences({"x": entry}, {"x": eager})
    if kind == "parallel interleave of a zip":  # eager mode has filled in what TensorFlow chooses
        assert [line.split()[0] for line in told] == [
            "cycle_length",
            "buffer_output_elements",
            "prefetch_input_elements",
        ]
    else:
        assert told == []
        assert eager["digest"] == entry["digest"]
        assert [file["path"] for file in eager["files"]] == [
            file["path"] for file in entry["files"]
        ]


def test_a_dataset_of_a_graph(module: Any) -> None:
    tf = tensorflow()
    make = KINDS["batch and prefetch"][0]
    with tf.Graph().as_default():
        assert module.dataset_fingerprint(make(tf)) == only(initializable(module, make))


def test_in_full(module: Any, directory: Path) -> None:
    offset = np.arange(100, dtype=np.int32)
    found = initializable(
        module,
        lambda tf: (
            tf.data.TFRecordDataset(["part-0", "gone"], "GZIP")
            .map(lambda x: tf.strings.length(x) + tf.reduce_sum(offset))
            .shuffle(5)
            .batch(4)
        ),
    )
    entry = found["IteratorV2:0"]
    function = parameters(entry, "MapDataset")["f"]["function"]
    assert len(function) == len(entry["digest"]) == 16
    element = {"output_shapes": ["[]"], "output_types": ["int32"]}
    assert entry == {
        "version": 1,
        "digest": entry["digest"],
        "files": [{"path": "part-0", "bytes": 100}, {"path": "gone", "bytes": None}],
        "nodes": [
            {
                "op": "TensorSliceDataset",
                "parameters": {
                    "components": [{"files": True}],
                    "output_shapes": ["[]"],
                    "output_types": ["string"],
                },
            },
            {
                "op": "FlatMapDataset",
                "parameters": {
                    "f": {
                        "nodes": [
                            {
                                "op": "TFRecordDataset",
                                "parameters": {
                                    "filenames": {"component": 0},
                                    "compression_type": "GZIP",
                                },
                            }
                        ]
                    },
                    "output_shapes": ["[]"],
                    "output_types": ["string"],
                },
            },
            {"op": "MapDataset", "parameters": {"f": {"function": function}, **element}},
            {
                "op": "ShuffleDataset",
                "parameters": {"buffer_size": 5, "seed": 0, "seed2": 0, **element},
            },
            {
                "op": "BatchDatasetV2",
                "parameters": {
                    "batch_size": 4,
                    "drop_remainder": False,
                    **element,
                    "output_shapes": ["[?]"],
                },
            },
        ],
    }


PROGRAM = """
import json, sys
sys.path[:0] = sys.argv[1:]
import test_fingerprint as t
from monolith_cli.training import fingerprint as module
print(json.dumps({k: [t.initializable(module, m[0]), t.one_shot(module, m[0])]
                  for k, m in t.KINDS.items()}))
"""


def test_the_same_in_every_process(module: Any, directory: Path) -> None:
    package = str(Path(sys.modules["monolith_cli"].__file__ or "").parents[1])
    places = [package, str(Path(__file__).parent), str(Path(tf_support.__file__).parent)]
    said = []
    for seed in ("1", "2"):
        environment = dict(os.environ, PYTHONHASHSEED=seed, CUDA_VISIBLE_DEVICES="")
        run = subprocess.run(
            [sys.executable, "-c", PROGRAM, *places],
            env=dict(environment, TF_CPP_MIN_LOG_LEVEL="3"),
            capture_output=True,
            check=True,
        )
        said.append(json.loads(run.stdout))
    assert said[0] == said[1]
    here = {k: [initializable(module, m[0]), one_shot(module, m[0])] for k, m in KINDS.items()}
    assert here == said[0]


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


CHANGES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "order": (
        {"files": ["part-0", "part-2", "part-1", "part-3"]},
        ["the files come in another order: file 2 was part-1, is part-2"],
    ),
    "one file": (
        {"files": ["part-0", "part-9", "part-2", "part-3"]},
        ["file 2 was part-1, is part-9"],
    ),
    "more files": ({"files": [*parts(4), "part-9", "part-8"]}, ["2 more files: part-9, part-8"]),
    "fewer files": ({"files": parts(3)}, ["1 fewer file: part-3"]),
    "first file gone": (
        {"files": parts(4)[1:]},
        ["file 1 was part-0, is part-1", "1 file is gone: part-0"],
    ),
    "batch": ({"batch": 8}, ["batch_size of BatchDatasetV2 was 4, is 8"]),
    "prefetch": ({"prefetch": 5}, ["buffer_size of PrefetchDataset was 2, is 5"]),
    "shard": ({"shard": 1}, ["index of ShardDataset was 0, is 1"]),
    "constant in the function": ({"plus": 2}, ["the function of MapDataset is another one"]),
    "code of the function": ({"body": 1}, ["the function of MapDataset is another one"]),
    "captured": (
        {"captured": 6},
        ["a value that the function of MapDataset captures was 5, is 6"],
    ),
    "compression": (
        {"compression": "GZIP"},
        ['compression_type of TFRecordDataset in the function of FlatMapDataset was "", is "GZIP"'],
    ),
    "new node": ({"shuffle": 9}, ["ShuffleDataset is new"]),
    "several": (
        {"files": parts(5), "shuffle": 9, "batch": 8},
        [
            "1 more file: part-4",
            "ShuffleDataset is new",
            "batch_size of BatchDatasetV2 was 4, is 8",
        ],
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_each_change_is_named(module: Any, directory: Path, change: str) -> None:
    changed, said = CHANGES[change]
    before, after = initializable(module, pipeline()), initializable(module, pipeline(**changed))
    assert module.differences(before, after) == said
    assert only(before)["digest"] != only(after)["digest"]
    before, after = one_shot(module, pipeline()), one_shot(module, pipeline(**changed))
    if change != "captured":  # a one-shot iterator's function copies what it captures
        assert module.differences(before, after) == said
    assert module.differences(before, after) != []


def test_a_node_that_is_gone(module: Any) -> None:
    before = initializable(module, pipeline(shuffle=9))
    assert module.differences(before, initializable(module, pipeline())) == [
        "ShuffleDataset is gone"
    ]


def test_functions_by_what_they_compute(module: Any) -> None:
    def digest(function: Callable[[Any, Any], Any]) -> Any:
        def make(tf: Any) -> Any:
            return tf.data.Dataset.range(9).map(lambda x: function(tf, x))

        return parameters(only(initializable(module, make)), "MapDataset")["f"]["function"]

    def named(tf: Any, x: Any) -> Any:
        with tf.name_scope("other"):
            return tf.add(x, 1, name="sum")

    plain = digest(lambda tf, x: x + 1)
    assert digest(named) == plain
    assert digest(lambda tf, x: tf.identity(x) + 1) == plain
    others = [
        plain,
        digest(lambda tf, x: x + 2),
        digest(lambda tf, x: x - 1),
        digest(lambda tf, x: 1 - x),
        digest(lambda tf, x: x - 1 if tf.constant([1]).shape == [2] else x),
        digest(lambda tf, x: tf.cond(x > 1, lambda: x, lambda: x + 1)),
        digest(lambda tf, x: tf.cond(x > 1, lambda: x, lambda: x + 2)),
        digest(lambda tf, x: tf.unique_with_counts([x, x])[0]),
        digest(lambda tf, x: tf.unique_with_counts([x, x])[2]),
        digest(lambda tf, x: tf.cast(tf.random.uniform([], seed=1) * 9, tf.int64) + x),
        digest(lambda tf, x: tf.cast(tf.random.uniform([], seed=2) * 9, tf.int64) + x),
    ]
    assert len(set(others)) == len(others)


def test_options(module: Any) -> None:
    def make(deterministic: bool | None) -> Make:
        def make(tf: Any) -> Any:
            options = tf.data.Options()
            if deterministic is not None:
                options.deterministic = deterministic
            return tf.data.Dataset.range(9).with_options(options)

        return make

    unset = initializable(module, make(None))
    assert parameters(only(unset), "OptionsDataset")["options"] == {}
    assert module.differences(unset, initializable(module, make(False))) == [
        'options of OptionsDataset was {}, is {"deterministic": false}'
    ]


def test_large_constants(module: Any) -> None:
    def make(last: int) -> Make:
        array = np.arange(1000)
        array[-1] = last
        return lambda tf: tf.data.Dataset.from_tensor_slices({"a": array, "b": ["x" * 300] * 1000})

    first = initializable(module, make(1))
    (a, _b) = parameters(only(first), "TensorSliceDataset")["components"]
    assert (a["dtype"], a["shape"], len(a["digest"])) == ("int64", [1000], 16)
    assert len(json.dumps(first)) < 1000
    assert module.differences(first, initializable(module, make(2))) == [
        "components of TensorSliceDataset is another one"
    ]


def test_numbers_that_json_lacks(module: Any) -> None:
    entry = only(
        initializable(
            module, lambda tf: tf.data.Dataset.from_tensors((np.nan, np.inf, b"\xff", True))
        )
    )
    components = parameters(entry, "TensorDataset")["components"]
    assert components == ["nan", "inf", "\\xff", True]


def test_seeds(module: Any) -> None:
    def make(graph_seed: int | None, seed: int | None) -> Make:
        def make(tf: Any) -> Any:
            if graph_seed is not None:
                tf.random.set_seed(graph_seed)
            return tf.data.Dataset.range(9).shuffle(3, seed=seed)

        return make

    unset = initializable(module, make(None, None))
    assert parameters(only(unset), "ShuffleDataset")["seed"] == 0
    assert module.differences(unset, initializable(module, make(None, 7))) == [
        "seed of ShuffleDataset was 0, is 87654321",
        "seed2 of ShuffleDataset was 0, is 7",
    ]
    assert initializable(module, make(3, 7)) == initializable(module, make(3, 7), shift=2)


def test_names_only_known_at_run_time(module: Any, directory: Path) -> None:
    def placeholder(tf: Any) -> Any:
        return tf.data.TFRecordDataset(tf.compat.v1.placeholder(tf.string, [None]))

    def both(tf: Any) -> Any:
        return tf.data.Dataset.zip((placeholder(tf), tf.data.TextLineDataset("part-0")))

    def joined(tf: Any) -> Any:
        names = tf.data.Dataset.from_tensor_slices(["0", "1"])
        return names.map(lambda i: "part-" + i).flat_map(tf.data.TFRecordDataset)

    def variable(tf: Any) -> Any:
        name = tf.compat.v1.get_variable("name", initializer="part-0", use_resource=True)
        return tf.data.TFRecordDataset(name)

    unknown = initializable(module, placeholder)
    assert only(unknown)["files"] is None
    assert only(initializable(module, joined))["files"] is None
    assert only(initializable(module, variable))["files"] is None
    assert only(initializable(module, both))["files"] == [None, {"path": "part-0", "bytes": 100}]
    known = initializable(module, lambda tf: tf.data.TFRecordDataset(parts(2)))
    assert module.differences(known, unknown)[0] == (
        "the files were part-0, part-1, are (known only at run time)"
    )
    assert module.differences(unknown, known)[0] == (
        "the files were (known only at run time), are part-0, part-1"
    )


def test_patterns(module: Any, directory: Path) -> None:
    def make(pattern: str, shuffle: bool = True) -> Make:
        return lambda tf: tf.data.Dataset.list_files(pattern, shuffle=shuffle).interleave(
            tf.data.TFRecordDataset
        )

    before = initializable(module, make(f"{directory}/part-*"))
    assert only(before)["patterns"] == [f"{directory}/part-*"]
    assert len(only(before)["files"]) == 4
    assert module.differences(before, initializable(module, make(f"{directory}/*-*"))) == [
        "the file pattern was part-*, is *-*"
    ]
    Path("part-4").touch()
    assert module.differences(before, initializable(module, make(f"{directory}/part-*"))) == [
        "1 more file: part-4"
    ]
    assert only(initializable(module, make("gs://bucket/*")))["files"] == []


def test_a_directory_that_moved(module: Any, directory: Path) -> None:
    def make(place: str) -> Make:
        return lambda tf: tf.data.TFRecordDataset(parts(4, place)).batch(2)

    before = initializable(module, make(str(directory)))
    moved = directory / "moved"
    moved.mkdir()
    for name in parts(4):
        Path(name).rename(moved / name)
    after = initializable(module, make(str(moved)))
    assert only(after)["digest"] == only(before)["digest"]
    assert module.differences(before, after) == []
    (moved / "part-2").unlink()
    with (moved / "part-0").open("ab") as file:
        file.write(bytes(20))
    assert module.differences(before, initializable(module, make(str(moved)))) == [
        "file part-0 had 100 bytes, has 120",
        "file part-2 had 300 bytes, is not there",
    ]


def files(*names: str, size: int | None = 10) -> dict[str, Any]:
    return {
        "it": {
            "version": 1,
            "digest": "",
            "nodes": [],
            "files": [{"path": name, "bytes": size} for name in names],
        }
    }


def test_paths_that_partly_moved(module: Any) -> None:
    from monolith_cli.training.pipelines.differences import differences

    days = files("/a/1/x", "/a/2/x")
    assert differences(days, files("/b/1/x", "/b/2/x")) == []
    assert differences(days, files("/b/1/x", "/b/2/x", "/b/3/x")) == ["1 more file: 3/x"]
    assert differences(days, files("/a/1/x", "/a/3/x")) == ["file 2 was 2/x, is 3/x"]
    assert differences(days, files("/a/1/x", "/c/2/x")) == ["file 2 was a/2/x, is c/2/x"]
    assert differences(files("x", "y"), files("/q/x", "/q/y")) == []
    assert differences(files("x"), files("y")) == ["file 1 was x, is y"]
    assert differences(files(), files("y")) == ["1 more file: y"]
    assert differences(files("x", size=None), files("x")) == []


def test_long_lists_are_cut(module: Any) -> None:
    names = [f"/d/part-{i:05d}" for i in range(20_000)]
    others = [f"/d/other-{i:05d}" for i in range(20_000)]
    start = time.thread_time()
    assert module.differences(files(*names[:10]), files(*names)) == [
        "19990 more files: part-00010, part-00011, part-00012 and 19987 more"
    ]
    assert module.differences(files(*names), files(*others)) == [
        "file 1 was part-00000, is other-00000",
        "20000 files are gone: part-00000, part-00001, part-00002 and 19997 more",
        "20000 files are new: other-00000, other-00001, other-00002 and 19997 more",
    ]
    assert module.differences(files(*names), files(*names, size=11))[-1] == (
        "19997 more files have other sizes"
    )
    assert time.thread_time() - start < 2


def test_several_iterators(module: Any) -> None:
    tf = tensorflow()

    def make(sizes: list[int]) -> Any:
        with tf.Graph().as_default() as graph:
            for size in sizes:
                tf.compat.v1.data.make_initializable_iterator(tf.data.Dataset.range(9).batch(size))
            return module.fingerprint(graph.get_collection("iterators"))

    assert list(make([1, 2])) == ["IteratorV2:0", "IteratorV2_1:0"]
    assert module.differences(make([1, 2]), make([1, 3])) == [
        "IteratorV2_1:0: batch_size of BatchDatasetV2 was 2, is 3"
    ]
    assert module.differences(make([1]), make([1, 2])) == ["iterator IteratorV2_1:0 is new"]
    assert module.differences(make([1, 2]), make([1])) == ["iterator IteratorV2_1:0 is gone"]
    assert module.fingerprint([]) == {}


def test_several_initializers_or_none(module: Any, directory: Path) -> None:
    tf = tensorflow()

    def make(*datasets: Make) -> Any:
        with tf.Graph().as_default() as graph:
            iterator = tf.compat.v1.data.Iterator.from_structure(tf.string, [])
            for dataset in datasets:
                iterator.make_initializer(dataset(tf))
            return saved(module.fingerprint(graph.get_collection("iterators")))

    none = only(make())
    assert (none["nodes"], none["files"]) == ([], None)
    train = KINDS["TFRecord"][0]
    test = KINDS["TextLine"][0]
    both = only(make(train, test))
    assert both["outputs"] == [1, 3]
    assert [node.get("inputs") for node in both["nodes"]] == [None, None, [], None]
    assert [file["path"] for file in both["files"]] == ["./part-0", "./part-1", "part-3"]
    assert module.differences(make(train), make(train, test)) != []


def test_parameters_that_are_computed(module: Any) -> None:
    def make(name: str, plus: int = 0) -> Make:
        def make(tf: Any) -> Any:
            place = tf.compat.v1.placeholder(tf.int64, [], name=name)
            size = place + plus if plus else place
            return tf.data.Dataset.range(9).batch(size).take(tf.constant(2, tf.int64) * 3)

        return make

    entry = initializable(module, make("a"))
    assert parameters(only(entry), "TakeDataset")["count"] == 6
    assert parameters(only(entry), "BatchDatasetV2")["batch_size"]["computed"] == "Placeholder"
    assert initializable(module, make("b")) == entry
    assert module.differences(entry, initializable(module, make("a", 1))) == [
        "batch_size of BatchDatasetV2 was computed by Placeholder, is computed by AddV2"
    ]
    assert module.differences(
        initializable(module, make("a", 2)), initializable(module, make("a", 1))
    ) == ["batch_size of BatchDatasetV2 is another one"]


def test_what_is_computed_in_a_one_shot_iterator(module: Any) -> None:
    def make(tf: Any) -> Any:
        sizes = tf.constant([2, 3], tf.int64)
        return tf.data.Dataset.range(9).batch(tf.reduce_max(sizes) + tf.reduce_min(sizes))

    entry = only(one_shot(module, make))
    assert parameters(entry, "BatchDatasetV2")["batch_size"]["computed"] == "AddV2"
    assert entry == only(initializable(module, make, shift=1))


def test_state_of_the_model_is_no_part(module: Any) -> None:
    def make(value: int) -> Make:
        def make(tf: Any) -> Any:
            variable = tf.Variable(value, dtype=tf.int64)
            table = tf.lookup.StaticHashTable(
                tf.lookup.KeyValueTensorInitializer(["a"], [value]), -1
            )
            dataset = tf.data.Dataset.range(9).map(lambda x: x + variable)
            return dataset.map(lambda x: table.lookup(tf.strings.as_string(x)))

        return make

    assert initializable(module, make(1)) == initializable(module, make(2), shift=1)


def test_a_dataset_that_holds_a_resource(module: Any) -> None:
    """Such as a queue or an iterator, which TensorFlow serializes as a handle, a new one each."""
    tf = tensorflow()

    def make() -> Any:
        queue = tf.queue.FIFOQueue(3, [tf.int64])
        return tf.data.Dataset.range(3).map(lambda x: x + tf.cast(queue.size(), tf.int64))

    first, second = module.dataset_fingerprint(make()), module.dataset_fingerprint(make())
    assert ops(first) == ["RangeDataset", "MapDataset"]
    held = parameters(first, "MapDataset")["other_arguments"][0]
    assert set(held) == {"computed", "digest"}
    assert first == second


def test_nodes_that_nobody_knows(module: Any) -> None:
    tf = tensorflow()
    graph_def = tf.compat.v1.GraphDef()
    for text in (
        'name: "c" op: "Const" attr { key: "value" value { tensor { dtype: DT_INT64 '
        "tensor_shape {} int64_val: 3 } } }",
        'name: "s" op: "OurSourceDataset" input: "c" attr { key: "path" value { s: "x" } }',
        'name: "m" op: "OurMapDataset" input: "s" input: "q" input: "^c" '
        'attr { key: "f" value { func { name: "lost" } } } attr { key: "g" value {} }',
        'name: "q" op: "OurLoop" input: "q" input: "c:7"',
        'name: "it" op: "IteratorV2"',
        'name: "i" op: "MakeIterator" input: "m" input: "it"',
    ):
        from google.protobuf import text_format

        text_format.Parse(text, graph_def.node.add())
    from monolith_cli.training.pipelines.dataset_graph import Graph

    graph = Graph(graph_def)
    nodes, outputs, found = graph.describe(graph.roots("it"))
    assert (outputs, found) == ([1], [])
    assert nodes[0] == {"op": "OurSourceDataset", "parameters": {"input 0": 3, "path": "x"}}
    assert nodes[1]["op"] == "OurMapDataset"
    assert nodes[1]["parameters"]["input 1"]["computed"] == "OurLoop"
    assert nodes[1]["parameters"]["f"] == {"function": "unknown"}
    assert graph.roots("lost") == []


def test_deep_pipelines(module: Any) -> None:
    tf = tensorflow()
    with tf.Graph().as_default():
        variant = tf.data.experimental.to_variant(tf.data.Dataset.range(1))
        kind = {"output_types": [tf.int64], "output_shapes": [[]]}
        for _ in range(2000):
            variant = tf.raw_ops.SkipDataset(input_dataset=variant, count=1, **kind)
        dataset = tf.data.experimental.from_variant(variant, tf.TensorSpec([], tf.int64))
        assert len(module.dataset_fingerprint(dataset)["nodes"]) == 2001


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("it", "version", "nodes", "files", "path", "bytes", "op", "parameters"),
                    *("patterns", "outputs", "inputs", "f", "function", "dtype", "computed"),
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)
NODES = st.lists(
    st.fixed_dictionaries(
        {
            "op": st.sampled_from(["A", "AV2", "B"]),
            "parameters": st.dictionaries(st.text(max_size=2), JSON),
        }
    ),
    max_size=4,
)
ENTRIES = st.fixed_dictionaries(
    {"version": st.sampled_from([1, 1, 1, 2]), "nodes": NODES | JSON},
    optional={
        "patterns": st.lists(st.text(max_size=4), max_size=2) | JSON,
        "files": JSON
        | st.lists(
            st.none()
            | st.fixed_dictionaries(
                {
                    "path": st.text(alphabet="/ab", max_size=5),
                    "bytes": st.none() | st.integers(0, 2),
                }
            ),
            max_size=5,
        ),
    },
)
ANYTHING = JSON | st.dictionaries(st.sampled_from(["it", "other"]), ENTRIES | JSON, max_size=2)


@settings(deadline=None, max_examples=300)
@given(before=ANYTHING, after=ANYTHING)
def test_any_json_can_be_compared(before: Any, after: Any) -> None:
    from monolith_cli.training.pipelines.differences import differences

    lines = differences(before, after)
    assert all(isinstance(line, str) and "\n" not in line for line in lines)
    assert len(lines) <= 20


def test_unusable_fingerprints(module: Any) -> None:
    good = initializable(module, KINDS["range"][0])
    newer = {"IteratorV2:0": {"version": 2, "elsewhere": []}}
    assert module.differences(newer, good) == ["the saved fingerprint has version 2: not compared"]
    for nothing in ("null", "[]", '"x"'):
        assert module.differences(json.loads(nothing), good) == [
            "the saved fingerprint is no fingerprint: nothing compared"
        ]
    for entry in (None, {}, {"version": 1}, {"version": 1, "nodes": [{"op": 3}]}):
        assert module.differences({"IteratorV2:0": entry}, good) == [
            "the saved fingerprint is malformed: not compared"
        ]


def test_cost(module: Any, directory: Path) -> None:
    tf = tensorflow()
    with tf.Graph().as_default() as graph:
        tf.compat.v1.data.make_one_shot_iterator(pipeline()(tf))
        iterators = graph.get_collection("iterators")
        module.fingerprint(iterators)
        best = min(timed(lambda: module.fingerprint(iterators)) for _ in range(5))
    assert best < 0.05  # 3 ms here


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
