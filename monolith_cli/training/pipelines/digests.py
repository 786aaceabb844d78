"""Digests of what a graph definition computes, whatever the names of its nodes and functions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from monolith_cli.training.pipelines.constants import array_digest, tensor_array
from monolith_cli.training.pipelines.functions import Functions
from monolith_cli.training.pipelines.nodes import (
    data_inputs,
    is_telling,
    node_name,
    output_index,
)
from monolith_cli.training.pipelines.references import Element, Place, Scope
from monolith_cli.training.pipelines.walk import post_order

__all__ = ["Digests"]


class Digests:
    """Digests of 16 hex digits, of functions and of values.

    Parameters
    ----------
    functions
        The graph's.
    is_file_name
        Whether a place is a constant that names files: then only that fact is digested.
    """

    def __init__(
        self, functions: Functions, is_file_name: Callable[[Place | Element], bool]
    ) -> None:
        self._functions = functions
        self._is_file_name = is_file_name
        self._known: dict[str, str] = {}

    def of_function(self, name: str) -> str:
        """Of what a function computes; "unknown" for one that the graph does not have."""
        known = self._known.get(name)
        if known is not None:
            return known
        function = self._functions.get(name)
        if function is None:
            return "unknown"
        self._known[name] = "recursion"
        scope = Scope.of_function(function)
        returned = [function.ret[argument.name] for argument in function.signature.output_arg]
        effects = sorted(function.control_ret.values(), key=lambda n: scope.position.get(n, -1))
        types = [str(argument.type) for argument in function.signature.input_arg]
        lines = self._lines([(scope, reference) for reference in [*returned, *effects]])
        self._known[name] = digest = _hexdigest([" ".join(types), *lines])
        return digest

    def of_value(self, scope: Scope, reference: str) -> str:
        """Of everything that a value is computed from."""
        return _hexdigest(self._lines([(scope, reference)]))

    def _lines(self, roots: Sequence[tuple[Scope, str]]) -> list[str]:
        """A program: each node a line, with inputs given as numbers of lines."""
        numbers: dict[Place | Element, int] = {}

        def sources(place: Place | Element) -> list[Place | Element]:
            if isinstance(place, Element):
                return []
            node = place.node
            if node is None or self._is_file_name(place):
                return []
            references = [*data_inputs(node), *place.scope.control_inputs(node)]
            return [place.scope.resolve(reference) for reference in references]

        lines: list[str] = []
        constants: dict[str, int] = {}  # a one-shot iterator has a copy for each use
        places = [scope.resolve(reference) for scope, reference in roots]
        for place in post_order(places, sources):
            line = self._line(place, numbers)
            number = len(lines)
            if isinstance(place, Place) and place.op == "Const":
                number = constants.setdefault(line, number)
            numbers[place] = number
            if number == len(lines):
                lines.append(line)
        results = [_numbered(scope, reference, numbers) for scope, reference in roots]
        return [*lines, " ".join(results)]

    def _line(self, place: Place | Element, numbers: dict[Place | Element, int]) -> str:
        if isinstance(place, Element):
            return f"element {place.component}"
        node = place.node
        if node is None:
            return f"argument {place.scope.argument_index.get(place.name, -1)}"
        if self._is_file_name(place):
            return "files"
        words = [node.op]
        for name in sorted(node.attr):
            if is_telling(node, name):
                words.append(f"{name}={self._attribute(node.attr[name])}")
        for reference in data_inputs(node):
            words.append(_numbered(place.scope, reference, numbers))
        for reference in place.scope.control_inputs(node):
            words.append("after " + _numbered(place.scope, reference, numbers))
        return " ".join(words)

    def _attribute(self, value: Any) -> str:
        kind = value.WhichOneof("value")
        if kind == "func":
            return self.of_function(value.func.name)
        if kind == "list" and value.list.func:
            return ",".join(self.of_function(function.name) for function in value.list.func)
        if kind == "tensor":
            array = tensor_array(value.tensor)
            if array is None:
                return str(value.tensor.dtype)  # a resource's handle is new in each process
            return array_digest(array)
        return str(value.SerializeToString(deterministic=True).hex())


def _numbered(scope: Scope, reference: str, numbers: dict[Place | Element, int]) -> str:
    found = scope.follow(reference)
    if isinstance(found, Element):
        return f"{numbers.get(found, -1)}:0"
    scope, reference = found
    name = node_name(reference)
    number = numbers.get(Place(scope, name), -1)  # -1: a loop of v1 control flow
    return f"{number}:{output_index(scope.nodes.get(name), reference)}"


def _hexdigest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
