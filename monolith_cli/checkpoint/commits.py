"""The committed steps of a job's directory, as its chief keeps them.

A save writes files under names with its step, `checkpoint` last. That one rename commits: the step
is whole from then on, and is never written again. What has a later step than the latest committed
one is of a save that was given up, or of a future that the job has gone back from.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import time
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.checkpoint.inputs import list_inputs, write_input_state
from monolith_cli.checkpoint.layout import (
    CHECKPOINT,
    CKPT_INFO_PREFIX,
    CKPT_INPUTS_PREFIX,
    INDEX_SUFFIX,
    MODEL_BASE,
    MONOLITH_CHECKPOINT,
    input_base,
    step_of,
)
from monolith_cli.checkpoint.restart import RestartPoint, remove_override, restart_point
from monolith_cli.checkpoint.shard_set import list_names
from monolith_cli.errors import PathNotFoundError, WriteError
from monolith_cli.formats.atomic import atomic_write
from monolith_cli.formats.checkpoint_state import (
    CheckpointState,
    format_checkpoint_state,
    read_checkpoint_state,
    read_monolith_checkpoint_state,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CommittedSteps"]

_HOUR_SECONDS = 3600.0


class _Listed(NamedTuple):
    path: str  # as `checkpoint` has it
    step: int | None
    committed_at: float  # seconds since 1970


class CommittedSteps:
    """What `checkpoint` lists, up to the step that the job went on from; one writer at a time.

    Parameters
    ----------
    model_dir
        A local directory.
    base
        What names of checkpoints begin with, such as `model.ckpt`.
    max_to_keep
        How many steps stay listed; 0 for all.
    keep_every_n_hours
        A step that leaves the list stays on disk if it is this much younger than the last that
        stayed so.
    """

    def __init__(
        self,
        model_dir: str | os.PathLike[str],
        base: str = MODEL_BASE,
        *,
        max_to_keep: int = 5,
        keep_every_n_hours: float = 10_000.0,
    ) -> None:
        self._model_dir = os.fspath(model_dir)
        self._base = base
        self._max_to_keep = max_to_keep
        self._keep_every_seconds = keep_every_n_hours * _HOUR_SECONDS
        self._listed: list[_Listed] = []
        self._preserved_at = 0.0
        self._latest: int | None = None

    @property
    def latest(self) -> int | None:
        """The latest committed step; None before the first."""
        return self._latest

    def restart(self, point: RestartPoint | None = None) -> RestartPoint:
        """Take the directory as it is, when the job (again) begins.

        Parameters
        ----------
        point
            What was restored; by default what `restart_point` says now.

        Raises
        ------
        MonolithError
            As `restart_point`.
        """
        point = point or restart_point(self._model_dir)
        state = CheckpointState()
        with contextlib.suppress(PathNotFoundError):
            state = read_checkpoint_state(os.path.join(self._model_dir, CHECKPOINT))
        self._latest = point.step
        self._preserved_at = state.last_preserved_timestamp
        self._listed = []
        # TensorFlow 1 writes no times; and the latest may be missing in the list.
        times = dict(
            zip(
                state.all_model_checkpoint_paths,
                state.all_model_checkpoint_timestamps,
                strict=False,
            )
        )
        for path in dict.fromkeys([*state.all_model_checkpoint_paths, state.model_checkpoint_path]):
            step = step_of(os.path.basename(path))
            if path and (step is None or (point.step is not None and step <= point.step)):
                self._listed.append(_Listed(path, step, times.get(path) or self._saved_at(path)))
        return point

    def is_committed(self, step: int) -> bool:
        """Whether that step is whole, and not of a future that the job has gone back from."""
        return any(listed.step == step for listed in self._listed)

    def prefix(self, step: int) -> str:
        """The prefix of that step's files."""
        return os.path.join(self._model_dir, f"{self._base}-{step}")

    def clear_uncommitted(self) -> list[str]:
        """Remove what has a later step than the latest committed; return the names.

        That is checkpoints, tables, counts and iterator states. Of other files only those that
        TensorFlow leaves behind when it dies in a save.

        Raises
        ------
        WriteError
            The operating system refused.
        """
        latest = -1 if self._latest is None else self._latest
        return self._remove(lambda step: step > latest)

    def commit(self, step: int) -> None:
        """Name that step in `checkpoint`, and end a rollback of inputs; then drop old steps.

        Raises
        ------
        WriteError
            The operating system refused. The step is then committed if `is_committed` says so.
        """
        now = time.time()
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
        atomic_write(os.path.join(self._model_dir, CHECKPOINT), text)
        self._listed, self._preserved_at, self._latest = kept, preserved_at, step
        remove_override(self._model_dir)
        self._drop({entry.step for entry in gone if entry.step is not None})

    def _retain(self, listed: list[_Listed]) -> tuple[list[_Listed], list[_Listed], float]:
        """What stays listed, what goes, and when something last left the list but stayed."""
        preserved_at = self._preserved_at or listed[0].committed_at
        stayed = self._preserved_at
        if not self._max_to_keep:
            return listed, [], stayed
        exempt = self._exempt()
        excess = sum(entry.path not in exempt for entry in listed) - self._max_to_keep
        kept, gone = [], []
        for entry in listed:
            if excess <= 0 or entry.path in exempt:
                kept.append(entry)
                continue
            excess -= 1
            if entry.committed_at - preserved_at >= self._keep_every_seconds:
                preserved_at = stayed = entry.committed_at
            elif self._is_here(entry.path):
                gone.append(entry)
        return kept, gone, stayed

    def _exempt(self) -> set[str]:
        """The listed paths that `monolith_checkpoint` exempts from being dropped."""
        path = os.path.join(self._model_dir, MONOLITH_CHECKPOINT)
        try:
            exempt = read_monolith_checkpoint_state(path).exempt_model_checkpoint_paths
        except PathNotFoundError:
            return set()
        places = {self._place(name) for name in exempt}
        return {entry.path for entry in self._listed if self._place(entry.path) in places}

    def _drop(self, steps: set[int]) -> None:
        """Remove steps that are no longer listed, and what a killed removal has left of others."""
        names = set(list_names(self._model_dir))
        listed = {entry.step for entry in self._listed}
        for name in names:
            step = step_of(name) if name.startswith(CKPT_INPUTS_PREFIX) else None
            if step is None or step in listed:
                continue
            if f"{self._base}-{step}{INDEX_SUFFIX}" not in names:
                steps.add(step)
        if steps:
            self._remove(lambda step: step in steps, keep_counts=True)

    def _remove(self, goes: Callable[[int], bool], *, keep_counts: bool = False) -> list[str]:
        names = list_names(self._model_dir) if os.path.isdir(self._model_dir) else []
        workers = list_inputs(names)
        bases = [re.escape(base) for base in (self._base, *map(input_base, workers))]
        # `_temp…` and `.tempstate…` are of a TensorFlow that died in a save.
        bundle = re.compile(rf"(?:{'|'.join(bases)})-([0-9]+)(?:_temp.*|\..+)")
        gone = []
        for name in names:
            match = bundle.fullmatch(name)
            step = int(match[1]) if match else None
            if name.startswith((CKPT_INFO_PREFIX, CKPT_INPUTS_PREFIX)):
                step = None if keep_counts and name.startswith(CKPT_INFO_PREFIX) else step_of(name)
            if step is not None and goes(step):
                gone.append(name)
        # An index first: without it nothing offers the step. `ckpt.inputs` last: while it is there
        # without an index, the rest is known to be left over.
        for name in sorted(gone, key=_removal_rank):
            _remove(os.path.join(self._model_dir, name))
        for worker, steps in workers.items():
            if any(goes(step) for step in steps):
                write_input_state(self._model_dir, worker)
        return gone

    def _absolute(self, path: str) -> str:
        return os.path.abspath(os.path.join(self._model_dir, path))

    def _place(self, path: str) -> str:
        """The same for all paths of one checkpoint, stale ones too."""
        return os.path.basename(path) if self._is_here(path) else self._absolute(path)

    def _is_here(self, path: str) -> bool:
        """Whether a listed checkpoint is one of this directory's, by a path old or new."""
        directory, name = os.path.split(path)
        if name != f"{self._base}-{step_of(name)}":
            return False
        if not os.path.isabs(path):
            return not directory
        elsewhere = os.path.lexists(path + INDEX_SUFFIX)
        return not elsewhere or os.path.samefile(directory, self._model_dir)

    def _saved_at(self, path: str) -> float:
        try:
            return os.stat(self._absolute(path) + INDEX_SUFFIX).st_mtime
        except OSError:
            return time.time()


def _removal_rank(name: str) -> tuple[int, str]:
    if name.endswith(INDEX_SUFFIX):
        return 0, name
    return (2 if name.startswith(CKPT_INPUTS_PREFIX) else 1), name


def _remove(path: str) -> None:
    try:
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
    except FileNotFoundError:
        return
    except OSError as error:
        kind = "read_only" if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) else None
        failure = WriteError(f"not removed: {error.strerror}", path=path, kind=kind)
        failure.errno = error.errno
        raise failure from error
