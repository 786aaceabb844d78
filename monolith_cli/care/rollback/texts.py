"""The small files that say where a job goes on, and what they say after it has gone back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.checkpoint.inputs import read_step_inputs
from monolith_cli.checkpoint.names import CHECKPOINT, CKPT_OVERRIDE, INDEX_SUFFIX, input_base
from monolith_cli.checkpoint.override import left_by
from monolith_cli.checkpoint.steps import Recorded, index_time, recorded_checkpoints
from monolith_cli.errors import DirectoryInUseError, PathNotFoundError, StateFileError
from monolith_cli.formats.checkpoint_state import (
    CheckpointState,
    format_checkpoint_state,
    parse_checkpoint_state,
)
from monolith_cli.storage.location import HERE, is_absolute_path, join, name_of, parent_of
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from monolith_cli.care.states import Survey

__all__ = ["Text", "read_text", "texts_of", "write_text"]


class Text(NamedTuple):
    """A small file, by its name below the model directory; None where there is none of it.

    Bytes that are no UTF-8 are surrogates, so that it comes back as it was.
    """

    name: str
    before: str | None
    after: str | None


def read_text(path: str) -> str | None:
    """A small file, whole; None where there is none.

    Raises
    ------
    NotReadableError, StateFileError
        As `Store.read`.
    """
    store = store_of(path)
    try:
        return store.read(path).decode("utf-8", "surrogateescape")
    except PathNotFoundError:
        if store.exists(path):
            raise
        return None


def write_text(path: str, text: str | None) -> None:
    """Write a small file, or remove it; raises `WriteError`."""
    if text is None:
        store_of(path).delete(path)
    else:
        store_of(path).put(path, text.encode("utf-8", "surrogateescape"))


def texts_of(
    found: Survey, below: str, order: Sequence[int], moved: Collection[str], step: int
) -> list[Text]:
    """What changes in a model directory, or in the one with dense variables alone in it.

    Parameters
    ----------
    below
        What its names begin with, seen from the model directory; nothing for that itself.
    order
        The steps that stay, oldest first.
    moved
        The names in it that are moved away.
    step
        The step to go back to, which is the last that stays in the model directory.

    Raises
    ------
    DirectoryInUseError
        A job has written `checkpoint` since it was looked at.
    MonolithError
        A file cannot be read.
    """
    texts = _state_files(found, order, moved)
    if not below:
        texts += _override(found, step)
    texts += _checkpoint(found, order, None if below else step)
    return [text._replace(name=join(below, text.name)) for text in texts]


def _state_files(found: Survey, order: Sequence[int], moved: Collection[str]) -> list[Text]:
    """Those of the inputs, of which some states are moved away or are not the latest any more."""
    steps: dict[str, set[int]] = {}
    for name, file in found.step_files.items():
        if file.kind == "input" and name.endswith(INDEX_SUFFIX) and not file.is_temporary:
            steps.setdefault(file.base, set()).update([] if name in moved else [file.step])
    texts = []
    for base, left in sorted(steps.items()):
        name = f"{CHECKPOINT}_{base.removesuffix('.ckpt')}"
        path = join(found.directory, name)
        before = read_text(path)
        if before is None:
            continue  # whoever goes by it would start over, and still does
        ordered = [step for step in order if step in left]
        if not _says(before, ordered, path):
            texts.append(Text(name, before, _state_text(found, base, ordered)))
    return texts


def _says(text: str, steps: Sequence[int], path: str) -> bool:
    """Whether a state file lists none but these steps, and the last of them as the latest."""
    try:
        state = parse_checkpoint_state(text.encode("utf-8", "surrogateescape"), path)
    except StateFileError:
        return False
    listed = {each.step for each in recorded_checkpoints(state)}
    latest = [each.step for each in recorded_checkpoints(CheckpointState(state[0]))]
    return listed <= set(steps) and latest == list(steps[-1:])


def _state_text(found: Survey, base: str, steps: Sequence[int]) -> str | None:
    if not steps:
        return None
    names = [f"{base}-{step}" for step in steps]
    times = [index_time(join(found.directory, name)) or 0.0 for name in names]
    return format_checkpoint_state(CheckpointState(names[-1], tuple(names), tuple(times)))


def _override(found: Survey, step: int) -> list[Text]:
    """A rollback of inputs ends, but for what the step itself has left of one.

    A worker that had not gone back by then has no other state to go on from.
    """
    before = read_text(join(found.directory, CKPT_OVERRIDE))
    saved = read_step_inputs(found.directory, step)
    rest = left_by(saved) if saved else None
    if rest is not None:
        files = {
            worker: f"{input_base(worker)}-{at}{INDEX_SUFFIX}" for worker, at in rest.inputs.items()
        }
        rest = rest.rest([worker for worker, name in files.items() if name in found.items])
    after = None if rest is None else json.dumps(rest.as_json()) + "\n"
    return [] if before == after else [Text(CKPT_OVERRIDE, before, after)]


def _checkpoint(found: Survey, order: Sequence[int], step: int | None) -> list[Text]:
    """What lists the steps; with the last that stays as the latest."""
    before = read_text(join(found.directory, CHECKPOINT))
    if before is None or found.state is None:
        return []
    path = join(found.directory, CHECKPOINT)
    if parse_checkpoint_state(before.encode("utf-8", "surrogateescape"), path) != found.state:
        raise DirectoryInUseError("a job has just written it", path=path, hint="stop it first")
    listed = recorded_checkpoints(found.state, found.items)
    at = max((i for i, each in enumerate(listed) if each.step in order), default=-1)
    kept = [
        each
        for i, each in enumerate(listed)
        if each.step in order or (each.step is None and i < at)
    ]
    named = found.state.model_checkpoint_path
    if step is not None:
        latest = next((each for each in kept if each.step == step), None)
        latest = latest or _recorded(found, step)
    elif kept:
        latest = next((each for each in kept if each.path == named), kept[-1])
    else:
        return [Text(CHECKPOINT, before, None)]
    if kept == listed and latest.path == named:
        return [Text(CHECKPOINT, before, before)]
    kept = [*(each for each in kept if each != latest), latest]
    paths = tuple(_path(found, each) for each in kept)
    times: tuple[float, ...] = ()
    if found.state.all_model_checkpoint_timestamps:
        times = tuple(
            each.time or index_time(join(found.directory, path)) or 0.0
            for each, path in zip(kept, paths, strict=True)
        )
    state = CheckpointState(paths[-1], paths, times, found.state.last_preserved_timestamp)
    return [Text(CHECKPOINT, before, format_checkpoint_state(state))]


def _recorded(found: Survey, step: int) -> Recorded:
    """A step that is not listed yet."""
    survey = next(each for each in found.steps if each.step == step)
    assert survey.checkpoint is not None
    assert survey.checkpoint.prefix is not None
    name = name_of(survey.checkpoint.prefix)
    return Recorded(name, name, step, survey.time)


def _path(found: Survey, recorded: Recorded) -> str:
    """A path as it is recorded; by its name alone if that is of an old place of the directory."""
    path, here = recorded.path, found.directory or HERE
    if recorded.name + INDEX_SUFFIX not in found.items or not is_absolute_path(path):
        return path
    return path if store_of(here).is_same(parent_of(path), here) else recorded.name
