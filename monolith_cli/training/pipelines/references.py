"""Where the values of a graph definition come from: references, followed to the nodes they mean."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from monolith_cli.training.pipelines.nodes import Node, data_inputs, is_control, node_name

__all__ = ["Captured", "Element", "Place", "Scope"]

_DATASET = re.compile(r"Dataset(V\d+)?$")
_SAME_VALUE = {"Identity", "StopGradient", "Snapshot", "PreventGradient", "EnsureShape"}
_SAME_STRINGS = {"ExpandDims", "Reshape", "Squeeze"}


class Scope:
    """Nodes that see each other: of a graph, or of a function's body.

    `arguments` is what the function is called with, as far as that is known; nothing is known if
    the function is looked at by itself.
    """

    def __init__(self, nodes: Iterable[Node], signature: Any = None) -> None:
        self.nodes: dict[str, Node] = {}
        self.position: dict[str, int] = {}
        for position, node in enumerate(nodes):
            self.nodes[node.name] = node
            self.position[node.name] = position
        inputs = signature.input_arg if signature is not None else ()
        self.argument_index = {argument.name: i for i, argument in enumerate(inputs)}
        self.arguments: dict[str, Captured | Element] = {}

    @classmethod
    def of_function(cls, function: Any) -> Scope:
        """The body of a `FunctionDef`, by itself."""
        return cls(function.node_def, function.signature)

    def follow(self, reference: str) -> tuple[Scope, str] | Element:
        """The reference that the value comes from, through copies and captures."""
        scope = self
        while True:
            name = node_name(reference)
            bound = scope.arguments.get(name)
            if isinstance(bound, Element):
                return bound
            if bound is not None:
                scope, reference = bound
                continue
            node = scope.nodes.get(name)
            if node is not None and node.op in _SAME_VALUE and data_inputs(node):
                reference = node.input[0]
                continue
            return scope, reference

    def resolve(self, reference: str) -> Place | Element:
        """Where the value comes from."""
        found = self.follow(reference)
        return found if isinstance(found, Element) else Place(found[0], node_name(found[1]))

    def flat_source(self, reference: str) -> Place | Element:
        """Where the elements of a tensor come from, whatever their shape."""
        scope = self
        while True:
            place = scope.resolve(reference)
            node = place.node if isinstance(place, Place) else None
            if node is None or node.op not in _SAME_STRINGS:
                return place
            scope, reference = place.scope, node.input[0]

    def dataset(self, reference: str) -> Place | None:
        """The node that makes the dataset, if it is one; any op counts as such a node."""
        place = self.resolve(reference)
        return place if isinstance(place, Place) and place.node is not None else None

    def is_dataset(self, reference: str) -> bool:
        """Whether the value is a dataset, by the name of the op that makes it."""
        place = self.resolve(reference)
        return isinstance(place, Place) and _DATASET.search(place.op) is not None

    def control_inputs(self, node: Node) -> list[str]:
        """The references to what runs before a node, in the order of the scope."""
        found = [reference for reference in node.input if is_control(reference)]
        return sorted(found, key=lambda reference: self.position.get(node_name(reference), -1))


class Place(NamedTuple):
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

    def dataset_inputs(self) -> list[Place]:
        """The datasets that go into a node."""
        return [
            found
            for reference in data_inputs(self.node)
            if self.scope.is_dataset(reference) and (found := self.scope.dataset(reference))
        ]


class Captured(NamedTuple):
    """A function's argument that was captured: an input of the node that calls it."""

    scope: Scope
    reference: str


class Element(NamedTuple):
    """A function's argument that is a component of each element of a dataset."""

    scope: Scope
    reference: str
    component: int
