"""What the graph of a dataset says: its nodes in the order of the data, and the files they read.

Reads graph definitions only: no op is made or run, so a finalized graph will do. Names of nodes and
functions carry counters, and go in nowhere. A function is known by a digest of what its body
computes, or, where it returns a dataset, by that dataset's own nodes.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from google.protobuf import json_format, message
from tensorflow.core.framework import dataset_options_pb2

# The definitions of ops have no public way in that costs less than exporting a meta graph.
from tensorflow.python.framework import op_def_registry

__all__ = ["Files", "Graph", "base_op"]

Node = Any
"""A `NodeDef`."""

_DATASET = re.compile(r"Dataset(V\d+)?$")
_READERS = {"TFRecordDataset", "TextLineDataset", "FixedLengthRecordDataset"}
_SAME_VALUE = {"Identity", "StopGradient", "Snapshot", "PreventGradient", "EnsureShape"}
_SAME_STRINGS = {"ExpandDims", "Reshape", "Squeeze"}
_SAME_ELEMENTS = {
    "AssertCardinalityDataset",
    "AutoShardDataset",
    "CacheDataset",
    "FilterDataset",
    "OptionsDataset",
    "PrefetchDataset",
    "RebatchDataset",
    "RepeatDataset",
    "ShuffleAndRepeatDataset",
    "ShuffleDataset",
}
_IN_ORDER = {"AssertCardinalityDataset", "CacheDataset", "OptionsDataset", "PrefetchDataset"}

_NAMES = {"allowed_devices", "container", "debug_name", "metadata", "shared_name", "token"}
"""Attributes that name things, often with a counter."""

_HINTS = {
    "force_synchronous",
    "is_files",
    "legacy_autotune",
    "parallel_copy",
    "preserve_cardinality",
    "replicate_on_split",
    "use_inter_op_parallelism",
    "use_unbounded_threadpool",
}
"""Attributes of datasets that change neither their elements nor their order."""

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
_DEEP = 50
"""How far constants, files and functions in functions are followed."""

_SHOWN_ELEMENTS = 16
_SHOWN_CHARACTERS = 256


def base_op(op: str) -> str:
    """The op's name without its version: `BatchDataset` of `BatchDatasetV2`."""
    return re.sub(r"V\d+$", "", op)


class Files(NamedTuple):
    """The files that one node reads."""

    names: list[bytes]
    """In order; empty where only patterns are known."""

    patterns: list[bytes]
    ordered: bool
    """Each name is an element of its own, and they come in this order."""

    parts: tuple[slice, ...] = ()
    """What is taken, one after the other, of what the patterns match."""

    places: tuple[Any, ...] = ()
    """The constants that have these names and patterns."""


class Scope:
    """Nodes that see each other: of a graph, or of a function's body.

    `arguments` is what the function is called with, as far as that is known; nothing is known of it
    when the function is looked at by itself.
    """

    def __init__(self, nodes: Iterable[Node], signature: Any = None) -> None:
        self.nodes: dict[str, Node] = {}
        self.position: dict[str, int] = {}
        for position, node in enumerate(nodes):
            self.nodes[node.name] = node
            self.position[node.name] = position
        inputs = signature.input_arg if signature is not None else ()
        self.argument_index = {argument.name: i for i, argument in enumerate(inputs)}
        self.arguments: dict[str, _Captured | _Element] = {}


class _Place(NamedTuple):
    """A node, or an argument of a function that is looked at by itself."""

    scope: Scope
    name: str

    @property
    def node(self) -> Node | None:
        return self.scope.nodes.get(self.name)

    @property
    def op(self) -> str:
        node = self.node
        return "" if node is None else str(node.op)


class _Captured(NamedTuple):
    """A function's argument that was captured: an input of the node that calls it."""

    scope: Scope
    reference: str


class _Element(NamedTuple):
    """A function's argument that is a component of each element of a dataset."""

    scope: Scope
    reference: str
    component: int


class _Input(NamedTuple):
    """An input of an op's definition, with the references that a node has there."""

    name: str
    type: int
    is_list: bool
    references: list[str]


class Graph:
    """A graph definition, to be asked for the datasets in it.

    Cost: one look at every node of the graph; then what a dataset's own nodes, functions and
    constants take, about 0.1 ms a node, and 2 s/GB for copying and hashing constants.
    """

    def __init__(self, graph_def: Any) -> None:
        self.top = Scope(graph_def.node)
        self._functions = {f.signature.name: f for f in graph_def.library.function}
        self._digests: dict[str, str] = {}
        self._bodies: dict[tuple[_Place, str], tuple[Scope, str] | None] = {}
        self._file_places: set[_Place] = set()

    def roots(self, iterator: str) -> list[tuple[Scope, str]]:
        """Where the datasets are that may feed the iterator op of this name."""
        node = self.top.nodes.get(iterator)
        if node is not None and "dataset_factory" in node.attr:
            function = self._functions.get(node.attr["dataset_factory"].func.name)
            if function is None:
                return []
            scope = Scope(function.node_def, function.signature)
            return [(scope, reference) for reference in function.ret.values()]
        return [
            (self.top, made.input[0])
            for made in self.top.nodes.values()
            if made.op == "MakeIterator" and _name(made.input[1]) == iterator
        ]

    def describe(
        self, roots: Sequence[tuple[Scope, str]]
    ) -> tuple[list[dict[str, Any]], list[int], list[Files | None]]:
        """The nodes of datasets, sources first; where the roots are; the files of each reader.

        A node is `{"op", "parameters"}`, and has `inputs` (places in the list) unless its only
        input is the node before it. None stands for files that are known only at run time.
        """
        places = [place for scope, reference in roots if (place := self._dataset(scope, reference))]
        files = self._all_files(places, 0)  # first, for it finds which constants are file names
        nodes, index = self._nodes(places, 0)
        return nodes, [index[place] for place in places], files

    # Following references.

    def _follow(self, scope: Scope, reference: str) -> tuple[Scope, str] | _Element:
        """The reference that the value comes from, through copies and captures."""
        while True:
            name = _name(reference)
            bound = scope.arguments.get(name)
            if isinstance(bound, _Element):
                return bound
            if bound is not None:
                scope, reference = bound
                continue
            node = scope.nodes.get(name)
            if node is not None and node.op in _SAME_VALUE and _data_inputs(node):
                reference = node.input[0]
                continue
            return scope, reference

    def _resolve(self, scope: Scope, reference: str) -> _Place | _Element:
        """Where the value comes from."""
        found = self._follow(scope, reference)
        return found if isinstance(found, _Element) else _Place(found[0], _name(found[1]))

    def _flat_source(self, scope: Scope, reference: str) -> _Place | _Element:
        """Where the elements come from, whatever their shape."""
        while True:
            place = self._resolve(scope, reference)
            node = place.node if isinstance(place, _Place) else None
            if node is None or node.op not in _SAME_STRINGS:
                return place
            scope, reference = place.scope, node.input[0]

    def _dataset(self, scope: Scope, reference: str) -> _Place | None:
        place = self._resolve(scope, reference)
        return place if isinstance(place, _Place) and place.node is not None else None

    def _is_dataset(self, scope: Scope, reference: str) -> bool:
        place = self._resolve(scope, reference)
        return isinstance(place, _Place) and _DATASET.search(place.op) is not None

    def _dataset_inputs(self, place: _Place) -> list[_Place]:
        return [
            found
            for reference in _data_inputs(place.node)
            if self._is_dataset(place.scope, reference)
            and (found := self._dataset(place.scope, reference))
        ]

    def _body(self, place: _Place, attribute: str) -> tuple[Scope, str] | None:
        """A node's function that returns a dataset: its body, with arguments, and the result."""
        key = (place, attribute)
        if key not in self._bodies:
            self._bodies[key] = self._bind(place, attribute)
        return self._bodies[key]

    def _bind(self, place: _Place, attribute: str) -> tuple[Scope, str] | None:
        node = place.node
        assert node is not None
        function = self._functions.get(node.attr[attribute].func.name)
        if function is None or len(function.ret) != 1:
            return None
        scope = Scope(function.node_def, function.signature)
        inputs = {entry.name: entry for entry in _inputs(node)}
        if attribute == "f" and "input_dataset" in inputs and "other_arguments" in inputs:
            captured = inputs["other_arguments"].references
            arguments = list(scope.argument_index)
            elements = len(arguments) - len(captured)
            source = inputs["input_dataset"].references[0]
            for i, name in enumerate(arguments[:elements]):
                scope.arguments[name] = _Element(place.scope, source, i)
            for name, reference in zip(arguments[elements:], captured, strict=False):
                scope.arguments[name] = _Captured(place.scope, reference)
        (result,) = function.ret.values()
        return (scope, result) if self._is_dataset(scope, result) else None

    def _inner(self, place: _Place) -> list[_Place]:
        """The datasets that a node's functions return."""
        node = place.node
        bodies = [self._body(place, name) for name in _functions(node)]
        return [found for body in bodies if body and (found := self._dataset(*body))]

    # Constants.

    def _value(self, scope: Scope, reference: str, depth: int = 0) -> Any:
        """The value as an array, or None where it is not constant."""
        place = self._resolve(scope, reference)
        node = place.node if isinstance(place, _Place) else None
        if node is None or depth > _DEEP:
            return None
        if node.op == "Const":
            return _array(node.attr["value"].tensor)
        calculate = _CALCULATE.get(node.op)
        if calculate is None and node.op not in ("Cast", "Pack"):
            return None
        values = [self._value(place.scope, i, depth + 1) for i in _data_inputs(node)]
        if any(value is None for value in values):
            return None
        try:
            if node.op == "Cast":
                return values[0].astype(tf.as_dtype(node.attr["DstT"].type).as_numpy_dtype)
            if node.op == "Pack":
                return np.stack(values, node.attr["axis"].i)
            assert calculate is not None
            return calculate(*values)
        except (ArithmeticError, TypeError, ValueError):  # as it will be at run time
            return None

    # Files.

    def _all_files(self, places: Sequence[_Place], depth: int) -> list[Files | None]:
        files: list[Files | None] = []
        if depth > _DEEP:
            return files
        for place in _post_order(places, self._dataset_inputs):
            if base_op(place.op) in _READERS:
                inputs = {entry.name: entry for entry in _inputs(place.node)}
                names = inputs["filenames"].references if "filenames" in inputs else []
                found = self._files(place.scope, names[0], 0) if names else None
                files.append(found)
                self._file_places.update(found.places if found is not None else ())
            else:
                files += self._all_files(self._inner(place), depth + 1)
        return files

    def _files(self, scope: Scope, reference: str, depth: int) -> Files | None:
        """The strings that come out here, in order."""
        place = self._flat_source(scope, reference)
        if depth > _DEEP:
            return None
        if isinstance(place, _Element):
            return self._file_elements(place.scope, place.reference, place.component, depth + 1)
        node = place.node
        if node is not None and node.op == "MatchingFiles":
            return self._patterns(place, node.input[0])
        value = self._value(place.scope, place.name)
        if value is None or value.dtype != object:
            return None
        names = [bytes(name) for name in value.ravel()]
        return Files(names, [], value.ndim == 1, places=(place,))

    def _patterns(self, place: _Place, reference: str) -> Files | None:
        value = self._value(place.scope, reference)
        if value is None or value.dtype != object:
            return None
        patterns = [bytes(pattern) for pattern in value.ravel()]
        return Files([], patterns, True, places=(place,))

    def _file_elements(
        self, scope: Scope, reference: str, component: int, depth: int
    ) -> Files | None:
        """The files among one component of a dataset's elements."""
        place = self._dataset(scope, reference)
        if place is None or depth > _DEEP:
            return None
        op = base_op(place.op)
        inputs = {entry.name: entry.references for entry in _inputs(place.node)}
        if op in ("TensorDataset", "TensorSliceDataset"):
            components = inputs.get("components", [])
            if component >= len(components):
                return None
            files = self._files(place.scope, components[component], depth + 1)
            slices = op == "TensorSliceDataset"
            return files and files._replace(ordered=files.ordered and slices)
        if op == "MatchingFilesDataset":
            return self._patterns(place, inputs["patterns"][0])
        if op == "ZipDataset":
            return self._zipped(place, inputs["input_datasets"], component, depth)
        if "input_dataset" not in inputs:
            return None
        files = self._file_elements(place.scope, inputs["input_dataset"][0], component, depth + 1)
        if files is None:
            return None
        if op in _SAME_ELEMENTS:
            return files._replace(ordered=files.ordered and op in _IN_ORDER)
        if op == "ConcatenateDataset":
            source = inputs["another_dataset"][0]
            others = self._file_elements(place.scope, source, component, depth + 1)
            return others and Files(
                files.names + others.names,
                files.patterns + others.patterns,
                files.ordered and others.ordered and not files.patterns and not others.patterns,
                places=files.places + others.places,
            )
        if op in ("ShardDataset", "SkipDataset", "TakeDataset"):
            return self._part(place, op, inputs, files)
        return None

    def _part(
        self, place: _Place, op: str, inputs: dict[str, list[str]], files: Files
    ) -> Files | None:
        """What is left after shard, skip or take; all of them where their order is not fixed."""
        wanted = ("num_shards", "index") if op == "ShardDataset" else ("count",)
        values = [self._value(place.scope, inputs[name][0]) for name in wanted]
        if not files.ordered or any(value is None or value.size != 1 for value in values):
            return files._replace(ordered=False)
        first, *rest = (int(value.ravel()[0]) for value in values)
        if op == "ShardDataset":
            part = slice(rest[0], None, first) if 0 <= rest[0] < first else slice(0)
        elif op == "SkipDataset":
            part = slice(first, None) if first >= 0 else slice(0)
        else:
            part = slice(first) if first >= 0 else slice(None)
        if files.patterns:
            return files._replace(parts=(*files.parts, part))
        return files._replace(names=files.names[part])

    def _zipped(
        self, place: _Place, datasets: list[str], component: int, depth: int
    ) -> Files | None:
        for reference in datasets:
            found = self._dataset(place.scope, reference)
            node = found.node if found else None
            if node is None:
                return None
            types = "output_types" if "output_types" in node.attr else "Toutput_types"
            count = len(node.attr[types].list.type) if types in node.attr else 1
            if component < count:
                return self._file_elements(place.scope, reference, component, depth + 1)
            component -= count
        return None

    # Nodes.

    def _nodes(
        self, places: Sequence[_Place], depth: int
    ) -> tuple[list[dict[str, Any]], dict[_Place, int]]:
        nodes: list[dict[str, Any]] = []
        index: dict[_Place, int] = {}
        for place in _post_order(places, self._dataset_inputs):
            entry: dict[str, Any] = {"op": place.op, "parameters": self._parameters(place, depth)}
            inputs = [index[source] for source in self._dataset_inputs(place) if source in index]
            if inputs != ([len(nodes) - 1] if nodes else []):
                entry["inputs"] = inputs
            index[place] = len(nodes)
            nodes.append(entry)
        return nodes, index

    def _parameters(self, place: _Place, depth: int) -> dict[str, Any]:
        node = place.node
        assert node is not None
        parameters: dict[str, Any] = {}
        for name, type_, is_list, references in _inputs(node):
            if type_ == tf.resource.as_datatype_enum:  # a cache or a seed generator, made anew
                continue
            if name == "buffer_size" and base_op(node.op) in _READERS:  # bytes read at a time
                continue
            values = [
                self._shown_input(place.scope, reference)
                for reference in references
                if not self._is_dataset(place.scope, reference)
            ]
            if values:
                parameters[name] = values if is_list else values[0]
        implied = _implied(node.op)
        for name in sorted(node.attr):
            if name in implied or name in _HINTS or not _counts(node, name):
                continue
            value = node.attr[name]
            kind = value.WhichOneof("value")
            if kind == "func":
                parameters[name] = self._shown_function(place, name, depth)
            elif name == "serialized_options":
                parameters["options"] = _shown_options(value.s)
            elif kind == "list" and value.list.func:
                parameters[name] = [{"function": self._digest(f.name)} for f in value.list.func]
            else:
                shown = "output_types" if name == "Toutput_types" else name
                parameters[shown] = _shown_attribute(value)
        return parameters

    def _shown_input(self, scope: Scope, reference: str) -> Any:
        source = self._flat_source(scope, reference)
        if isinstance(source, _Place) and source in self._file_places:
            return {"files": True}
        value = self._value(scope, reference)
        if value is not None:
            return _shown_array(value)
        place = self._resolve(scope, reference)
        if isinstance(place, _Element):
            return {"component": place.component}
        if place.node is None:
            return {"argument": place.scope.argument_index.get(place.name, -1)}
        return {"computed": place.op, "digest": _hexdigest(self._lines([(scope, reference)]))}

    def _shown_function(self, place: _Place, attribute: str, depth: int) -> dict[str, Any]:
        body = self._body(place, attribute) if depth < _DEEP else None
        if body is not None and (found := self._dataset(*body)) is not None:
            return {"nodes": self._nodes([found], depth + 1)[0]}
        assert place.node is not None
        return {"function": self._digest(place.node.attr[attribute].func.name)}

    # Digests.

    def _digest(self, function_name: str) -> str:
        """Of what a function computes, whatever its nodes are called."""
        known = self._digests.get(function_name)
        if known is not None:
            return known
        function = self._functions.get(function_name)
        if function is None:
            return "unknown"
        self._digests[function_name] = "recursion"
        scope = Scope(function.node_def, function.signature)
        returned = [function.ret[argument.name] for argument in function.signature.output_arg]
        effects = sorted(function.control_ret.values(), key=lambda n: scope.position.get(n, -1))
        types = [str(argument.type) for argument in function.signature.input_arg]
        lines = self._lines([(scope, reference) for reference in [*returned, *effects]])
        self._digests[function_name] = digest = _hexdigest([" ".join(types), *lines])
        return digest

    def _lines(self, roots: Sequence[tuple[Scope, str]]) -> list[str]:
        """A program: each node a line, with inputs given as numbers of lines."""
        numbers: dict[_Place | _Element, int] = {}

        def sources(place: _Place | _Element) -> list[_Place | _Element]:
            node = place.node if isinstance(place, _Place) else None
            if node is None or place in self._file_places:
                return []
            references = [*_data_inputs(node), *_control_inputs(node, place.scope)]
            return [self._resolve(place.scope, reference) for reference in references]

        lines: list[str] = []
        constants: dict[str, int] = {}  # a one-shot iterator has a copy for each use
        places = [self._resolve(scope, reference) for scope, reference in roots]
        for place in _post_order(places, sources):
            line = self._line(place, numbers)
            number = len(lines)
            if isinstance(place, _Place) and place.op == "Const":
                number = constants.setdefault(line, number)
            numbers[place] = number
            if number == len(lines):
                lines.append(line)
        results = [self._numbered(scope, reference, numbers) for scope, reference in roots]
        return [*lines, " ".join(results)]

    def _line(self, place: _Place | _Element, numbers: dict[_Place | _Element, int]) -> str:
        if isinstance(place, _Element):
            return f"element {place.component}"
        node = place.node
        if node is None:
            return f"argument {place.scope.argument_index.get(place.name, -1)}"
        if place in self._file_places:
            return "files"
        words = [node.op]
        for name in sorted(node.attr):
            if _counts(node, name):
                words.append(f"{name}={self._attribute(node.attr[name])}")
        for reference in _data_inputs(node):
            words.append(self._numbered(place.scope, reference, numbers))
        for reference in _control_inputs(node, place.scope):
            words.append("after " + self._numbered(place.scope, reference, numbers))
        return " ".join(words)

    def _numbered(self, scope: Scope, reference: str, numbers: dict[_Place | _Element, int]) -> str:
        found = self._follow(scope, reference)
        if isinstance(found, _Element):
            return f"{numbers.get(found, -1)}:0"
        number = numbers.get(_Place(found[0], _name(found[1])), -1)  # -1: a loop of v1 control flow
        return f"{number}:{_output(*found)}"

    def _attribute(self, value: Any) -> str:
        kind = value.WhichOneof("value")
        if kind == "func":
            return self._digest(value.func.name)
        if kind == "list" and value.list.func:
            return ",".join(self._digest(function.name) for function in value.list.func)
        if kind == "tensor":
            array = _array(value.tensor)
            if array is None:
                return str(value.tensor.dtype)  # a resource's handle is new in each process
            return _array_digest(array)
        return str(value.SerializeToString(deterministic=True).hex())


def _name(reference: str) -> str:
    return reference.lstrip("^").split(":", 1)[0]


def _output(scope: Scope, reference: str) -> int:
    """Which output of its node a reference means; a function's body counts by names of outputs."""
    name, *rest = reference.lstrip("^").split(":")
    if not rest:
        return 0
    index = int(rest[-1]) if rest[-1].isdigit() else 0
    node = scope.nodes.get(name)
    if len(rest) == 1 or node is None:
        return index
    definition = op_def_registry.get(node.op)
    for argument in definition.output_arg if definition is not None else ():
        if argument.name == rest[0]:
            break
        index += _length(argument, node)
    return index


def _length(argument: Any, node: Node) -> int:
    """How many tensors an argument of the op's definition is."""
    if argument.number_attr:
        return int(node.attr[argument.number_attr].i)
    if argument.type_list_attr:
        return len(node.attr[argument.type_list_attr].list.type)
    return 1


def _data_inputs(node: Node) -> list[str]:
    return [reference for reference in node.input if not reference.startswith("^")]


def _control_inputs(node: Node, scope: Scope) -> list[str]:
    found = [reference for reference in node.input if reference.startswith("^")]
    return sorted(found, key=lambda reference: scope.position.get(_name(reference), -1))


def _inputs(node: Node) -> list[_Input]:
    """The node's inputs by the names of its op's definition; by number where that is unknown."""
    references = _data_inputs(node)
    definition = op_def_registry.get(node.op)
    if definition is None:
        return [_Input(f"input {i}", 0, False, [name]) for i, name in enumerate(references)]
    inputs = []
    for argument in definition.input_arg:
        length = _length(argument, node)
        is_list = bool(argument.number_attr or argument.type_list_attr)
        inputs.append(_Input(argument.name, argument.type, is_list, references[:length]))
        references = references[length:]
    return inputs


def _implied(op: str) -> set[str]:
    """The attributes that only say how many inputs there are, and of which types."""
    definition = op_def_registry.get(op)
    if definition is None:
        return set()
    implied = set()
    for argument in definition.input_arg:
        implied |= {argument.type_attr, argument.number_attr, argument.type_list_attr}
    return implied - {"Toutput_types"}


def _functions(node: Node) -> list[str]:
    return sorted(n for n in node.attr if node.attr[n].WhichOneof("value") == "func")


def _counts(node: Node, name: str) -> bool:
    """Whether an attribute tells something: it is no mere name, and not at its default.

    A later TensorFlow adds attributes, always with a default: what has it, is left out.
    """
    if name.startswith("_") or name in _NAMES:
        return False
    definition = op_def_registry.get(node.op)
    for attribute in definition.attr if definition is not None else ():
        if attribute.name == name and attribute.HasField("default_value"):
            return bool(attribute.default_value != node.attr[name])
    return True


def _post_order(roots: Iterable[Any], sources: Callable[[Any], Iterable[Hashable]]) -> list[Any]:
    """What is reached from the roots, each after its sources, in an order that they alone fix."""
    done: dict[Any, bool] = {}
    order = []
    for root in roots:
        stack = [(root, False)]
        while stack:
            place, entered = stack.pop()
            if entered:
                order.append(place)
            elif place not in done:
                done[place] = True
                stack.append((place, True))
                stack += [(source, False) for source in reversed(list(sources(place)))]
    return order


def _hexdigest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _array(tensor: Any) -> Any:
    """A `TensorProto` as an array, or None if it is a resource or a variant."""
    try:
        if tensor.dtype == tf.string.as_datatype_enum and tensor.tensor_content:
            return _string_array(tensor)
        return tf.make_ndarray(tensor)
    except (TypeError, ValueError):
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


def _array_digest(array: Any) -> str:
    digest = hashlib.sha256(f"{array.dtype} {array.shape}\n".encode())
    if array.dtype == object:
        for item in array.ravel():
            digest.update(b"%d:" % len(item) + item)
    else:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def _shown_array(array: Any) -> Any:
    if array.size > _SHOWN_ELEMENTS or array.ndim > 1:
        dtype = "string" if array.dtype == object else str(array.dtype)
        shape = [int(size) for size in array.shape]
        return {"dtype": dtype, "shape": shape, "digest": _array_digest(array)}
    values = [_shown_scalar(value) for value in array.ravel().tolist()]
    return values[0] if array.ndim == 0 else values


def _shown_scalar(value: Any) -> Any:
    if isinstance(value, bytes):
        text = value.decode("utf-8", "backslashreplace")
        if len(text) <= _SHOWN_CHARACTERS:
            return text
        return {"bytes": len(value), "digest": hashlib.sha256(value).hexdigest()[:16]}
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no such numbers
    return value if isinstance(value, (bool, int, float, str)) else str(value)


def _shown_attribute(value: Any) -> Any:
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
        array = _array(value.tensor)
        return _shown_type(value.tensor.dtype) if array is None else _shown_array(array)
    return None if kind is None else _shown_scalar(getattr(value, kind))


def _shown_options(serialized: bytes) -> Any:
    """What is set of `tf.data.Options`; versions of TensorFlow leave other empty groups."""
    try:
        options = json_format.MessageToDict(
            dataset_options_pb2.Options.FromString(serialized), preserving_proto_field_name=True
        )
    except (message.DecodeError, json_format.Error):
        return _shown_scalar(serialized)
    return {name: value for name, value in options.items() if value != {}}


def _shown_type(number: int) -> str:
    try:
        return str(tf.as_dtype(number).name)
    except TypeError:
        return str(number)


def _shown_shape(shape: Any) -> str:
    if shape.unknown_rank:
        return "?"
    return "[" + ",".join("?" if d.size < 0 else str(d.size) for d in shape.dim) + "]"
