"""Removing what a plan says: in an order that leaves whole whatever is listed, and with a journal.

The journal first; then `checkpoint` without the steps that go, compared before and read after; then
their indexes, without which no step is one; then the rest; the journal last.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from monolith_cli.care.alive import check_quiet
from monolith_cli.care.come_since import list_too, model_indexes
from monolith_cli.care.exports import check_exports
from monolith_cli.care.journal import Journal, begin, check_mine, finish, pick_up, read_journal
from monolith_cli.care.prune.beside import without
from monolith_cli.care.prune.guards import Guards
from monolith_cli.care.prune.waste import newest_file_ns
from monolith_cli.checkpoint.claim import check_journal
from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.checkpoint.names import (
    CHECKPOINT,
    INDEX_SUFFIX,
    begins_input,
    parse_step_file,
    step_of,
)
from monolith_cli.checkpoint.steps import commit_time, recorded_checkpoints
from monolith_cli.errors import (
    DirectoryInUseError,
    MonolithError,
    PathNotFoundError,
    WriteError,
)
from monolith_cli.formats.checkpoint_state import (
    CheckpointState,
    format_checkpoint_state,
    read_checkpoint_state,
)
from monolith_cli.storage.location import absolute, join, name_of
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from monolith_cli.care.prune.plan import Place, PrunePlan
    from monolith_cli.storage.location import AnyPath

__all__ = ["Left", "Pruned", "carry_out", "go_on", "look"]

_AGAIN = "run the same command again, which finishes it"


class Left(NamedTuple):
    """A step that was to go, and stays after all.

    Attributes
    ----------
    place
        Empty, or `dense_only`.
    """

    place: str
    step: int
    why: str


class Pruned(NamedTuple):
    """What was done.

    Attributes
    ----------
    steps
        Of what went, place and step, oldest first.
    others
        The names of what went, and is of no step.
    bytes
        Of all that was to go, as it was when that was planned.
    left
        What stays after all.
    resumed
        Whether it was the plan of a command that was cut off.
    """

    steps: Sequence[tuple[str, int]]
    others: Sequence[str]
    bytes: int
    left: Sequence[Left]
    resumed: bool


def carry_out(
    plan: PrunePlan,
    *,
    quiet_for_seconds: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Pruned:
    """Remove what a plan says. `prove` it before: nothing is checked here.

    Parameters
    ----------
    quiet_for_seconds
        As in `check_quiet`.
    progress
        Called with how many names were removed so far, and how many there are.

    Raises
    ------
    ProtectedError
        Exports would be deleted, and may not go.
    DirectoryInUseError
        A job lives, or has begun to save; or another command was cut off here.
    WriteError
        The store refused. What is listed is whole; doing it again finishes it.
    MonolithError
        Files cannot be read.
    """
    if not plan.options.exports_may_go:
        check_exports(plan.directory, plan.exports)
    if plan.is_empty:
        return Pruned((), (), 0, (), resumed=False)
    command = ["monolith", "ckpt", "prune"]
    if plan.options.unlisted:
        check_journal(plan.directory)
        command += ["--unlisted", "--yes", absolute(plan.directory)]
        journal = begin(plan.directory, "unlisted", command, _as_json(plan))
    else:
        check_quiet(plan.directory, quiet_for_seconds)
        command += ["--yes", absolute(plan.directory)]
        journal = begin(plan.directory, "prune", command, _as_json(plan))
    return _Run(plan.directory, journal, progress, is_new=True).do()


def go_on(
    model_dir: AnyPath,
    *,
    quiet_for_seconds: float | None = None,
    unlisted: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Pruned | None:
    """Finish what was cut off, whatever is asked for now; None if nothing was.

    A step that is there as a whole still, and that somebody has saved again, pinned or listed as
    the latest since, stays.

    Parameters
    ----------
    unlisted
        Only what can be done beside a job.

    Raises
    ------
    MonolithError
        As `carry_out`.
    """
    directory = open_model_dir(model_dir).directory
    if not unlisted:
        journal = pick_up(directory, "prune")
        if journal is not None:
            check_quiet(directory, quiet_for_seconds, resumed=True)
            return _Run(directory, journal, progress, is_new=False).do()
    check_journal(directory)
    journal = pick_up(directory, "unlisted")
    if journal is None:
        return None
    return _Run(directory, journal, progress, is_new=False).do()


def look(model_dir: AnyPath, *, unlisted: bool = False) -> Pruned | None:
    """What `go_on` would finish, as things are now; None if nothing. Nothing is changed.

    Raises
    ------
    MonolithError
        Files cannot be read.
    """
    directory = open_model_dir(model_dir).directory
    journal = read_journal(directory)
    if journal is not None and (unlisted or journal.kind != "prune"):
        return None  # that is to be finished first, by another command
    journal = journal or read_journal(directory, beside_job=True)
    return None if journal is None else _Run(directory, journal, None, is_new=False).look()


def _as_json(plan: PrunePlan) -> dict[str, Any]:
    others = [each.name for each in (*plan.waste, *plan.rolled_back)]
    return {
        "places": [_place_as_json(place) for place in plan.places],
        "others": others,
        "bytes": plan.bytes,
    }


def _place_as_json(place: Place) -> dict[str, Any]:
    assert place.survey.state is not None
    steps = []
    for fate in place.going:
        indexes = {}
        for name in fate.names:
            if _is_model_index(name):
                status = place.survey.items[name].status()
                indexes[name] = [status.size, status.modified_ns]
        steps.append(
            {
                "step": fate.step,
                "indexes": indexes,
                "names": list(fate.names),
                "written_ns": _written_ns(place.survey.directory, fate.names),
            }
        )
    return {
        "place": place.name,
        "before": list(place.survey.state),
        "steps": steps,
        "states_gone": sorted(place.states_gone),
        "states": {
            base: states.name
            for base, states in place.inputs.items()
            if any(gone == base for gone, _ in place.states_gone)
        },
    }


def _written_ns(directory: str, names: Sequence[str]) -> int:
    """When the last of these was written."""
    return max((newest_file_ns(join(directory, name)) for name in names), default=0)


def _is_model_index(name: str) -> bool:
    if not name.endswith(INDEX_SUFFIX):
        return False
    base = name.removesuffix(INDEX_SUFFIX).rpartition("-")[0]
    return not begins_input(base)


class _Going(NamedTuple):
    """A step that goes, as a journal has it: its indexes with size and time, and what goes of it.

    Attributes
    ----------
    written_ns
        When the last of that was written.
    """

    step: int
    indexes: Mapping[str, tuple[int, int]]
    names: Sequence[str]
    written_ns: int


class _PlaceRun:
    """What is done in one directory."""

    def __init__(self, owner: _Run, said: Mapping[str, Any]) -> None:
        self.owner = owner
        self.name = str(said["place"])
        self.directory = join(owner.directory, self.name) if self.name else owner.directory
        latest, paths, times, preserved = said["before"]
        self.before = CheckpointState(latest, tuple(paths), tuple(times), preserved)
        self.going = [
            _Going(
                int(each["step"]),
                {name: (int(s), int(at)) for name, (s, at) in each["indexes"].items()},
                tuple(each["names"]),
                int(each["written_ns"]),
            )
            for each in said["steps"]
        ]
        self.states_gone = {(str(base), int(step)) for base, step in said["states_gone"]}
        self.states: Mapping[str, str] = said["states"]
        self.after: CheckpointState | None = None
        self.known: set[str] = set()

    def path(self, name: str) -> str:
        return join(self.directory, name)

    def read_state(self) -> CheckpointState:
        return read_checkpoint_state(self.path(CHECKPOINT))

    def is_there(self, going: _Going) -> bool:
        """Whether it is still a step: has an index."""
        return any(store_of(self.directory).exists(self.path(name)) for name in going.indexes)

    def look_again(self) -> None:
        """Leave out what must stay after all, as things are now."""
        self.known = model_indexes(self.directory)
        for each in self.going:
            why = self.why_it_stays(each)
            if why is not None:
                self.leave(each, why)
        inputs = Guards.read(self.directory).inputs
        self.states_gone = {each for each in self.states_gone if each not in inputs}

    def leave(self, going: _Going, why: str) -> None:
        """Let a step stay after all."""
        self.owner.left.append(Left(self.name, going.step, why))
        self.going = [each for each in self.going if each != going]
        self.states_gone = {(base, s) for base, s in self.states_gone if s != going.step}

    def why_it_stays(self, going: _Going) -> str | None:
        """Why a step must not go any more; None if it may."""
        if going.step == step_of(name_of(self.read_state().model_checkpoint_path)):
            return "'checkpoint' names it as the latest by now"
        store = store_of(self.directory)
        is_there = self.owner.is_new
        for name, version in going.indexes.items():
            try:
                status = store.status(self.path(name))
            except PathNotFoundError:
                continue
            is_there = True
            if (status.size, status.modified_ns) != version:
                return "it was saved again since"
        if not is_there and _written_ns(self.directory, going.names) > going.written_ns:
            return "it is being saved again"
        # What is no step any more keeps nobody's pin.
        reasons = Guards.read(self.directory).reasons(going.step) if is_there else ()
        return f"by now it is kept: {reasons[0].text}" if reasons else None

    def commit(self) -> None:
        """Take what goes out of `checkpoint`: compared before, read after.

        Raises
        ------
        DirectoryInUseError
            Somebody else has written it, or saves here: then what it said before is there.
        """
        state = self.read_state()
        if self.owner.is_new and state != self.before:
            raise self._in_use("has changed since the plan was made")
        after = _without_steps(state, {each.step for each in self.going})
        self.after = after
        if after == state:
            return
        self._put(after)
        self.owner.has_changed = True
        if self.read_state() != after:
            raise self._in_use("is written by somebody else")
        come = model_indexes(self.directory) - self.known
        if come:
            newest = list_too(self.path(CHECKPOINT), state, come)
            raise self._in_use(f"is in use: '{newest}' has just been saved")

    def _put(self, state: CheckpointState) -> None:
        text = format_checkpoint_state(state).encode("utf-8", "surrogateescape")
        store_of(self.directory).put(self.path(CHECKPOINT), text)

    def check(self) -> None:
        """Make sure that nobody has begun to save since.

        Raises
        ------
        DirectoryInUseError
            Somebody has.
        """
        if self.after is not None and self.read_state() != self.after:
            raise self._in_use("has changed: a job has begun to save here")

    def _in_use(self, what: str) -> DirectoryInUseError:
        return DirectoryInUseError(
            what, path=self.path(CHECKPOINT), hint="stop that job first", kind="job_runs"
        )

    def write_states(self) -> None:
        """Take iterator states that go out of the state files of their inputs."""
        for base, name in self.states.items():
            gone = {step for each, step in self.states_gone if each == base}
            try:
                state = read_checkpoint_state(self.path(name))
            except PathNotFoundError:
                continue
            after = _without_steps(state, gone)
            if after != state:
                text = format_checkpoint_state(after).encode("utf-8", "surrogateescape")
                store_of(self.directory).put(self.path(name), text)

    def names(self, each: _Going) -> Iterator[str]:
        """What of a step goes, as things are now; what makes it a step comes first."""
        for name in each.names:
            file = parse_step_file(name)
            is_state = file is not None and file.kind == "input"
            if not is_state or (file and (file.base, file.step) in self.states_gone):
                yield name


class _Run:
    """One prune, while it is done."""

    def __init__(
        self,
        directory: str,
        journal: Journal,
        progress: Callable[[int, int], None] | None,
        *,
        is_new: bool,
    ) -> None:
        self.directory = directory
        self.journal = journal
        self.progress = progress or (lambda done, total: None)
        self.is_new = is_new
        self.has_changed = not is_new
        self.left: list[Left] = []
        try:
            self.places = [_PlaceRun(self, each) for each in journal.plan["places"]]
            self.others = [str(name) for name in journal.plan["others"]]
            self.bytes = int(journal.plan["bytes"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            what = "the plan in it is not one of this command"
            raise DirectoryInUseError(what, path=directory, kind="unfinished_command") from error
        self.removed: set[str] = set()

    def do(self) -> Pruned:
        """Do it."""
        try:
            for place in self.places:
                place.look_again()
            if self.journal.kind == "unlisted":
                self._beside_job()
            else:
                self._refuse_changes()
                self._alone()
            self._remove_others()
            finish(self.directory, self.journal)
        except MonolithError as error:
            self._give_up(error)
            raise
        return self._pruned()

    def look(self) -> Pruned:
        """What `do` would do, as things are now."""
        for place in self.places:
            place.look_again()
            for each in place.going if self.journal.kind == "unlisted" else ():
                why = _why_not_beside_job(place, each)
                if why is not None:
                    place.leave(each, why)
        return self._pruned()

    def _pruned(self) -> Pruned:
        steps = [(place.name, each.step) for place in self.places for each in place.going]
        return Pruned(steps, self.others, self.bytes, self.left, resumed=not self.is_new)

    def _give_up(self, error: MonolithError) -> None:
        """Without a change there is nothing to finish; else say how to."""
        if self.has_changed:
            error.hint = f"{error.hint}; {_AGAIN}" if error.hint else _AGAIN
            return
        with suppress(WriteError):
            finish(self.directory, self.journal)

    def _refuse_changes(self) -> None:
        if self.is_new and self.left:
            each = self.left[0]
            raise DirectoryInUseError(
                f"step {each.step} is not what it was when the plan was made: {each.why}",
                path=self.directory,
                hint="run it again, for a new plan",
                kind="job_runs",
            )

    def _alone(self) -> None:
        try:
            for place in self.places:
                place.commit()
        except DirectoryInUseError:
            # Nothing was removed: whoever saves here lists what he knows.
            self.has_changed = not self.is_new
            raise
        for place in self.places:
            for each in place.going:
                self._check(place)
                for name in each.indexes:
                    self._remove(place, name)
        for place in self.places:
            for each in place.going:
                for name in place.names(each):
                    if name.endswith(INDEX_SUFFIX):
                        self._remove(place, name)
            place.write_states()
        for place in self.places:
            for each in place.going:
                self._check(place)
                for name in place.names(each):
                    self._remove(place, name)

    def _check(self, place: _PlaceRun) -> None:
        check_mine(self.directory, self.journal)
        place.check()

    def _beside_job(self) -> None:
        for place in self.places:
            for each in place.going:
                check_mine(self.directory, self.journal)
                why = _why_not_beside_job(place, each)
                if why is not None:
                    place.leave(each, why)
                    continue
                for name in (*each.indexes, *place.names(each)):
                    self._remove(place, name)

    def _remove(self, place: _PlaceRun, name: str) -> None:
        path = place.path(name)
        if path in self.removed:
            return
        self.has_changed = True
        store_of(self.directory).delete(path)
        self.removed.add(path)
        total = sum(len(each.names) for p in self.places for each in p.going)
        self.progress(min(len(self.removed), total), total)

    def _remove_others(self) -> None:
        for name in self.others:
            check_mine(self.directory, self.journal)
            self.has_changed = True
            store_of(self.directory).delete(join(self.directory, name))


def _without_steps(state: CheckpointState, steps: Collection[int]) -> CheckpointState:
    recorded = {each.path: each.step for each in recorded_checkpoints(state)}
    return without(state, lambda path: recorded.get(path) in steps)


def _why_not_beside_job(place: _PlaceRun, going: _Going) -> str | None:
    """Why an unlisted step stays after all, by what `checkpoint` says now."""
    state = place.read_state()
    listed: dict[int, float | None] = {}
    for each in recorded_checkpoints(state):
        if each.step is not None:
            listed[each.step] = each.time
    if going.step in listed:
        return "'checkpoint' lists it by now"
    if not place.is_there(going):
        return None  # it was begun, and is no step any more
    latest = step_of(name_of(state.model_checkpoint_path))
    if latest is None or latest <= going.step:
        return "not older than the latest by now"
    at = commit_time(listed.get(latest), place.path(name_of(state.model_checkpoint_path)))
    written = [time for _, time in going.indexes.values()]
    if at is None or max(written) >= at * 1e9:
        return "not older than the latest by now"
    return place.why_it_stays(going)
