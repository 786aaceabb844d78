"""The directory of a training job: which of its checkpoints can be read.

`checkpoint` commits: a step is there once that file has named it. The rest follows from names.
A job may write and delete all the while, so the state file is read first and the directory listed
second: a step that is committed in between is merely not offered yet.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.checkpoint.checkpoint import Checkpoint, Offer
from monolith_cli.checkpoint.names import (
    ASSETS_SUFFIX,
    CHECKPOINT,
    CKPT_INFO_PREFIX,
    CKPT_INPUTS_PREFIX,
    INDEX_SUFFIX,
    INPUT_WORKER_PREFIX,
    JOURNAL,
    MODEL_BASE,
    MONOLITH_CHECKPOINT,
    CheckpointName,
    begins_input,
    ckpt_manifest_name,
    natural_key,
    parse_checkpoint_name,
    step_of,
    unfinished_save,
)
from monolith_cli.checkpoint.steps import (
    comes_later,
    commit_time,
    index_time,
    order_of_steps,
    recorded_checkpoints,
)
from monolith_cli.errors import (
    MonolithError,
    PathNotFoundError,
    StateFileError,
    StepNotFoundError,
)
from monolith_cli.formats.checkpoint_state import CheckpointState, read_checkpoint_state
from monolith_cli.storage.location import is_absolute_path, join, name_of, parent_of
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from monolith_cli.checkpoint.steps import Recorded
    from monolith_cli.storage.store import Item

__all__ = [
    "Look",
    "assets_checkpoint",
    "checkpoint_here",
    "is_training_dir",
    "look_by_names",
    "look_into",
    "steps_hint",
    "training_offer",
]

_JOB_FILES = (MONOLITH_CHECKPOINT, "controller_server_addr.txt", "graph.pbtxt")
_JOB_PREFIXES = (
    CKPT_INPUTS_PREFIX,
    INPUT_WORKER_PREFIX,
    f"{CHECKPOINT}_{INPUT_WORKER_PREFIX}",
)
_INPUT_STATE = f"{CHECKPOINT}_input"
_STEPS_SHOWN = 10
_RESTORE = "restore the files, or give another directory"
_REACH = "mount it, or copy its files here"
_COPY = "copy its files here"
_NO_STEP_LEFT = (_RESTORE, _REACH, _COPY)
"""What to do about a step where no other can be had instead."""

_STATE_HINT = f"restore it from a copy, or give one *{ASSETS_SUFFIX} directory instead"


class Look(NamedTuple):
    """A training directory at one moment.

    Attributes
    ----------
    state
        What `checkpoint` says; None without one.
    items
        What is in the directory, by name: listed after `checkpoint` was read.
    offer
        What follows from them.
    """

    state: CheckpointState | None
    items: dict[str, Item]
    offer: Offer


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
    is offered but those of saves that are known to end with that file.

    Where no bundle is found, whatever `checkpoint` says, the only assets directory is offered: the
    training system loads single tables from it, and begins with new dense variables.

    Raises
    ------
    StateFileError
        `checkpoint` does not parse, or names nothing.
    PathNotFoundError, NotReadableError
        The directory is gone, or it or `checkpoint` cannot be read.
    """
    return look_into(directory).offer


def look_into(directory: str) -> Look:
    """What `training_offer` gives, with what it was found from. Raises as that."""
    state = _read_state(directory)
    while True:
        items = {item.name: item for item in store_of(directory).items(directory)}
        names = items.keys()
        offer = _by_state(directory, names, state) if state else _by_names(directory, names)
        if offer.latest:
            return Look(state, items, offer)
        # The latest may have been superseded and deleted between the two looks.
        state_now = _read_state(directory)
        if state_now == state:
            return Look(state, items, offer)
        state = state_now


def assets_checkpoint(assets: str) -> Checkpoint:
    """The checkpoint that an assets directory is by itself; its step is the one in its name."""
    if not assets.endswith(ASSETS_SUFFIX):
        return Checkpoint(assets=[assets])
    prefix = assets.removesuffix(ASSETS_SUFFIX)
    return Checkpoint(step=step_of(name_of(prefix)), prefix=prefix, assets=[assets])


def steps_hint(steps: Iterable[int]) -> str | None:
    """`the steps are 1, 2, 3`, or the last of them where there are many; None without any."""
    steps = list(steps)
    if not steps:
        return None
    shown = ", ".join(map(str, steps[-_STEPS_SHOWN:]))
    return f"the steps are {'..., ' if len(steps) > _STEPS_SHOWN else ''}{shown}"


def look_by_names(directory: str) -> Look:
    """What there is in a directory whose `checkpoint` is there, and cannot be read.

    Any step may have been committed, so every one with an index is offered, and the one with the
    newest index is the latest.

    Raises
    ------
    PathNotFoundError, NotReadableError
        The directory is gone, or cannot be listed.
    """
    items = {item.name: item for item in store_of(directory).items(directory)}
    return Look(None, items, _by_names(directory, items.keys(), is_state_lost=True))


def _read_state(directory: str) -> CheckpointState | None:
    path = join(directory, CHECKPOINT)
    try:
        state = read_checkpoint_state(path)
    except PathNotFoundError:
        if not store_of(path).is_directory(path):
            return None
        what = "a directory in place of the file that lists the checkpoints"
        hint = f"give {path}" if _holds_checkpoints(path) else "move it away"
        raise PathNotFoundError(what, path=path, hint=hint) from None
    except StateFileError as error:
        error.hint = error.hint or _STATE_HINT
        raise
    if not state.model_checkpoint_path:
        raise StateFileError("names no checkpoint", path=path, offset=0, hint=_STATE_HINT)
    return state


def _holds_checkpoints(directory: str) -> bool:
    try:
        return is_training_dir(store_of(directory).names(directory))
    except MonolithError:
        return False


def _by_state(directory: str, names: Collection[str], state: CheckpointState) -> Offer:
    by_step: dict[int, Checkpoint] = {}
    withheld: dict[int, str] = {}
    unreadable: dict[int, StepNotFoundError] = {}
    listed: list[tuple[int, float | None]] = []
    unlisted: dict[int, float] = {}
    latest, refusal = None, None
    recorded = recorded_checkpoints(state, names)
    for each in recorded:
        checkpoint = _recorded_checkpoint(directory, names, each)
        error = None if checkpoint else _why_not(directory, names, each, state)
        if each.path == state.model_checkpoint_path:
            latest, refusal, latest_name = checkpoint, error, each.name
        if each.step is None or each.step in by_step:
            continue
        if checkpoint and checkpoint.prefix:
            by_step[each.step] = checkpoint
            time = each.time or index_time(checkpoint.prefix)
            if each.is_listed:
                listed.append((each.step, time))
            else:
                unlisted[each.step] = math.inf if time is None else time
        elif error:
            unreadable[each.step] = error

    latest_parts = parse_checkpoint_name(latest_name)
    latest_time = None
    if latest_parts:
        latest_prefix = by_step[latest_parts.step].prefix if latest_parts.step in by_step else None
        latest_time = commit_time(dict(listed).get(latest_parts.step), latest_prefix)
    for name, bundle in _bundles(names).items():
        if bundle.step in by_step:
            continue
        time = index_time(join(directory, name))
        if (
            latest_parts
            and time is not None
            and bundle.base == latest_parts.base
            and not comes_later(bundle.step, time, latest_parts.step, latest_time)
        ):
            by_step[bundle.step] = checkpoint_here(directory, names, name)
            unlisted[bundle.step] = time
        else:
            withheld.setdefault(bundle.step, _uncommitted(bundle.step))
    for step in _steps_with_assets(names) | _steps_half_saved(names):
        if latest_parts and step > latest_parts.step and step not in by_step:
            withheld.setdefault(step, _uncommitted(step))

    order = order_of_steps(listed, unlisted, latest_parts.step if latest_parts else None)
    by_step = {step: by_step[step] for step in order}
    for why in (refusal, *unreadable.values()):
        if why and why.hint in _NO_STEP_LEFT:
            why.hint = steps_hint(by_step) or why.hint
    if refusal and not by_step and JOURNAL not in names:
        latest = _tables_alone(directory, names, str(latest_name))
    if latest and latest.step is not None and latest.step not in by_step:
        by_step[latest.step] = latest
        unreadable.pop(latest.step, None)
    unreadable = {step: error for step, error in unreadable.items() if step not in by_step}
    return Offer(by_step, latest, refusal, withheld, unreadable)


def _tables_alone(directory: str, names: Collection[str], missing: str) -> Checkpoint | None:
    """The only assets directory, where `checkpoint` names what is gone."""
    tables = [name for name in names if name.endswith(ASSETS_SUFFIX)]
    if len(tables) != 1:
        return None
    only = assets_checkpoint(join(directory, tables[0]))
    only.notes.append(
        f"'{CHECKPOINT}' names '{missing}', which is gone: a job would load only the single"
        " tables that are here, and begin with new dense variables"
    )
    return only


def _by_names(directory: str, names: Collection[str], *, is_state_lost: bool = False) -> Offer:
    by_step: dict[int, Checkpoint] = {}
    # A save begins with `ckpt.inputs` and ends with `checkpoint`.
    begun = {step_of(name) for name in names if name.startswith(CKPT_INPUTS_PREFIX)}
    if is_state_lost:
        begun = set()
    bundles = {name: parts for name, parts in _bundles(names).items() if parts.step not in begun}
    times: dict[int, float] = {}
    for name in sorted(bundles, key=lambda name: (bundles[name].base != MODEL_BASE, name)):
        step = bundles[name].step
        if step not in by_step:
            by_step[step] = checkpoint_here(directory, names, name)
            times[step] = index_time(join(directory, name)) or 0.0
    unoffered = _steps_with_assets(names) | _steps_half_saved(names)
    unoffered |= {step for step in begun if step is not None}
    withheld = {step: _uncommitted(step) for step in unoffered if step not in by_step}
    if by_step:
        order = order_of_steps([], times)
        latest, highest = by_step[order[-1]], max(order)
        if latest.step != highest:
            latest.notes.append(
                f"no '{CHECKPOINT}' file: step {latest.step} is taken as the latest, because its"
                f" index is the newest; there is also a step {highest}"
            )
        return Offer({step: by_step[step] for step in order}, latest, None, withheld, {})

    tables = sorted((name for name in names if name.endswith(ASSETS_SUFFIX)), key=natural_key)
    if JOURNAL in names:
        refusal = StepNotFoundError(
            "no step is committed: a command that copies or moves steps was cut off here",
            path=directory,
            hint=f"run it again; {JOURNAL} says which",
        )
    elif not tables:
        refusal = StepNotFoundError("holds no checkpoint yet", path=directory)
    elif len(tables) > 1:
        refusal = StepNotFoundError(
            f"no '{CHECKPOINT}' file, and {len(tables)} directories with tables",
            path=directory,
            hint=f"give one of them, such as {join(directory, tables[-1])}",
        )
    elif _has_job_files(names):
        refusal = StepNotFoundError(
            f"the first checkpoint is not committed: there is no '{CHECKPOINT}' file yet",
            path=directory,
            hint=f"wait for it, or give {join(directory, tables[0])}",
        )
    else:
        only = assets_checkpoint(join(directory, tables[0]))
        return Offer({} if only.step is None else {only.step: only}, only, None, {}, {})
    return Offer({}, None, refusal, withheld, {})


def _recorded_checkpoint(
    directory: str, names: Collection[str], recorded: Recorded
) -> Checkpoint | None:
    """The checkpoint at a path that `checkpoint` records; None where it cannot be read.

    The files of that name in this directory win: a directory that was moved or copied keeps the
    absolute paths of its old place.
    """
    name, path = recorded.name, recorded.path
    if name + INDEX_SUFFIX in names or _has_data(names, name):
        checkpoint = checkpoint_here(directory, names, name, listed_as=path)
        if is_absolute_path(path) and not _same_place(parent_of(path), directory):
            checkpoint.notes.append(f"'{CHECKPOINT}' still names {path}; read from here")
        return checkpoint
    prefix = join(directory, parent_of(path), name)
    store = store_of(prefix)
    if not store.is_file(prefix + INDEX_SUFFIX):
        return None
    return Checkpoint(
        step=recorded.step,
        prefix=prefix,
        assets=[prefix + ASSETS_SUFFIX] if store.is_directory(prefix + ASSETS_SUFFIX) else [],
        notes=[f"'{CHECKPOINT}' names another directory; read from {parent_of(prefix)}"],
        has_index=True,
        is_elsewhere=True,
    )


def _why_not(
    directory: str, names: Collection[str], recorded: Recorded, state: CheckpointState
) -> StepNotFoundError:
    """Why a checkpoint that `checkpoint` lists cannot be read."""
    state_path = join(directory, CHECKPOINT)
    name, path = recorded.name, recorded.path
    is_latest = path == state.model_checkpoint_path
    is_here = name_of(path) == path or _same_place(join(directory, parent_of(path)), directory)
    lists = f"'{name if is_here else path}'"
    lists = f"names {lists} as the latest" if is_latest else f"lists {lists}"
    if name in names or store_of(directory).is_file(join(directory, path)):
        return StepNotFoundError(
            f"{lists}, a file in TensorFlow's V1 format, which is not read here",
            path=state_path,
            hint="restore it with TensorFlow, and save it again",
            kind="v1_format",
        )
    if name + ASSETS_SUFFIX in names:
        return StepNotFoundError(
            f"{lists}, whose tables are here, but no index and no data of its dense variables",
            path=state_path,
            hint=f"restore them, or give {join(directory, name + ASSETS_SUFFIX)}",
        )
    if is_here:
        what = f"{lists}, whose files are gone"
        return StepNotFoundError(what, path=state_path, hint=_RESTORE)
    where = join(directory, parent_of(path))
    hint = _RESTORE
    if "://" in path or "\\" in path:
        why, hint = "that is not a path on this machine", _COPY
    else:
        try:
            store_of(where).names(where)
            why = "its files are gone from there"
        except MonolithError as error:
            why = f"{parent_of(path)} cannot be reached: {error.reason}"
            hint = _REACH
    what = f"{lists}, and there is no '{name}' here; {why}"
    return StepNotFoundError(what, path=state_path, hint=hint)


def checkpoint_here(
    directory: str, names: Collection[str], name: str, *, listed_as: str | None = None
) -> Checkpoint:
    """The checkpoint of that name, without suffix, whether it is committed or not.

    Parameters
    ----------
    names
        Those of the files in the directory.
    listed_as
        Its path in `checkpoint`, where that lists it.
    """
    prefix, step = join(directory, name), step_of(name)
    return Checkpoint(
        step=step,
        prefix=prefix,
        assets=[prefix + ASSETS_SUFFIX] if name + ASSETS_SUFFIX in names else [],
        has_index=name + INDEX_SUFFIX in names,
        listed_as=listed_as,
        has_manifest=ckpt_manifest_name(step) in names if step is not None else False,
    )


def _has_data(names: Collection[str], name: str) -> bool:
    """Whether a data file of that bundle is here."""
    return any(each.startswith(f"{name}.data-") and step_of(each) is not None for each in names)


def _bundles(names: Collection[str]) -> dict[str, CheckpointName]:
    """The numbered checkpoints with an index, by name without suffix; no input iterators."""
    bundles = {}
    for name in names:
        parts = parse_checkpoint_name(name) if name.endswith(INDEX_SUFFIX) else None
        if parts and not begins_input(parts.base):
            bundles[name.removesuffix(INDEX_SUFFIX)] = parts
    return bundles


def _steps_with_assets(names: Collection[str]) -> set[int]:
    steps = {step_of(name) for name in names if name.endswith(ASSETS_SUFFIX)}
    return {step for step in steps if step is not None}


def _steps_half_saved(names: Collection[str]) -> set[int]:
    steps = map(unfinished_save, names)
    return {step for step in steps if step is not None}


def _has_job_files(names: Collection[str]) -> bool:
    return any(
        name in _JOB_FILES or name.startswith(_JOB_PREFIXES) or _is_of_input(name) for name in names
    )


def _is_of_input(name: str) -> bool:
    """Whether a job, ours or TensorFlow's own hook, has saved the position of an input there."""
    if name.startswith(_INPUT_STATE):
        return begins_input(f"{name.removeprefix(f'{CHECKPOINT}_')}.ckpt")
    parts = parse_checkpoint_name(name) if name.endswith(INDEX_SUFFIX) else None
    return parts is not None and begins_input(parts.base)


def _same_place(one: str, other: str) -> bool:
    return store_of(other).is_same(one, other)


def _uncommitted(step: int) -> str:
    return f"step {step} is not committed: it is being written, or was given up"
