"""Pins: the steps that `monolith_checkpoint` exempts from being deleted by saves.

The training system compares them by their base names. At its start it wants each of them listed in
`checkpoint`; it reads them again at every save, and forgets those whose files are not at their
paths. So a step that `checkpoint` does not list is listed as well when it is pinned, and a path
that is of the directory's old place is written anew.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.care.come_since import indexes, list_too, model_indexes
from monolith_cli.care.survey import DENSE_ONLY, survey
from monolith_cli.checkpoint.claim import check_journal
from monolith_cli.checkpoint.model_dir import ModelDir, open_model_dir
from monolith_cli.checkpoint.names import (
    CHECKPOINT,
    CHIEF_CLAIM,
    MODEL_BASE,
    MONOLITH_CHECKPOINT,
)
from monolith_cli.checkpoint.steps import recorded_checkpoints
from monolith_cli.control.service import ADDRESS_FILE
from monolith_cli.errors import (
    DirectoryInUseError,
    MonolithError,
    PathNotFoundError,
    StepNotFoundError,
)
from monolith_cli.formats.checkpoint_state import (
    CheckpointState,
    format_checkpoint_state,
    parse_checkpoint_state,
    parse_exempt_paths,
    replace_exempt_paths,
)
from monolith_cli.storage.location import HERE, absolute, join, name_of, parent_of
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from monolith_cli.care.states import StepSurvey, Survey
    from monolith_cli.storage.location import AnyPath

__all__ = ["Pinning", "pin", "unpin"]

_TRIES = 5
_SETTLE_SECONDS = 0.2
_OF_JOBS = (CHIEF_CLAIM, ADDRESS_FILE)
"""What a running job has in its directory, and one that has died."""
_NO_PINS = "only savers of the training system that write this file heed pins"


class Pinning(NamedTuple):
    """What a pin, or the end of one, has changed.

    Attributes
    ----------
    step
        The step.
    pinned
        Whether it is exempt from deletion now.
    listed
        Whether `checkpoint` lists it now, and did not before.
    files
        The names of what was written, below the model directory; none where all was so already.
    notes
        Remarks for people.
    """

    model_dir: str
    step: int
    pinned: bool
    listed: bool
    files: tuple[str, ...]
    notes: tuple[str, ...]


def pin(model_dir: AnyPath, step: int, *, quiet_for_seconds: float | None = None) -> Pinning:
    """Exempt a step from being deleted by saves, in `dense_only` too where that has it.

    Of a step that `checkpoint` lists `monolith_checkpoint` alone is written, beside a job that runs
    too: what the job has written meanwhile is seen, and it is done again. Another one is listed as
    well, at its place among the others, and only where no job is alive.

    Parameters
    ----------
    quiet_for_seconds
        As in `check_quiet`.

    Raises
    ------
    StepNotFoundError
        There is no such step, or it is not committed; or it was deleted meanwhile.
    PathNotFoundError
        There is no `monolith_checkpoint`, or the directory is not one of a job.
    StateFileError
        One of the files does not parse.
    DirectoryInUseError
        A command was cut off here; or a job writes all the while, or is alive and `checkpoint`
        would have to be written.
    NotReadableError, WriteError
        The operating system refused.
    """
    opened = _open(model_dir)
    check_journal(opened.directory)
    found = survey(opened)
    places = [found, *([found.dense_only] if found.dense_only else [])]
    pins = [_Pin(place, each) for place in places for each in place.steps if each.step == step]
    if not pins:
        opened.checkpoint(step)  # says why
        raise StepNotFoundError(f"no step {step}", path=opened.path)
    notes = [note for each in pins[1:] if (note := each.why_not())]
    pins = [each for i, each in enumerate(pins) if i == 0 or not each.why_not()]
    for each in pins:
        each.check()
    if any(each.is_to_be_listed for each in pins):
        from monolith_cli.care.alive import check_quiet

        check_quiet(opened.directory, quiet_for_seconds)
    files = [path for each in pins for path in each.write()]
    notes += [note for each in pins for note in each.notes()]
    below = [_below(path, opened.directory) for path in files]
    is_listed = any(name_of(path) == CHECKPOINT for path in files)
    return Pinning(opened.path, step, True, is_listed, tuple(below), tuple(notes))


def unpin(model_dir: AnyPath, step: int) -> Pinning:
    """End a pin: saves may delete the step again. `checkpoint` stays as it is.

    That of a step that is gone ends, too.

    Raises
    ------
    StepNotFoundError
        Nothing is pinned, and there is no such step.
    MonolithError
        As `pin`.
    """
    opened = _open(model_dir)
    files: list[str] = []
    missing: PathNotFoundError | None = None
    for directory in (opened.directory, join(opened.directory, DENSE_ONLY)):
        path = join(directory, MONOLITH_CHECKPOINT)
        try:
            if _change(path, lambda paths: [each for each in paths if _named(each)[1] != step]):
                files.append(_below(path, opened.directory))
        except PathNotFoundError as error:
            missing = missing or error
    if files:
        return Pinning(opened.path, step, False, False, tuple(files), ())
    opened.checkpoint(step)
    if missing is not None and parent_of(missing.path or "") == opened.directory:
        raise missing
    return Pinning(opened.path, step, False, False, (), ())


class _Pin:
    """A step of a directory that is to be pinned there."""

    def __init__(self, place: Survey, step: StepSurvey) -> None:
        self.place = place
        self.step = step
        self.directory = place.directory
        self.is_to_be_listed = not step.is_listed

    def why_not(self) -> str | None:
        """Why it is left out where the step is pinned elsewhere; None if it is not."""
        try:
            self.check()
        except (StepNotFoundError, PathNotFoundError) as error:
            return f"not in {name_of(self.directory)}: {error.what}"
        return None

    def check(self) -> None:
        """Raise an error if it cannot be pinned there."""
        place, number = self.place, self.step.step
        if MONOLITH_CHECKPOINT not in place.items:
            path = join(self.directory, MONOLITH_CHECKPOINT)
            raise PathNotFoundError("no such file", path=path, hint=_NO_PINS)
        if place.state is None:
            what = f"nothing is committed: there is no '{CHECKPOINT}' file"
            raise StepNotFoundError(what, path=self.directory)
        order = [each.step for each in place.steps]
        latest = place.latest
        is_later = latest is not None and order.index(number) > order.index(latest.step)
        if self.step.state == "uncommitted" or (self.is_to_be_listed and is_later):
            what = f"step {number} is not committed: it is being written, or was given up"
            raise StepNotFoundError(what, path=self.directory)

    def write(self) -> list[str]:
        """Write what is needed, and return the paths of that."""
        path = join(self.directory, MONOLITH_CHECKPOINT)
        written = [path] if _change(path, self._with_it) else []
        try:
            if not self.is_to_be_listed:
                self._check_listed()
            elif self._list():
                written.append(join(self.directory, CHECKPOINT))
        except MonolithError as error:
            # The training system does not start with a pin of what is not listed.
            try:
                if written:
                    _change(path, self._without_it)
            except MonolithError:
                more = f"step {self.step.step} is pinned now, and not listed: do that again"
                error.hint = f"{error.hint}; {more}" if error.hint else more
            raise
        return written

    def notes(self) -> list[str]:
        """What one would want to know of the step."""
        step = self.step
        if not step.missing:
            return []
        first = step.missing[0]
        return [f"step {step.step} is {step.state}: '{first.file}' is {first.what}"]

    @property
    def _name(self) -> str:
        checkpoint = self.step.checkpoint
        if checkpoint is not None and checkpoint.prefix is not None:
            return name_of(checkpoint.prefix)
        recorded = self._recorded()
        return name_of(recorded) if recorded else f"{MODEL_BASE}-{self.step.step}"

    @property
    def _path(self) -> str:
        """As it is recorded: relative where the files are here."""
        checkpoint = self.step.checkpoint
        if checkpoint is not None and checkpoint.is_elsewhere and checkpoint.prefix is not None:
            return absolute(checkpoint.prefix)
        return self._name

    def _recorded(self) -> str | None:
        """The path in `checkpoint`."""
        for each in recorded_checkpoints(self.place.state or CheckpointState(), self.place.items):
            if each.step == self.step.step:
                return each.path
        return None

    def _with_it(self, paths: list[str]) -> list[str]:
        """The exempt paths, with one of this step that holds here."""
        mine = [each for each in paths if _named(each)[0] == self._name]
        if any(self._holds(each) for each in mine):
            return paths
        at = paths.index(mine[0]) if mine else len(paths)
        others = [each for each in paths[:at] if each not in mine]
        return [*others, self._path, *(each for each in paths[at:] if each not in mine)]

    def _without_it(self, paths: list[str]) -> list[str]:
        return [each for each in paths if _named(each)[0] != self._name]

    def _holds(self, path: str) -> bool:
        """Whether the training system finds the files at an exempt path."""
        place = parent_of(join(self.directory, path))
        here = parent_of(join(self.directory, self._path))
        return place == here or store_of(here).is_same(place, here or HERE)

    def _check_listed(self) -> None:
        path = join(self.directory, CHECKPOINT)
        if self.step.step not in _listed(_state(store_of(path).read(path), path)):
            raise StepNotFoundError(
                f"step {self.step.step} has been dropped meanwhile", path=self.directory
            )

    def _list(self) -> bool:
        """List it in `checkpoint`, at its place in the order of steps; False if it is by now."""
        path = join(self.directory, CHECKPOINT)
        store = store_of(path)
        before = store.read(path)
        state = _state(before, path)
        if self.step.step in _listed(state):
            return False
        data = format_checkpoint_state(self._inserted(state)).encode("utf-8", "surrogateescape")
        if store.read(path) == before and state == self.place.state:
            store.put(path, data)
            if store.read(path) == data:
                come = model_indexes(self.directory) - indexes(self.place.items)
                if not come:
                    return True
                list_too(path, state, come)
        raise _changing(path)

    def _inserted(self, state: CheckpointState) -> CheckpointState:
        order = [each.step for each in self.place.steps]
        later = set(order[order.index(self.step.step) :])
        paths = list(state.all_model_checkpoint_paths)
        at = next((i for i, each in enumerate(paths) if _named(each)[1] in later), len(paths))
        times = list(state.all_model_checkpoint_timestamps)
        if times and at <= len(times) and self.step.time is not None:
            times.insert(at, self.step.time)
        paths.insert(at, self._path)
        return state._replace(
            all_model_checkpoint_paths=tuple(paths), all_model_checkpoint_timestamps=tuple(times)
        )


def _change(path: str, change: Callable[[list[str]], list[str]]) -> bool:
    """Change the exempt paths of `monolith_checkpoint`; False if there was nothing to change.

    A job writes that file at every save: what it has just written is not lost, and what it writes
    over is written again.
    """
    store = store_of(path)
    is_changed = False
    # A job that has read the file before it was changed may still write it.
    is_settled = not any(store.exists(join(parent_of(path), name)) for name in _OF_JOBS)
    for _ in range(_TRIES):
        data = store.read(path)
        paths = parse_exempt_paths(data, path)
        wanted = change(paths)
        if wanted == paths:
            if is_settled or not is_changed:
                return is_changed
            is_settled = True
            time.sleep(_SETTLE_SECONDS)
            continue
        changed = replace_exempt_paths(data, wanted, path)
        if store.read(path) == data:
            store.put(path, changed)
            is_changed = True
    raise _changing(path)


def _changing(path: str) -> MonolithError:
    return DirectoryInUseError(
        "a job writes it all the while", path=path, hint="try again in a moment"
    )


def _open(model_dir: AnyPath) -> ModelDir:
    opened = open_model_dir(model_dir)
    if opened.kind != "training":
        hint = "give the directory where a job saves"
        raise PathNotFoundError("no directory of a job", path=opened.path, hint=hint)
    return opened


def _named(path: str) -> tuple[str, int | None]:
    """The name of a checkpoint, and its step, by a path to it."""
    each = next(iter(recorded_checkpoints(CheckpointState(path))), None)
    return (each.name, each.step) if each is not None else ("", None)


def _state(data: bytes, path: str) -> CheckpointState:
    return parse_checkpoint_state(data, path)


def _listed(state: CheckpointState) -> set[int | None]:
    return {each.step for each in recorded_checkpoints(state) if each.is_listed}


def _below(path: str, directory: str) -> str:
    return path.removeprefix(join(directory, ""))
