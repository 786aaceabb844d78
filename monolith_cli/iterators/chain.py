"""The way from a source to the end of a pipeline: what is read, held in buffers, and consumed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monolith_cli.iterators.flow import Flow, joined, records
from monolith_cli.iterators.kinds import REPEATS, SHUFFLES, TAKES
from monolith_cli.iterators.pipeline import Whole
from monolith_cli.iterators.place import Place
from monolith_cli.iterators.progress import (
    Element,
    Epochs,
    Hidden,
    Progress,
    Unknown,
    consumed_of,
)
from monolith_cli.iterators.records import FILE_READERS, Count
from monolith_cli.iterators.steps import element_of, passed, taken_in
from monolith_cli.iterators.way import way_along

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monolith_cli.iterators.pipeline import Pipeline
    from monolith_cli.iterators.place import Link
    from monolith_cli.iterators.records import RecordCounter
    from monolith_cli.iterators.way import Way

__all__ = ["place_along"]


def place_along(links: Sequence[Link], pipeline: Pipeline, counter: RecordCounter) -> Place:
    """What follows of a reader from the links between it and the end of a pipeline, end first."""
    way = way_along(links, pipeline, counter)
    source = way.source
    at_source = _begin(way)
    above = way.links[::-1]
    behind_source = passed(at_source, above[0], way)
    end = behind_source
    for link in above[1:]:
        end = passed(end, link, way)
    unit = FILE_READERS.get(source.node.base, "elements")
    if unit == "elements" and source.ended and pipeline.files:
        unit = "records"
    is_nested = way.is_nested
    return Place(
        source.node,
        unit,
        source.file,
        _read(way, at_source, behind_source),
        None if end.epochs is None or is_nested else end.epochs.over + 1,
        source.ended,
        source.ended and _is_over(way),
        end.buffered,
        consumed_of(end, is_nested),
    )


def _begin(way: Way) -> Progress:
    """What the source has returned; of an input that has ended what is below it."""
    source = way.source
    if way.below is not None:
        return _begin_below(way, way.below)
    if source.read.records is None:
        return Progress(Unknown(source.read.why or ""), has_ended=source.is_cut)
    flow = records(source.read.records)
    if source.before and source.node.number("current_file_index"):
        flow = joined([(count, records(count)) for count in source.before], flow)
    return Progress(flow, has_ended=source.is_cut)


def _begin_below(way: Way, below: Whole | str) -> Progress:
    node = way.source.node
    if isinstance(below, Whole):
        epochs = None
        if below.epochs > 1:
            epochs = Epochs(below.epochs - 1, below.epoch_records)
        return Progress(below.flow, element=element_of(below), has_ended=True, epochs=epochs)
    are_records = way.returns_records()
    begun = Progress(
        Unknown(below), element=Element.RECORD, has_ended=True, are_records=are_records
    )
    taken = taken_in(node) if node.base in SHUFFLES else None
    if taken is None:
        return begun
    begun = begun._replace(flow=records(taken))
    if are_records:
        return begun._replace(element=Element.EACH)
    return begun._replace(hidden=Hidden(node, hides=False, why=below))


def _read(way: Way, at_source: Progress, behind_source: Progress) -> Count:
    """How much the source has read in the epoch that is going on, in all files."""
    source, below = way.source, way.below
    if isinstance(below, Whole):
        return _read_of_ended(way, below, behind_source)
    if source.before and isinstance(at_source.flow, Flow):
        # Files that one reader goes through are in its flow, others are not.
        return Count(sum(source.before) + (source.read.records or 0))
    return source.read


def _read_of_ended(way: Way, below: Whole, behind_source: Progress) -> Count:
    """What was read of an input that has ended, in its last epoch."""
    if way.pipeline.takes_of_what_is_ahead:
        return Count(None, "what was read ahead of the last that was taken is not in the state")
    if way.source.node.base not in TAKES:
        last = below.last_epoch_records
        return Count(below.epoch_records if last is None else last)
    flow = behind_source.flow
    if isinstance(flow, Unknown):
        return Count(None, "how much was taken is not known")
    end = flow.position(flow.emitted)
    epochs = behind_source.epochs
    return Count(end if epochs is None else end - epochs.over * (epochs.records or 0))


def _is_over(way: Way) -> bool:
    """Whether nothing above the source begins anew what has ended."""
    for node in way.nodes:
        if node.base in REPEATS and not way.is_source(node):
            return False
        if node.base == "ShuffleAndRepeat" and not node.number("end_of_input_sequence"):
            return False
    return True
