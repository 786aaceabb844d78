"""What going back to a step moves and writes: all of it known before anything is changed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from monolith_cli.care.leftovers import ROLLED_BACK
from monolith_cli.care.rollback.texts import Text, texts_of
from monolith_cli.care.survey import DENSE_ONLY
from monolith_cli.checkpoint.names import (
    CHECKPOINT,
    INDEX_SUFFIX,
    MODEL_BASE,
    parse_step_file,
)
from monolith_cli.checkpoint.steps import order_of_steps
from monolith_cli.errors import MonolithError, StateFileError
from monolith_cli.storage.location import join, name_of, parent_of
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from monolith_cli.care.states import Survey
    from monolith_cli.checkpoint.names import StepFile

__all__ = ["GONE", "NewerStep", "Place", "Plan", "free_name", "places_of", "plan_rollback"]

GONE = "gone"
"""In place of a state: of a step of which only counts or inputs are left, say."""

_MALFORMED = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


class NewerStep(NamedTuple):
    """A step that is moved away.

    Attributes
    ----------
    directory
        `dense_only`, or nothing for the model directory.
    state
        As in `StepSurvey`, or `gone`.
    files
        How many files and directories of the model directory it has.
    """

    directory: str
    step: int
    state: str
    files: int


class Plan(NamedTuple):
    """A rollback of a model directory. Names are below that.

    Attributes
    ----------
    step
        The step to go back to.
    latest
        What `checkpoint` named before.
    to
        The directory that newer steps are moved into.
    steps
        Those, oldest first.
    moves
        What gets another name: the old one and the new one, in this order.
    texts
        Small files that say something else afterwards, in the order in which they are written. The
        last one is `checkpoint`, even if it stays as it is.
    """

    step: int
    latest: int | None
    to: str
    steps: Sequence[NewerStep]
    moves: Sequence[tuple[str, str]]
    texts: Sequence[Text]

    @property
    def is_empty(self) -> bool:
        """Whether all is so already."""
        return not self.moves and all(text.before == text.after for text in self.texts)

    @property
    def directories(self) -> list[str]:
        """Those that things are moved into, the innermost last."""
        return sorted({parent_of(target) for _, target in self.moves} | {self.to})

    def as_json(self) -> dict[str, Any]:
        """For the journal, and for the record that is left."""
        return {
            **self._asdict(),
            "steps": [each._asdict() for each in self.steps],
            "moves": [list(each) for each in self.moves],
            "texts": [each._asdict() for each in self.texts],
        }

    @classmethod
    def from_json(cls, said: Mapping[str, Any], path: str) -> Plan:
        """What `as_json` has made.

        Parameters
        ----------
        path
            The file, for errors.

        Raises
        ------
        StateFileError
            It is something else.
        """
        try:
            moves = [(str(source), str(target)) for source, target in said["moves"]]
            texts = [Text(**each) for each in said["texts"]]
            steps = [NewerStep(**each) for each in said["steps"]]
            return cls(int(said["step"]), said["latest"], str(said["to"]), steps, moves, texts)
        except _MALFORMED as error:
            raise StateFileError("not the plan of a rollback", path=path) from error


class Place:
    """The model directory, or the one with dense variables alone in it; and what is newer there.

    Attributes
    ----------
    below
        What names in it begin with, seen from the model directory.
    order
        All steps of which anything is there, oldest first; also those of which only counts or
        inputs are left.
    newer
        Those of them that come after the step to go back to.
    """

    def __init__(self, found: Survey, below: str) -> None:
        self.found = found
        self.below = below
        self.bases = {
            file.base
            for name, file in found.step_files.items()
            if file.kind in ("bundle", "tables")
            and (file.kind == "tables" or name.endswith(INDEX_SUFFIX) or ".data-" in name)
            and not file.is_temporary
        } | {MODEL_BASE}
        self.files = {n: f for n, f in found.step_files.items() if self._is_of_step(n, f)}
        self.order = self._order()
        self.newer: set[int] = set()

    def end_at(self, step: int | None) -> None:
        """Take what comes after a step for newer; without one, all."""
        at = self.order.index(step) + 1 if step is not None else 0
        self.newer = set(self.order[at:])

    def names(self, step: int) -> list[str]:
        """What is moved, item pools that are too new for this step among it; sorted."""
        known = {each.step for each in self.found.steps}
        return sorted(
            name
            for name, file in self.files.items()
            if file.step in self.newer
            # Of all pools the training system takes the one with the highest number.
            or (file.kind == "item_pool" and file.step > step and file.step not in known)
        )

    def steps(self, names: Sequence[str]) -> list[NewerStep]:
        """The steps of these names, and those that are newer and have none here."""
        counts = dict.fromkeys(self.newer, 0)
        for name in names:
            counts[self.files[name].step] = counts.get(self.files[name].step, 0) + 1
        states = {each.step: each.state for each in self.found.steps}
        found = [step for step in self.order if step in counts]
        return [
            NewerStep(self.below, step, states.get(step, GONE), counts[step])
            for step in found
            if counts[step] or step in states
        ]

    def _is_of_step(self, name: str, file: StepFile) -> bool:
        """Whether it is of a step by more than a number at its end, as names of others have."""
        return file.kind != "bundle" or file.base in self.bases

    def _order(self) -> list[int]:
        found = self.found
        known = [(each.step, each.time) for each in found.steps if each.step is not None]
        latest = found.latest.step if found.latest else None
        others: dict[int, float] = {}
        steps = {step for step, _ in known}
        for name, file in self.files.items():
            if file.step in steps:
                continue
            time = self._time(name)
            if file.kind == "input" and latest is not None and file.step > latest:
                time = math.inf  # whoever went on from there would leave out records
            others[file.step] = max(time, others.get(file.step, 0.0))
        return order_of_steps(known, others, latest)

    def _time(self, name: str) -> float:
        try:
            return self.found.items[name].status().modified
        except MonolithError:  # gone meanwhile
            return 0.0


def places_of(found: Survey, step: int) -> list[Place]:
    """The model directory, and what is in it beside it, with what is newer than a step there."""
    place = Place(found, "")
    place.end_at(step)
    if found.dense_only is None:
        return [place]
    beside = Place(found.dense_only, DENSE_ONLY)
    beside.end_at(_last_not_newer(found, beside, step))
    return [place, beside]


def _last_not_newer(found: Survey, beside: Place, step: int) -> int | None:
    """The last step beside the others that was not committed after this one.

    Numbers say it, unless they go down somewhere: then the times of the commits.
    """
    orders = ([each.step for each in found.steps if each.step is not None], beside.order)
    is_by_number = all(list(order) == sorted(order) for order in orders)
    at = next(each.time for each in found.steps if each.step == step)
    times = {each.step: each.time for each in beside.found.steps}
    last = None
    for other in beside.order:
        time = times.get(other)
        if is_by_number or at is None or time is None:
            is_newer = other > step
        else:
            is_newer = (time, other) > (at, step)
        last = last if is_newer else other
    return last


def plan_rollback(places: Sequence[Place], step: int, to: str) -> Plan:
    """What going back to a step moves and writes.

    Raises
    ------
    MonolithError
        A small file that would be written anew cannot be read.
    """
    found = places[0].found
    moves: list[tuple[str, str]] = []
    steps: list[NewerStep] = []
    texts: list[Text] = []
    for place in places:
        names = place.names(step)
        steps += place.steps(names)
        target = _target(found, place, to)
        moves += [(join(place.below, name), join(target, name)) for name in names]
        order = [each for each in place.order if each not in place.newer]
        texts += texts_of(place.found, place.below, order, set(names), step)
    moves.sort(key=lambda move: (not _offers(name_of(move[0])), move))
    texts.sort(key=lambda text: (name_of(text.name) == CHECKPOINT, text.name == CHECKPOINT))
    latest = found.latest.step if found.latest else None
    return Plan(step, latest, to, steps, moves, texts)


def _offers(name: str) -> bool:
    """Whether it is the index of a model, without which nothing offers a step."""
    file = parse_step_file(name)
    is_of_model = file is not None and file.kind == "bundle" and not file.is_temporary
    return is_of_model and name.endswith(INDEX_SUFFIX)


def _target(found: Survey, place: Place, to: str) -> str:
    """Where things of a place are moved to: a link may lead to where nothing can be renamed to."""
    if not place.below:
        return to
    path = join(found.directory, place.below)
    if store_of(path).status(path, follow=False).kind == "link":
        return join(place.below, to)
    return join(to, place.below)


def free_name(found: Survey, stamp: str) -> str:
    """A directory below `rolled-back` that is not there yet, by the time."""
    directory = join(found.directory, ROLLED_BACK)
    taken: Sequence[str] = ()
    if ROLLED_BACK in found.items:
        taken = store_of(directory).names(directory)
    name, number = stamp, 1
    while name in taken:
        number += 1
        name = f"{stamp}-{number}"
    return join(ROLLED_BACK, name)
