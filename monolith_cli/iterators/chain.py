"""The way from a source to the end of a pipeline: what is read, held in buffers, and consumed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

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
from monolith_cli.iterators.pipeline import BATCHES, Whole, kinds_of
from monolith_cli.iterators.records import FILE_READERS, Count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monolith_cli.iterators.flow import Stage
    from monolith_cli.iterators.pipeline import InputFile, Pipeline
    from monolith_cli.iterators.records import FileKind, RecordCounter
    from monolith_cli.iterators.state import Node

__all__ = ["Buffered", "Chain", "Consumed", "FilePlace", "Link", "Place"]

_FILE_ORDER = {"TensorSlice", "Shard", "FiniteTake", "FiniteSkip", "FiniteRepeat", "ForeverRepeat"}
"""Nodes that file names may come through, and still come in the order of the fingerprint."""

_REPEATS = {"FiniteRepeat", "ForeverRepeat"}
_SHUFFLES = {"Shuffle", "ShuffleAndRepeat"}
_CACHES = {"MemoryCache", "FileCache"}
_SOURCES = {"FromTensor", "Random", "Range", "Tensor", "TensorSlice"}
INTERLEAVES = {"Interleave", "LegacyParallelInterleave", "ParallelInterleave"}
_MAPS = {"Map", "MapAndBatch", "ParallelMap", "ParseExample", "Scan"}
"""Nodes whose function may change how many rows an element has."""

_ONE_TO_ONE = {
    "AssertCardinality",
    "AssertNext",
    "AssertPrev",
    "BytesProducedStats",
    "EmptyTake",
    "FileCache",
    "Finalize",
    "FiniteTake",
    "LatencyStats",
    "Map",
    "MaxIntraOpParallelism",
    "MemoryCache",
    "Model",
    "Optimize",
    "Options",
    "ParallelMap",
    "ParseExample",
    "Prefetch",
    "PrivateThreadPool",
    "Rewrite",
    "Scan",
    "Shuffle",
    "ShuffleAndRepeat",
    "TakeWhile",
    "ThreadPool",
    "Zip",
}
_KNOWN = {
    *_ONE_TO_ONE,
    *_REPEATS,
    *BATCHES,
    *INTERLEAVES,
    "Concatenate",
    "Filter",
    "FiniteSkip",
    "FlatMap",
    "Shard",
}


class Link(NamedTuple):
    """A node on the way from the end of the pipeline to a source; and by which of its inputs."""

    node: Node
    number: int | None


class FilePlace(NamedTuple):
    """The file that a reader is at.

    Attributes
    ----------
    path
        As the job had it; None if it is not known.
    number, total
        Which of how many, from 1; None if that is not known.
    offset
        The byte where the next record begins; in a compressed file of the content.
    size_bytes
        Of the file when the state was saved; None if it is not known.
    records
        How many records lie before the offset.
    """

    path: str | None
    number: int | None
    total: int | None
    offset: int | None
    size_bytes: int | None
    records: Count


class Buffered(NamedTuple):
    """Elements that have been read, but not been consumed.

    Attributes
    ----------
    node
        Where they are.
    elements
        How many; a batch is one.
    records
        How many records they are; None if that is not known.
    """

    node: Node
    elements: int
    records: int | None


class Consumed(NamedTuple):
    """What training has taken.

    Attributes
    ----------
    records
        Up to and with the last that training got, from the start; None if it is not known.
    skipped
        Those among them that training did not get: skip, shard or batch have left them out.
    epoch
        Of the last one, from 1; None if there is only one, or it is not known.
    records_in_epoch
        Those of that epoch; None likewise.
    why
        Why it is not known.
    hidden_by
        The node that hides it, if one does.
    counted_at
        A node whose elements could be counted instead.
    elements
        How many training has taken of those that this node has returned.
    """

    records: int | None = None
    skipped: int | None = None
    epoch: int | None = None
    records_in_epoch: int | None = None
    why: str | None = None
    hidden_by: Node | None = None
    counted_at: Node | None = None
    elements: int | None = None


class Place(NamedTuple):
    """Where one reader of an input is.

    Attributes
    ----------
    source
        Its node; of an input that has ended the lowest that is left.
    unit
        What it reads: `records`, `lines` or `elements`.
    file
        None if it is at none.
    read
        How much it has read in this epoch.
    epoch
        The one that it reads, from 1; None if there is only one.
    ended
        Whether it has read all there is.
    buffered
        From the source on.
    consumed
        What training has taken.
    """

    source: Node
    unit: str
    file: FilePlace | None
    read: Count
    epoch: int | None
    ended: bool
    buffered: tuple[Buffered, ...]
    consumed: Consumed


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
        self._source = self._nodes[-1]
        self._pipeline = pipeline
        self._counter = counter
        self._file: FilePlace | None = None
        self._ended = False  # the whole input
        self._is_cut = False  # what the source reads from is over, and not in the state
        self._flow: Flow | None = None
        self._why: str | None = None
        # Each element is a record, and each record of the source an element, as yet.
        self._is_plain = True
        self._is_single = True  # each element is a record
        # What there is to go by where the size of batches is not known: what went into the last
        # batch, and how many rows of what has come out are buffered, if only rows are counted.
        self._fallback: Flow | None = None
        self._held_rows = 0
        self._by_rows = False
        self._are_rows = False  # the first dimension of an element is its records
        self._skips_nothing = True
        self._before: list[int] = []  # records of files before the one that is read
        self._below: Whole | None = None  # of an input that has ended
        self._turns = 0  # how often all files were read before these
        self._input_ended = False
        self._epochs: int | None = None  # that are over; None if nothing repeats
        self._epoch_records: int | None = None
        self._is_relative = False  # the flow is that of the last epoch only
        self._hidden_by: Node | None = None
        self._counted_at: Node | None = None
        self._buffered: list[Buffered] = []

    def place(self) -> Place:
        """What follows."""
        read = self._begin()
        self._flow = None if read.records is None else records(read.records)
        self._why = read.why
        if self._before and self._flow is not None:
            read = Count(sum(self._before) + self._flow.emitted)
            if self._source.number("current_file_index"):
                self._flow = joined([(n, records(n)) for n in self._before], self._flow)
        if self._ended:
            self._look_below()
        for link in reversed(self._links):
            self._pass(link)
        unit = FILE_READERS.get(self._source.base, "elements")
        if unit == "elements" and self._ended and self._pipeline.files:
            unit = "records"
        epoch = None if self._epochs is None else self._epochs + 1
        buffered = tuple(self._buffered)
        consumed = self._consumed()
        return Place(self._source, unit, self._file, read, epoch, self._ended, buffered, consumed)

    # The source.

    def _begin(self) -> Count:
        """How much the source has read, of its file where it reads files."""
        node = self._source
        if node.base in FILE_READERS:
            return self._begin_file()
        if node.base == "Range":
            return self._begin_range()
        if node.base in _CACHES and "cache_completed" in node.values:
            return _known(node.number("index"))
        if node.base in _SOURCES:
            return _known(node.number("index", "produced", "num_random_samples"))
        if node.base not in _KNOWN:
            return Count(None, f"what the state of {node.op} means is not known")
        if _is_not_begun(node):
            return Count(0)
        self._is_cut = self._input_ended = True
        if self._is_in_file(node):
            return self._begin_file_end()
        self._ended = True
        return Count(None)

    def _begin_range(self) -> Count:
        following = self._source.number("next")
        said = self._pipeline.parameters("Range", 0, 1)
        start, step = said.get("start"), said.get("step")
        if following is None or not isinstance(start, int) or not isinstance(step, int) or not step:
            return Count(None, "where the range begins is only in a fingerprint")
        return Count((following - start) // step)

    def _begin_file(self) -> Count:
        node = self._source
        offset = node.number("offset", "current_pos")
        files = self._pipeline.files_in_order or []
        path = self._path()
        before = self._files_before(path, files)
        if path is None and before is not None and files:
            path = files[before % len(files)].path
        kind = self._pipeline.file_kind(node.base)
        if offset is None:
            inside = Count(0)
        elif path is None:
            inside = Count(None, "the name of the file is not known")
        else:
            inside = self._counter.count(path, kind, offset)
        known = [i for i, file in enumerate(files) if file.path == path]
        number = known[0] + 1 if len(known) == 1 else None
        if files and before is not None:
            number = before % len(files) + 1
        size = files[known[0]].size_bytes if known else None
        self._file = FilePlace(path, number, len(files) or None, offset, size, inside)
        if before is None:
            hint = "" if self._pipeline else " without a fingerprint"
            return Count(None, f"which files were read before this one is not known{hint}")
        return self._count_before(before, files, kind) or inside

    def _begin_file_end(self) -> Count:
        """A file that was read to its end, while some of its records are still on the way."""
        files = self._pipeline.files_in_order or []
        path = self._path()
        before = self._files_before(path, files)
        reader = self._pipeline.reader
        stages = self._pipeline.stages_in_file()
        is_at_reader = _is_list(self._source) or not stages
        if path is None or before is None or reader is None or stages is None or not is_at_reader:
            return Count(None, "how much of a file is on the way is not known")
        kind = self._pipeline.file_kind(reader)
        inside = self._counter.count(path, kind)
        file = files[before % len(files)] if files else None
        size = file.size_bytes if file else None
        number = before % len(files) + 1 if files else None
        self._file = FilePlace(path, number, len(files) or None, None, size, inside)
        return self._count_before(before, files, kind) or inside

    def _count_before(
        self, before: int, files: Sequence[InputFile], kind: FileKind
    ) -> Count | None:
        """Count the records of the files before; what it returns is why that cannot be done."""
        if before and before >= len(files):
            self._turns, before = divmod(before, len(files))
        for file in files[:before]:
            count = self._counter.count(file.path, kind)
            if count.records is None:
                return Count(None, f"of a file before this one: {count.why}: {file.path}")
            self._before.append(count.records)
        return None

    def _path(self) -> str | None:
        """The file's name, as the node that has opened it was given it."""
        for node, number in reversed(self._links[:-1]):
            if node.base not in ("FlatMap", *INTERLEAVES):
                continue
            key = "inputs[0]"
            if node.base == "LegacyParallelInterleave":
                key = f"worker_thread_{number} | input_0"
            name = node.values.get(key)
            return name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else None
        return None

    def _files_before(self, path: str | None, files: Sequence[InputFile]) -> int | None:
        """How many files were opened before this one, epochs included; None if not known."""
        if any(node.base in INTERLEAVES for node in self._nodes):
            return None  # it is one of several that are read at a time
        lists = [link for link in self._links if link.node.base == "FlatMap"]
        moved = [link for link in lists if link.number]
        before = sum(link.number or 0 for link in lists)
        before += self._source.number("current_file_index") or 0
        if not before:
            return 0
        # As the file that is read is where the fingerprint has it, so were those before it.
        if moved and moved != lists[:1]:
            return None
        if not files or path not in (None, files[before % len(files)].path):
            return None
        names = [node for link in moved for node in _name_nodes(link.node)]
        if any(node.base not in _FILE_ORDER for node in names):
            return None
        if before >= len(files) and not any(node.base in _REPEATS for node in names):
            return None
        return before

    # An input that has ended has a state of its last nodes only.

    def _look_below(self) -> None:
        node = self._source
        upper = self._nodes if not _is_list(node) else self._nodes[:-1]
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
        if node.base in _SHUFFLES:
            taken = _taken_in(node)
            if taken is not None:
                self._flow, self._counted_at = records(taken), node

    # On the way up.

    def _pass(self, link: Link) -> None:
        node = link.node
        base = node.base
        if base == "FlatMap" and (link.number is not None or _is_list(node)):
            self._leave_files(link)
        elif node is self._source and not self._is_cut:
            return
        elif base in _REPEATS:
            self._pass_repeat(node, node.number("i") or 0)
        elif base in BATCHES:
            self._pass_batch(node)
        elif base in ("FiniteSkip", "Shard") and self._is_relative:
            self._flow = self._fallback = None
        elif base == "FiniteSkip":
            self._apply(skip(node.number("i") or 0))
            self._skips_nothing = False
        elif base == "Shard":
            self._pass_shard(node)
        elif base in ("FiniteTake", "EmptyTake") and node is self._source:
            count = self._parameters(node).get("count")
            if isinstance(count, int) and count >= 0:
                self._apply(take(count), ended=True)
            else:
                self._give_up(f"how many {node.op} takes is only in a fingerprint")
        elif base not in _ONE_TO_ONE:
            self._hide(node)
        elif base in _SHUFFLES:
            self._pass_shuffle(node)
        if base in _MAPS:
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
        if self._turns:
            whole = self._whole(link.node)
        if stages is None or isinstance(whole, str):
            self._give_up(f"what {link.node.op} does with each file is not known")
            return
        before = []
        for count in self._before:
            flow = records(count)
            for stage in stages:
                flow = stage(flow, True)
            before.append((count, flow))
        self._flow = joined(before, self._flow)
        if whole is not None:
            self._repeat(whole, self._turns)

    def _pass_repeat(self, node: Node, epochs: int) -> None:
        was_over = self._input_ended
        self._input_ended = False
        if node is self._source:
            self._input_ended = was_over
            self._repeat_below(epochs)
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
        if self._source.base in _CACHES and self._is_plain:
            count = self._source.number("num_elements")
            if count is not None:
                return Whole(records(count), count, 1)
        upper = self._nodes[: self._nodes.index(node)]
        if not _is_opener(node):
            upper = [*upper, node]
        whole = self._pipeline.whole(_kinds(upper), self._counter)
        if isinstance(whole, str):
            return f"how much an epoch is, is not known: {whole}"
        return whole

    def _pass_batch(self, node: Node) -> None:
        said = self._parameters(node)
        size, drops = said.get("batch_size"), said.get("drop_remainder")
        results, has_ended = _results(node)
        ended = self._input_ended or has_ended or bool(node.number("input_impl_empty", "exhausted"))
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
            self._buffered.append(Buffered(node, len(results), rows if was_single else None))

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
        counts_all = self._is_plain and taken is not None and not self._is_in_file(node)
        if node.base == "ShuffleAndRepeat":
            epochs = max(0, (node.number("epoch") or 0) - 1)
            if counts_all and taken is not None:
                if self._ended and self._epoch_records is None and self._flow is not None:
                    self._epoch_records = self._flow.emitted
                elif epochs and self._flow is not None and not self._is_cut:
                    size, rest = divmod(taken - self._flow.emitted, epochs)
                    self._epoch_records = None if rest else size
                self._epochs = epochs
            else:
                self._pass_repeat_in_shuffle(node, epochs)
        if counts_all and taken is not None:
            if self._flow is None or node.base == "ShuffleAndRepeat" or self._is_relative:
                self._is_relative = False
                self._flow = records(taken)
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
        if node is not self._source:
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

    def _is_in_file(self, node: Node) -> bool:
        """Whether the node reads one file, and another one of its kind the next."""
        above = self._links[: self._nodes.index(node)]
        return any(link.node.base == "FlatMap" and link.number is not None for link in above)

    def _hide(self, node: Node) -> None:
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
        if not elements or node.base in _CACHES:
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
        self._buffered.append(Buffered(node, elements, held))

    # The sum.

    def _consumed(self) -> Consumed:
        flow = self._flow
        count = 0 if flow is None else flow.emitted
        if flow is None and self._fallback is not None:
            flow, count = self._fallback, self._fallback.emitted - self._held_rows
        if self._counted_at is not None:
            known = flow is not None and not self._is_relative and count >= 0
            return Consumed(
                why=self._why,
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
        if self._is_relative:
            over = self._epochs or 0
            return Consumed(epoch=over + 1, records_in_epoch=taken, why=self._why)
        skipped: int | None = taken - flow.delivered(count)
        if flow is self._fallback and not self._by_rows:
            skipped = None
        if self._epochs is None:
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
        found = None if self._is_cut else len(same)
        return self._pipeline.parameters(kinds[0], same.index(node), found)


def _known(count: int | None) -> Count:
    return Count(count, None if count is not None else "the state does not say how much it is")


def _kinds(nodes: Sequence[Node]) -> list[str]:
    return [kind for node in nodes for kind in kinds_of(node.base)]


def _is_list(node: Node) -> bool:
    """Whether it is a flat map that has opened nothing yet, or nothing any more."""
    return node.base == "FlatMap" and all(number is None for number, _ in node.inputs)


def _is_opener(node: Node) -> bool:
    """Whether a fingerprint has what it reads under the same node."""
    return node.base == "FlatMap"


def _is_not_begun(node: Node) -> bool:
    if node.base in _SHUFFLES:
        return not node.number("slices_size") and not node.number("epoch")
    return node.base == "FlatMap" and not node.number("exhausted")


def _taken_in(node: Node) -> int | None:
    """How many elements a shuffle has taken, over all epochs that it has seen."""
    slices = node.number("slices_size")
    if not slices:
        return 0 if slices == 0 and not node.number("epoch") else None
    return node.number(f"slices_end_{slices - 1}")


def _name_nodes(node: Node) -> list[Node]:
    """The nodes that a flat map gets the names of files from."""
    return [below for number, inner in node.inputs if number is None for below in inner.walk()]


def _results(node: Node) -> tuple[list[tuple[int, bool]], bool]:
    """Batches made ahead: the rows of each, and whether the input ended with it; or with one."""
    found, has_ended = [], False
    for i in range(node.number("batch_results_size") or 0):
        rows = node.number(f"batch_results_{i}_num_elements") or 0
        is_last = f"batch_results_{i}_end_of_input" in node.values
        has_ended = has_ended or is_last
        if rows:
            found.append((rows, is_last))
    return found, has_ended
