"""The states of iterators in a tensor bundle, by the nodes of their datasets.

TensorFlow names the parts of a state after the iterators that wrote them:
`Iterator::Root::Prefetch::BatchV2::FlatMap[1]::TFRecord` is that of a reader which is the second
input (`[1]`) that a flat map has opened. Elements in a buffer are parts of their own, under names
like `…::Prefetch::0`, `…::Shuffle:buffer::17` and `…::ParallelMapV2_invocation_results[0]`. An
iterator that has nothing to save, a plain map say, is seen in the names of others only.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.errors import CorruptionError, PathNotFoundError
from monolith_cli.formats.tensor_bundle import TensorBundle
from monolith_cli.formats.variant import parse_state_part
from monolith_cli.iterators.kinds import SHUFFLES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from monolith_cli.formats.bundle_index import TensorEntry
    from monolith_cli.formats.variant import StatePart
    from monolith_cli.storage.location import AnyPath

__all__ = [
    "IteratorState",
    "Node",
    "advising",
    "base_op",
    "iterator_name",
    "raw_parts",
    "read_parts",
    "read_states",
    "required_entries",
    "state_entries",
]

_OF_OBJECT = "/.ATTRIBUTES/ITERATOR_STATE"
"""How `tf.train.Checkpoint` ends the names of the iterators that it is given."""

_OF_GRAPH = "_STATE"
"""How TensorFlow's Saver, and a job's, end those of the iterators of a graph."""

_SMALL_BYTES = 4096
"""Values up to this size are kept; of others the size."""

_MAX_DEPTH = 200
"""More nodes above one another are taken for damage. Pipelines have some ten."""

_STEP = re.compile(r"([A-Z][A-Za-z0-9]*)(?:\[([0-9]+)\])?(.*)", re.DOTALL)
_IN_BUFFER = re.compile(r"[0-9]+|:buffer::[0-9]+|_invocation_results\[[0-9]+\]")
_COMPONENT = re.compile(r"(?:buffer|component)?\[[0-9]+\]")
_CODES = ("status.code", "_code")
_SAME_NODE = {"MemoryCacheImpl": "MemoryCache", "FileCacheImpl": "FileCache"}


class Node:
    """A dataset's node, and what its iterator has saved.

    Attributes
    ----------
    op
        Such as `BatchV2`; empty for the root, which stands for the whole.
    path
        Of this node and those above it, as in `Prefetch::BatchV2`.
    inputs
        The nodes that it reads from, by number where it tells them apart: `(None, node)` for the
        only one, `(1, node)` for the second that a flat map has opened.
    values
        Its numbers and short strings, by key; those of a part of it under `part | key`.
    elements
        How many elements it has in its buffer, by how many rows each has: the first dimension, if
        all components agree on it, else None.
    size_bytes
        Of all its values, elements included, uncompressed.
    """

    __slots__ = ("elements", "inputs", "op", "path", "size_bytes", "values")

    def __init__(self, op: str = "", path: str = "") -> None:
        self.op = op
        self.path = path
        self.inputs: list[tuple[int | None, Node]] = []
        self.values: dict[str, int | bytes] = {}
        self.elements: Counter[int | None] = Counter()
        self.size_bytes = 0

    def __repr__(self) -> str:
        return f"Node({self.path!r})"

    @property
    def base(self) -> str:
        """The op without its version."""
        return base_op(self.op)

    def number(self, *keys: str) -> int | None:
        """The first of these values that is there and is a number."""
        for key in keys:
            value = self.values.get(key)
            if isinstance(value, int):
                return value
        return None

    def walk(self) -> Iterator[Node]:
        """This node and all below it."""
        yield self
        for _, node in self.inputs:
            yield from node.walk()

    def input(self, number: int | None = None) -> Node | None:
        """The first node at that number; by default at none."""
        return next((node for at, node in self.inputs if at == number), None)

    def _input(self, number: int | None, op: str) -> Node:
        for at, node in self.inputs:
            if at == number and node.op == op:
                return node
        suffix = "" if number is None else f"[{number}]"
        path = f"{self.path}{suffix}::{op}" if self.path else op
        node = Node(op, path)
        self.inputs.append((number, node))
        return node


class IteratorState(NamedTuple):
    """An iterator's state.

    Attributes
    ----------
    name
        Such as `IteratorV2:0` or `OneShotIterator:0` in a graph; that of the object in a
        `tf.train.Checkpoint`.
    size_bytes
        As it is stored.
    parts
        How many there are.
    root
        Its inputs are the nodes at the end of the pipeline, in general one.
    """

    name: str
    size_bytes: int
    parts: int
    root: Node


def base_op(op: str) -> str:
    """The op without its version: `Batch` of `BatchV2`."""
    return re.sub(r"V[0-9]+$", "", op)


def state_entries(bundle: TensorBundle) -> list[TensorEntry]:
    """The tensors of a bundle that are states of iterators."""
    return [
        entry
        for entry in bundle.entries.values()
        if entry.dtype == "variant" and entry.name.endswith(_OF_GRAPH)
    ]


@contextlib.contextmanager
def advising() -> Iterator[None]:
    """What to do about a damaged state, for errors that say nothing of it."""
    try:
        yield
    except CorruptionError as error:
        error.hint = error.hint or "restore it from a copy, or take another step"
        raise


def required_entries(bundle: TensorBundle) -> list[TensorEntry]:
    """Those of `state_entries`, of which there must be one.

    Raises
    ------
    PathNotFoundError
        There is none.
    """
    entries = state_entries(bundle)
    if not entries:
        raise PathNotFoundError(
            "holds no iterator states",
            path=bundle.index_path,
            hint="give the path of a worker's state, or take the state of another step",
        )
    return entries


def iterator_name(entry: TensorEntry) -> str:
    """The iterator's name: `IteratorV2:0`, or that of the object in a `tf.train.Checkpoint`."""
    name = entry.name
    return name.removesuffix(_OF_OBJECT if name.endswith(_OF_OBJECT) else _OF_GRAPH)


def read_states(prefix: AnyPath) -> list[IteratorState]:
    """The states of all iterators in a bundle; each is read once, verified, and not kept.

    Memory is that of the largest part, and 4 KiB for each node at most.

    Raises
    ------
    PathNotFoundError
        There is none.
    MonolithError
        As `TensorBundle` and its `variants`; kind `bad_state` for what is no state.
    """
    with advising():
        bundle = TensorBundle(prefix)
        return [_read_state(bundle, entry) for entry in required_entries(bundle)]


def read_parts(bundle: TensorBundle, entry: TensorEntry) -> Iterator[StatePart]:
    """The parts of a state, one at a time.

    Raises
    ------
    MonolithError
        As `read_states`.
    """
    for element in bundle.variants(entry):
        try:
            yield parse_state_part(element)
        except ValueError as error:
            raise _bad_state(bundle, entry, error) from error


def raw_parts(prefix: str) -> Iterator[tuple[str, Iterator[StatePart]]]:
    """The iterators of a state by name, each with its parts as they are stored, one at a time.

    Raises
    ------
    MonolithError
        As `read_states`.
    """
    with advising():
        bundle = TensorBundle(prefix)
        entries = required_entries(bundle)
    for entry in entries:
        yield iterator_name(entry), _advised(read_parts(bundle, entry))


def _advised(parts: Iterator[StatePart]) -> Iterator[StatePart]:
    with advising():
        yield from parts


def _read_state(bundle: TensorBundle, entry: TensorEntry) -> IteratorState:
    root, parts = Node(), 0
    for part in read_parts(bundle, entry):
        parts += 1
        try:
            _take_in(root, part)
        except ValueError as error:
            raise _bad_state(bundle, entry, error) from error
    for node in root.walk():
        if node.base in SHUFFLES:
            _leave_out_given(node)
    return IteratorState(iterator_name(entry), entry.size_bytes, parts, root)


def _take_in(root: Node, part: StatePart) -> None:
    node, rest = _find(root, part.name)
    node.size_bytes += part.size_bytes
    if _IN_BUFFER.fullmatch(rest):
        _take_in_element(node, part)
        return
    for i, value in enumerate(part.values):
        if value.size_bytes <= _SMALL_BYTES:
            content = part.scalar(i)
            if content is not None:
                key = value.key.lstrip(":")
                node.values[f"{rest} | {key}" if rest else key] = content


def _find(root: Node, name: str) -> tuple[Node, str]:
    """The node that a part is of, and what its name says beyond that."""
    steps = name.rpartition("|")[2].split("::")
    if len(steps) > _MAX_DEPTH:
        raise ValueError(f"{len(steps)} nodes above one another")
    if steps[0] == "Iterator":
        del steps[0]
    if steps and steps[0] in ("Root", "Model"):
        del steps[0]
    node, number = root, None
    for i, step in enumerate(steps):
        match = _STEP.fullmatch(step)
        if match is None:
            return node, "::".join(steps[i:])
        node = node._input(number, _SAME_NODE.get(match[1], match[1]))
        number = None if match[2] is None else int(match[2])
        if match[3]:
            return node, "::".join([match[3], *steps[i + 1 :]])
    return node, "" if number is None else f"[{number}]"


def _take_in_element(node: Node, part: StatePart) -> None:
    rows: set[int | None] = set()
    for value in part.values:
        if _COMPONENT.fullmatch(value.key):
            rows.add(value.shape[0] if value.shape else None)
    if rows:
        node.elements[rows.pop() if len(rows) == 1 else None] += 1
    elif any(part.get(code) for code in _CODES) and not part.get("end_of_input"):
        node.elements[None] += 1  # an error that is still to be raised


def _leave_out_given(shuffle: Node) -> None:
    """Leave out elements that were given out long ago: symbolic checkpoints keep their slots."""
    held = shuffle.number("num_elements")
    stored = shuffle.elements
    if held is None or not 0 <= held < sum(stored.values()):
        return
    rows = next(iter(stored)) if len(stored) == 1 else None
    shuffle.elements = Counter({rows: held} if held else {})


def _bad_state(bundle: TensorBundle, entry: TensorEntry, error: ValueError) -> CorruptionError:
    return CorruptionError(
        f"{entry.name}: no state of an iterator: {error}",
        path=bundle.data_path(entry.shard),
        offset=entry.offset,
        kind="bad_state",
    )
