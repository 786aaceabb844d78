"""Where an input is, as it follows from its state: what was read, is buffered, was consumed.

A reader says how far it has read. What it has read sits in buffers, or was consumed by training;
so consumed is what was read without what is buffered. That holds through nodes that return what
they take, or a fixed number of it: batch, prefetch, take, map, shuffle, skip, shard, repeat. It
does not hold behind others: of what a filter has dropped nobody knows where it was, and an
interleave has several readers. There it is not known, and the node is named that hides it.

Behind such a node elements may still be counted: shuffle, take and filter count what they return.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.iterators.pipeline import BATCHES, Pipeline
from monolith_cli.iterators.records import FILE_READERS, Count, RecordCounter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from monolith_cli.iterators.state import IteratorState, Node

__all__ = ["Buffered", "Consumed", "FilePlace", "Place", "places"]

_FILE_ORDER = {"TensorSlice", "Shard", "FiniteTake", "FiniteSkip", "FiniteRepeat", "ForeverRepeat"}
"""Nodes that file names may come through, and still come in the order of the fingerprint."""

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
_MAPS = {"Map", "ParallelMap", "ParseExample", "Scan", "MapAndBatch"}
_REPEATS = {"FiniteRepeat", "ForeverRepeat"}
_SHUFFLES = {"Shuffle", "ShuffleAndRepeat"}
_CACHES = {"MemoryCache", "FileCache"}
_INTERLEAVES = {"Interleave", "LegacyParallelInterleave", "ParallelInterleave"}


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
        From the start, up to and with the last that training got; None if it is not known.
    skipped
        Those among them that training never got, for skip and shard have left them out.
    epoch
        Of the last one, from 1; None if it is not known.
    records_in_epoch
        Those of that epoch; None likewise.
    why
        Why not.
    hidden_by
        The node that hides it.
    elements
        How many elements, that have come through that node, training has taken.
    """

    records: int | None = None
    skipped: int | None = None
    epoch: int | None = None
    records_in_epoch: int | None = None
    why: str | None = None
    hidden_by: Node | None = None
    elements: int | None = None


class Place(NamedTuple):
    """Where one reader of an input is.

    Attributes
    ----------
    source
        Its node; where the input has ended the node that knows it.
    unit
        What it reads: `records`, `lines` or `elements`.
    file
        None if it reads no files.
    read
        How much it has read in this epoch.
    epoch
        The one that it reads, from 1; None if there is only one.
    ended
        Whether it has read all there is.
    buffered
        From the source on.
    consumed
    """

    source: Node
    unit: str
    file: FilePlace | None
    read: Count
    epoch: int | None
    ended: bool
    buffered: tuple[Buffered, ...]
    consumed: Consumed


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
        _Chain(chain, pipeline, counter).place()
        for _, end in state.root.inputs
        for chain in _chains(end, [])
    ]


class _Link(NamedTuple):
    """A node on the way from the end of the pipeline to a source; and by which of its inputs."""

    node: Node
    number: int | None


def _chains(node: Node, above: list[_Link]) -> Iterator[list[_Link]]:
    """The ways from a node to the sources that it reads from now."""
    inputs = node.inputs
    if node.base == "FlatMap":
        opened = [pair for pair in inputs if pair[0] is not None]
        # Of files, the reader of the file; else the elements come from where those of the list do.
        if any(_reader_of(inner) for _, inner in opened):
            inputs = opened
        else:
            inputs = [(number, inner) for number, inner in inputs if number is None]
    elif node.base in _INTERLEAVES:
        inputs = [(number, inner) for number, inner in inputs if number is not None] or inputs
    elif node.base == "Concatenate":
        at = node.number("i")
        inputs = [(number, inner) for number, inner in inputs if number == at] or inputs
    elif node.base == "DirectedInterleave":
        inputs = [(number, inner) for number, inner in inputs if number is not None] or inputs
    if not inputs:
        yield [*above, _Link(node, None)]
    for number, inner in inputs:
        yield from _chains(inner, [*above, _Link(node, number)])


def _reader_of(node: Node) -> Node | None:
    """The reader of a file at the end of a chain without forks."""
    while node.base not in FILE_READERS:
        opened = [inner for number, inner in node.inputs if number is not None]
        if node.base == "FlatMap" and not opened and node.number("exhausted"):
            return node
        inputs = opened if node.base == "FlatMap" else [inner for _, inner in node.inputs]
        if len(inputs) != 1:
            return None
        node = inputs[0]
    return node


class _Chain:
    """The arithmetic on the way from a source to the end of the pipeline."""

    def __init__(self, links: list[_Link], pipeline: Pipeline, counter: RecordCounter) -> None:
        self._links = links
        self._nodes = [link.node for link in links]
        self._pipeline = pipeline
        self._counter = counter
        self._source = self._nodes[-1]
        self._is_file = self._source.base in FILE_READERS or self._is_exhausted_list()
        self._is_cut = not self._is_file and not self._is_source()
        # What is known on the way up; all in records, or behind a node that hides them in what
        # comes out of it.
        self._read: int | None = None  # in this epoch
        self._total: int | None = None  # in all epochs
        self._why: str | None = None
        self._epochs: int | None = None  # that were before; None without repeat
        self._epoch_records: int | None = None
        self._held = 0
        self._held_elements = 0  # above the last batch
        self._unheld: tuple[str, Node] | None = None  # why what is held is not known
        self._weight: int | None = 1  # records of an element
        self._weight_by: Node | None = None
        self._row_weight: int | None = None  # of a row, while elements are as a batch made them
        self._partial: int | None = None  # records of the last batch, which may be buffered
        self._skipped: int | None = 0
        self._hidden_by: Node | None = None
        self._buffered: list[Buffered] = []

    def place(self) -> Place:
        file, read = self._look_at_source()
        self._read, self._why = read
        self._total = self._read
        if self._is_cut:
            self._look_at_end()
        for link in reversed(self._links[:-1] if not self._is_cut else self._links):
            self._pass(link)
        unit = FILE_READERS.get(self._source.base, "elements")
        if file is not None and unit == "elements":
            unit = "records"
        return Place(
            self._source,
            unit,
            file,
            read,
            None if self._epochs is None else self._epochs + 1,
            self._is_cut,
            tuple(self._buffered),
            self._consumed(),
        )

    # The source.

    def _is_source(self) -> bool:
        node = self._source
        if node.base in _CACHES:
            return "cache_completed" in node.values
        return node.base in ("Range", "TensorSlice", "FromTensor", "Tensor", "Random") or (
            node.base not in _ONE_TO_ONE
            and node.base not in BATCHES
            and node.base not in _REPEATS
            and node.base
            not in ("FlatMap", "Filter", "FiniteSkip", "Shard", "Concatenate", *_INTERLEAVES)
        )

    def _is_exhausted_list(self) -> bool:
        return self._source.base == "FlatMap" and bool(self._source.number("exhausted"))

    def _look_at_source(self) -> tuple[FilePlace | None, Count]:
        node = self._source
        if self._is_file and node.base in FILE_READERS:
            return self._look_at_file()
        if self._is_exhausted_list():
            self._is_cut, self._is_file = True, False
        if self._is_cut:
            if node.base == "FlatMap" and node.number("element_index") == 0:
                self._is_cut = False
                return None, Count(0)
            return None, Count(None, "it has read all there is")
        if node.base in ("TensorSlice", "FromTensor", "Tensor", *_CACHES):
            read = node.number("index", "produced", "i")
            return None, Count(read, None if read is not None else "its state does not say")
        if node.base == "Random":
            return None, Count(node.number("num_random_samples"))
        if node.base == "Range":
            return None, self._look_at_range()
        return None, Count(None, f"what the state of {node.op} means is not known")

    def _look_at_range(self) -> Count:
        following = self._source.number("next")
        said = self._pipeline.parameters({"Range"}, 0, 1)
        start, step = said.get("start"), said.get("step")
        if following is None or not isinstance(start, int) or not isinstance(step, int) or not step:
            return Count(None, "where the range begins is only in its fingerprint")
        return Count((following - start) // step)

    def _look_at_file(self) -> tuple[FilePlace, Count]:
        node = self._source
        offset = node.number("offset", "current_pos")
        files = self._pipeline.files_in_order
        path = self._path()
        before = self._files_before(path)
        if path is None and before is not None and files:
            path = files[before % len(files)].path
        kind = self._pipeline.file_kind(node.base)
        if offset is None:
            inside = Count(0)
        elif path is None:
            inside = Count(None, "the name of the file is not known")
        else:
            inside = self._counter.count(path, kind, offset)
        number, total, size = None, None, None
        if files:
            total = len(files)
            known = [i for i, file in enumerate(files) if file.path == path]
            if before is not None:
                number = before % total + 1
            elif len(known) == 1:
                number = known[0] + 1
            if known:
                size = files[known[0]].size_bytes
        place = FilePlace(path, number, total, offset, size, inside)
        if before is None:
            why = "which files were read before this one is not known"
            if not self._pipeline:
                why += " without a fingerprint"
            return place, Count(None, why)
        records = 0
        if before and files is not None and before >= len(files):
            self._epochs = before // len(files)
            before %= len(files)
        for file in (files or [])[:before]:
            count = self._counter.count(file.path, kind)
            if count.records is None:
                return place, Count(None, f"of a file before this one: {count.why}: {file.path}")
            records += count.records
        if inside.records is None:
            return place, inside
        return place, Count(records + inside.records)

    def _path(self) -> str | None:
        """The file's name, as the node that has opened it was given it."""
        for i in range(len(self._links) - 2, -1, -1):
            node, number = self._links[i]
            name: int | bytes | None = None
            if node.base == "FlatMap":
                name = node.values.get("inputs[0]")
            elif node.base == "LegacyParallelInterleave":
                name = node.values.get(f"worker_thread_{number} | input_0")
            if isinstance(name, bytes):
                return name.decode("utf-8", "surrogateescape")
            if node.base in ("FlatMap", *_INTERLEAVES):
                return None
        return None

    def _files_before(self, path: str | None) -> int | None:
        """How many files were opened before this one, repeats included; None if not known."""
        node = self._source
        files = self._pipeline.files_in_order
        before = node.number("current_file_index") or 0
        lists = [link for link in self._links[:-1] if link.node.base == "FlatMap"]
        for node, number in lists:
            if number and not self._is_in_order(node):
                return None
            before += number or 0
        if any(link.node.base in _INTERLEAVES for link in self._links):
            return None
        if sum(bool(link.number) for link in lists) > 1:
            return None
        if before == 0:
            return 0
        if not files or (path is not None and files[before % len(files)].path != path):
            return None
        if before >= len(files) and not any(
            inner.base in _REPEATS for node, _ in lists for inner in _names(node)
        ):
            return None
        # Each file was read to its end before the next one, unless something has cut it short.
        inside = self._nodes[self._nodes.index(lists[0].node) + 1 : -1]
        if any(node.base in ("FiniteTake", "TakeWhile", "Filter") for node in inside):
            return None
        return before

    def _is_in_order(self, node: Node) -> bool:
        return all(inner.base in _FILE_ORDER for inner in _names(node))

    # An input that has ended: the state has only the nodes at its end.

    def _look_at_end(self) -> None:
        files = self._pipeline.total_files_epoch()
        epochs = self._pipeline.epochs()
        if files is None or epochs is None:
            self._why = "the input has ended, and how much that was does not follow from its state"
            return
        total = self._all_records(files)
        if total is not None:
            self._read = self._epoch_records = total
            self._total = total * epochs
            self._epochs = epochs - 1 if epochs > 1 else None

    def _all_records(self, files: Sequence[object]) -> int | None:
        records = 0
        for file in self._pipeline.files or ():
            readers = [reader for reader in FILE_READERS if self._pipeline._readers(reader)]
            count = self._counter.count(file.path, self._pipeline.file_kind(readers[0]))
            if count.records is None:
                self._why = f"of a file that was read: {count.why}: {file.path}"
                return None
            records += count.records
        return records

    # On the way up.

    def _pass(self, link: _Link) -> None:
        node = link.node
        base = node.base
        if base in _REPEATS:
            self._pass_repeat(node)
        elif base in BATCHES:
            self._pass_batch(node)
        elif base == "FiniteSkip":
            self._pass_skip(node)
        elif base == "Shard":
            self._pass_shard(node)
        elif base == "FlatMap" and (link.number is not None or self._is_exhausted(node)):
            pass  # of files: each is read to its end
        elif base not in _ONE_TO_ONE:
            self._hide(node)
        elif base in _MAPS:
            self._row_weight = None
        self._hold(node)
        if base in _SHUFFLES:
            self._pass_shuffle(node)
        elif base == "FiniteTake" and self._weight == 1 and self._total is None:
            self._total = node.number("i")

    def _is_exhausted(self, node: Node) -> bool:
        return node is self._source and bool(node.number("exhausted"))

    def _hide(self, node: Node) -> None:
        self._hidden_by = node
        self._why = None
        self._held, self._held_elements, self._unheld = 0, 0, None
        self._weight, self._weight_by, self._row_weight = 1, None, None
        self._partial, self._skipped = None, 0
        self._epochs, self._epoch_records = None, None
        self._read = self._total = None
        if node.base == "Filter":
            self._total = self._read = node.number("filtered_elements")

    def _pass_repeat(self, node: Node) -> None:
        epochs = node.number("i") or 0
        if self._is_cut and self._read is not None:
            return
        if self._epochs:
            self._total, self._why = None, "it repeats what is repeated"
            return
        self._epochs = epochs
        if not epochs:
            return
        self._skipped = None
        self._total = None
        if self._epoch_records is None:
            files = self._pipeline.total_files_epoch()
            if files is not None:
                self._epoch_records = self._all_records(files)
        if self._epoch_records is not None and self._read is not None:
            self._total = epochs * self._epoch_records + self._read
        else:
            self._why = self._why or "how many there are in an epoch is not known"

    def _pass_shuffle(self, node: Node) -> None:
        slices = node.number("slices_size")
        end = node.number(f"slices_end_{slices - 1}") if slices else None
        if self._weight != 1 or end is None:
            return
        if node.base == "ShuffleAndRepeat":
            epochs = max(0, (node.number("epoch") or 0) - 1)
            if self._epochs:
                return
            self._epochs = epochs
            if epochs and self._read is not None and not self._is_cut:
                before = end - self._read
                if before % epochs == 0:
                    self._epoch_records = before // epochs
        self._total = end

    def _pass_skip(self, node: Node) -> None:
        left_out = node.number("i") or 0
        if self._skipped is not None and self._weight is not None:
            self._skipped += left_out * self._weight
        else:
            self._skipped = None

    def _pass_shard(self, node: Node) -> None:
        said = self._parameters(node, {"Shard"})
        shards, index = said.get("num_shards"), said.get("index")
        self._row_weight = None
        self._skipped = None
        if isinstance(shards, int) and isinstance(index, int) and self._weight is not None:
            self._weight *= shards
        else:
            self._weight, self._weight_by = None, node

    def _pass_batch(self, node: Node) -> None:
        said = self._parameters(node, BATCHES)
        size, drops = said.get("batch_size"), said.get("drop_remainder")
        weight = self._weight
        self._partial = None
        if node.base != "Batch" and node.base != "PaddedBatch":
            rows = sum(_results(node))
            if rows:
                self._add(node, 1, None if weight is None else rows * weight, len(_results(node)))
        self._row_weight = weight
        self._held_elements = 0
        if isinstance(size, int) and size > 0 and weight is not None:
            self._weight = weight * size
        else:
            self._weight, self._weight_by = None, node
        ended = bool(node.number("input_impl_empty", "exhausted")) or (
            self._is_cut and node.base in ("Batch", "PaddedBatch")
        )
        if ended and node.base in ("Batch", "PaddedBatch"):
            self._pass_last_batch(node, weight, size, drops)

    def _pass_last_batch(self, node: Node, weight: int | None, size: object, drops: object) -> None:
        if not isinstance(size, int) or not isinstance(drops, bool) or weight is None:
            self._total = None
            self._why = "whether the last batch was dropped is not known without a fingerprint"
            return
        if self._total is None:
            return
        rest = self._total % (weight * size)
        if drops:
            self._total -= rest
        elif rest:
            self._partial = rest

    # Buffers.

    def _hold(self, node: Node) -> None:
        elements = sum(node.elements.values())
        if not elements or node.base in _CACHES:
            return
        records: int | None = None
        if self._row_weight is not None and None not in node.elements:
            records = sum(
                (rows or 0) * count * self._row_weight for rows, count in node.elements.items()
            )
        elif self._weight is not None:
            records = elements * self._weight
            if self._partial is not None:
                if node.base in _SHUFFLES:
                    records = None
                elif not self._held_elements:
                    records -= self._weight - self._partial
            elif not self._are_full(elements):
                records = None
        self._add(node, elements, records, elements)

    def _are_full(self, elements: int) -> bool:
        """Whether no buffered batch can be the last, shorter one of an epoch."""
        if not self._epochs or self._weight == 1:
            return True
        return True

    def _add(self, node: Node, elements: int, records: int | None, batches: int) -> None:
        self._buffered.append(Buffered(node, batches, records))
        self._held_elements += elements
        if records is None:
            if self._unheld is None:
                by = self._weight_by or node
                self._unheld = (f"how many records an element of {by.op} is, is not known", by)
        else:
            self._held += records

    # The sum.

    def _consumed(self) -> Consumed:
        if self._hidden_by is not None:
            elements = None
            if self._total is not None and self._unheld is None:
                elements = self._total - self._held
            return Consumed(hidden_by=self._hidden_by, elements=elements)
        if self._unheld is not None:
            return Consumed(why=self._unheld[0], hidden_by=self._unheld[1])
        epochs, of_epoch = self._epochs, self._epoch_records
        if self._total is None:
            if self._read is None or not epochs:
                return Consumed(why=self._why)
            in_epoch = self._read - self._held
            if in_epoch < 0:
                return Consumed(epoch=epochs, why=self._why)
            return Consumed(epoch=epochs + 1, records_in_epoch=in_epoch, why=self._why)
        records = self._total - self._held
        if epochs is None:
            return Consumed(records, self._skipped)
        if of_epoch:
            epoch = max(0, records - 1) // of_epoch
            return Consumed(records, self._skipped, epoch + 1, records - epoch * of_epoch)
        if not epochs:
            return Consumed(records, self._skipped, 1, records)
        if self._read is not None and self._read >= self._held:
            return Consumed(records, self._skipped, epochs + 1, self._read - self._held)
        return Consumed(records, self._skipped)

    def _parameters(self, node: Node, kind: set[str]) -> dict[str, object]:
        same = [other for other in self._nodes if other.base in kind]
        found = None if self._is_cut else len(same)
        return self._pipeline.parameters(kind, same.index(node), found)


def _names(node: Node) -> Iterator[Node]:
    """The nodes that the names of files come from."""
    for number, inner in node.inputs:
        if number is None:
            yield from inner.walk()


def _results(node: Node) -> list[int]:
    """The rows of each batch that a node which makes several at a time has not returned yet."""
    results = []
    for i in range(node.number("batch_results_size") or 0):
        rows = node.number(f"batch_results_{i}_num_elements", f"batch_results[{i}]_num_elements")
        if rows:
            results.append(rows)
    return results
