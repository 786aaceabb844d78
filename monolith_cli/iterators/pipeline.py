"""What a fingerprint says of a pipeline: its files, and the parameters of its nodes.

Fingerprints are those of `monolith_cli.training.fingerprint`, read from `ckpt.inputs-<step>`. Nodes
of a state and of a fingerprint do not match one by one, as TensorFlow fuses and inserts some when
it makes the iterators: those of one kind do, in order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from monolith_cli.errors import StateFileError
from monolith_cli.formats.fingerprint import (
    VERSION,
    InputFile,
    base_op,
    parse_files,
    parse_nodes,
    version_of,
)
from monolith_cli.iterators.flow import (
    Flow,
    Stage,
    batch,
    joined,
    records,
    repeated,
    shard,
    skip,
    take,
    unchanged,
)
from monolith_cli.iterators.kinds import BATCHES
from monolith_cli.iterators.records import FILE_READERS, FileKind

if TYPE_CHECKING:
    from monolith_cli.iterators.records import RecordCounter

__all__ = ["Cached", "InputFile", "Pipeline", "Whole", "kinds_of"]

_OVER_FILES = {"FlatMap", "Interleave", "LegacyParallelInterleave", "ParallelInterleave"}
_AMONG_FILES = {"Options", "Shard", "Shuffle", "Skip", "Take"}
"""Nodes after which the fingerprint still has the files that are read, if not their order."""

_SAME_COUNT = {
    "AssertCardinality",
    "Cache",
    "Map",
    "Options",
    "ParallelMap",
    "ParseExample",
    "Prefetch",
    "Rewrite",
    "Scan",
    "Shuffle",
}
_UNSEEN = _SAME_COUNT - {"Shuffle"} | {
    "AssertNext",
    "AssertPrev",
    "FileCache",
    "Finalize",
    "MaxIntraOpParallelism",
    "MemoryCache",
    "Model",
    "Optimize",
    "PrivateThreadPool",
    "ThreadPool",
}
"""Nodes that TensorFlow puts in and takes out."""

_NOT_AHEAD = {
    "AssertCardinality",
    "Batch",
    "FlatMap",
    "Map",
    "Options",
    "Range",
    "Repeat",
    "Shard",
    "Skip",
    "Take",
    "Tensor",
    "TensorSlice",
}
"""Nodes that read no more than what they return is made of."""

_ENDLESS = 1 << 40
"""More epochs than anybody reads."""


class Cached(NamedTuple):
    """A cache that is read from, and how many elements it has; None if that is not known."""

    elements: int | None


class Whole(NamedTuple):
    """What part of a pipeline returns until it ends, and how many records an epoch of it has.

    The last epoch may have fewer, as enough was taken.
    """

    flow: Flow
    epoch_records: int
    epochs: int
    last_epoch_records: int | None = None


def kinds_of(base: str) -> tuple[str, ...]:
    """What a node is, from its op without version, whatever TensorFlow has made of it.

    Nothing for nodes that it puts in and takes out as it likes; two where it makes one of two.
    """
    if base in _UNSEEN:
        return ()
    if base in BATCHES:
        return ("batch",)
    if base == "ShuffleAndRepeat":
        return ("Repeat", "Shuffle")
    for prefix in ("Finite", "Forever", "Empty"):
        base = base.removeprefix(prefix)
    return (base,)


class Pipeline:
    """A pipeline as its fingerprint describes it; knows nothing if that is none.

    Attributes
    ----------
    files
        All that are read, in order; None if they are not known.
    nodes
        As they are in the fingerprint: `{"op", "parameters"}`, and `inputs`; sources first.
    """

    def __init__(self, document: Any = None) -> None:
        self.files: list[InputFile] | None = None
        self.nodes: list[dict[str, Any]] = []
        if version_of(document) != VERSION:
            return
        try:
            self.nodes = parse_nodes(document.get("nodes"))
            files = parse_files(document.get("files"))
        except StateFileError:  # without its files it may still tell its nodes
            return
        if files is not None and all(files):
            self.files = [file for file in files if file]

    def __bool__(self) -> bool:
        return bool(self.nodes)

    @property
    def is_linear(self) -> bool:
        """Whether each node reads from the one before it."""
        return not any("inputs" in node for node in _walk(self.nodes))

    @property
    def repeats(self) -> int:
        """How many nodes repeat what they get."""
        return sum(_base(node) == "Repeat" for node in _walk(self.nodes))

    @property
    def takes_of_what_is_ahead(self) -> bool:
        """Whether a node takes a number of elements from others that read more than they return."""
        bases = [_base(node) for node in _walk(self.nodes)]
        last = max((i for i, base in enumerate(bases) if base == "Take"), default=0)
        below = set(bases[:last])
        # A map and a batch may have become one that makes several batches at a time.
        return not below <= _NOT_AHEAD | set(FILE_READERS) or below >= {"Map", "Batch"}

    def parameters(self, kind: str, above: int, found: int | None) -> dict[str, Any]:
        """The parameters of a node of some kind; empty if it is not clear which one it is.

        Parameters
        ----------
        kind
            As `kinds_of` has it.
        above
            How many of that kind are above it, nearer to the end of the pipeline.
        found
            How many of that kind the state has; None if it has only the upper part of the nodes.
        """
        nodes: list[dict[str, Any]] = [
            node["parameters"] for node in _walk(self.nodes) if kind in kinds_of(_base(node))
        ]
        if nodes and all(node == nodes[0] for node in nodes[1:]):
            return nodes[0]
        if not self.is_linear or (found is not None and found != len(nodes)):
            return {}
        return nodes[-1 - above] if above < len(nodes) else {}

    def file_kind(self, reader: str) -> FileKind:
        """How files are read by this reader."""
        found = [node["parameters"] for node in self._readers(reader)]
        if not found or any(
            _kind_of(reader, other) != _kind_of(reader, found[0]) for other in found
        ):
            return FileKind(reader)
        return _kind_of(reader, found[0])

    @property
    def reader(self) -> str | None:
        """The only reader of files; None if there are several, or none."""
        found = [name for name in FILE_READERS for _ in self._readers(name)]
        return found[0] if len(found) == 1 else None

    @property
    def files_in_order(self) -> list[InputFile] | None:
        """The files if one reader reads all of them; None where that is not known."""
        return None if self.reader is None else self.files

    def stages_in_file(self) -> list[Stage] | None:
        """What is done with the records of each file, file by file; None if that is not known."""
        opening = [node for node in self.nodes if _opens_files(node)]
        return _inside(opening[0])[1] if len(opening) == 1 else None

    def whole(
        self, upper: Sequence[str], counter: RecordCounter, cached: Cached | None = None
    ) -> Whole | str:
        """What the nodes below some others return until they end; or why that is not known.

        Parameters
        ----------
        upper
            Kinds of the nodes above, from the end of the pipeline on: see `kinds_of`.
        counter
            Counts the records of files.
        cached
            The cache among them that is the source now: its elements are counted.
        """
        nodes = self._below(upper)
        if isinstance(nodes, str):
            return nodes
        if cached is None:
            return self._run(nodes, counter)
        at = [i for i, node in enumerate(nodes) if _base(node) == "Cache"]
        if len(at) != 1:
            return "which of several caches is read is not known"
        count = cached.elements
        if count is None:
            below = self._run(nodes[: at[0]], counter)
            if isinstance(below, str):
                return below
            count = below.flow.emitted
        return self._climb(Whole(records(count), count, 1), nodes[at[0] + 1 :])

    def all_files(self, counter: RecordCounter) -> Whole | str:
        """What all files give, with what is done in each of them; or why that is not known."""
        at = next((i for i, node in enumerate(self.nodes) if _opens_files(node)), None)
        if at is None or not self.is_linear:
            return "which files are read is not known"
        return self._source(self.nodes, at, counter)

    def returns_records(self, upper: Sequence[str]) -> bool:
        """Whether those nodes return each record that is read, as an element, and nothing else."""
        nodes = self._below(upper)
        if isinstance(nodes, str):
            return False
        at = next((i for i, node in enumerate(nodes) if _opens_files(node)), 0)
        if at and self.stages_in_file():
            return False
        bases = [_base(node) for node in nodes[at + 1 :]]
        return bool(nodes) and all(b in _SAME_COUNT or b in ("Repeat", "Take") for b in bases)

    def _below(self, upper: Sequence[str]) -> list[dict[str, Any]] | str:
        """The nodes below some others; or why these are not known."""
        if not self.nodes:
            return "the input has ended, and how much it was is only in a fingerprint"
        if not self.is_linear:
            return "the input has ended, and it is one of several"
        nodes, missing = list(self.nodes), list(upper)
        while missing:
            kinds = kinds_of(_base(nodes.pop())) if nodes else ("none",)
            if kinds != tuple(missing[: len(kinds)]):
                return "the nodes of the fingerprint are not those of the state"
            del missing[: len(kinds)]
        return nodes

    def _run(self, nodes: list[dict[str, Any]], counter: RecordCounter) -> Whole | str:
        """What these nodes return, sources first."""
        at = next((i for i, node in enumerate(nodes) if _opens_files(node)), None)
        source = self._source(nodes, at, counter)
        if isinstance(source, str):
            return source
        again = [node for node in nodes[: at or 0] if _base(node) == "Repeat"]  # the files' names
        return self._climb(source, [*again, *nodes[1 if at is None else at + 1 :]])

    def _climb(self, source: Whole, nodes: list[dict[str, Any]]) -> Whole | str:
        """What nodes make of what a source returns."""
        flow, size, epochs, last = source
        for node in nodes:
            base, said = _base(node), node["parameters"]
            if base == "Repeat":
                if epochs != 1:
                    return "it repeats what is repeated"
                count = said.get("count")
                if not isinstance(count, int):
                    return "how often it is repeated is not known"
                epochs = _ENDLESS if count < 0 else count
                flow = repeated(flow, epochs - 1, size, flow) if epochs else records(0)
                continue
            stage = _stage(base, said)
            if base == "Shard" and flow.delivered(flow.emitted) != flow.emitted:
                return f"{node['op']} hides how much the input was"
            if stage is None:
                return f"{node['op']} hides how much the input was"
            had = flow.emitted
            flow = stage(flow, True)
            if base != "Take" or not 0 <= said["count"] <= had:
                continue
            end = flow.position(flow.emitted)  # it reads no more
            if epochs == 1:
                size = end
            else:
                epochs = max(1, -(-flow.position(flow.emitted) // max(1, size)))
                last = end - (epochs - 1) * size
        return Whole(flow, size, epochs, last)

    def _source(
        self, nodes: list[dict[str, Any]], at: int | None, counter: RecordCounter
    ) -> Whole | str:
        if not nodes:
            return "the nodes of the fingerprint are not those of the state"
        if at is None:
            count = _count_of(nodes[0])
            if count is None:
                return f"how much {nodes[0]['op']} returns is not known"
            return Whole(records(count), count, 1)
        for node in nodes[1:at]:
            if _base(node) not in (*_AMONG_FILES, "Repeat"):
                return f"{node['op']} hides which files are read"
        files = self.files_in_order
        if files is None:
            return "which files are read is not known"
        reader, stages = _inside(nodes[at])
        if reader is None or stages is None or (stages and _base(nodes[at]) != "FlatMap"):
            return f"{nodes[at]['op']} hides how much the input was"
        flows: list[tuple[int, Flow]] = []
        for file in files:
            count_in = counter.count(file.path, self.file_kind(reader))
            if count_in.records is None:
                return f"{count_in.why}: {file.path}"
            flow = records(count_in.records)
            for stage in stages:
                flow = stage(flow, True)
            flows.append((count_in.records, flow))
        return Whole(joined(flows, records(0)), sum(size for size, _ in flows), 1)

    def _readers(self, reader: str) -> list[dict[str, Any]]:
        return [node for node in _walk(self.nodes) if _base(node) == reader]


def _walk(nodes: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for node in nodes:
        yield node
        yield from _walk(_inner(node))


def _inner(node: dict[str, Any]) -> list[dict[str, Any]]:
    """The nodes of the datasets that a node's function returns."""
    function = node["parameters"].get("f")
    nodes = function.get("nodes") if isinstance(function, dict) else None
    return nodes if isinstance(nodes, list) else []


def _opens_files(node: dict[str, Any]) -> bool:
    return _base(node) in FILE_READERS or _inside(node)[0] is not None


def _inside(node: dict[str, Any]) -> tuple[str | None, list[Stage] | None]:
    """Which reader a node opens for each file; and what it does with what that returns."""
    if _base(node) in FILE_READERS:
        return _base(node), []
    inner = _inner(node) if _base(node) in _OVER_FILES else []
    for i, each in enumerate(inner):
        reader, stages = _inside(each)
        if reader is None:
            continue
        if stages is None or (stages and _base(each) != "FlatMap"):
            return reader, None
        for other in inner[i + 1 :]:
            stage = _stage(_base(other), other["parameters"])
            if stage is None:
                return reader, None
            stages = [*stages, stage]
        return reader, [stage for stage in stages if stage is not unchanged]
    return None, None


def _stage(base: str, said: dict[str, Any]) -> Stage | None:
    """What a node does to the number of elements; None if that is not known."""
    if base in _SAME_COUNT or base == "Shuffle":
        return unchanged
    count = said.get("count")
    if base == "Skip" and isinstance(count, int) and count >= 0:
        return skip(count)
    if base == "Take" and isinstance(count, int):
        return unchanged if count < 0 else take(count)
    shards, index = said.get("num_shards"), said.get("index")
    if base == "Shard" and isinstance(shards, int) and isinstance(index, int) and shards > 0:
        return shard(shards, index)
    size, drops = said.get("batch_size"), said.get("drop_remainder")
    if base in BATCHES and isinstance(size, int) and isinstance(drops, bool) and size > 0:
        return batch(size, drops)
    return None


def _count_of(node: dict[str, Any]) -> int | None:
    """How many elements a source has."""
    base, said = _base(node), node["parameters"]
    if base == "Range":
        start, stop, step = (said.get(name) for name in ("start", "stop", "step"))
        if isinstance(start, int) and isinstance(stop, int) and isinstance(step, int) and step:
            return max(0, -((start - stop) // step))
    components = said.get("components")
    if base == "TensorSlice" and isinstance(components, list) and components:
        if isinstance(components[0], list):
            return len(components[0])
        shape = components[0].get("shape") if isinstance(components[0], dict) else None
        if isinstance(shape, list) and shape and isinstance(shape[0], int):
            return shape[0]
    if base == "Tensor":
        return 1
    return None


def _base(node: dict[str, Any]) -> str:
    return base_op(node["op"]).removesuffix("Dataset")


def _kind_of(reader: str, parameters: dict[str, Any]) -> FileKind:
    compression = parameters.get("compression_type")
    sizes = [parameters.get(f"{name}_bytes") for name in ("record", "header", "footer")]
    return FileKind(
        reader,
        compression if isinstance(compression, str) else None,
        *(size if isinstance(size, int) else None for size in sizes),
    )
