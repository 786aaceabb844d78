"""In which order a graph is walked, and how deep."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any

__all__ = ["DEEPEST", "post_order"]

DEEPEST = 50
"""How far constants, files and functions in functions are followed."""


def post_order(roots: Iterable[Any], sources: Callable[[Any], Iterable[Hashable]]) -> list[Any]:
    """What is reachable from the roots, each after its sources, in a reproducible order."""
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
