"""A way through a pipeline, from its end to a source: what the steps along it may ask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from monolith_cli.iterators.flow import records
from monolith_cli.iterators.kinds import REPEATS
from monolith_cli.iterators.pipeline import Cached, Whole, kinds_of
from monolith_cli.iterators.progress import Element
from monolith_cli.iterators.source import Source, is_list

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monolith_cli.iterators.pipeline import Pipeline
    from monolith_cli.iterators.place import Link
    from monolith_cli.iterators.records import RecordCounter
    from monolith_cli.iterators.state import Node

__all__ = ["Way", "way_along"]


class Way(NamedTuple):
    """The links from the end of a pipeline to a source.

    Attributes
    ----------
    links
        The end first.
    source
        The last of them.
    pipeline, counter
    below
        What the nodes below the source return, of an input that has ended: its state has only the
        last nodes. Why that is not known, if it is not; None if the source has not ended.
    """

    links: tuple[Link, ...]
    source: Source
    pipeline: Pipeline
    counter: RecordCounter
    below: Whole | str | None

    @property
    def nodes(self) -> list[Node]:
        """The end first."""
        return [link.node for link in self.links]

    @property
    def is_nested(self) -> bool:
        """Whether it repeats what is repeated."""
        repeats = sum(node.base in (*REPEATS, "ShuffleAndRepeat") for node in self.nodes)
        return max(repeats, self.pipeline.repeats) > 1

    def is_source(self, node: Node) -> bool:
        return node is self.source.node

    def parameters(self, node: Node) -> dict[str, Any]:
        """What the fingerprint says of a node; empty if that is not known."""
        kinds = kinds_of(node.base)
        same = [other for other in self.nodes if kinds_of(other.base) == kinds]
        found = None if self.source.is_cut else len(same)
        return self.pipeline.parameters(kinds[0], same.index(node), found)

    def whole(self, node: Node, element: Element) -> Whole | str:
        """A whole epoch of what a node gets, which are such elements; or why it is not known."""
        upper = self.nodes[: self.nodes.index(node) + 1]
        source = self.source
        cached = Cached(source.node.number("num_elements")) if source.is_cache else None
        if element is Element.EACH and cached is not None and cached.elements is not None:
            return Whole(records(cached.elements), cached.elements, 1)
        whole = self.pipeline.whole(_kinds(upper), self.counter, cached)
        if isinstance(whole, str):
            return f"how much an epoch is, is not known: {whole}"
        return whole

    def returns_records(self) -> bool:
        """Whether the nodes that are no longer in the state return each record, and no more."""
        return self.pipeline.returns_records(_kinds(_upper(self.source, self.nodes)))


def way_along(links: Sequence[Link], pipeline: Pipeline, counter: RecordCounter) -> Way:
    """The way along these links, the end first; counts what its source has read."""
    source = Source(links, pipeline, counter)
    below: Whole | str | None = None
    if source.ended:
        upper = _upper(source, [link.node for link in links])
        below = pipeline.whole(_kinds(upper), counter)
    return Way(tuple(links), source, pipeline, counter, below)


def _upper(source: Source, nodes: list[Node]) -> list[Node]:
    return nodes[:-1] if is_list(source.node) else nodes


def _kinds(nodes: Sequence[Node]) -> list[str]:
    return [kind for node in nodes for kind in kinds_of(node.base)]
