"""What the graph of a dataset says: its nodes in the order of the data, and the files they read.

It only reads graph definitions, and makes or runs no op, so a finalized graph is fine. Names of
nodes and functions have counters in them, and are ignored. A function is described by a digest of
what its body computes or, if it returns a dataset, by that dataset's own nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from monolith_cli.training.pipelines.constants import constant
from monolith_cli.training.pipelines.digests import Digests
from monolith_cli.training.pipelines.files import Files, Readers, is_reader
from monolith_cli.training.pipelines.functions import Functions
from monolith_cli.training.pipelines.nodes import (
    Node,
    implied_attributes,
    is_telling,
    node_inputs,
    node_name,
)
from monolith_cli.training.pipelines.references import Element, Place, Scope
from monolith_cli.training.pipelines.shown import shown_array, shown_attribute, shown_options
from monolith_cli.training.pipelines.walk import DEEPEST, post_order

__all__ = ["Graph"]

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


class Graph:
    """A graph definition, and the datasets in it.

    Cost: one look at every node of the graph. Then a dataset's own nodes, functions and constants
    take about 0.1 ms a node, and 2 s/GB for copying and hashing constants.
    """

    def __init__(self, graph_def: Any) -> None:
        self.top = Scope(graph_def.node)
        self._functions = Functions(graph_def.library)
        self._readers = Readers(self._functions)
        self._digests = Digests(self._functions, self._readers.is_named_by)

    def roots(self, iterator: str) -> list[tuple[Scope, str]]:
        """The datasets that may feed the iterator op of this name."""
        node = self.top.nodes.get(iterator)
        if node is not None and "dataset_factory" in node.attr:
            function = self._functions.get(node.attr["dataset_factory"].func.name)
            if function is None:
                return []
            scope = Scope.of_function(function)
            return [(scope, reference) for reference in function.ret.values()]
        return [
            (self.top, made.input[0])
            for made in self.top.nodes.values()
            if made.op == "MakeIterator" and node_name(made.input[1]) == iterator
        ]

    def describe(
        self, roots: Sequence[tuple[Scope, str]]
    ) -> tuple[list[dict[str, Any]], list[int], list[Files | None]]:
        """The nodes of datasets, sources first; which of them are the roots; each reader's files.

        A node is `{"op", "parameters"}`, and has `inputs` (indices in the list) unless its only
        input is the node before it. None stands for files that are known only at run time.
        """
        places = [place for scope, reference in roots if (place := scope.dataset(reference))]
        files = self._readers.find(places)  # first, because it finds which constants are file names
        nodes, index = self._nodes(places, 0)
        return nodes, [index[place] for place in places], files

    def _nodes(
        self, places: Sequence[Place], depth: int
    ) -> tuple[list[dict[str, Any]], dict[Place, int]]:
        nodes: list[dict[str, Any]] = []
        index: dict[Place, int] = {}
        for place in post_order(places, Place.dataset_inputs):
            entry: dict[str, Any] = {"op": place.op, "parameters": self._parameters(place, depth)}
            inputs = [index[source] for source in place.dataset_inputs() if source in index]
            if inputs != ([len(nodes) - 1] if nodes else []):
                entry["inputs"] = inputs
            index[place] = len(nodes)
            nodes.append(entry)
        return nodes, index

    def _parameters(self, place: Place, depth: int) -> dict[str, Any]:
        node = place.node
        assert node is not None
        return self._shown_inputs(place.scope, node) | self._shown_attributes(place, node, depth)

    def _shown_inputs(self, scope: Scope, node: Node) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        for name, type_, is_list, references in node_inputs(node):
            if type_ == tf.resource.as_datatype_enum:  # a cache or a seed generator, always new
                continue
            if name == "buffer_size" and is_reader(node.op):  # bytes read at a time
                continue
            values = [
                self._shown_value(scope, reference)
                for reference in references
                if not scope.is_dataset(reference)
            ]
            if values:
                shown[name] = values if is_list else values[0]
        return shown

    def _shown_value(self, scope: Scope, reference: str) -> Any:
        if self._readers.is_named_by(scope.flat_source(reference)):
            return {"files": True}
        value = constant(scope, reference)
        if value is not None:
            return shown_array(value)
        place = scope.resolve(reference)
        if isinstance(place, Element):
            return {"component": place.component}
        if place.node is None:
            return {"argument": place.scope.argument_index.get(place.name, -1)}
        return {"computed": place.op, "digest": self._digests.of_value(scope, reference)}

    def _shown_attributes(self, place: Place, node: Node, depth: int) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        implied = implied_attributes(node.op)
        for name in sorted(node.attr):
            if name in implied or name in _HINTS or not is_telling(node, name):
                continue
            value = node.attr[name]
            kind = value.WhichOneof("value")
            if kind == "func":
                shown[name] = self._shown_function(place, name, depth)
            elif name == "serialized_options":
                shown["options"] = shown_options(value.s)
            elif kind == "list" and value.list.func:
                functions = [self._digests.of_function(f.name) for f in value.list.func]
                shown[name] = [{"function": digest} for digest in functions]
            else:
                key = "output_types" if name == "Toutput_types" else name
                shown[key] = shown_attribute(value)
        return shown

    def _shown_function(self, place: Place, attribute: str, depth: int) -> dict[str, Any]:
        body = self._functions.body(place, attribute) if depth < DEEPEST else None
        if body is not None and (found := body[0].dataset(body[1])) is not None:
            return {"nodes": self._nodes([found], depth + 1)[0]}
        assert place.node is not None
        return {"function": self._digests.of_function(place.node.attr[attribute].func.name)}
