"""What a fingerprint says of a pipeline: its files, and the parameters of its nodes.

Fingerprints are those of `monolith_cli.training.fingerprint`, read from `ckpt.inputs-<step>`. Nodes
of a state and of a fingerprint do not match one by one, as TensorFlow fuses and inserts some when
it makes the iterators: those of one kind do, in order.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from monolith_cli.iterators.records import FILE_READERS, FileKind
from monolith_cli.iterators.state import base_op

__all__ = ["BATCHES", "InputFile", "Pipeline"]

BATCHES = {"Batch", "MapAndBatch", "PaddedBatch", "ParallelBatch", "ParallelMapAndBatch"}
"""Nodes that make one element of several, without version."""

_VERSION = 1
_OVER_FILES = {"FlatMap", "Interleave", "LegacyParallelInterleave", "ParallelInterleave"}
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


class InputFile(NamedTuple):
    """A file of a pipeline; its size in bytes, None if it was not there."""

    path: str
    size_bytes: int | None


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
        if not isinstance(document, dict) or document.get("version") != _VERSION:
            return
        nodes, files = document.get("nodes"), document.get("files")
        if not isinstance(nodes, list) or not all(map(_is_node, nodes)):
            return
        self.nodes = nodes
        if isinstance(files, list) and all(map(_is_file, files)):
            self.files = [InputFile(file["path"], file.get("bytes")) for file in files]

    def __bool__(self) -> bool:
        return bool(self.nodes)

    @property
    def is_linear(self) -> bool:
        """Whether each node reads from the one before it."""
        return not any("inputs" in node for node in self.nodes)

    def parameters(self, kind: set[str], above: int, found: int | None) -> dict[str, Any]:
        """The parameters of a node of some kind; empty if it is not clear which one it is.

        Parameters
        ----------
        kind
            Names without version.
        above
            How many of that kind are above it, nearer to the end of the pipeline.
        found
            How many of that kind the state has; None if it has only the upper part of the nodes.
        """
        nodes: list[dict[str, Any]] = [
            node["parameters"] for node in self.nodes if _base(node) in kind
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
    def files_in_order(self) -> list[InputFile] | None:
        """The files if one reader reads all of them; None where that is not known."""
        readers = [node for reader in FILE_READERS for node in self._readers(reader)]
        return self.files if len(readers) == 1 else None

    def total_files_epoch(self) -> list[InputFile] | None:
        """The files of which each epoch reads every record, and nothing else; else None."""
        files = self.files_in_order
        if files is None or not self.is_linear:
            return None
        for node in self.nodes[1:]:
            base = _base(node)
            if (
                base == "Repeat"
                or base in BATCHES
                or base in _SAME_COUNT
                or base == "ShuffleAndRepeat"
            ):
                continue
            if base not in _OVER_FILES or not self._reads_whole_files(node):
                return None
        return files

    def epochs(self) -> int | None:
        """How many epochs there are; None without end, and if it is not known."""
        epochs = 1
        for node in self.nodes:
            if _base(node) in ("Repeat", "ShuffleAndRepeat"):
                count = node["parameters"].get("count")
                if not isinstance(count, int) or count < 0:
                    return None
                epochs *= count
        return epochs

    def _reads_whole_files(self, node: dict[str, Any]) -> bool:
        for inner in _inner(node):
            base = _base(inner)
            if base in FILE_READERS or base in _SAME_COUNT or base == "TensorSlice":
                continue
            if base not in _OVER_FILES or not self._reads_whole_files(inner):
                return False
        return True

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
    return nodes if isinstance(nodes, list) and all(map(_is_node, nodes)) else []


def _base(node: dict[str, Any]) -> str:
    return base_op(node["op"]).removesuffix("Dataset")


def _is_node(node: Any) -> bool:
    return (
        isinstance(node, dict)
        and isinstance(node.get("op"), str)
        and isinstance(node.get("parameters"), dict)
    )


def _is_file(file: Any) -> bool:
    return (
        isinstance(file, dict)
        and isinstance(file.get("path"), str)
        and isinstance(file.get("bytes"), (int, type(None)))
    )


def _kind_of(reader: str, parameters: dict[str, Any]) -> FileKind:
    compression = parameters.get("compression_type")
    sizes = [parameters.get(f"{name}_bytes") for name in ("record", "header", "footer")]
    return FileKind(
        reader,
        compression if isinstance(compression, str) else None,
        *(size if isinstance(size, int) else None for size in sizes),
    )
