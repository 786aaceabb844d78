"""The steps along a pipeline: each makes the next progress, and leaves the one before as it was."""

from __future__ import annotations

from typing import Any

import pytest

from monolith_cli.iterators.flow import Flow, records
from monolith_cli.iterators.pipeline import Pipeline
from monolith_cli.iterators.place import Link
from monolith_cli.iterators.progress import Element, Progress, Span, Unknown, consumed_of
from monolith_cli.iterators.records import RecordCounter
from monolith_cli.iterators.state import Node
from monolith_cli.iterators.steps import passed
from monolith_cli.iterators.way import Way, way_along


def node(op: str, elements: dict[int | None, int] | None = None, **values: int) -> Node:
    made = Node(op, op)
    made.values.update(values)
    made.elements.update(elements or {})
    return made


def way_of(*nodes: Node, **parameters: dict[str, Any]) -> Way:
    """From the end on, down to a range; parameters are those of a fingerprint, by op."""
    source = node("Range", next=9)
    described = [{"op": op, "parameters": said} for op, said in parameters.items()]
    pipeline = Pipeline({"version": 1, "files": None, "nodes": described} if described else None)
    return way_along(
        [*(Link(each, None) for each in nodes), Link(source, None)], pipeline, RecordCounter()
    )


def step(progress: Progress, *nodes: Node, **parameters: dict[str, Any]) -> Progress:
    """Behind the first of the nodes."""
    return passed(progress, Link(nodes[0], None), way_of(*nodes, **parameters))


def emitted(progress: Progress) -> int | str:
    flow = progress.flow
    return flow.emitted if isinstance(flow, Flow) else flow.reason


TEN = Progress(records(10))


def test_a_step_changes_nothing() -> None:
    step(TEN, node("Prefetch", {None: 3}))
    assert Progress(records(10)) == TEN


def test_what_is_in_a_buffer_has_not_come_out() -> None:
    after = step(TEN, node("Prefetch", {None: 3}))
    assert emitted(after) == 7
    assert [(held.elements, held.records) for held in after.buffered] == [(3, 3)]


def test_a_batch_whose_size_is_known() -> None:
    said = {"batch_size": 4, "drop_remainder": True}
    after = step(TEN, node("BatchV2"), BatchDatasetV2=said)
    assert (emitted(after), after.element) == (2, Element.ROWS)


def test_a_batch_whose_size_is_not() -> None:
    after = step(TEN, node("BatchV2"))
    assert emitted(after) == "how many elements BatchV2 takes is only in a fingerprint"
    held = step(after, node("Prefetch", {4: 2}))
    assert held.buffered[0].records == 8
    assert consumed_of(held, is_nested=False).records == 2


def test_rows_are_known_where_nothing_else_is() -> None:
    lost = Progress(Unknown("which files were read is not known"))
    after = step(step(lost, node("BatchV2")), node("Prefetch", {8: 2}))
    assert emitted(after) == "which files were read is not known"
    assert after.buffered[0].records == 16


@pytest.mark.parametrize("between", ["BatchV2", "Map"])
def test_rows_that_are_no_records(between: str) -> None:
    after = step(step(step(TEN, node("BatchV2")), node(between)), node("Prefetch", {8: 2}))
    assert after.buffered[0].records is None


def test_a_shuffle_counts_what_is_not_known() -> None:
    lost = Progress(Unknown("the file is not there"))
    shuffle = node("ShuffleV3", {None: 5}, slices_size=1, slices_start_0=7, slices_end_0=12)
    after = step(lost, shuffle)
    assert (emitted(after), after.span) == (7, Span.COUNTED)


def test_a_node_that_hides() -> None:
    after = step(TEN, node("FilterV2", filtered_elements=4))
    assert emitted(after) == 4
    assert consumed_of(after, is_nested=False)[:3] == (None, None, None)
    assert consumed_of(after, is_nested=False).elements == 4
    assert emitted(step(TEN, node("Sampling"))) == ""
