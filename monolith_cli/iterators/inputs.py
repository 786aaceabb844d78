"""A worker's input: its iterators, with what follows from their states."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from monolith_cli.iterators.pipeline import Pipeline
from monolith_cli.iterators.position import places
from monolith_cli.iterators.records import RecordCounter
from monolith_cli.iterators.state import read_states

if TYPE_CHECKING:
    from monolith_cli.iterators.content import OddEnd
    from monolith_cli.iterators.place import Place
    from monolith_cli.iterators.state import IteratorState

__all__ = ["IteratorPosition", "read_input"]


class IteratorPosition(NamedTuple):
    """An iterator of an input.

    Attributes
    ----------
    state
        By the nodes of its dataset.
    pipeline
        What its fingerprint says.
    fingerprint
        Itself, as JSON has it; None without one.
    places
        Where its readers are.
    odd_ends
        Those of its files that end otherwise than TensorFlow makes believe.
    """

    state: IteratorState
    pipeline: Pipeline
    fingerprint: Any
    places: list[Place]
    odd_ends: list[OddEnd]


def read_input(
    prefix: str,
    fingerprints: Any = None,
    *,
    input_dir: str | None = None,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> list[IteratorPosition]:
    """The iterators whose states are in a bundle.

    Costs one reading of the state, and of each input file up to where it was read, and 64 MiB more
    at most to see how it ends: as fast as the disk for plain files, some 200 MB/s for compressed
    ones.

    Parameters
    ----------
    fingerprints
        Of the iterators, by their names, as `ckpt.inputs-<step>` has them.
    input_dir
        Where the input's files are now, if not where they were.
    progress
        Called with the bytes of an input file that were read, and those to be read.

    Raises
    ------
    MonolithError
        As `read_states`. Input files that cannot be read are no error.
    """
    states = read_states(prefix)
    known = fingerprints if isinstance(fingerprints, Mapping) else {}
    found = []
    for state in states:
        fingerprint = known.get(state.name)
        if fingerprint is None and len(states) == len(known) == 1:
            (fingerprint,) = known.values()  # an iterator may have another name elsewhere
        pipeline = Pipeline(fingerprint)
        files = pipeline.files or []
        sizes = {file.path: file.size_bytes for file in files if file.size_bytes is not None}
        counter = RecordCounter(input_dir, [file.path for file in files], sizes, progress)
        where = places(state, pipeline, counter)
        odd_ends = list(counter.odd_ends.values())
        found.append(IteratorPosition(state, pipeline, fingerprint, where, odd_ends))
    return found
