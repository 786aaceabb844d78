"""The directory of a training job: which of its checkpoints can be read.

`checkpoint` commits: a step is there once that file has named it. The rest follows from names.
A job may write and delete all the while, so the state file is read first and the directory listed
second: a step that is committed in between is merely not offered yet.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from monolith_cli.checkpoint.checkpoint import Checkpoint, Offer
from monolith_cli.checkpoint.layout import (
    ASSETS_SUFFIX,
    CHECKPOINT,
    CKPT_INFO_PREFIX,
    CKPT_INPUTS_PREFIX,
    INDEX_SUFFIX,
    INPUT_WORKER_PREFIX,
    MODEL_BASE,
    MONOLITH_CHECKPOINT,
    CheckpointName,
    natural_key,
    parse_checkpoint_name,
    step_of,
)
from monolith_cli.checkpoint.shard_set import list_names
from monolith_cli.errors import PathNotFoundError, StateFileError, StepNotFoundError
from monolith_cli.formats.checkpoint_state import CheckpointState, read_checkpoint_state

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["assets_checkpoint", "is_training_dir", "steps_hint", "training_offer"]

_JOB_FILES = (MONOLITH_CHECKPOINT, "controller_server_addr.txt", "graph.pbtxt")
_JOB_PREFIXES = (
    CKPT_INPUTS_PREFIX,
    INPUT_WORKER_PREFIX,
    f"{CHECKPOINT}_{INPUT_WORKER_PREFIX}",
)
_STEPS_SHOWN = 10


def is_training_dir(names: Collection[str]) -> bool:
    """Whether these are the names in a directory where a job saves, or has saved."""
    return (
        CHECKPOINT in names
        or any(name.endswith(ASSETS_SUFFIX) for name in names)
        or any(name.startswith(CKPT_INFO_PREFIX) for name in names)
        or _has_job_files(names)
        or bool(_bundles(names))
    )


def training_offer(directory: str) -> Offer:
    """What the directory offers now.

    These are the checkpoints that `checkpoint` lists, wherever they are, and unlisted ones here
    that are older than the one it names as the latest: jobs keep one a day that way. A newer
    unlisted one is being written, or was given up. Without a `checkpoint` file every bundle here
    is offered but those of saves that are known to end with that file, and without any bundle the
    only assets directory.

    Raises
    ------
    StateFileError
        `checkpoint` does not parse, or names nothing.
    PathNotFoundError, NotReadableError
        The directory is gone, or it or `checkpoint` cannot be read.
    """
    state = _read_state(directory)
    while True:
        names = frozenset(list_names(directory))
        offer = _by_state(directory, names, state) if state else _by_names(directory, names)
        if offer.latest:
            return offer
        # The latest may have been superseded and deleted between the two looks.
        state_now = _read_state(directory)
        if state_now == state:
            return offer
        state = state_now


def assets_checkpoint(assets: str) -> Checkpoint:
    """The checkpoint that an assets directory is by itself; its step is the one in its name."""
    if not assets.endswith(ASSETS_SUFFIX):
        return Checkpoint(assets=[assets])
    prefix = assets.removesuffix(ASSETS_SUFFIX)
    return Checkpoint(step=step_of(os.path.basename(prefix)), prefix=prefix, assets=[assets])


def steps_hint(steps: Collection[int]) -> str | None:
    """`the steps are 1, 2, 3`, or the newest of them where there are many; None without any."""
    if not steps:
        return None
    shown = ", ".join(map(str, sorted(steps)[-_STEPS_SHOWN:]))
    return f"the steps are {'..., ' if len(steps) > _STEPS_SHOWN else ''}{shown}"


def _read_state(directory: str) -> CheckpointState | None:
    path = os.path.join(directory, CHECKPOINT)
    try:
        state = read_checkpoint_state(path)
    except PathNotFoundError:
        return None
    if not state.model_checkpoint_path:
        hint = f"give one *{ASSETS_SUFFIX} directory instead"
        raise StateFileError("names no checkpoint", path=path, offset=0, hint=hint)
    return state


def _by_state(directory: str, names: Collection[str], state: CheckpointState) -> Offer:
    by_step: dict[int, Checkpoint] = {}
    withheld: dict[int, str] = {}
    recorded_paths = (state.model_checkpoint_path, *state.all_model_checkpoint_paths)
    for recorded in dict.fromkeys(recorded_paths):
        step = step_of(os.path.basename(recorded))
        checkpoint = _recorded_checkpoint(directory, names, recorded)
        if step is not None and checkpoint:
            by_step.setdefault(step, checkpoint)
        elif step is not None:
            withheld[step] = f"the files of step {step} are gone, though '{CHECKPOINT}' lists it"

    latest_name = os.path.basename(state.model_checkpoint_path)
    latest_parts = parse_checkpoint_name(latest_name)
    for name, bundle in _bundles(names).items():
        if latest_parts and bundle.base == latest_parts.base and bundle.step < latest_parts.step:
            by_step.setdefault(bundle.step, _checkpoint_here(directory, names, name))
        else:
            withheld.setdefault(bundle.step, _uncommitted(bundle.step))
    for step in _steps_with_assets(names):
        if latest_parts and step > latest_parts.step:
            withheld.setdefault(step, _uncommitted(step))

    refusal = None
    latest = _recorded_checkpoint(directory, names, state.model_checkpoint_path)
    if not latest:
        refusal = StepNotFoundError(
            f"names '{latest_name}' as the latest, whose files are gone",
            path=os.path.join(directory, CHECKPOINT),
            hint=steps_hint(by_step),
        )
    return Offer(dict(sorted(by_step.items())), latest, refusal, withheld)


def _by_names(directory: str, names: Collection[str]) -> Offer:
    by_step: dict[int, Checkpoint] = {}
    # A save begins with `ckpt.inputs` and ends with `checkpoint`.
    begun = {step_of(name) for name in names if name.startswith(CKPT_INPUTS_PREFIX)}
    bundles = {name: parts for name, parts in _bundles(names).items() if parts.step not in begun}
    for name in sorted(bundles, key=lambda name: (bundles[name].base != MODEL_BASE, name)):
        by_step.setdefault(bundles[name].step, _checkpoint_here(directory, names, name))
    unoffered = _steps_with_assets(names) | {step for step in begun if step is not None}
    withheld = {step: _uncommitted(step) for step in unoffered}
    if by_step:
        return Offer(dict(sorted(by_step.items())), by_step[max(by_step)], None, withheld)

    tables = sorted((name for name in names if name.endswith(ASSETS_SUFFIX)), key=natural_key)
    if not tables:
        refusal = StepNotFoundError("holds no checkpoint yet", path=directory)
    elif len(tables) > 1:
        refusal = StepNotFoundError(
            f"no '{CHECKPOINT}' file, and {len(tables)} directories with tables",
            path=directory,
            hint=f"give one of them, such as {os.path.join(directory, tables[-1])}",
        )
    elif _has_job_files(names):
        refusal = StepNotFoundError(
            f"the first checkpoint is not committed: there is no '{CHECKPOINT}' file yet",
            path=directory,
            hint=f"wait for it, or give {os.path.join(directory, tables[0])}",
        )
    else:
        only = assets_checkpoint(os.path.join(directory, tables[0]))
        return Offer({} if only.step is None else {only.step: only}, only, None, {})
    return Offer({}, None, refusal, withheld)


def _recorded_checkpoint(
    directory: str, names: Collection[str], recorded: str
) -> Checkpoint | None:
    """The checkpoint at a path that `checkpoint` records; None where its files are gone.

    The files of that name in this directory win: a directory that was moved or copied keeps the
    absolute paths of its old place.
    """
    name = os.path.basename(recorded)
    if name + INDEX_SUFFIX in names:
        checkpoint = _checkpoint_here(directory, names, name)
        if os.path.isabs(recorded) and not _same_place(os.path.dirname(recorded), directory):
            checkpoint.notes.append(f"'{CHECKPOINT}' still names {recorded}; read from here")
        return checkpoint
    prefix = os.path.join(directory, recorded)
    if not os.path.isfile(prefix + INDEX_SUFFIX):
        return None
    return Checkpoint(
        step=step_of(name),
        prefix=prefix,
        assets=[prefix + ASSETS_SUFFIX] if os.path.isdir(prefix + ASSETS_SUFFIX) else [],
        notes=[f"'{CHECKPOINT}' names another directory; read from {os.path.dirname(prefix)}"],
        has_index=True,
    )


def _checkpoint_here(directory: str, names: Collection[str], name: str) -> Checkpoint:
    prefix = os.path.join(directory, name)
    return Checkpoint(
        step=step_of(name),
        prefix=prefix,
        assets=[prefix + ASSETS_SUFFIX] if name + ASSETS_SUFFIX in names else [],
        has_index=True,
    )


def _bundles(names: Collection[str]) -> dict[str, CheckpointName]:
    """The numbered checkpoints with an index, by name without suffix; no input iterators."""
    bundles = {}
    for name in names:
        parts = parse_checkpoint_name(name) if name.endswith(INDEX_SUFFIX) else None
        if parts and not name.startswith(INPUT_WORKER_PREFIX):
            bundles[name.removesuffix(INDEX_SUFFIX)] = parts
    return bundles


def _steps_with_assets(names: Collection[str]) -> set[int]:
    steps = {step_of(name) for name in names if name.endswith(ASSETS_SUFFIX)}
    return {step for step in steps if step is not None}


def _has_job_files(names: Collection[str]) -> bool:
    return any(name in _JOB_FILES or name.startswith(_JOB_PREFIXES) for name in names)


def _same_place(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def _uncommitted(step: int) -> str:
    return f"step {step} is not committed: it is being written, or was given up"
