"""Which files the datasets of a graph definition read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from monolith_cli.formats.fingerprint import base_op
from monolith_cli.training.pipelines.constants import constant
from monolith_cli.training.pipelines.functions import Functions
from monolith_cli.training.pipelines.nodes import inputs_by_name
from monolith_cli.training.pipelines.references import Element, Place, Scope
from monolith_cli.training.pipelines.walk import DEEPEST, post_order

__all__ = ["Files", "Readers", "is_reader"]

_READERS = {"TFRecordDataset", "TextLineDataset", "FixedLengthRecordDataset"}
_SAME_ELEMENTS = {
    "AssertCardinalityDataset",
    "AutoShardDataset",
    "CacheDataset",
    "FilterDataset",
    "OptionsDataset",
    "PrefetchDataset",
    "RebatchDataset",
    "RepeatDataset",
    "ShuffleAndRepeatDataset",
    "ShuffleDataset",
}
_IN_ORDER = {"AssertCardinalityDataset", "CacheDataset", "OptionsDataset", "PrefetchDataset"}


class Files(NamedTuple):
    """The files that one node reads."""

    names: list[bytes]
    """In order; empty if only patterns are known."""

    patterns: list[bytes]
    ordered: bool
    """Each name is an element of its own, and they come in this order."""

    parts: tuple[slice, ...] = ()
    """What is taken, one after the other, of the files that the patterns match."""

    places: tuple[Any, ...] = ()
    """The constants that have these names and patterns."""


def is_reader(op: str) -> bool:
    """Whether datasets of this op read files, whose names are an input."""
    return base_op(op) in _READERS


class Readers:
    """Finds the nodes that read files, and remembers which constants name these."""

    def __init__(self, functions: Functions) -> None:
        self._functions = functions
        self._places: set[Any] = set()

    def find(self, datasets: Sequence[Place]) -> list[Files | None]:
        """The files of each reader in datasets or in their functions, sources first.

        None stands for files that are known only at run time.
        """
        return self._find(datasets, 0)

    def is_named_by(self, place: Place | Element) -> bool:
        """Whether it is a constant that names files which were found."""
        return place in self._places

    def _find(self, datasets: Sequence[Place], depth: int) -> list[Files | None]:
        files: list[Files | None] = []
        if depth > DEEPEST:
            return files
        for place in post_order(datasets, Place.dataset_inputs):
            if is_reader(place.op):
                names = inputs_by_name(place.node).get("filenames", [])
                found = _files(place.scope, names[0], 0) if names else None
                files.append(found)
                self._places.update(found.places if found is not None else ())
            else:
                files += self._find(self._functions.datasets(place), depth + 1)
        return files


def _files(scope: Scope, reference: str, depth: int) -> Files | None:
    """The strings that come out here, in order."""
    place = scope.flat_source(reference)
    if depth > DEEPEST:
        return None
    if isinstance(place, Element):
        return _file_elements(place.scope, place.reference, place.component, depth + 1)
    node = place.node
    if node is not None and node.op == "MatchingFiles":
        return _patterns(place, node.input[0])
    value = constant(place.scope, place.name)
    if value is None or value.dtype != object:
        return None
    names = [bytes(name) for name in value.ravel()]
    return Files(names, [], value.ndim == 1, places=(place,))


def _patterns(place: Place, reference: str) -> Files | None:
    value = constant(place.scope, reference)
    if value is None or value.dtype != object:
        return None
    patterns = [bytes(pattern) for pattern in value.ravel()]
    return Files([], patterns, True, places=(place,))


def _file_elements(scope: Scope, reference: str, component: int, depth: int) -> Files | None:
    """The files among one component of a dataset's elements."""
    place = scope.dataset(reference)
    if place is None or depth > DEEPEST:
        return None
    op = base_op(place.op)
    inputs = inputs_by_name(place.node)
    if op in ("TensorDataset", "TensorSliceDataset"):
        components = inputs.get("components", [])
        if component >= len(components):
            return None
        files = _files(place.scope, components[component], depth + 1)
        slices = op == "TensorSliceDataset"
        return files and files._replace(ordered=files.ordered and slices)
    if op == "MatchingFilesDataset":
        return _patterns(place, inputs["patterns"][0])
    if op == "ZipDataset":
        return _zipped(place, inputs["input_datasets"], component, depth)
    if "input_dataset" not in inputs:
        return None
    files = _file_elements(place.scope, inputs["input_dataset"][0], component, depth + 1)
    if files is None:
        return None
    if op in _SAME_ELEMENTS:
        return files._replace(ordered=files.ordered and op in _IN_ORDER)
    if op == "ConcatenateDataset":
        source = inputs["another_dataset"][0]
        others = _file_elements(place.scope, source, component, depth + 1)
        return others and _concatenated(files, others)
    if op in ("ShardDataset", "SkipDataset", "TakeDataset"):
        return _part(place, op, inputs, files)
    return None


def _concatenated(files: Files, others: Files) -> Files:
    return Files(
        files.names + others.names,
        files.patterns + others.patterns,
        files.ordered and others.ordered and not files.patterns and not others.patterns,
        places=files.places + others.places,
    )


def _part(place: Place, op: str, inputs: dict[str, list[str]], files: Files) -> Files | None:
    """What is left after shard, skip or take; all files if their order is not fixed."""
    wanted = ("num_shards", "index") if op == "ShardDataset" else ("count",)
    values = [constant(place.scope, inputs[name][0]) for name in wanted]
    if not files.ordered or any(value is None or value.size != 1 for value in values):
        return files._replace(ordered=False)
    first, *rest = (int(value.ravel()[0]) for value in values)
    if op == "ShardDataset":
        part = slice(rest[0], None, first) if 0 <= rest[0] < first else slice(0)
    elif op == "SkipDataset":
        part = slice(first, None) if first >= 0 else slice(0)
    else:
        part = slice(first) if first >= 0 else slice(None)
    if files.patterns:
        return files._replace(parts=(*files.parts, part))
    return files._replace(names=files.names[part])


def _zipped(place: Place, datasets: list[str], component: int, depth: int) -> Files | None:
    for reference in datasets:
        found = place.scope.dataset(reference)
        node = found.node if found else None
        if node is None:
            return None
        types = "output_types" if "output_types" in node.attr else "Toutput_types"
        count = len(node.attr[types].list.type) if types in node.attr else 1
        if component < count:
            return _file_elements(place.scope, reference, component, depth + 1)
        component -= count
    return None
