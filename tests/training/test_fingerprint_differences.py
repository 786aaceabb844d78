"""What is said of two fingerprints that differ."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fingerprint_support import (
    KINDS,
    Make,
    initializable,
    one_shot,
    only,
    parameters,
    parts,
    pipeline,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from tf_support import tensorflow

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
def test_each_change_is_named(fingerprint: Any, four_parts: Path, change: str) -> None:
    changed, said = CHANGES[change]
    before, after = (
        initializable(fingerprint, pipeline()),
        initializable(fingerprint, pipeline(**changed)),
    )
    assert fingerprint.differences(before, after) == said
    assert only(before)["digest"] != only(after)["digest"]
    before, after = one_shot(fingerprint, pipeline()), one_shot(fingerprint, pipeline(**changed))
    if change != "captured":  # a one-shot iterator's function copies what it captures
        assert fingerprint.differences(before, after) == said
    assert fingerprint.differences(before, after) != []


def test_a_node_that_is_gone(fingerprint: Any) -> None:
    before = initializable(fingerprint, pipeline(shuffle=9))
    assert fingerprint.differences(before, initializable(fingerprint, pipeline())) == [
        "ShuffleDataset is gone"
    ]


def test_functions_by_what_they_compute(fingerprint: Any) -> None:
    def digest(function: Callable[[Any, Any], Any]) -> Any:
        def make(tf: Any) -> Any:
            return tf.data.Dataset.range(9).map(lambda x: function(tf, x))

        return parameters(only(initializable(fingerprint, make)), "MapDataset")["f"]["function"]

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


def test_options(fingerprint: Any) -> None:
    def make(deterministic: bool | None) -> Make:
        def make(tf: Any) -> Any:
            options = tf.data.Options()
            if deterministic is not None:
                options.deterministic = deterministic
            return tf.data.Dataset.range(9).with_options(options)

        return make

    unset = initializable(fingerprint, make(None))
    assert parameters(only(unset), "OptionsDataset")["options"] == {}
    assert fingerprint.differences(unset, initializable(fingerprint, make(False))) == [
        'options of OptionsDataset was {}, is {"deterministic": false}'
    ]


def test_large_constants(fingerprint: Any) -> None:
    def make(last: int) -> Make:
        array = np.arange(1000)
        array[-1] = last
        return lambda tf: tf.data.Dataset.from_tensor_slices({"a": array, "b": ["x" * 300] * 1000})

    first = initializable(fingerprint, make(1))
    (a, _b) = parameters(only(first), "TensorSliceDataset")["components"]
    assert (a["dtype"], a["shape"], len(a["digest"])) == ("int64", [1000], 16)
    assert len(json.dumps(first)) < 1000
    assert fingerprint.differences(first, initializable(fingerprint, make(2))) == [
        "components of TensorSliceDataset is another one"
    ]


def test_numbers_that_json_lacks(fingerprint: Any) -> None:
    entry = only(
        initializable(
            fingerprint, lambda tf: tf.data.Dataset.from_tensors((np.nan, np.inf, b"\xff", True))
        )
    )
    components = parameters(entry, "TensorDataset")["components"]
    assert components == ["nan", "inf", "\\xff", True]


def test_seeds(fingerprint: Any) -> None:
    def make(graph_seed: int | None, seed: int | None) -> Make:
        def make(tf: Any) -> Any:
            if graph_seed is not None:
                tf.random.set_seed(graph_seed)
            return tf.data.Dataset.range(9).shuffle(3, seed=seed)

        return make

    unset = initializable(fingerprint, make(None, None))
    assert parameters(only(unset), "ShuffleDataset")["seed"] == 0
    assert fingerprint.differences(unset, initializable(fingerprint, make(None, 7))) == [
        "seed of ShuffleDataset was 0, is 87654321",
        "seed2 of ShuffleDataset was 0, is 7",
    ]
    assert initializable(fingerprint, make(3, 7)) == initializable(fingerprint, make(3, 7), shift=2)


def test_names_only_known_at_run_time(fingerprint: Any, four_parts: Path) -> None:
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

    unknown = initializable(fingerprint, placeholder)
    assert only(unknown)["files"] is None
    assert only(initializable(fingerprint, joined))["files"] is None
    assert only(initializable(fingerprint, variable))["files"] is None
    assert only(initializable(fingerprint, both))["files"] == [
        None,
        {"path": "part-0", "bytes": 100},
    ]
    known = initializable(fingerprint, lambda tf: tf.data.TFRecordDataset(parts(2)))
    assert fingerprint.differences(known, unknown)[0] == (
        "the files were part-0, part-1, are (known only at run time)"
    )
    assert fingerprint.differences(unknown, known)[0] == (
        "the files were (known only at run time), are part-0, part-1"
    )


def test_patterns(fingerprint: Any, four_parts: Path) -> None:
    def make(pattern: str, shuffle: bool = True) -> Make:
        return lambda tf: tf.data.Dataset.list_files(pattern, shuffle=shuffle).interleave(
            tf.data.TFRecordDataset
        )

    before = initializable(fingerprint, make(f"{four_parts}/part-*"))
    assert only(before)["patterns"] == [f"{four_parts}/part-*"]
    assert len(only(before)["files"]) == 4
    assert fingerprint.differences(
        before, initializable(fingerprint, make(f"{four_parts}/*-*"))
    ) == ["the file pattern was part-*, is *-*"]
    Path("part-4").touch()
    assert fingerprint.differences(
        before, initializable(fingerprint, make(f"{four_parts}/part-*"))
    ) == ["1 more file: part-4"]
    assert only(initializable(fingerprint, make("gs://bucket/*")))["files"] == []


def test_a_directory_that_moved(fingerprint: Any, four_parts: Path) -> None:
    def make(place: str) -> Make:
        return lambda tf: tf.data.TFRecordDataset(parts(4, place)).batch(2)

    before = initializable(fingerprint, make(str(four_parts)))
    moved = four_parts / "moved"
    moved.mkdir()
    for name in parts(4):
        Path(name).rename(moved / name)
    after = initializable(fingerprint, make(str(moved)))
    assert only(after)["digest"] == only(before)["digest"]
    assert fingerprint.differences(before, after) == []
    (moved / "part-2").unlink()
    with (moved / "part-0").open("ab") as file:
        file.write(bytes(20))
    assert fingerprint.differences(before, initializable(fingerprint, make(str(moved)))) == [
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


def test_paths_that_partly_moved(fingerprint: Any) -> None:
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


def test_long_lists_are_cut(fingerprint: Any) -> None:
    names = [f"/d/part-{i:05d}" for i in range(20_000)]
    others = [f"/d/other-{i:05d}" for i in range(20_000)]
    start = time.thread_time()
    assert fingerprint.differences(files(*names[:10]), files(*names)) == [
        "19990 more files: part-00010, part-00011, part-00012 and 19987 more"
    ]
    assert fingerprint.differences(files(*names), files(*others)) == [
        "file 1 was part-00000, is other-00000",
        "20000 files are gone: part-00000, part-00001, part-00002 and 19997 more",
        "20000 files are new: other-00000, other-00001, other-00002 and 19997 more",
    ]
    assert fingerprint.differences(files(*names), files(*names, size=11))[-1] == (
        "19997 more files have other sizes"
    )
    assert time.thread_time() - start < 2


def test_several_iterators(fingerprint: Any) -> None:
    tf = tensorflow()

    def make(sizes: list[int]) -> Any:
        with tf.Graph().as_default() as graph:
            for size in sizes:
                tf.compat.v1.data.make_initializable_iterator(tf.data.Dataset.range(9).batch(size))
            return fingerprint.fingerprint(graph.get_collection("iterators"))

    assert list(make([1, 2])) == ["IteratorV2:0", "IteratorV2_1:0"]
    assert fingerprint.differences(make([1, 2]), make([1, 3])) == [
        "IteratorV2_1:0: batch_size of BatchDatasetV2 was 2, is 3"
    ]
    assert fingerprint.differences(make([1]), make([1, 2])) == ["iterator IteratorV2_1:0 is new"]
    assert fingerprint.differences(make([1, 2]), make([1])) == ["iterator IteratorV2_1:0 is gone"]
    assert fingerprint.fingerprint([]) == {}


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


@settings(max_examples=300)
@given(before=ANYTHING, after=ANYTHING)
def test_any_json_can_be_compared(before: Any, after: Any) -> None:
    from monolith_cli.training.pipelines.differences import differences

    lines = differences(before, after)
    assert all(isinstance(line, str) and "\n" not in line for line in lines)
    assert len(lines) <= 20


def test_unusable_fingerprints(fingerprint: Any) -> None:
    good = initializable(fingerprint, KINDS["range"][0])
    newer = {"IteratorV2:0": {"version": 2, "elsewhere": []}}
    assert fingerprint.differences(newer, good) == [
        "the saved fingerprint has version 2: not compared"
    ]
    for nothing in ("null", "[]", '"x"'):
        assert fingerprint.differences(json.loads(nothing), good) == [
            "the saved fingerprint is no fingerprint: nothing compared"
        ]
    for entry in (None, {}, {"version": 1}, {"version": 1, "nodes": [{"op": 3}]}):
        assert fingerprint.differences({"IteratorV2:0": entry}, good) == [
            "the saved fingerprint is malformed: not compared"
        ]
