"""The order of a directory's steps: as `checkpoint` lists them, never by their numbers alone.

Numbers may go down: a run that started over counts from 1 again, while steps of the run before
are still there. `checkpoint` lists steps in the order of their commits. Those that it does not list
come in by the time of their commit, which is that of their index; numbers decide only between equal
times.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.checkpoint.names import INDEX_SUFFIX, parse_checkpoint_name, step_of
from monolith_cli.errors import MonolithError
from monolith_cli.storage.location import name_of
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from monolith_cli.formats.checkpoint_state import CheckpointState

__all__ = [
    "Recorded",
    "comes_later",
    "commit_time",
    "index_time",
    "order_of_steps",
    "recorded_checkpoints",
]


class Recorded(NamedTuple):
    """A checkpoint as `checkpoint` names it.

    Attributes
    ----------
    path
        As it is written there: relative to the directory, or absolute and perhaps stale.
    name
        The name of its files without suffix, such as `model.ckpt-10`.
    step
        The number in that; None where there is none.
    time
        When it was committed, in seconds since 1970; None where that is not recorded.
    is_listed
        Whether the list has it. The latest may be named alone: who goes back to a step of which the
        list says nothing names it, and leaves the list as it is. Where there is no list, it is it.
    """

    path: str
    name: str
    step: int | None
    time: float | None
    is_listed: bool = True


def recorded_checkpoints(state: CheckpointState, names: Collection[str] = ()) -> list[Recorded]:
    """What `checkpoint` lists, oldest first; what it names as the latest is among them, or last.

    TensorFlow writes plain paths. People write others: one of a file with its suffix, or of another
    operating system.

    Parameters
    ----------
    names
        Those of the files in the directory: a name that is there is taken as it is.
    """
    times = dict(
        zip(state.all_model_checkpoint_paths, state.all_model_checkpoint_timestamps, strict=False)
    )
    listed = state.all_model_checkpoint_paths or (state.model_checkpoint_path,)
    paths = dict.fromkeys([*listed, state.model_checkpoint_path])
    found: dict[str, Recorded] = {}
    for path in paths:
        name = _name_of(path, names)
        if name:
            step, time = step_of(name), times.get(path)
            found.setdefault(path, Recorded(path, name, step, time, path in listed))
    return list(found.values())


def order_of_steps(
    listed: Sequence[tuple[int, float | None]],
    unlisted: Mapping[int, float],
    latest: int | None = None,
) -> list[int]:
    """The steps of a directory, oldest first.

    Parameters
    ----------
    listed
        Steps in the order in which `checkpoint` lists them, with the times of their commits.
    unlisted
        The other steps, with the times of their indexes; infinity where that is not known.
    latest
        The step that `checkpoint` names as the latest. An unlisted step with a lower number is not
        later, whatever its time: a copy of a directory has the times of the copying. Where the
        latest is unlisted itself, the last that is listed takes its place in that rule.
    """
    order = [step for step, _ in listed]
    times = list(accumulate((time or 0.0 for _, time in listed), max))
    at_latest = order.index(latest) if latest in order else len(order) - 1
    if latest in unlisted and order:
        latest = order[-1]
    next_place = 0
    for step, time in sorted(unlisted.items(), key=lambda item: (item[1], item[0])):
        # What those before it were not put behind is not behind this one either.
        place = next_place
        while place < len(order) and (times[place], order[place]) <= (time, step):
            place += 1
        next_place = place + 1
        if place > at_latest >= 0 and latest is not None and step < latest:
            place = next((i for i in range(at_latest) if order[i] > step), at_latest)
            time = times[place]
        at_latest += place <= at_latest
        order.insert(place, step)
        times.insert(place, time)
    return order


def comes_later(step: int, time: float | None, latest: int, latest_time: float | None) -> bool:
    """Whether an unlisted step was saved after the latest commit: it is being written, or given up.

    A higher number says so, unless its index is older than that commit: then it is left of a run
    before, which went further. Times alone say nothing, as copying changes them.

    Parameters
    ----------
    time
        That of its index; None without one.
    latest, latest_time
        The step that `checkpoint` names as the latest, and the time of its commit.
    """
    if step <= latest:
        return False
    return time is None or latest_time is None or time >= latest_time


def commit_time(recorded: float | None, prefix: str | None) -> float | None:
    """A time at which a step was not committed yet, or just so; None if nothing is known.

    The earlier of what `checkpoint` records and the time of the index: clocks of a job and of a
    file server differ, and a copy has new times.
    """
    times = [recorded, None if prefix is None else index_time(prefix)]
    return min((time for time in times if time), default=None)


def index_time(prefix: str) -> float | None:
    """When the index of a checkpoint was written, in seconds since 1970; None without one."""
    try:
        return store_of(prefix).status(prefix + INDEX_SUFFIX).modified
    except MonolithError:
        return None


def _name_of(path: str, names: Collection[str]) -> str:
    """The name of the files that a recorded path means."""
    candidates = list(_candidates(path))
    for name in candidates:
        if name + INDEX_SUFFIX in names:
            return name
    return candidates[-1]


def _candidates(path: str) -> Iterator[str]:
    """Ever freer readings of a path: as it is, without a suffix, as Windows has it."""
    for name in dict.fromkeys([name_of(path), path.replace("\\", "/").rpartition("/")[2]]):
        yield name
        parts = parse_checkpoint_name(name)
        if parts and parts.suffix:
            yield name.removesuffix(parts.suffix)
