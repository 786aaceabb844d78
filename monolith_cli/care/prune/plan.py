"""What a prune does: which steps stay and why, and which go. Nothing is changed here."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.care.exports import endangered, find_exports, unnoted, without_exports
from monolith_cli.care.keeping import Candidate, Policy, Reason, kept_by
from monolith_cli.care.leftovers import bytes_of
from monolith_cli.care.prune.beside import needed, read_input_states, worker_key
from monolith_cli.care.prune.guards import Guards, why_never
from monolith_cli.care.prune.waste import Waste, find_rolled_back, find_waste
from monolith_cli.care.survey import DENSE_ONLY, survey
from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.checkpoint.names import (
    CHECKPOINT,
    INDEX_SUFFIX,
    parse_checkpoint_name,
)
from monolith_cli.errors import PathNotFoundError, StepNotFoundError, UsageError
from monolith_cli.storage.location import join, name_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from monolith_cli.care.exports import Export
    from monolith_cli.care.prune.beside import InputStates
    from monolith_cli.care.states import StepSurvey, Survey
    from monolith_cli.storage.location import AnyPath

__all__ = ["Fate", "Place", "PruneOptions", "PrunePlan", "plan_prune"]

_LISTED = Reason("listed", "listed in checkpoint")
_NOT_OLDER = Reason("not_older", "not older than the latest")
_WITH_THE_MODEL = Reason("with_the_model", "the step of that number stays")
_NOT_ASKED = Reason("not_asked", "no policy was given")
_NO_POLICY = Reason("no_policy", "no policy keeps it")
_ALL_UNLISTED = Reason("unlisted", "not listed in checkpoint")

_WITH_STEP = {"inputs", "manifest", "checked", "repaired"}
"""Kinds of files that go with their step, whatever its checkpoint is called. Counts stay."""


class PruneOptions(NamedTuple):
    """What is asked for.

    Attributes
    ----------
    policy
        What stays; without any all steps do.
    unlisted
        Only steps that `checkpoint` does not list may go, and only those that are older than the
        latest; without a policy all of them do. That can be done while a job runs.
    leftovers
        Saves that were given up go too, and files whose writers have died, if they are old.
    rolled_back
        What rollbacks have moved away goes too.
    older_seconds
        Only what was moved away at least so long ago.
    exports
        Where exports of this model are, besides below its directory.
    exports_may_go
        Exports that the training system would delete at its next save are no reason to refuse.
    """

    policy: Policy = Policy()
    unlisted: bool = False
    leftovers: bool = False
    rolled_back: bool = False
    older_seconds: float | None = None
    exports: Sequence[AnyPath] = ()
    exports_may_go: bool = False


class Fate(NamedTuple):
    """A step, and whether it stays.

    Attributes
    ----------
    state, time
        As in `StepSurvey`.
    is_listed
        Whether `checkpoint` lists it.
    bytes
        Of all its files; of one that goes, of those that go.
    reasons
        Why.
    names
        What goes of it, by name in its directory: what makes it a step first.
    """

    step: int
    state: str
    time: float | None
    is_listed: bool
    bytes: int
    stays: bool
    reasons: Sequence[Reason]
    names: Sequence[str] = ()


class Place(NamedTuple):
    """A directory with steps: the model's own, or the one with dense variables alone in it.

    Attributes
    ----------
    name
        Empty, or `dense_only`.
    fates
        Every committed or whole step, in the order of steps.
    inputs
        The state files of inputs, by the base of the states' names.
    states_gone
        The iterator states that go: base and step.
    protected
        Steps that never go, whatever their state.
    """

    name: str
    survey: Survey
    fates: Sequence[Fate]
    inputs: Mapping[str, InputStates]
    states_gone: Collection[tuple[str, int]]
    protected: Collection[int | None]

    @property
    def going(self) -> list[Fate]:
        """Those that go, oldest first."""
        return [each for each in self.fates if not each.stays]

    def newest_kept(self) -> int | None:
        """The newest whole step that stays; None without one."""
        whole = ("complete", "unlisted")
        kept = (each.step for each in reversed(self.fates) if each.stays and each.state in whole)
        return next(kept, None)


class PrunePlan(NamedTuple):
    """What is to be done.

    Attributes
    ----------
    model_dir
        As it was given.
    directory
        The same as `ModelDir.directory`.
    places
        The model directory, and `dense_only` in it.
    waste
        Leftovers that go.
    rolled_back
        What rollbacks have moved away, and goes.
    exports
        Those that the training system will delete at its next save, because their steps go.
    pinned_unlisted
        Steps that are exempt and not listed: the training system does not start.
    unnoted
        Exports without tables, of which nobody can say whose tables they read.
    without_exports
        Of the directories in which exports are said to be, those where none was found.
    strays
        What lies among what rollbacks have moved away, and is none of that: it stays.
    """

    model_dir: str
    directory: str
    options: PruneOptions
    places: Sequence[Place]
    waste: Sequence[Waste]
    rolled_back: Sequence[Waste]
    exports: Sequence[Export]
    pinned_unlisted: Sequence[int]
    unnoted: Sequence[str]
    without_exports: Sequence[str] = ()
    strays: Sequence[str] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.waste or self.rolled_back or any(place.going for place in self.places))

    @property
    def bytes(self) -> int:
        """Of all that goes."""
        steps = sum(fate.bytes for place in self.places for fate in place.going)
        return steps + sum(each.bytes for each in (*self.waste, *self.rolled_back))


def plan_prune(model_dir: AnyPath, options: PruneOptions, *, now: float | None = None) -> PrunePlan:
    """Say what stays, and what goes. A job may run meanwhile; nothing is changed, no data read.

    Parameters
    ----------
    now
        In seconds since 1970; by default what the clock says.

    Raises
    ------
    UsageError
        Nothing is asked for; or something that cannot be done beside a job with what can.
    PathNotFoundError
        It is no directory of a job, or has no `checkpoint`: what is committed is not known.
    StepNotFoundError
        A step that is asked for is not there; or the latest has no number.
    StateFileError
        `checkpoint`, or another file that says which steps must stay, does not parse.
    MonolithError
        As `survey` and `find_exports`.
    """
    if not (
        options.unlisted or options.leftovers or options.rolled_back or not options.policy.is_empty
    ):
        raise UsageError("nothing is asked for: no policy that says what stays")
    if options.unlisted and (options.leftovers or options.rolled_back):
        raise UsageError("leftovers, and what was moved away, cannot go with unlisted steps alone")
    now = time.time() if now is None else now
    opened = open_model_dir(model_dir)
    if opened.kind != "training":
        hint = "give the directory where a job saves"
        raise PathNotFoundError("no directory of a job", path=opened.path, hint=hint)
    found = survey(opened)
    _require_latest(found)
    exports = find_exports(found.directory, options.exports)
    guards = Guards.read(found.directory)
    _check_asked_for(found, options.policy)
    main = _place("", found, guards, exports, options, now)
    places = [main]
    inner = found.dense_only
    if inner is not None and inner.state is not None:  # else nothing is known of it, or goes
        _require_latest(inner)
        kept = {fate.step for fate in main.fates if fate.stays}
        also = Guards.read(inner.directory)
        places.append(_place(DENSE_ONLY, inner, also, exports, options, now, kept))
    waste = []
    if options.leftovers:
        for place in places:
            in_use = _states_in_use(place)
            waste += find_waste(place.survey, place.name, place.protected, in_use, now)
    rolled_back: list[Waste] = []
    strays: list[str] = []
    if options.rolled_back:
        rolled_back, strays = find_rolled_back(found, options.older_seconds, now)
    return PrunePlan(
        opened.path,
        found.directory,
        options,
        places,
        waste,
        rolled_back,
        [] if options.unlisted else _exports_that_go(exports, places, guards),
        _pinned_unlisted(found, guards),
        unnoted(found.directory, exports, options.exports),
        without_exports(options.exports),
        strays,
    )


def _require_latest(found: Survey) -> None:
    path = join(found.directory, CHECKPOINT)
    if found.state is None or found.latest is None:
        what = f"no '{CHECKPOINT}': nobody can say which steps are committed"
        raise PathNotFoundError(what, path=path, hint="restore it from a copy")
    if found.latest.step is None:
        raise StepNotFoundError("its latest checkpoint has no number", path=path)


def _check_asked_for(found: Survey, policy: Policy) -> None:
    """A step that shall stay, and is not there, is most likely a mistake in its number."""
    there = {step.step for step in found.steps if step.state != "uncommitted"}
    if found.dense_only is not None:
        there |= {step.step for step in found.dense_only.steps if step.state != "uncommitted"}
    for step in policy.steps:
        if step not in there:
            raise StepNotFoundError(f"no step {step}, which is to stay", path=found.directory)


def _place(
    name: str,
    found: Survey,
    guards: Guards,
    exports: Sequence[Export],
    options: PruneOptions,
    now: float,
    kept_in_model: Collection[int | None] = (),
) -> Place:
    steps = [each for each in found.steps if each.step is not None and each.state != "uncommitted"]
    sizes = {id(each): _bytes_of(found, each, each.names) for each in steps}
    never = why_never(found, guards, exports)
    candidates = [
        Candidate(each.step, each.time, sizes[id(each)])
        for each in steps
        if each.is_whole and each.step is not None
    ]
    by_policy = kept_by(options.policy, candidates, now)
    asked_for = Reason("step", "asked for")
    decided: list[tuple[StepSurvey, bool, list[Reason]]] = []
    for each in steps:
        assert each.step is not None
        why = [*never.get(each.step, ()), *by_policy.get(each.step, ())]
        if not each.is_whole and each.step in options.policy.steps:
            why.append(asked_for)
        if each.step in kept_in_model:
            why.append(_WITH_THE_MODEL)
        if options.unlisted:
            why += _in_the_way_of_unlisted(found, each)
        elif options.policy.is_empty:
            why.append(_NOT_ASKED)
        decided.append((each, bool(why), why or [_why_it_goes(each, options)]))
    kept = {each.step for each, stays, _ in decided if stays}
    inputs = read_input_states(found)
    in_use = needed(found, kept, "input") | guards.inputs
    in_use |= _listed_states(inputs, all_of_them=options.unlisted)
    pools = needed(found, kept, "item_pool")
    fates = []
    states_gone: set[tuple[str, int]] = set()
    for each, stays, why in decided:
        if stays:
            names: list[str] = []
            size = sizes[id(each)]
        else:
            names = sorted(_names(found, each, in_use, pools, guards), key=_removal_rank)
            size = _bytes_of(found, each, names)
            files = (found.step_files[name] for name in names)
            states_gone |= {(file.base, file.step) for file in files if file.kind == "input"}
        assert each.step is not None
        fates.append(
            Fate(each.step, each.state, each.time, each.is_listed, size, stays, why, names)
        )
    return Place(name, found, fates, inputs, states_gone, set(never))


def _why_it_goes(step: StepSurvey, options: PruneOptions) -> Reason:
    if step.checkpoint is None:
        return Reason("gone", "its files are gone")
    if not step.is_whole:
        missing = step.missing[0]
        more = f" and {len(step.missing) - 1} more" if len(step.missing) > 1 else ""
        return Reason("incomplete", f"not whole: {name_of(missing.file)}{more}")
    if options.unlisted and options.policy.is_empty:
        return _ALL_UNLISTED
    return _NO_POLICY


def _in_the_way_of_unlisted(found: Survey, step: StepSurvey) -> list[Reason]:
    """Why a step may not go while a job runs."""
    if step.is_listed:
        return [_LISTED]
    return [] if is_older(step.step, step.time, found.latest) else [_NOT_OLDER]


def is_older(step: int | None, time: float | None, latest: StepSurvey | None) -> bool:
    """Whether a step is older than the latest, by its commit and by its number."""
    if latest is None or latest.step is None or latest.time is None:
        return False
    return step is not None and time is not None and step < latest.step and time < latest.time


def _listed_states(inputs: Mapping[str, InputStates], *, all_of_them: bool) -> set[tuple[str, int]]:
    """What a job of the original would start from: what a state file names as the latest.

    With `all_of_them` all that a state file lists: it is not touched then.
    """
    found: set[tuple[str, int]] = set()
    for base, states in inputs.items():
        steps = set(states.steps.values()) if all_of_them else {states.latest}
        found |= {(base, step) for step in steps if step is not None}
    return found


def _states_in_use(place: Place) -> set[tuple[str, int]]:
    """Iterator states that leftovers do not take along."""
    kept = {fate.step for fate in place.fates if fate.stays}
    guards = Guards.read(place.survey.directory)
    in_use = needed(place.survey, kept, "input") | guards.inputs
    return in_use | _listed_states(place.inputs, all_of_them=True)


def _names(
    found: Survey,
    step: StepSurvey,
    inputs: Collection[tuple[str, int]],
    pools: Collection[tuple[str, int]],
    guards: Guards,
) -> Iterator[str]:
    """What goes of a step: not what others need, nor another saver's checkpoint of that number."""
    bases = _bases(found, step)
    rolled_back_to = {at for _, at in guards.inputs}
    for name in step.names:
        file = found.step_files[name]
        if file.kind in ("bundle", "tables"):
            if file.base in bases:
                yield name
        elif file.kind == "input":
            if (file.base, file.step) not in inputs:
                yield name
        elif file.kind == "item_pool":
            if file.base in bases and (worker_key(file), file.step) not in pools:
                yield name
        elif file.kind in _WITH_STEP and not (
            file.kind == "inputs" and file.step in rolled_back_to
        ):
            yield name


def _bases(found: Survey, step: StepSurvey) -> set[str]:
    """What the names of its checkpoint begin with."""
    names = []
    if step.checkpoint is not None and step.checkpoint.prefix is not None:
        names.append(name_of(step.checkpoint.prefix))
    elif step.checkpoint is not None:
        names += [name_of(assets) for assets in step.checkpoint.assets]
    elif found.state is not None:
        paths = (*found.state.all_model_checkpoint_paths, found.state.model_checkpoint_path)
        names += [name_of(path) for path in paths]
    parts = (parse_checkpoint_name(name) for name in names)
    return {each.base for each in parts if each is not None and each.step == step.step}


def _removal_rank(name: str) -> tuple[int, str]:
    """The index of the model first, without which nobody offers the step; `ckpt.inputs` last."""
    if name.endswith(INDEX_SUFFIX):
        return (1 if name.startswith("input") else 0), name
    return (3 if name.startswith("ckpt.inputs-") else 2), name


def _bytes_of(found: Survey, step: StepSurvey, names: Collection[str]) -> int:
    """Of files of a step; of its tables as the survey has it."""
    total = 0
    tables = {name_of(each) for each in step.checkpoint.assets} if step.checkpoint else ()
    for name in names:
        size = step.dense_files.get(name)
        if name in tables:
            total += step.table_bytes
        elif size is not None:
            total += size
        else:
            total += bytes_of(join(found.directory, name))
    if step.checkpoint is not None and step.checkpoint.is_elsewhere:
        total += step.table_bytes + step.dense_bytes
    return total


def _exports_that_go(
    exports: Sequence[Export], places: Sequence[Place], guards: Guards
) -> list[Export]:
    """Those whose steps are listed or exempt now, and will not be."""
    listed: list[tuple[set[int], set[int]]] = []
    exempt = set(guards.exempt)
    for place in places:
        before = {fate.step for fate in place.fates if fate.is_listed}
        gone = {fate.step for fate in place.going}
        listed.append((before | exempt, (before - gone) | exempt))
    before, after = listed[0]
    found = endangered(exports, after, before)
    for dense_before, dense_after in listed[1:]:
        # One of dense variables alone lives as long as the model's step does, too.
        found += [
            each
            for each in endangered(exports, dense_after | after, dense_before)
            if each not in found
        ]
    return found


def _pinned_unlisted(found: Survey, guards: Guards) -> list[int]:
    listed = {step.step for step in found.steps if step.is_listed}
    return sorted(step for step in guards.exempt if step not in listed)
