"""The functions that the nodes of a graph definition call."""

from __future__ import annotations

from typing import Any

from monolith_cli.training.pipelines.nodes import function_attributes, inputs_by_name
from monolith_cli.training.pipelines.references import Captured, Element, Place, Scope

__all__ = ["Functions"]


class Functions:
    """A graph's library of functions; finds those that return a dataset.

    Each body is made into an object only once, so places in it stay the same too.
    """

    def __init__(self, library: Any) -> None:
        self._functions = {f.signature.name: f for f in library.function}
        self._bodies: dict[tuple[Place, str], tuple[Scope, str] | None] = {}

    def get(self, name: str) -> Any:
        """The `FunctionDef` of this name, or None."""
        return self._functions.get(name)

    def body(self, place: Place, attribute: str) -> tuple[Scope, str] | None:
        """A node's function that returns a dataset: its body, with arguments, and the result."""
        key = (place, attribute)
        if key not in self._bodies:
            self._bodies[key] = self._bind(place, attribute)
        return self._bodies[key]

    def datasets(self, place: Place) -> list[Place]:
        """The datasets that a node's functions return."""
        bodies = [self.body(place, name) for name in function_attributes(place.node)]
        return [found for body in bodies if body and (found := body[0].dataset(body[1]))]

    def _bind(self, place: Place, attribute: str) -> tuple[Scope, str] | None:
        node = place.node
        assert node is not None
        function = self.get(node.attr[attribute].func.name)
        if function is None or len(function.ret) != 1:
            return None
        scope = Scope.of_function(function)
        inputs = inputs_by_name(node)
        if attribute == "f" and "input_dataset" in inputs and "other_arguments" in inputs:
            captured = inputs["other_arguments"]
            arguments = list(scope.argument_index)
            elements = len(arguments) - len(captured)
            source = inputs["input_dataset"][0]
            for i, name in enumerate(arguments[:elements]):
                scope.arguments[name] = Element(place.scope, source, i)
            for name, reference in zip(arguments[elements:], captured, strict=False):
                scope.arguments[name] = Captured(place.scope, reference)
        (result,) = function.ret.values()
        return (scope, result) if scope.is_dataset(result) else None
