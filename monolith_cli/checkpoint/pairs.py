"""Two checkpoints that are to be compared, as they are given on a line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.checkpoint.model_dir import ModelDir, open_model_dir
from monolith_cli.errors import StepNotFoundError
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from monolith_cli.checkpoint.checkpoint import Checkpoint

__all__ = ["Pair", "find_pair", "split_place"]

_PLACE = re.compile(r"(.+)@([0-9]{1,19}|latest)", re.DOTALL)


class Pair(NamedTuple):
    """Two checkpoints, and the directories that they are in.

    Attributes
    ----------
    a, b
        What is compared: the older one, or the one that the other is held against; and that.
    dir_a, dir_b
        Their model directories, as they were given.
    """

    a: Checkpoint
    b: Checkpoint
    dir_a: str
    dir_b: str


def find_pair(
    model_dir: str,
    a: int | None = None,
    b: int | None = None,
    other: str | None = None,
    *,
    latest: bool = False,
) -> Pair:
    """The two checkpoints that are meant. No data is read.

    Parameters
    ----------
    a, b
        Steps. Without `b` it is the latest; without both, that and the one before it in the order
        of steps.
    other
        Another directory, or `DIR@STEP`, `DIR@latest`: what it holds is `b`. Then `a` is the latest
        step of `model_dir` by default.
    latest
        Whether `a` is the latest step where it is None.

    Raises
    ------
    StepNotFoundError
        A step is not there, or there is none before the latest.
    MonolithError
        As `open_model_dir` and `ModelDir.checkpoint`.
    """
    directory = open_model_dir(model_dir)
    if other is not None:
        path, step = split_place(other)
        return Pair(directory.checkpoint(a), open_model_dir(path).checkpoint(step), model_dir, path)
    second = directory.checkpoint(b)
    if a is None and not latest:
        return Pair(_before(directory, second), second, model_dir, model_dir)
    return Pair(directory.checkpoint(a), second, model_dir, model_dir)


def split_place(place: str) -> tuple[str, int | None]:
    """A directory and a step, None for the latest, of `DIR`, `DIR@STEP` or `DIR@latest`.

    What is there under the whole name is a directory.
    """
    match = _PLACE.fullmatch(place)
    if match is None or store_of(place).exists(place):
        return place, None
    return match[1], None if match[2] == "latest" else int(match[2])


def _before(directory: ModelDir, latest: Checkpoint) -> Checkpoint:
    steps = directory.steps()
    index = steps.index(latest.step) if latest.step in steps else 0
    if index == 0:
        what = f"no step before {latest.step}" if steps else "no steps"
        raise StepNotFoundError(
            f"{what} to compare with",
            path=directory.path,
            hint="name two steps, or another directory",
        )
    return directory.checkpoint(steps[index - 1])
