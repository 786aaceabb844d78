"""The committed steps of a job's directory, as its chief keeps them.

A save writes files under names with its step, `checkpoint` last. That one rename commits: the step
is whole from then on, and is never written again. What has a later step than the latest committed
one is of a save that was given up, or of a future that the job has gone back from.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.checkpoint.inputs import (
    StepInputs,
    read_step_inputs,
    worker_of,
    write_input_state,
    write_step_inputs,
)
from monolith_cli.checkpoint.names import (
    CHECKPOINT,
    CHIEF_CLAIM,
    CKPT_INPUTS_PREFIX,
    INDEX_SUFFIX,
    MODEL_BASE,
    MONOLITH_CHECKPOINT,
    StepFile,
    input_base,
    parse_step_file,
    step_of,
    target_of_temporary,
)
from monolith_cli.checkpoint.override import (
    Override,
    read_override,
    what_is_left,
    write_rest,
)
from monolith_cli.checkpoint.restart import RestartPoint, restart_point
from monolith_cli.checkpoint.steps import (
    Recorded,
    comes_later,
    commit_time,
    index_time,
    recorded_checkpoints,
)
from monolith_cli.errors import (
    DirectoryInUseError,
    NotReadableError,
    PathNotFoundError,
    StateFileError,
    UsageError,
)
from monolith_cli.formats.checkpoint_state import (
    CheckpointState,
    format_checkpoint_state,
    read_checkpoint_state,
    read_monolith_checkpoint_state,
)
from monolith_cli.storage.location import absolute, as_location, join, name_of
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from monolith_cli.storage.location import AnyPath
    from monolith_cli.storage.protocols import Store

__all__ = ["CommittedSteps"]

_HOUR_SECONDS = 3600.0

_WITH_STEP = {"info", "inputs", "manifest", "checked", "repaired"}
"""Kinds of files that go with their step, and are ours by their names."""


class _Listed(NamedTuple):
    path: str  # as `checkpoint` will have it: relative if the files are here
    step: int | None
    committed_at: float  # seconds since 1970


class CommittedSteps:
    """What `checkpoint` lists, up to the step that the job went on from; one writer at a time.

    Parameters
    ----------
    model_dir
        The job's directory.
    base
        What names of checkpoints begin with, such as `model.ckpt`.
    max_to_keep
        How many steps stay listed; 0 or None for all.
    keep_every_n_hours
        A step that leaves the list stays on disk if it is this much younger than the last that
        stayed so, or at first than the oldest listed.
    check
        Called before anything is written or removed; raises if the directory is another chief's.
    store
        Where commits are written and steps removed; by default the one that the directory is in.

    Raises
    ------
    UsageError
        `max_to_keep` is negative.
    """

    def __init__(
        self,
        model_dir: AnyPath,
        base: str = MODEL_BASE,
        *,
        max_to_keep: int | None = 5,
        keep_every_n_hours: float = 10_000.0,
        check: Callable[[], object] = lambda: None,
        store: Store | None = None,
    ) -> None:
        if max_to_keep is not None and max_to_keep < 0:
            raise UsageError(f"max_to_keep is {max_to_keep}; 0 keeps all")
        self._model_dir = as_location(model_dir)
        self._store = store or store_of(self._model_dir)
        self._base = base
        self._max_to_keep = max_to_keep or 0
        self._keep_every_seconds = keep_every_n_hours * _HOUR_SECONDS
        self._check = check
        self._run_ids: set[str] = set()
        self._listed: list[_Listed] = []
        self._state = CheckpointState()  # as it was read or written last
        self._preserved_at = 0.0
        self._latest: int | None = None
        self._latest_at: float | None = None  # when it was committed
        self._given_up: set[int] = set()  # steps that were committed, and gone back from
        self._restored: int | None = None
        self._override: Override | None = None
        self._to_drop: set[int] = set()
        self._held: set[int] = set()  # dropped, but for states that a rollback names
        self._of_others: set[str] = set()  # paths that others list, and drop

    @property
    def latest(self) -> int | None:
        """The latest committed step; None before the first."""
        return self._latest

    def restart(self, point: RestartPoint | None = None) -> RestartPoint:
        """Take the directory as it is, when the job (again) begins.

        Parameters
        ----------
        point
            What was restored; by default what `restart_point` says now. Without a prefix: the step
            that the job is at, which itself may not be here.

        Raises
        ------
        MonolithError
            As `restart_point`.
        """
        point = point or restart_point(self._model_dir)
        state = CheckpointState()
        with contextlib.suppress(PathNotFoundError):
            state = read_checkpoint_state(join(self._model_dir, CHECKPOINT))
        self._state = state
        self._preserved_at = state.last_preserved_timestamp
        self._override, self._to_drop, self._of_others = point.override, set(), set()
        listed: dict[str, _Listed] = {}
        for each in recorded_checkpoints(state) if point != RestartPoint() else ():
            path = self._path(each)
            # TensorFlow 1 writes no times.
            saved_at = each.time or _saved_at(self._place(path))
            listed.setdefault(path, _Listed(path, each.step, saved_at))
        self._listed = list(listed.values())
        self._latest = point.step
        self._latest_at = None if point.prefix is None else index_time(point.prefix)
        self._restored = point.step if point.prefix is not None else None
        if point.step is None:
            # Nothing, or a checkpoint without a number, which says nothing about the others.
            numbers = [entry.step for entry in self._listed if entry.step is not None]
            self._latest = numbers[-1] if numbers else None
        self._give_up_later()
        return point

    def _give_up_later(self) -> None:
        """Take from the list what was committed after the step that the job goes on from.

        That is what comes behind it in the list, or, where it is not listed itself, what has a
        higher number and was not committed before it.
        """
        steps = [entry.step for entry in self._listed]
        at = steps.index(self._latest) if self._latest in steps else -1
        if at >= 0:
            entry = self._listed[at]
            self._latest_at = commit_time(entry.committed_at, self._place(entry.path))
        kept, given_up = [], set()
        for i, entry in enumerate(self._listed):
            step, latest, latest_at = entry.step, self._latest, self._latest_at
            if step is None or latest is None or i <= at:
                kept.append(entry)
            elif comes_later(step, entry.committed_at, latest, latest_at) or (
                at >= 0 and latest_at is not None and entry.committed_at > latest_at
            ):
                given_up.add(step)
            else:
                kept.append(entry)
        self._listed, self._given_up = kept, given_up

    def is_committed(self, step: int) -> bool:
        """Whether that step is whole, and not of a future that the job has gone back from."""
        # What was restored may be one of the older that are listed no longer.
        return step == self._restored or any(entry.step == step for entry in self._listed)

    def prefix(self, step: int) -> str:
        """The prefix of that step's files."""
        return join(self._model_dir, f"{self._base}-{step}")

    def clear_uncommitted(self) -> list[str]:
        """Remove what has a later step than the latest committed; return the names.

        That is checkpoints, tables, counts and iterator states. Of other files only those that
        TensorFlow and `Store.put` leave behind when they die in a save. Before the first commit
        only steps go that `begin` has marked: what else lies there may be somebody's only copy.

        Call it before every save: what a failed one left would else be older than the next
        commit, and look like a step that was kept. Iterator states that are being written now go
        as well.

        Raises
        ------
        DirectoryInUseError
            Another chief has taken the directory, or has committed there.
        WriteError
            The operating system refused.
        """
        self._check()
        self._adopt()
        if self._latest is not None:
            return self._remove(self._is_uncommitted, all_unfinished=True)
        names = self._names()
        begun = {step_of(name) for name in names if name.startswith(CKPT_INPUTS_PREFIX)}
        return self._remove(lambda step: step in begun, all_unfinished=True)

    def _is_uncommitted(self, step: int) -> bool:
        if step in self._given_up:
            return True
        if self._latest is None or self.is_committed(step):
            return False
        return comes_later(step, index_time(self.prefix(step)), self._latest, self._latest_at)

    def begin(self, step: int, run_id: str = "") -> None:
        """Mark a step whose files are about to be written, by a `ckpt.inputs` without workers.

        Raises
        ------
        WriteError
            The operating system refused.
        """
        self._check()
        self._run_ids |= {run_id} - {""}
        write_step_inputs(self._model_dir, StepInputs(step, run_id, {}))

    def commit(self, step: int, rest: Override | None = None) -> None:
        """Name that step in `checkpoint`, and end a rollback of inputs; then drop old steps.

        A rollback that was asked for since the restart is left to the next one. Iterator states
        that `ckpt.override` names stay, when their step goes, for as long as it names them.

        Parameters
        ----------
        rest
            What this step leaves of the rollback that was honoured: the inputs of workers that have
            not gone back by it yet.

        Raises
        ------
        DirectoryInUseError
            Another chief has taken the directory, or has committed there.
        WriteError
            The operating system refused. The step is then committed if `is_committed` says so,
            and the next commit drops what this one could not.
        StateFileError, NotReadableError
            `monolith_checkpoint` does not parse, or cannot be read; nothing is committed.
        """
        self._check()
        now = time.time()
        self._adopt()
        listed = [entry for entry in self._listed if entry.step != step]
        listed.append(_Listed(f"{self._base}-{step}", step, now))
        kept, gone, preserved_at = self._retain(listed)
        state = CheckpointState(
            kept[-1].path,
            tuple(entry.path for entry in kept),
            tuple(entry.committed_at for entry in kept),
            preserved_at,
        )
        text = format_checkpoint_state(state).encode("utf-8", "surrogateescape")
        self._store.put(join(self._model_dir, CHECKPOINT), text)
        self._state = state
        self._listed, self._preserved_at = kept, preserved_at
        self._latest, self._latest_at = step, commit_time(now, self.prefix(step))
        self._given_up.discard(step)
        self._to_drop.update(entry.step for entry in gone if entry.step is not None)
        self._end_rollback(rest, [entry.step for entry in listed if entry.step is not None])
        self._drop()

    def _adopt(self) -> None:
        """Take what somebody else has committed since, another saver say, for committed.

        It counts as none of the steps to keep.

        Raises
        ------
        DirectoryInUseError
            It is of another chief, by its run id.
        """
        state = CheckpointState()
        with contextlib.suppress(PathNotFoundError):
            state = read_checkpoint_state(join(self._model_dir, CHECKPOINT))
        step = step_of(name_of(state.model_checkpoint_path))
        if state == self._state or step is None:
            return
        self._refuse_other_runs(state)
        own = [entry for entry in self._listed if entry.path not in self._of_others]
        to_drop, override = self._to_drop, self._override
        self.restart(RestartPoint(step, join(self._model_dir, f"{self._base}-{step}")))
        self._to_drop, self._override = to_drop, override
        # Who lists a step will list it again: it is there until they drop it. What they do not
        # know is still ours to list and to drop.
        self._of_others = {entry.path for entry in self._listed}
        self._listed += [
            entry
            for entry in own
            if entry.path not in self._of_others
            and (
                entry.step is None
                or not comes_later(entry.step, entry.committed_at, step, self._latest_at)
            )
            and self._store.exists(self._place(entry.path) + INDEX_SUFFIX)
        ]
        self._listed.sort(key=lambda entry: entry.committed_at)

    def _refuse_other_runs(self, state: CheckpointState) -> None:
        """Steps that have come since, with the id of a run, are of another chief of ours."""
        if not self._run_ids:
            return
        known = {entry.path for entry in self._listed}
        known.update(self._state.all_model_checkpoint_paths)
        for each in recorded_checkpoints(state):
            path = self._path(each)
            if each.step is None or known & {path, each.path} or path != each.name:
                continue
            inputs = read_step_inputs(self._model_dir, each.step)
            if inputs and inputs.run_id and inputs.run_id not in self._run_ids:
                raise DirectoryInUseError(
                    f"step {each.step} has been committed by another job, of run {inputs.run_id}",
                    path=self._model_dir,
                    hint="stop one of them, and give it a directory of its own",
                    kind="another_chief",
                )

    def _retain(self, listed: list[_Listed]) -> tuple[list[_Listed], list[_Listed], float]:
        """What stays listed, what goes, and when something last left the list but stayed."""
        preserved_at = self._preserved_at or listed[0].committed_at
        if not self._max_to_keep:
            return listed, [], preserved_at
        exempt = self._exempt() | {self._place(path) for path in self._of_others}
        excess = sum(self._place(entry.path) not in exempt for entry in listed) - self._max_to_keep
        kept, gone = [], []
        for entry in listed:
            if excess <= 0 or self._place(entry.path) in exempt:
                kept.append(entry)
                continue
            excess -= 1
            if entry.committed_at - preserved_at >= self._keep_every_seconds:
                preserved_at = entry.committed_at
            elif entry.path == f"{self._base}-{entry.step}":
                gone.append(entry)
        return kept, gone, preserved_at

    def _exempt(self) -> set[str]:
        """Where the checkpoints are that `monolith_checkpoint` exempts from being dropped."""
        path = join(self._model_dir, MONOLITH_CHECKPOINT)
        try:
            exempt = read_monolith_checkpoint_state(path).exempt_model_checkpoint_paths
        except PathNotFoundError:
            return set()
        return {
            self._place(self._path(each))
            for name in exempt
            for each in recorded_checkpoints(CheckpointState(name))
        }

    def _end_rollback(self, rest: Override | None, steps: Iterable[int]) -> None:
        """Leave that of the override that this job or the one before has honoured; no newer one."""
        honoured, self._override = self._override, rest
        try:
            override = read_override(self._model_dir)
            if override is None:
                return  # somebody has taken it back
            if honoured is None or not honoured.is_rest_of(override):
                rest = what_is_left(self._model_dir, override, steps)
        except (StateFileError, NotReadableError):
            return  # so it is none that was honoured; whoever starts next is told
        if rest != override:
            write_rest(self._model_dir, rest)

    def _named_inputs(self) -> dict[int, int]:
        """By worker, the step of the iterator state that `ckpt.override` names."""
        try:
            override = read_override(self._model_dir)
        except (StateFileError, NotReadableError, PathNotFoundError):
            return {}
        return dict(override.inputs) if override else {}

    def _drop(self) -> None:
        """Remove steps that are no longer listed, and what a killed removal has left of others."""
        names = self._store.names(self._model_dir)
        whole = {
            step_of(name)
            for name in names
            if name.endswith(INDEX_SUFFIX) and worker_of(name) is None
        }
        whole.update(entry.step for entry in self._listed)
        for name in names:
            step = step_of(name) if name.startswith(CKPT_INPUTS_PREFIX) else None
            if step is not None and step not in whole:
                self._to_drop.add(step)
        self._to_drop |= self._held - whole
        if self._to_drop:
            self._remove(self._to_drop.__contains__, keep_counts=True)
            self._to_drop = set()

    def _remove(
        self,
        goes: Callable[[int], bool],
        *,
        keep_counts: bool = False,
        all_unfinished: bool = False,
    ) -> list[str]:
        names = self._names()
        named = self._named_inputs()
        self._held = {step for step in self._held if not goes(step)}
        gone: list[str] = []
        workers: set[int] = set()
        for name in names:
            file = parse_step_file(name)
            if file is None:
                if all_unfinished and target_of_temporary(name) in (CHECKPOINT, CHIEF_CLAIM):
                    gone.append(name)
                continue
            if not self._is_ours(file) or (keep_counts and file.kind == "info"):
                continue
            if not goes(file.step):
                continue
            if _is_named(file, named):
                self._held.add(file.step)
                continue
            gone.append(name)
            if file.worker is not None:
                workers.add(file.worker)
        # The model's index first: without it nothing offers the step, and while `ckpt.inputs` is
        # there without it, the rest is known to be left over. State files name no states that are
        # going.
        if gone:
            self._check()
        order = sorted(gone, key=_removal_rank)
        indexes = sum(name.endswith(INDEX_SUFFIX) for name in order)
        for name in order[:indexes]:
            self._store.delete(join(self._model_dir, name))
        for worker in sorted(workers):
            state = f"{input_base(worker)}-{named.get(worker)}"
            latest = named[worker] if f"{state}{INDEX_SUFFIX}" in names else None
            write_input_state(self._model_dir, worker, latest)
        for name in order[indexes:]:
            self._store.delete(join(self._model_dir, name))
        return gone

    def _is_ours(self, file: StepFile) -> bool:
        if file.kind in ("bundle", "tables"):
            return file.base == self._base
        return file.kind in _WITH_STEP or (file.kind == "input" and file.worker is not None)

    def _names(self) -> list[str]:
        """The names in the directory; none if it is not there yet."""
        is_there = self._store.is_directory(self._model_dir)
        return self._store.names(self._model_dir) if is_there else []

    def _path(self, recorded: Recorded) -> str:
        """A path as it is to be recorded: relative if the files are here.

        Files of that name in this directory win, as they do for readers: a directory that was
        moved or copied keeps the absolute paths of its old place.
        """
        here = self._store.exists(join(self._model_dir, recorded.name) + INDEX_SUFFIX)
        return recorded.name if here else recorded.path

    def _place(self, path: str) -> str:
        return absolute(join(self._model_dir, path))


def _is_named(file: StepFile, inputs: Mapping[int, int]) -> bool:
    """Whether a rollback needs that file: a state, or what the inputs were at that step."""
    if file.is_temporary:
        return False
    if file.kind == "inputs":
        return file.step in inputs.values()
    if file.kind != "input" or file.worker is None:
        return False
    return inputs.get(file.worker) == file.step


def _removal_rank(name: str) -> int:
    if name.endswith(INDEX_SUFFIX):
        return 0 if worker_of(name) is None else 1
    return 3 if name.startswith(CKPT_INPUTS_PREFIX) else 2


def _saved_at(prefix: str) -> float:
    written = index_time(prefix)
    return time.time() if written is None else written
