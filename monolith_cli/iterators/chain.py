"""The way from a source to the end of a pipeline: what is read, held in buffers, and consumed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
    SHUFFLES,
    TAKES,
)
from monolith_cli.iterators.pipeline import Cached, Whole, kinds_of
from monolith_cli.iterators.place import Buffered, Consumed, Link, Place
from monolith_cli.iterators.records import FILE_READERS, Count
from monolith_cli.iterators.source import Source, is_list

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monolith_cli.iterators.flow import Stage
    from monolith_cli.iterators.pipeline import Pipeline
    from monolith_cli.iterators.records import RecordCounter
    from monolith_cli.iterators.state import Node

__all__ = ["Chain"]

_RESULTS = (".results.size", "| outputs_size")
"""Keys of how many elements of each of its inputs an interleave has ahead."""

_PASS_ON = {"Filter", "IgnoreErrors", "Unique"}
"""Nodes that hide how much went in, and return nothing but what went in."""

_OPEN = {*INTERLEAVES, "Concatenate", "DirectedInterleave", "FlatMap"}
"""Nodes that return what their inputs do, which are in the state."""


class Chain:
    """The links from the end of a pipeline to a source, to be climbed once.

    Parameters
    ----------
    links
        The end first.
    """

    def __init__(self, links: Sequence[Link], pipeline: Pipeline, counter: RecordCounter) -> None:
        self._links = list(links)
        self._nodes = [link.node for link in links]
        self._source = Source(links, pipeline, counter)
        self._pipeline = pipeline
        self._counter = counter
        self._flow: Flow | None = None
        self._why: str | None = None
        # Each element is a record, and each record of the source an element, as yet.
        self._is_plain = True
        self._is_single = True  # each element is a record
        self._are_records = True  # what is counted is records, or, behind a node that hides, not
        # What there is to go by where the size of batches is not known: what went into the last
        # batch, and how many rows of what has come out are buffered, if only rows are counted.
        self._fallback: Flow | None = None
        self._held_rows = 0
        self._by_rows = False
        self._are_rows = False  # the first dimension of an element is its records
        self._skips_nothing = True
        self._below: Whole | None = None  # of an input that has ended
        self._input_ended = self._source.is_cut
        self._epochs: int | None = None  # that are over; None if nothing repeats
        self._epoch_records: int | None = None
        self._is_relative = False  # the flow is that of the last epoch only
        self._flow_at_take: Flow | None = None  # of one that has ended
        self._hidden_by: Node | None = None
        self._counted_at: Node | None = None
        self._buffered: list[Buffered] = []
        repeats = sum(node.base in (*REPEATS, "ShuffleAndRepeat") for node in self._nodes)
        self._is_counted = False  # by a shuffle, over all epochs
        self._is_nested = max(repeats, pipeline.repeats) > 1

    def place(self) -> Place:
        """What follows."""
        read = self._source.read
        self._flow = None if read.records is None else records(read.records)
        self._why = read.why
        if self._source.before and self._flow is not None:
            read = Count(sum(self._source.before) + self._flow.emitted)
            if self._source.node.number("current_file_index"):
                self._flow = joined([(n, records(n)) for n in self._source.before], self._flow)
        if self._source.ended:
            self._look_below()
        for link in reversed(self._links):
            self._pass(link)
        if isinstance(self._below, Whole):
            read = self._read_of_ended(self._below)
        unit = FILE_READERS.get(self._source.node.base, "elements")
        if unit == "elements" and self._source.ended and self._pipeline.files:
            unit = "records"
        epoch = None if self._epochs is None or self._is_nested else self._epochs + 1
        buffered = tuple(self._buffered)
        consumed = self._consumed()
        return Place(
            self._source.node,
            unit,
            self._source.file,
            read,
            epoch,
            self._source.ended,
            self._source.ended and self._is_over(),
            buffered,
            consumed,
        )

    def _is_over(self) -> bool:
        """Whether nothing above the source begins anew what has ended."""
        for node in self._nodes:
            if node.base in REPEATS and node is not self._source.node:
                return False
            if node.base == "ShuffleAndRepeat" and not node.number("end_of_input_sequence"):
                return False
        return True

    def _read_of_ended(self, below: Whole) -> Count:
        """What was read of an input that has ended, in its last epoch."""
        if self._pipeline.takes_of_what_is_ahead:
            return Count(None, "what was read ahead of the last that was taken is not in the state")
        if self._source.node.base not in TAKES:
            last = below.last_epoch_records
            return Count(below.epoch_records if last is None else last)
        flow = self._flow_at_take
        if flow is None:
            return Count(None, "how much was taken is not known")
        end = flow.position(flow.emitted)
        return Count(end - (self._epochs or 0) * (self._epoch_records or 0))

    # An input that has ended has a state of its last nodes only.

    def _look_below(self) -> None:
        node = self._source.node
        upper = self._nodes if not is_list(node) else self._nodes[:-1]
        whole = self._pipeline.whole(_kinds(upper), self._counter)
        if isinstance(whole, Whole):
            self._below = whole
            self._flow, self._why = whole.flow, None
            if whole.epochs > 1:
                self._epochs, self._epoch_records = whole.epochs - 1, whole.epoch_records
            count = whole.flow.emitted
            self._is_plain = count == whole.epoch_records * whole.epochs
            self._is_single = whole.flow.delivered(count) == count
            return
        self._flow, self._why = None, whole
        self._is_plain = False
        self._are_records = self._pipeline.returns_records(_kinds(upper))
        if node.base in SHUFFLES:
            taken = _taken_in(node)
            if taken is not None:
                self._flow = records(taken)
                if self._are_records:
                    self._is_plain = True
                else:
                    self._counted_at = node

    # On the way up.

    def _pass(self, link: Link) -> None:
        node = link.node
        base = node.base
        if base == "FlatMap" and (link.number is not None or is_list(node)):
            self._leave_files(link)
        elif node is self._source.node and not self._source.is_cut:
            return
        elif base in REPEATS:
            self._pass_repeat(node, node.number("i") or 0)
        elif base in BATCHES:
            self._pass_batch(node)
        elif base in ("FiniteSkip", "Shard") and self._is_relative:
            self._flow = self._fallback = None
        elif base == "FiniteSkip":
            self._apply(skip(max(0, node.number("i") or 0)))
            self._skips_nothing = False
        elif base == "Shard":
            self._pass_shard(node)
        elif base in TAKES and node is self._source.node:
            count = self._parameters(node).get("count")
            if isinstance(count, int) and count >= 0:
                self._apply(take(count), ended=True)
                self._flow_at_take = self._flow
                if self._flow is not None and self._epochs and self._epoch_records:
                    end = self._flow.position(self._flow.emitted)
                    self._epochs = max(0, end - 1) // self._epoch_records
            else:
                self._give_up(f"how many {node.op} takes is only in a fingerprint")
        elif base not in ONE_TO_ONE:
            self._hide(link)
        elif base in SHUFFLES:
            self._pass_shuffle(node)
        if base in MAPS:
            self._by_rows = self._are_rows = False
        self._hold(node)

    def _apply(self, stage: Stage, ended: bool = False) -> None:
        self._is_plain = False
        self._fallback = None
        if self._flow is not None:
            self._flow = stage(self._flow, ended)

    def _give_up(self, why: str) -> None:
        self._flow, self._why = None, why

    def _leave_files(self, link: Link) -> None:
        """From what is done with each file to what is done with all of them."""
        if link.number is not None:
            self._input_ended = False
        if not link.number:
            return
        self._fallback = None
        if self._flow is None:
            return
        if self._hidden_by is not None:
            self._give_up("")
            return
        stages = self._pipeline.stages_in_file()
        whole = None
        if self._source.turns:
            whole = self._pipeline.all_files(self._counter)
        if stages is None or isinstance(whole, str):
            self._give_up(f"what {link.node.op} does with each file is not known")
            return
        before = []
        for count in self._source.before:
            flow = records(count)
            for stage in stages:
                flow = stage(flow, True)
            before.append((count, flow))
        self._flow = joined(before, self._flow)
        if whole is not None:
            self._repeat(whole, self._source.turns)

    def _pass_repeat(self, node: Node, epochs: int) -> None:
        was_over = self._input_ended
        self._input_ended = False
        if node is self._source.node:
            self._input_ended = was_over
            self._repeat_below(epochs)
            return
        if epochs < 0:
            self._give_up("the numbers of the state do not fit each other")
            return
        if not epochs:
            self._epochs = self._epochs or 0
            return
        if self._epochs is not None:
            self._give_up("it repeats what is repeated")
            self._fallback = None
            return
        whole = self._whole(node)
        if isinstance(whole, Whole):
            self._repeat(whole, epochs)
        if not isinstance(whole, Whole) or self._flow is None:
            self._epochs = epochs
            self._is_relative = True
            if isinstance(whole, str):
                self._why = whole

    def _repeat(self, whole: Whole, epochs: int) -> None:
        self._epochs, self._epoch_records = epochs, whole.epoch_records
        if self._flow is not None:
            self._flow = repeated(whole.flow, epochs, whole.epoch_records, self._flow)

    def _whole(self, node: Node) -> Whole | str:
        """A whole epoch of what a node gets."""
        upper = self._nodes[: self._nodes.index(node) + 1]
        cached = Cached(self._source.node.number("num_elements")) if self._source.is_cache else None
        if self._is_plain and cached is not None and cached.elements is not None:
            return Whole(records(cached.elements), cached.elements, 1)
        whole = self._pipeline.whole(_kinds(upper), self._counter, cached)
        if isinstance(whole, str):
            return f"how much an epoch is, is not known: {whole}"
        return whole

    def _pass_batch(self, node: Node) -> None:
        said = self._parameters(node)
        size, drops = said.get("batch_size"), said.get("drop_remainder")
        results, has_ended = _results(node)
        ended = self._input_ended or has_ended or bool(node.number("input_impl_empty", "exhausted"))
        if node.base in ASYNC_BATCHES and isinstance(size, int) and size > 0 and not ended:
            # What it has taken is in a batch that is there, or was returned in a whole one, or else
            # in the last one, which was shorter.
            taken = 0 if self._flow is None else self._flow.emitted
            ended = not self._is_relative and (taken - sum(rows for rows, _ in results)) % size > 0
        before: Flow | None = self._flow
        was_single = self._is_single
        self._is_single = False
        # Where batches begin in an epoch follows from those before it.
        is_known = isinstance(size, int) and size > 0 and not self._is_relative
        if isinstance(size, int) and is_known and (isinstance(drops, bool) or not ended):
            self._skips_nothing = self._skips_nothing and not drops
            self._are_rows = True
            self._apply(batch(size, bool(drops)), ended)
            # One that is shorter is still being made, unless it is the last.
            held = sum(rows == size or (last and not drops) for rows, last in results)
            if self._flow is not None:
                self._flow = self._flow.less(held)
        else:
            self._apply(unchanged)
            if not self._is_relative:
                self._give_up(f"how many elements {node.op} takes is only in a fingerprint")
            self._flow = None
            if ended and not isinstance(drops, bool):
                self._why = f"whether {node.op} has dropped the last ones is only in a fingerprint"
            elif before is not None and (not ended or not drops):
                self._fallback, self._by_rows = before, True
                self._held_rows = sum(rows for rows, _ in results)
        if results:
            rows = sum(rows for rows, _ in results)
            is_known = was_single and self._are_records
            self._buffered.append(Buffered(node, len(results), rows if is_known else None))

    def _pass_shard(self, node: Node) -> None:
        said = self._parameters(node)
        shards, index = said.get("num_shards"), said.get("index")
        before = self._flow
        if isinstance(shards, int) and isinstance(index, int) and shards > 0 and self._is_single:
            self._apply(shard(shards, index))
            self._skips_nothing = False
            return
        self._apply(unchanged)
        self._give_up(f"which elements {node.op} leaves out is not known")
        if before is not None and not self._input_ended:
            self._fallback, self._held_rows, self._by_rows = before, 0, False

    def _pass_shuffle(self, node: Node) -> None:
        taken = _taken_in(node)
        counts_all = self._is_plain and taken is not None and not self._source.is_in_file(node)
        if node.base == "ShuffleAndRepeat":
            epochs = max(0, (node.number("epoch") or 0) - 1)
            if counts_all and taken is not None:
                if self._source.ended and self._epoch_records is None and self._flow is not None:
                    if isinstance(self._below, Whole):
                        self._epoch_records = self._below.epoch_records
                    elif not self._buffered:
                        self._epoch_records = self._flow.emitted
                elif epochs and self._flow is not None and not self._source.is_cut:
                    size, rest = divmod(taken - self._flow.emitted, epochs)
                    self._epoch_records = None if rest else size
                self._epochs = epochs
            else:
                self._pass_repeat_in_shuffle(node, epochs)
        if counts_all and taken is not None:
            if self._flow is None or node.base == "ShuffleAndRepeat" or self._is_relative:
                self._is_relative = False
                self._flow = records(taken)
                self._is_counted = True
        elif self._flow is not None and self._flow.emitted > 0:
            count = self._flow.emitted
            total = self._flow.delivered(count)
            if taken not in (None, count) and not self._is_relative:
                self._give_up("the numbers of the state do not fit each other")
            elif total != count * self._flow.delivered(1):
                self._give_up(f"{node.op} mixes elements of different sizes")
                if self._are_rows and not self._is_relative and self._skips_nothing:
                    self._fallback, self._held_rows, self._by_rows = records(total), 0, True

    def _pass_repeat_in_shuffle(self, node: Node, epochs: int) -> None:
        if node is not self._source.node:
            self._pass_repeat(node, epochs)
        else:
            self._repeat_below(epochs + 1)

    def _repeat_below(self, epochs: int) -> None:
        """So many epochs, and nothing more, of what is below the node where the state ends."""
        if self._below is None or self._flow is None:
            return
        if self._below.epochs > 1 or not epochs:
            self._give_up("it repeats what is repeated")
            return
        self._repeat(self._below, epochs - 1)

    def _hide(self, link: Link) -> None:
        node = link.node
        # What a function makes of elements may be anything, unless it is seen to read records.
        keeps = node.base in _PASS_ON or (node.base in _OPEN and link.number is not None)
        self._are_records = self._are_records and keeps and self._is_single
        ahead = sum(
            max(0, value)
            for key, value in node.values.items()
            if isinstance(value, int) and key.endswith(_RESULTS)
        )
        if ahead:
            self._buffered.append(Buffered(node, ahead, None))
        self._hidden_by = self._counted_at = node
        count = node.number("filtered_elements") if node.base == "Filter" else None
        self._flow = None if count is None else records(count)
        self._why = None
        self._is_plain = self._is_single = True
        self._fallback = None
        self._epochs = self._epoch_records = None
        self._is_relative = self._input_ended = False

    def _hold(self, node: Node) -> None:
        elements = sum(node.elements.values())
        if not elements or node.base in CACHES:
            return
        rows: int | None = None
        if None not in node.elements:
            rows = sum((rows or 0) * count for rows, count in node.elements.items())
        self._add(node, elements, rows)

    def _add(self, node: Node, elements: int, rows: int | None) -> None:
        """Elements in the buffer of a node, and their rows, if all have some."""
        if not elements:
            return
        held: int | None = None
        if self._flow is not None:
            before = self._flow.emitted
            held = self._flow.delivered(before) - self._flow.delivered(before - elements)
            self._flow = self._flow.less(elements)
        elif self._is_single:
            held = elements
        if self._fallback is not None:
            if self._by_rows and rows is not None:
                self._held_rows += rows
                held = rows
            else:
                self._fallback = None
        self._buffered.append(Buffered(node, elements, held if self._are_records else None))

    # The sum.

    def _consumed(self) -> Consumed:
        flow = self._flow
        count = 0 if flow is None else flow.emitted
        if flow is None and self._fallback is not None:
            flow, count = self._fallback, self._fallback.emitted - self._held_rows
        if self._counted_at is not None:
            known = flow is not None and not self._is_relative and count >= 0
            is_told = known and self._hidden_by is not None
            return Consumed(
                why=None if is_told else self._why,
                hidden_by=self._hidden_by,
                counted_at=self._counted_at if known else None,
                elements=flow.delivered(count) if flow is not None and known else None,
            )
        if flow is None:
            return Consumed(why=self._why)
        if count < 0:
            why = "the numbers of the state do not fit each other"
            if self._is_relative:
                why = f"what is buffered is also of the epoch before; {self._why}"
            return Consumed(why=why)
        taken = flow.position(count)
        if self._is_nested and not self._is_counted:
            return Consumed(why="it repeats what is repeated")
        if self._is_relative:
            over = self._epochs or 0
            return Consumed(epoch=over + 1, records_in_epoch=taken, why=self._why)
        skipped: int | None = taken - flow.delivered(count)
        if skipped is not None and skipped < 0:
            return Consumed(why="the numbers of the state do not fit each other")
        if flow is self._fallback and not self._by_rows:
            skipped = None
        if self._epochs is None or self._is_nested:
            return Consumed(taken, skipped)
        if self._epoch_records:
            epoch = max(0, taken - 1) // self._epoch_records
            return Consumed(taken, skipped, epoch + 1, taken - epoch * self._epoch_records)
        if not self._epochs:
            return Consumed(taken, skipped, 1, taken)
        return Consumed(taken, skipped)

    def _parameters(self, node: Node) -> dict[str, Any]:
        kinds = kinds_of(node.base)
        same = [other for other in self._nodes if kinds_of(other.base) == kinds]
        found = None if self._source.is_cut else len(same)
        return self._pipeline.parameters(kinds[0], same.index(node), found)


def _kinds(nodes: Sequence[Node]) -> list[str]:
    return [kind for node in nodes for kind in kinds_of(node.base)]


def _taken_in(node: Node) -> int | None:
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
