"""The states of iterators in a tensor bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from monolith_cli.formats.tensor_bundle import TensorBundle, TensorEntry

__all__ = ["iterator_name", "state_entries"]

_OF_OBJECT = "/.ATTRIBUTES/ITERATOR_STATE"
"""How `tf.train.Checkpoint` ends the names of the iterators that it is given."""

_OF_GRAPH = "_STATE"
"""How TensorFlow's Saver, and a job's, end those of the iterators of a graph."""


def state_entries(bundle: TensorBundle) -> list[TensorEntry]:
    """The tensors of a bundle that are states of iterators."""
    return [
        entry
        for entry in bundle.entries.values()
        if entry.dtype == "variant" and entry.name.endswith(_OF_GRAPH)
    ]


def iterator_name(entry: TensorEntry) -> str:
    """The iterator's name: `IteratorV2:0`, or that of the object in a `tf.train.Checkpoint`."""
    name = entry.name
    return name.removesuffix(_OF_OBJECT if name.endswith(_OF_OBJECT) else _OF_GRAPH)
