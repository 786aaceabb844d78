"""The steps of a way: what each kind of node makes of the progress of its input.

A step returns the progress behind its node; or `Unknown`, where how much the node has returned does
not follow from the state. It changes nothing: what it needs to know is in its arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from monolith_cli.iterators.flow import (
    Flow,
    batch,
    joined,
    records,
    repeated,
    shard,
    skip,
    take,
    unchanged,
)
from monolith_cli.iterators.kinds import (
    ASYNC_BATCHES,
    BATCHES,
    CACHES,
    INTERLEAVES,
    MAPS,
    ONE_TO_ONE,
    REPEATS,
    TAKES,
)
from monolith_cli.iterators.pipeline import Whole
from monolith_cli.iterators.place import Buffered
from monolith_cli.iterators.progress import (
    MISFIT,
    NESTED,
    Element,
    Epochs,
    Fallback,
    Hidden,
    Progress,
    Span,
    Unknown,
)
from monolith_cli.iterators.source import is_list

if TYPE_CHECKING:
    from monolith_cli.iterators.place import Link
    from monolith_cli.iterators.state import Node
    from monolith_cli.iterators.way import Way

__all__ = ["element_of", "passed", "taken_in"]

Step = Callable[[Progress, "Link", "Way"], "Progress | Unknown"]

_RESULTS = (".results.size", "| outputs_size")
"""Keys of how many elements of each of its inputs an interleave has ahead."""

_PASS_ON = {"Filter", "IgnoreErrors", "Unique"}
"""Nodes that hide how much went in, and return nothing but what went in."""

_OPEN = {*INTERLEAVES, "Concatenate", "DirectedInterleave", "FlatMap"}
"""Nodes that return what their inputs do, which are in the state."""


def passed(progress: Progress, link: Link, way: Way) -> Progress:
    """The progress behind a node, of what came to it and is not in its own buffer."""
    step = _step_of(link, way)
    if step is None:
        return progress
    after = step(progress, link, way)
    if isinstance(after, Unknown):
        after = progress.given_up(after)
    node = link.node
    if node.base in MAPS and node.base not in BATCHES:
        after = after.mapped()
    return _hold(after, node)


def _step_of(link: Link, way: Way) -> Step | None:
    """The step for a node; None for a source, which is where a way begins."""
    node = link.node
    if node.base == "FlatMap" and (link.number is not None or is_list(node)):
        return _leave_files
    if way.is_source(node) and not way.source.is_cut:
        return None
    if node.base in TAKES and way.is_source(node):
        return _take_last
    if node.base in _STEPS:
        return _STEPS[node.base]
    return _pass_on if node.base in ONE_TO_ONE else _hide


def _pass_on(progress: Progress, link: Link, way: Way) -> Progress:
    return progress


def _end_early(progress: Progress, link: Link, way: Way) -> Progress:
    """A node that may have read an element more than it has returned, when it ends.

    Of one that has ended, only symbolic checkpoints still have the inputs.
    """
    node = link.node
    has_ended = node.number("input_impls_empty", "input_impl_empty")
    if not has_ended or way.is_source(node):
        return progress
    unknown = Unknown(f"{node.op} has ended, and may have read more than it returned")
    return progress._replace(fallback=None).given_up(unknown)


def _skip(progress: Progress, link: Link, way: Way) -> Progress:
    if progress.span is Span.EPOCH:
        return progress._replace(flow=progress.why_in_epoch(), fallback=None)
    node = link.node
    skipped = max(0, node.number("i") or 0)
    count = way.parameters(node).get("count")
    if node.number("input_impl_empty") and not way.is_source(node):
        # Only a symbolic checkpoint still has the input of one that has ended.
        if not isinstance(count, int):
            unknown = Unknown(f"whether {node.op} has skipped all is only in a fingerprint")
            return progress._replace(fallback=None).given_up(unknown)
        if skipped < count:
            return progress._replace(flow=records(0), fallback=None)
    if not skipped and count != 0 and _is_skipped_by_others(node, way):
        unknown = Unknown(f"how much {node.op} has skipped is not in the state")
        return progress._replace(fallback=None).given_up(unknown)
    return progress.staged(skip(skipped))


def _is_skipped_by_others(node: Node, way: Way) -> bool:
    """Whether nodes above have had it pass over all it had: a symbolic checkpoint misses that."""
    nodes = way.nodes
    above = nodes[: nodes.index(node)]
    return any(
        each.base in ("FiniteSkip", "Shard") and each.number("input_impl_empty") for each in above
    )


def _shard(progress: Progress, link: Link, way: Way) -> Progress:
    if progress.span is Span.EPOCH:
        return progress._replace(flow=progress.why_in_epoch(), fallback=None)
    node = link.node
    said = way.parameters(node)
    shards, index = said.get("num_shards"), said.get("index")
    is_known = isinstance(shards, int) and isinstance(index, int) and shards > 0
    if is_known and progress.element.is_record:
        return progress.staged(shard(shards, index))  # type: ignore[arg-type]
    fallback = None
    if isinstance(progress.flow, Flow) and not progress.has_ended:
        fallback = Fallback(progress.flow, in_rows=False)
    unknown = Unknown(f"which elements {node.op} leaves out is not known")
    return progress.staged(unchanged).given_up(unknown)._replace(fallback=fallback)


def _take_last(progress: Progress, link: Link, way: Way) -> Progress | Unknown:
    """A node that has taken all that it takes, and what it took from is gone."""
    node = link.node
    count = way.parameters(node).get("count")
    if not isinstance(count, int) or count < 0:
        return Unknown(f"how many {node.op} takes is only in a fingerprint")
    after = progress.staged(take(count), ended=True)
    epochs = after.epochs
    if isinstance(after.flow, Flow) and epochs is not None and epochs.over and epochs.records:
        end = after.flow.position(after.flow.emitted)
        after = after._replace(epochs=epochs._replace(over=max(0, end - 1) // epochs.records))
    return after


def _batch(progress: Progress, link: Link, way: Way) -> Progress:
    node = link.node
    said = way.parameters(node)
    size, drops = said.get("batch_size"), said.get("drop_remainder")
    results, ended_in_results = _results(node)
    rows = sum(count for count, _ in results)
    in_epoch = progress.span is Span.EPOCH
    ended = (
        progress.has_ended
        or ended_in_results
        or bool(node.number("input_impl_empty", "exhausted"))
        or (
            # What it has taken is in a batch that is there, or was returned in a whole one, or else
            # in the last one, which was shorter.
            node.base in ASYNC_BATCHES
            and isinstance(size, int)
            and size > 0
            and isinstance(progress.flow, Flow)
            and not in_epoch
            and (progress.flow.emitted - rows) % size > 0
        )
    )
    element = Element.ROWS if progress.element.is_record else Element.OTHER
    # Where batches begin in an epoch follows from those before it.
    is_known = isinstance(size, int) and size > 0 and not in_epoch
    if isinstance(size, int) and is_known and (isinstance(drops, bool) or not ended):
        after = progress.staged(batch(size, bool(drops)), ended)
        # One that is shorter is still being made, unless it is the last.
        held = sum(count == size or (last and not drops) for count, last in results)
        if isinstance(after.flow, Flow):
            after = after._replace(flow=after.flow.less(held))
    else:
        after = _batch_of_unknown_size(progress, node, drops, ended, rows)
    after = after._replace(element=element)
    if not results:
        return after
    are_records = progress.element.is_record and progress.are_records
    made = Buffered(node, len(results), rows if are_records else None, rows)
    return after._replace(buffered=(*after.buffered, made))


def _batch_of_unknown_size(
    progress: Progress, node: Node, drops: object, ended: bool, rows: int
) -> Progress:
    if ended and not isinstance(drops, bool):
        why = Unknown(f"whether {node.op} has dropped the last ones is only in a fingerprint")
    elif progress.span is Span.EPOCH:
        why = progress.why_in_epoch()
    else:
        why = Unknown(f"how many elements {node.op} takes is only in a fingerprint")
    fallback = None
    if isinstance(progress.flow, Flow) and not (ended and drops is not False):
        fallback = Fallback(progress.flow.less(rows), in_rows=True)
    return progress.staged(unchanged).given_up(why)._replace(fallback=fallback)


def _repeat(progress: Progress, link: Link, way: Way) -> Progress | Unknown:
    node = link.node
    epochs = node.number("i") or 0
    if way.is_source(node):
        return _repeat_below(progress, epochs, way)
    return _epochs_over(progress._replace(has_ended=False), node, epochs, way)


def _repeat_below(progress: Progress, epochs: int, way: Way) -> Progress | Unknown:
    """So many epochs, and nothing more, of what is below the node where the state ends."""
    if not isinstance(way.below, Whole) or isinstance(progress.flow, Unknown):
        return progress
    if way.below.epochs > 1 or not epochs:
        return Unknown(NESTED)
    return _after_epochs(progress, way.below, epochs - 1)


def _epochs_over(progress: Progress, node: Node, epochs: int, way: Way) -> Progress:
    """What came in the epoch that is going on, after some that are over."""
    if epochs < 0:
        return progress.given_up(Unknown(MISFIT))
    if not epochs:
        return progress if progress.epochs else progress._replace(epochs=Epochs(0))
    if progress.epochs is not None:
        return progress._replace(fallback=None).given_up(Unknown(NESTED))
    whole = way.whole(node, progress.element)
    if isinstance(whole, Whole) and isinstance(progress.flow, Flow):
        return _after_epochs(progress, whole, epochs)
    if isinstance(whole, Whole):
        why = "" if isinstance(progress.flow, Flow) else progress.flow.reason
        return progress._replace(epochs=Epochs(epochs, whole.epoch_records, why), span=Span.EPOCH)
    flow = Unknown(whole) if isinstance(progress.flow, Unknown) else progress.flow
    return progress._replace(flow=flow, epochs=Epochs(epochs, None, whole), span=Span.EPOCH)


def _after_epochs(progress: Progress, whole: Whole, epochs: int) -> Progress:
    flow, element = progress.flow, progress.element
    if isinstance(flow, Flow):
        flow = repeated(whole.flow, epochs, whole.epoch_records, flow)
    # An epoch that has not begun does not tell what an element is.
    of_whole = element_of(whole)
    if element.is_record and of_whole is not Element.EACH:
        element = of_whole
    return progress._replace(flow=flow, element=element, epochs=Epochs(epochs, whole.epoch_records))


def _shuffle(progress: Progress, link: Link, way: Way) -> Progress | Unknown:
    node = link.node
    taken = taken_in(node)
    is_all = taken is not None and progress.element is Element.EACH
    if is_all and taken is not None and not way.source.is_in_file(node):
        is_wanted = isinstance(progress.flow, Unknown) or progress.span is Span.EPOCH
        if not is_wanted:
            return progress
        return progress._replace(flow=records(taken), span=Span.COUNTED)
    return _mixed(progress, node, taken)


def _shuffle_and_repeat(progress: Progress, link: Link, way: Way) -> Progress | Unknown:
    node = link.node
    taken = taken_in(node)
    epochs = max(0, (node.number("epoch") or 0) - 1)
    is_all = taken is not None and progress.element is Element.EACH
    if is_all and taken is not None and not way.source.is_in_file(node):
        over = Epochs(epochs, _epoch_records(progress, epochs, taken, way))
        return progress._replace(flow=records(taken), span=Span.COUNTED, epochs=over)
    if way.is_source(node):
        after = _repeat_below(progress, epochs + 1, way)
    else:
        after = _epochs_over(progress._replace(has_ended=False), node, epochs, way)
    if isinstance(after, Unknown):
        return after
    return _mixed(after, node, taken)


def _epoch_records(progress: Progress, epochs: int, taken: int, way: Way) -> int | None:
    """How many records an epoch has, of which a shuffle has taken so many in all."""
    known = None if progress.epochs is None else progress.epochs.records
    flow = progress.flow
    if isinstance(flow, Unknown):
        return known
    if way.source.ended and known is None:
        if isinstance(way.below, Whole):
            return way.below.epoch_records
        return known if progress.buffered else flow.emitted
    if epochs and not way.source.is_cut:
        size, rest = divmod(taken - flow.emitted, epochs)
        return None if rest else size
    return known


def element_of(whole: Whole) -> Element:
    """What the elements are that came of whole epochs."""
    flow = whole.flow
    count = flow.emitted
    if flow.delivered(count) != count:
        return Element.OTHER
    return Element.EACH if count == whole.epoch_records * whole.epochs else Element.RECORD


def _mixed(progress: Progress, node: Node, taken: int | None) -> Progress | Unknown:
    """What a shuffle makes of elements that are not records: known if all are of one size."""
    flow = progress.flow
    if isinstance(flow, Unknown) or flow.emitted <= 0:
        return progress
    count, in_epoch = flow.emitted, progress.span is Span.EPOCH
    total = flow.delivered(count)
    if taken not in (None, count) and not in_epoch:
        return progress.given_up(Unknown(MISFIT))
    if total == count * flow.delivered(1):
        return progress
    after = progress.given_up(Unknown(f"{node.op} mixes elements of different sizes"))
    skips_nothing = flow.position(count) == total
    if progress.element is Element.ROWS and not in_epoch and skips_nothing:
        after = after._replace(fallback=Fallback(records(total), in_rows=True))
    return after


def _leave_files(progress: Progress, link: Link, way: Way) -> Progress | Unknown:
    """From what is done with each file to what is done with all of them."""
    if link.number is not None:
        progress = progress._replace(has_ended=False)
    if not link.number:
        return progress
    progress = progress._replace(fallback=None)
    if isinstance(progress.flow, Unknown):
        return progress
    if progress.hidden is not None and progress.hidden.hides:
        return progress._replace(flow=Unknown())
    source = way.source
    stages = way.pipeline.stages_in_file()
    whole = way.pipeline.all_files(way.counter) if source.turns else None
    if stages is None or isinstance(whole, str):
        why = Unknown(f"what {link.node.op} does with each file is not known")
        return progress.given_up(why)
    before = []
    for count in source.before:
        flow = records(count)
        for stage in stages:
            flow = stage(flow, True)
        before.append((count, flow))
    after = progress._replace(flow=joined(before, progress.flow))
    return after if whole is None else _after_epochs(after, whole, source.turns)


def _hide(progress: Progress, link: Link, way: Way) -> Progress:
    """A node of which nobody can say how much went in."""
    node = link.node
    # What a function makes of elements may be anything, unless it is seen to read records.
    keeps = node.base in _PASS_ON or (node.base in _OPEN and link.number is not None)
    ahead = sum(
        max(0, value)
        for key, value in node.values.items()
        if isinstance(value, int) and key.endswith(_RESULTS)
    )
    buffered = progress.buffered
    if ahead:
        buffered = (*buffered, Buffered(node, ahead, None))
    count = node.number("filtered_elements") if node.base == "Filter" else None
    return Progress(
        Unknown() if count is None else records(count),
        buffered=buffered,
        are_records=progress.are_records and keeps and progress.element.is_record,
        hidden=Hidden(node),
    )


_STEPS: dict[str, Step] = {
    **dict.fromkeys(BATCHES, _batch),
    **dict.fromkeys(REPEATS, _repeat),
    "FiniteSkip": _skip,
    "Shard": _shard,
    "TakeWhile": _end_early,
    "Zip": _end_early,
    "Shuffle": _shuffle,
    "ShuffleAndRepeat": _shuffle_and_repeat,
}


def _hold(progress: Progress, node: Node) -> Progress:
    """Without what is in the node's own buffer."""
    elements = sum(node.elements.values())
    if not elements or node.base in CACHES:
        return progress
    rows: int | None = None
    if None not in node.elements:
        rows = sum((each or 0) * count for each, count in node.elements.items())
    return progress.held(node, elements, rows)


def taken_in(node: Node) -> int | None:
    """How many elements a shuffle has taken, over all epochs that it has seen."""
    slices = node.number("slices_size")
    if not slices:
        return 0 if slices == 0 and not node.number("epoch") else None
    taken = node.number(f"slices_end_{slices - 1}")
    return taken if taken is not None and taken >= 0 else None


def _results(node: Node) -> tuple[list[tuple[int, bool]], bool]:
    """Batches made ahead: the rows of each, and whether the input ended with it; or with one."""
    found, has_ended = [], False
    for i in range(min(node.number("batch_results_size") or 0, len(node.values))):
        rows = max(0, node.number(f"batch_results_{i}_num_elements") or 0)
        is_last = f"batch_results_{i}_end_of_input" in node.values
        has_ended = has_ended or is_last
        if rows:
            found.append((rows, is_last))
    return found, has_ended
