"""The parts that read a dataset's graph, each on a few nodes that are spelled out.

What they say together of real pipelines is in test_fingerprint.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tf_support import tensorflow


@pytest.fixture(autouse=True)
def _needs_tensorflow() -> None:
    tensorflow()


def node(text: str) -> Any:
    from google.protobuf import text_format

    return text_format.Parse(text, tensorflow().compat.v1.NodeDef())


def const(name: str, value: Any) -> Any:
    tf = tensorflow()
    made = node(f'name: "{name}" op: "Const"')
    made.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    made.attr["dtype"].type = made.attr["value"].tensor.dtype
    return made


def scope(*nodes: Any) -> Any:
    from monolith_cli.training.pipelines.references import Scope

    return Scope([node(each) if isinstance(each, str) else each for each in nodes])


def library(*functions: str) -> Any:
    from google.protobuf import text_format

    made = tensorflow().compat.v1.GraphDef().library
    for text in functions:
        text_format.Parse(text, made.function.add())
    return made


READING = """
    signature { name: "read" input_arg { name: "x" type: DT_STRING }
                input_arg { name: "buffer" type: DT_INT64 }
                output_arg { name: "out" type: DT_VARIANT } }
    node_def { name: "kind" op: "Const" attr { key: "value" value { tensor {
               dtype: DT_STRING tensor_shape {} string_val: "" } } } }
    node_def { name: "r" op: "TFRecordDataset" input: "x" input: "kind:output:0" input: "buffer" }
    ret { key: "out" value: "r:handle:0" }
"""
"""A function that reads the file it is given."""

FLAT_MAP = (
    'name: "f" op: "FlatMapDataset" input: "names" input: "size"'
    ' attr { key: "f" value { func { name: "read" } } }'
    ' attr { key: "Targuments" value { list { type: DT_INT64 } } }'
)


def slices(name: str, source: str) -> str:
    return (
        f'name: "{name}" op: "TensorSliceDataset" input: "{source}"'
        ' attr { key: "Toutput_types" value { list { type: DT_STRING } } }'
    )


# --- nodes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "index"),
    [
        ("u", 0),
        ("u:1", 1),
        ("^u", 0),
        ("u:y:0", 0),
        ("u:idx:0", 1),
        ("s:output:2", 2),
        ("gone:idx:0", 0),
    ],
)
def test_which_output_a_reference_means(reference: str, index: int) -> None:
    from monolith_cli.training.pipelines.nodes import node_name, output_index

    nodes = {
        "u": node('name: "u" op: "Unique" input: "a"'),
        "s": node('name: "s" op: "Split" input: "a" attr { key: "num_split" value { i: 3 } }'),
    }
    assert output_index(nodes.get(node_name(reference)), reference) == index


def test_inputs_by_the_definition_of_the_op() -> None:
    from monolith_cli.training.pipelines.nodes import implied_attributes, node_inputs

    pack = node(
        'name: "p" op: "Pack" input: "a" input: "b:1" input: "^c"'
        ' attr { key: "N" value { i: 2 } } attr { key: "T" value { type: DT_INT32 } }'
    )
    assert [(i.name, i.is_list, i.references) for i in node_inputs(pack)] == [
        ("values", True, ["a", "b:1"])
    ]
    assert implied_attributes("Pack") >= {"N", "T"}
    unknown = node('name: "o" op: "OurOp" input: "a" input: "^c" input: "b"')
    assert [(i.name, i.references) for i in node_inputs(unknown)] == [
        ("input 0", ["a"]),
        ("input 1", ["b"]),
    ]
    assert implied_attributes("OurOp") == set()


def test_attributes_that_tell_something() -> None:
    from monolith_cli.training.pipelines.nodes import is_telling

    batch = node(
        'name: "b" op: "BatchDatasetV2"'
        ' attr { key: "parallel_copy" value { b: true } }'
        ' attr { key: "metadata" value { s: "counter 7" } }'
        ' attr { key: "_class" value { s: "x" } }'
        ' attr { key: "output_types" value { list { type: DT_INT64 } } }'
    )
    assert [name for name in sorted(batch.attr) if is_telling(batch, name)] == [
        "output_types",
        "parallel_copy",
    ]
    batch.attr["parallel_copy"].b = False  # its default
    assert not is_telling(batch, "parallel_copy")
    assert is_telling(node('name: "o" op: "OurOp" attr { key: "a" value { i: 0 } }'), "a")


# --- references -------------------------------------------------------------------------------


def test_references_lead_through_copies() -> None:
    made = scope(
        'name: "i" op: "Identity" input: "s:0"',
        'name: "s" op: "Snapshot" input: "r:0"',
        'name: "r" op: "Reshape" input: "u:1" input: "shape"',
        'name: "u" op: "Unique" input: "a"',
        'name: "loose" op: "Identity" input: "^u"',
    )
    assert made.follow("i") == (made, "r:0")
    assert made.resolve("i").op == "Reshape"
    assert made.flat_source("i").name == "u"
    assert made.resolve("loose").name == "loose"
    assert made.resolve("gone").node is None
    assert made.dataset("gone") is None


def test_what_runs_before_is_in_the_order_of_the_nodes() -> None:
    last = 'name: "c" op: "NoOp" input: "^b" input: "a" input: "^gone" input: "^a"'
    made = scope('name: "a" op: "NoOp"', 'name: "b" op: "NoOp"', last)
    assert made.control_inputs(made.nodes["c"]) == ["^gone", "^a", "^b"]


def test_datasets_among_the_inputs() -> None:
    from monolith_cli.training.pipelines.references import Place

    made = scope(
        'name: "d" op: "RangeDataset"',
        'name: "n" op: "Const"',
        'name: "t" op: "TakeDataset" input: "i" input: "n"',
        'name: "i" op: "Identity" input: "d"',
    )
    assert [place.name for place in Place(made, "t").dataset_inputs()] == ["d"]
    assert made.is_dataset("i")
    assert not made.is_dataset("n")


def test_arguments_of_a_function_that_returns_a_dataset() -> None:
    from monolith_cli.training.pipelines.functions import Functions
    from monolith_cli.training.pipelines.references import Element, Place

    functions = Functions(library(READING))
    top = scope(const("paths", ["a"]), slices("names", "paths"), const("size", 8), FLAT_MAP)
    flat_map = Place(top, "f")
    body = functions.body(flat_map, "f")
    assert body is not None
    assert body == functions.body(flat_map, "f")
    inside, result = body
    assert inside.resolve(result).op == "TFRecordDataset"
    assert inside.resolve("x") == Element(top, "names", 0)
    assert inside.resolve("buffer") == Place(top, "size")
    assert functions.datasets(flat_map) == [Place(inside, "r")]
    # By itself nothing is known of them.
    alone = type(top).of_function(functions.get("read"))
    assert alone.resolve("buffer") == Place(alone, "buffer")
    assert alone.argument_index == {"x": 0, "buffer": 1}
    assert functions.get("lost") is None


# --- constants --------------------------------------------------------------------------------


def test_constants_are_calculated() -> None:
    from monolith_cli.training.pipelines.constants import constant

    tf = tensorflow()
    made = scope(
        const("two", 2),
        const("three", 3),
        'name: "sum" op: "AddV2" input: "two" input: "three"',
        'name: "both" op: "Pack" input: "sum" input: "two" attr { key: "axis" value {} }',
        'name: "long" op: "Cast" input: "both" attr { key: "DstT" value { type: DT_INT64 } }',
        'name: "odd" op: "Reshape" input: "both" input: "three"',
        'name: "late" op: "Placeholder"',
        'name: "later" op: "AddV2" input: "two" input: "late"',
        'name: "loop" op: "AddV2" input: "loop" input: "two"',
    )
    assert constant(made, "sum") == 5
    assert constant(made, "long").tolist() == [5, 2]
    assert constant(made, "long").dtype == tf.int64.as_numpy_dtype
    for name in ("odd", "late", "later", "loop", "gone"):
        assert constant(made, name) is None


def test_strings_as_a_serialized_dataset_has_them() -> None:
    from monolith_cli.training.pipelines.constants import array_digest, tensor_array

    strings = [b"", b"x" * 300, b"\x00\xff"]
    tensor = tensorflow().make_tensor_proto(strings)
    usual = tensor_array(tensor)
    assert usual.tolist() == strings
    del tensor.string_val[:]
    tensor.tensor_content = b"\x00\xac\x02\x02" + b"".join(strings)
    serialized = tensor_array(tensor)
    assert serialized.tolist() == strings
    assert array_digest(serialized) == array_digest(usual)
    assert array_digest(serialized) != array_digest(np.array([b"", b"x" * 300, b"y"], object))
    assert array_digest(np.int32([1])) != array_digest(np.int64([1]))
    assert array_digest(np.zeros((2, 3))) != array_digest(np.zeros((3, 2)))


# --- what is shown ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "shown"),
    [
        (np.int64(3), 3),
        (np.array([0.5, np.inf]), [0.5, "inf"]),
        (np.array([b"a\xff"], object), ["a\\xff"]),
        (np.array(b"y" * 257, object), {"bytes": 257, "digest": "f4f31bb4c9596da4"}),
        (
            np.zeros((2, 1), np.int32),
            {"dtype": "int32", "shape": [2, 1], "digest": "156ce89a5d7c6048"},
        ),
    ],
)
def test_what_is_shown_of_a_constant(array: Any, shown: Any) -> None:
    from monolith_cli.training.pipelines.shown import shown_array

    assert shown_array(array) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("i: 7", 7),
        ("", None),
        ("type: DT_INT64", "int64"),
        ("type: DT_VARIANT", "variant"),
        ("shape { unknown_rank: true }", "?"),
        ("shape { dim { size: -1 } dim { size: 2 } }", "[?,2]"),
        ("list { type: DT_STRING type: DT_FLOAT }", ["string", "float32"]),
        ("tensor { dtype: DT_RESOURCE tensor_shape {} }", "resource"),
        ("tensor { dtype: DT_VARIANT tensor_shape {} }", "variant"),
    ],
)
def test_what_is_shown_of_an_attribute(text: str, shown: Any) -> None:
    from monolith_cli.training.pipelines.shown import shown_attribute

    made = node(f'name: "n" op: "Op" attr {{ key: "a" value {{ {text} }} }}')
    assert shown_attribute(made.attr["a"]) == shown


def test_what_is_shown_of_options() -> None:
    from monolith_cli.training.pipelines.shown import shown_options

    tf = tensorflow()
    options = tf.data.Options()
    options.deterministic = False
    assert shown_options(options._to_proto().SerializeToString()) == {"deterministic": False}
    assert shown_options(b"\xff") == "\\xff"


# --- files ------------------------------------------------------------------------------------


def read_by(made: Any, name: str, *functions: str) -> tuple[Any, Any]:
    """What the dataset of this name reads; and who has found it."""
    from monolith_cli.training.pipelines.files import Readers
    from monolith_cli.training.pipelines.functions import Functions
    from monolith_cli.training.pipelines.references import Place

    readers = Readers(Functions(library(*functions)))
    return readers.find([Place(made, name)]), readers


def test_files_that_a_function_reads() -> None:
    from monolith_cli.training.pipelines.files import Files
    from monolith_cli.training.pipelines.references import Place

    made = scope(
        const("paths", ["a", "b", "c"]),
        slices("all", "paths"),
        const("one", np.int64(1)),
        'name: "names" op: "SkipDataset" input: "all" input: "one"',
        const("size", np.int64(8)),
        FLAT_MAP,
    )
    found, readers = read_by(made, "f", READING)
    assert found == [Files([b"b", b"c"], [], True, places=(Place(made, "paths"),))]
    assert readers.is_named_by(Place(made, "paths"))
    assert not readers.is_named_by(Place(made, "size"))


def test_what_is_taken_of_patterns_is_found_later() -> None:
    made = scope(
        const("pattern", "d/*"),
        'name: "all" op: "MatchingFilesDataset" input: "pattern"',
        const("two", np.int64(2)),
        const("one", np.int64(1)),
        'name: "half" op: "ShardDataset" input: "all" input: "two" input: "one"',
        'name: "names" op: "TakeDataset" input: "half" input: "one"',
        const("size", np.int64(8)),
        FLAT_MAP,
    )
    ((files,), _) = read_by(made, "f", READING)
    assert (files.names, files.patterns, files.ordered) == ([], [b"d/*"], True)
    assert files.parts == (slice(1, None, 2), slice(1))


def test_files_that_are_known_at_run_time_only() -> None:
    made = scope(
        'name: "late" op: "Placeholder"',
        'name: "r" op: "TFRecordDataset" input: "late" input: "k" input: "b"',
        'name: "none" op: "TFRecordDataset"',
    )
    found, readers = read_by(made, "r")
    assert found == [None]
    assert not readers.is_named_by(made.resolve("late"))
    assert read_by(scope('name: "d" op: "RangeDataset"'), "d")[0] == []


# --- digests ----------------------------------------------------------------------------------


def digests(*functions: str, is_file_name: Any = lambda place: False) -> Any:
    from monolith_cli.training.pipelines.digests import Digests
    from monolith_cli.training.pipelines.functions import Functions

    return Digests(Functions(library(*functions)), is_file_name)


def test_a_digest_is_of_what_is_computed() -> None:
    def value(x: str, y: str, op: str = "SubV9", **constants: int) -> str:
        nodes = [const(name, number) for name, number in constants.items()]
        made = scope(*nodes, f'name: "{x}{y}" op: "{op}" input: "{x}" input: "{y}"')
        return str(digests().of_value(made, x + y))

    first = value("a", "b", a=1, b=2)
    assert first == value("n_7", "m", m=2, n_7=1)
    assert len({first, value("b", "a", a=1, b=2), value("a", "b", a=1, b=3)}) == 3
    assert first != value("a", "b", "OurOp", a=1, b=2)
    # Two copies of a constant are one.
    assert value("a", "b", a=1, b=1) == value("a", "a", a=1)


def test_names_of_files_are_left_out_of_a_digest() -> None:
    def value(path: str) -> tuple[str, str]:
        made = scope(const("c", path), 'name: "n" op: "StringLength" input: "c"')
        hidden = digests(is_file_name=lambda place: place.name == "c")
        return digests().of_value(made, "n"), hidden.of_value(made, "n")

    (plain, hidden), (other, hidden_too) = value("a"), value("b")
    assert plain != other
    assert hidden == hidden_too
    assert hidden not in (plain, other)


def calling(name: str, called: str, op: str = "Op") -> str:
    return (
        f'signature {{ name: "{name}" input_arg {{ name: "x" type: DT_INT64 }}'
        ' output_arg { name: "y" type: DT_INT64 } }'
        f' node_def {{ name: "{name}" op: "{op}" input: "x"'
        f' attr {{ key: "f" value {{ func {{ name: "{called}" }} }} }} }}'
        f' ret {{ key: "y" value: "{name}:out:0" }}'
    )


def test_digests_of_functions() -> None:
    made = digests(
        calling("f", "lost"),
        calling("g", "lost"),
        calling("other", "lost", "OtherOp"),
        calling("to_f", "f"),
        calling("to_g", "g"),
        calling("to_other", "other"),
        calling("self", "self"),
    )
    assert made.of_function("lost") == "unknown"
    assert made.of_function("f") == made.of_function("g") != made.of_function("other")
    assert made.of_function("to_f") == made.of_function("to_g") != made.of_function("to_other")
    assert len(made.of_function("self")) == 16
