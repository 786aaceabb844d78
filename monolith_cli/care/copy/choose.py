"""Which steps are sent, and whether a directory can be sent into another at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.care.along import dense_only_along
from monolith_cli.care.new_directory import lies_in
from monolith_cli.checkpoint.model_dir import ModelDir
from monolith_cli.checkpoint.names import JOURNAL
from monolith_cli.checkpoint.training_dir import is_training_dir, steps_hint
from monolith_cli.errors import (
    AlreadyExistsError,
    CorruptionError,
    PathNotFoundError,
    StepNotFoundError,
    UsageError,
)
from monolith_cli.storage.location import absolute, name_of
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from monolith_cli.care.copy.request import Begun
    from monolith_cli.care.states import StepSurvey, Survey

__all__ = [
    "Chosen",
    "check_apart",
    "check_target",
    "choose_again",
    "choose_all",
    "choose_one",
    "gone",
    "names_in",
    "not_whole",
]

_LITTER = {"lost+found"}


class Chosen(NamedTuple):
    """Some steps of a directory.

    Attributes
    ----------
    steps
        In the order of steps, oldest first; they may be incomplete.
    listed
        Those that are listed where they come to. The others are not listed here either: the
        training system keeps one a day so.
    latest
        The latest of them here; None if none is.
    """

    steps: list[StepSurvey]
    listed: set[int]
    latest: int | None


def choose_one(model_dir: ModelDir, found: Survey, step: int | None) -> list[Chosen]:
    """A step, by default the latest; and of `dense_only` the newest that is not newer.

    Raises
    ------
    StepNotFoundError
        There is no such step.
    CorruptionError
        It is not whole.
    """
    checkpoint = model_dir.checkpoint(step)
    one = next((each for each in found.steps if each.step == checkpoint.step), None)
    if one is None or one.step is None:
        raise StepNotFoundError("a checkpoint without a number", path=model_dir.path)
    if not one.is_whole:
        raise not_whole(found.directory, one)
    chosen = [Chosen([one], {one.step}, one.step)]
    if found.dense_only is not None:
        beside = dense_only_along(found.dense_only, one)
        steps = [] if beside is None else [beside]
        listed = {each.step for each in steps if each.step is not None}
        chosen.append(Chosen(steps, listed, next(iter(listed), None)))
    return chosen


def choose_all(model_dir: ModelDir, found: Survey) -> list[Chosen]:
    """All steps that are listed, and older ones that are whole; of `dense_only`, too.

    Raises
    ------
    StepNotFoundError
        There is none.
    """
    chosen = [_all_of(model_dir, found)]
    if not chosen[0].steps:
        raise StepNotFoundError("holds no step to copy", path=found.directory)
    if found.dense_only is not None:
        inner = found.dense_only
        chosen.append(_all_of(ModelDir(inner.directory, "training"), inner))
    return chosen


def _all_of(model_dir: ModelDir, found: Survey) -> Chosen:
    offered = set(model_dir.steps())  # what is newer than the latest is being written
    steps = [
        each
        for each in found.steps
        if each.step is not None
        and (
            each.is_listed or each.is_latest or (each.state == "unlisted" and each.step in offered)
        )
    ]
    listed = {
        each.step
        for each in steps
        if each.step is not None and (each.is_listed or each.is_latest or not found.state)
    }
    latest = next((each.step for each in reversed(steps) if each.is_latest), None)
    return Chosen(steps, listed, latest)


def choose_again(found: Survey, begun: Begun) -> Chosen:
    """The steps that were chosen before, as far as they are there."""
    steps = [each for each in found.steps if each.step in begun.steps]
    listed = {step for step, is_listed in begun.steps.items() if is_listed}
    return Chosen(steps, listed, begun.latest)


def not_whole(directory: str, step: StepSurvey) -> CorruptionError:
    """The error of a step that is not whole, with the first thing that is missing."""
    first = step.missing[0] if step.missing else None
    what = f"step {step.step} is not whole"
    if first is not None:
        more = f", and {len(step.missing) - 1} more" if len(step.missing) > 1 else ""
        what += f": {first.file}: {first.what}{more}"
    hint = "copy another step, or repair this one into a directory of its own"
    return CorruptionError(what, path=directory, hint=hint, kind="missing_shard")


def check_apart(source: str, target: str) -> None:
    """Refuse to send a directory into itself, or into what is in it or above it.

    Raises
    ------
    UsageError
        It is so.
    """
    hint = "name a directory elsewhere"
    if store_of(source) is not store_of(target):
        return
    if store_of(source).is_same(source, target) or absolute(source) == absolute(target):
        raise UsageError("is the directory to copy from", path=target, hint=hint)
    if lies_in(target, source):
        raise UsageError(f"lies in {source}", path=target, hint=hint)
    if lies_in(source, target):
        raise UsageError(f"{source}, which is to be copied, lies in it", path=target, hint=hint)


def check_target(target: str, names: Iterable[str]) -> None:
    """Refuse to send steps into a directory that is neither empty nor a job's.

    Raises
    ------
    AlreadyExistsError
        It is so.
    """
    seen = [name for name in names if name not in _LITTER]
    if JOURNAL in seen or is_training_dir(seen) or all(name.startswith(".") for name in seen):
        return
    what = f"holds other things than checkpoints, such as '{name_of(seen[0])}'"
    hint = "name a directory that is new, empty, or a job's"
    raise AlreadyExistsError(what, path=target, hint=hint)


def names_in(directory: str) -> list[str] | None:
    """The names in a directory; None if there is none.

    Raises
    ------
    PathNotFoundError
        A file is in its place.
    NotReadableError
        The store refused to list it.
    """
    try:
        return store_of(directory).names(directory)
    except PathNotFoundError:
        if store_of(directory).exists(directory):
            raise
        return None


def gone(step: int, found: Survey) -> StepNotFoundError:
    """The error of a step that is no longer where it was found."""
    what = f"step {step} is gone: it was deleted since it was found"
    left = [each.step for each in found.steps if each.step is not None]
    return StepNotFoundError(what, path=found.directory, hint=steps_hint(left))
