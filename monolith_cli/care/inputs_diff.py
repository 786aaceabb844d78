"""What workers have consumed of their inputs between two checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.checkpoint.inputs import input_prefix, list_inputs, read_step_inputs
from monolith_cli.errors import MonolithError
from monolith_cli.formats.tensor_bundle import TensorBundle
from monolith_cli.iterators.inputs import read_input
from monolith_cli.iterators.state import iterator_name, state_entries
from monolith_cli.storage.location import HERE, parent_of
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from monolith_cli.checkpoint.checkpoint import Checkpoint
    from monolith_cli.iterators.place import Place

__all__ = ["InputDiff", "ReaderPlace", "diff_inputs"]


class ReaderPlace(NamedTuple):
    """Where a reader of an input was at one step.

    Attributes
    ----------
    file, offset
        The file that it was at, as the job had it, and the byte of its content; None if it was at
        none, or that is not known.
    epoch
        From 1; None if there is only one.
    read
        How much the reader had read in it; None if that is not known.
    consumed
        Records that training had got since the start; None if that is not known.
    """

    file: str | None
    offset: int | None
    epoch: int | None
    read: int | None
    consumed: int | None


class InputDiff(NamedTuple):
    """What became of one reader of a worker's input.

    Attributes
    ----------
    worker
    iterator, reader
        The iterator's name, and the node that reads; None where a state cannot be read.
    unit
        What it reads: `records`, `lines` or `elements`.
    a, b
        Where it was; None where that side has no state of it.
    consumed
        Records that training has got in between; None if that is not known.
    differs
        Whether its iterator's state does, or is on one side only.
    problem
        Why a state cannot be read.
    """

    worker: int
    iterator: str | None
    reader: str | None
    unit: str | None
    a: ReaderPlace | None
    b: ReaderPlace | None
    consumed: int | None
    differs: bool
    problem: MonolithError | None = None


def diff_inputs(a: Checkpoint, b: Checkpoint) -> list[InputDiff]:
    """All readers of all workers that have states of either step.

    Costs what `read_input` does for each state. A state that cannot be read is told, and the others
    are gone on with.

    Raises
    ------
    StateFileError, NotReadableError
        What a step says of its inputs cannot be read.
    """
    found: list[InputDiff] = []
    sides = [_Inputs(checkpoint) for checkpoint in (a, b)]
    for worker in sorted({*sides[0].workers, *sides[1].workers}):
        places: list[dict[tuple[str, str], _Reader]] = [{}, {}]
        problem = None
        for number, side in enumerate(sides):
            try:
                places[number] = dict(side.places(worker))
            except MonolithError as error:
                problem = problem or error
        if problem is not None:
            found.append(InputDiff(worker, None, None, None, None, None, None, True, problem))
            continue
        for key in dict.fromkeys([*places[0], *places[1]]):
            found.append(_reader(worker, key, places[0].get(key), places[1].get(key)))
    return found


class _Reader(NamedTuple):
    """A reader at one step, with the checksum of its iterator's state."""

    unit: str
    place: ReaderPlace
    crc32c: int


def _reader(worker: int, key: tuple[str, str], a: _Reader | None, b: _Reader | None) -> InputDiff:
    either = b or a
    before, after = (a.place if a else None), (b.place if b else None)
    consumed = None
    if before and after and before.consumed is not None and after.consumed is not None:
        consumed = after.consumed - before.consumed
    unit = either.unit if either else None
    return InputDiff(worker, *key, unit, before, after, consumed, a != b)


class _Inputs:
    """The iterator states of a step."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.workers: list[int] = []
        self._step = checkpoint.step
        if checkpoint.prefix is None or checkpoint.step is None:
            return
        self._directory = parent_of(checkpoint.prefix) or HERE
        steps = list_inputs(store_of(self._directory).names(self._directory))
        self.workers = [worker for worker, each in steps.items() if checkpoint.step in each]
        told = read_step_inputs(self._directory, checkpoint.step) if self.workers else None
        self._told = told.workers if told else {}

    def places(self, worker: int) -> Iterator[tuple[tuple[str, str], _Reader]]:
        """By iterator and node; none without a state."""
        if worker not in self.workers or self._step is None:
            return
        prefix = input_prefix(self._directory, worker, self._step)
        told = self._told.get(worker)
        states = {iterator_name(each): each for each in state_entries(TensorBundle(prefix))}
        for iterator in read_input(prefix, told.fingerprint if told else None):
            for place in iterator.places:
                name = iterator.state.name
                crc32c = states[name].masked_crc32c
                yield (name, place.source.path), _Reader(place.unit, _place(place), crc32c)


def _place(place: Place) -> ReaderPlace:
    file = place.file
    return ReaderPlace(
        file.path if file else None,
        file.offset if file else None,
        place.consumed.epoch or place.epoch,
        place.read.records,
        place.consumed.records,
    )
