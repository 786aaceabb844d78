"""What one node of a graph definition says, read with the definition of its op.

A node has its inputs as references, `name`, `name:output` or `^name`. This module looks only at the
texts; `references` finds what they lead to.
"""

from __future__ import annotations

from typing import Any, NamedTuple

# The definitions of ops have no public API that costs less than exporting a meta graph.
from tensorflow.python.framework import op_def_registry

__all__ = [
    "Node",
    "NodeInput",
    "data_inputs",
    "function_attributes",
    "implied_attributes",
    "inputs_by_name",
    "is_control",
    "is_telling",
    "node_inputs",
    "node_name",
    "output_index",
]

Node = Any
"""A `NodeDef`."""

_NAMES = {"allowed_devices", "container", "debug_name", "metadata", "shared_name", "token"}
"""Attributes that name things, often with a counter."""


class NodeInput(NamedTuple):
    """An input of an op's definition, with the references that a node has there."""

    name: str
    type: int
    is_list: bool
    references: list[str]


# References.


def is_control(reference: str) -> bool:
    """Whether it only says that a node runs before, without a value."""
    return reference.startswith("^")


def node_name(reference: str) -> str:
    """The name of the node, or of the function's argument, that it refers to."""
    return reference.lstrip("^").split(":", 1)[0]


def output_index(node: Node | None, reference: str) -> int:
    """Which output of its node a reference means; in a function's body, outputs have names.

    `node` is the one that is referred to, None for an argument.
    """
    _, *rest = reference.lstrip("^").split(":")
    if not rest:
        return 0
    index = int(rest[-1]) if rest[-1].isdigit() else 0
    if len(rest) == 1 or node is None:
        return index
    definition = op_def_registry.get(node.op)
    for argument in definition.output_arg if definition is not None else ():
        if argument.name == rest[0]:
            break
        index += _length(argument, node)
    return index


# Inputs.


def data_inputs(node: Node) -> list[str]:
    """The references of the values that go in."""
    return [reference for reference in node.input if not is_control(reference)]


def node_inputs(node: Node) -> list[NodeInput]:
    """The values that go in, by the op's definition; numbered if that is unknown."""
    references = data_inputs(node)
    definition = op_def_registry.get(node.op)
    if definition is None:
        return [NodeInput(f"input {i}", 0, False, [name]) for i, name in enumerate(references)]
    found = []
    for argument in definition.input_arg:
        length = _length(argument, node)
        is_list = bool(argument.number_attr or argument.type_list_attr)
        found.append(NodeInput(argument.name, argument.type, is_list, references[:length]))
        references = references[length:]
    return found


def inputs_by_name(node: Node) -> dict[str, list[str]]:
    """The references of the values that go in, by the names of the inputs."""
    return {entry.name: entry.references for entry in node_inputs(node)}


def _length(argument: Any, node: Node) -> int:
    """How many tensors an argument of the op's definition has."""
    if argument.number_attr:
        return int(node.attr[argument.number_attr].i)
    if argument.type_list_attr:
        return len(node.attr[argument.type_list_attr].list.type)
    return 1


# Attributes.


def function_attributes(node: Node) -> list[str]:
    """The names of the attributes that are one function each, sorted."""
    return sorted(n for n in node.attr if node.attr[n].WhichOneof("value") == "func")


def implied_attributes(op: str) -> set[str]:
    """Those that only say how many inputs there are, and of which types."""
    definition = op_def_registry.get(op)
    if definition is None:
        return set()
    implied = set()
    for argument in definition.input_arg:
        implied |= {argument.type_attr, argument.number_attr, argument.type_list_attr}
    return implied - {"Toutput_types"}


def is_telling(node: Node, attribute: str) -> bool:
    """Whether an attribute means something: it is not just a name, and not at its default.

    A later TensorFlow adds attributes, always with a default; at the default they are left out.
    """
    if attribute.startswith("_") or attribute in _NAMES:
        return False
    definition = op_def_registry.get(node.op)
    for defined in definition.attr if definition is not None else ():
        if defined.name == attribute and defined.HasField("default_value"):
            return bool(defined.default_value != node.attr[attribute])
    return True
