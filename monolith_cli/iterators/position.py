"""Where an input is, as it follows from its state: what was read, is buffered, was consumed.

A reader says how far it has read. What it has read sits in buffers, or was consumed by training;
so consumed is what was read without what is buffered. That holds through nodes that return what
they take, or a fixed number of it: batch, prefetch, take, map, shuffle, skip, shard, repeat. It
does not hold behind others: of what a filter has dropped nobody knows where it was, and an
interleave has several readers. There it is not known, and the node is named that hides it.

Behind such a node elements may still be counted: filter and shuffle count what they return.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from monolith_cli.iterators.chain import place_along
from monolith_cli.iterators.kinds import INTERLEAVES, REPEATS
from monolith_cli.iterators.place import Link, Place
from monolith_cli.iterators.records import FILE_READERS
from monolith_cli.iterators.source import is_exhausted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from monolith_cli.iterators.pipeline import Pipeline
    from monolith_cli.iterators.records import RecordCounter
    from monolith_cli.iterators.state import IteratorState, Node

__all__ = ["places"]


def places(state: IteratorState, pipeline: Pipeline, counter: RecordCounter) -> list[Place]:
    """Where all readers of an iterator are.

    Parameters
    ----------
    pipeline
        What its fingerprint says.
    counter
        Counts records in files.
    """
    return [
        place_along(links, pipeline, counter)
        for _, end in state.root.inputs
        for links in _chains(end, [], {file.path for file in pipeline.files or ()})
    ]


def _chains(node: Node, above: list[Link], files: set[str]) -> Iterator[list[Link]]:
    """The ways from a node to the sources that it reads from now; the files are those known."""
    inputs = _live(node)
    if node.base == "FlatMap":
        opened = [pair for pair in inputs if pair[0] is not None]
        if not opened:
            inputs = []
        elif any(_reader_of(inner) for _, inner in opened) or _file_of(node) in files:
            inputs = opened
        else:  # not of files: the elements come from where those of the list do
            inputs = [pair for pair in inputs if pair[0] is None]
    elif node.base in (*INTERLEAVES, "DirectedInterleave"):
        inputs = [pair for pair in inputs if pair[0] is not None] or inputs
    if not inputs:
        yield [*above, Link(node, None)]
    for number, inner in inputs:
        yield from _chains(inner, [*above, Link(node, number)], files)


def _live(node: Node) -> list[tuple[int | None, Node]]:
    """The inputs that it reads from; a symbolic checkpoint keeps those that are over, too."""
    inputs = node.inputs
    if node.base in REPEATS or node.base == "Concatenate":
        at = node.number("i")
        return [pair for pair in inputs if pair[0] == at] or inputs
    if node.base == "ParallelInterleave":
        ids = _open_inputs(node)
        return [pair for pair in inputs if pair[0] is None or ids is None or pair[0] in ids]
    return inputs


def _open_inputs(node: Node) -> set[int] | None:
    """Which of its inputs a parallel interleave has open; None if it does not say."""
    ids: set[int] = set()
    for group in ("current_elements", "future_elements"):
        size = node.number(f"{group}.size")
        if size is None:
            return None
        for i in range(min(size, len(node.values))):
            number = node.number(f"{group}::{i} | .id")
            if number is not None and not node.number(f"{group}::{i} | element_uninitialized"):
                ids.add(number)
    return ids


def _file_of(node: Node) -> str | None:
    """What a flat map has opened, if that is a text."""
    name = node.values.get("inputs[0]")
    return name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else None


def _reader_of(node: Node) -> Node | None:
    """The reader of a file at the end of a way without forks."""
    while node.base not in FILE_READERS:
        inputs = node.inputs
        if node.base == "FlatMap":
            inputs = [pair for pair in inputs if pair[0] is not None]
            if not inputs and is_exhausted(node):
                return node
        if len(inputs) != 1:
            return None
        node = inputs[0][1]
    return node
