"""Which state of a worker's input to restore: that of a step, or where the job would go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.checkpoint.inputs import find_input_step, input_prefix, list_inputs, worker_of
from monolith_cli.checkpoint.names import INDEX_SUFFIX, step_of
from monolith_cli.checkpoint.restart import RestartPoint, restart_point
from monolith_cli.errors import PathNotFoundError, StepNotFoundError, UsageError
from monolith_cli.formats.tensor_bundle import TensorBundle
from monolith_cli.iterators.elsewhere import elsewhere_hint
from monolith_cli.iterators.state import advising, iterator_name, state_entries
from monolith_cli.storage.location import as_location, name_of
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monolith_cli.storage.location import AnyPath

__all__ = ["SavedInput", "choose_iterator", "find_input", "read_iterators"]

_SHOWN = 10


class SavedInput(NamedTuple):
    """The states of a worker's iterators at a step.

    Attributes
    ----------
    worker, step
        None for a bundle that was given by its path, if its name has none.
    prefix
        Of the tensor bundle.
    instead_of
        The step that was looked for, if there is no state of it.
    """

    worker: int | None
    step: int | None
    prefix: str
    instead_of: int | None = None

    @property
    def note(self) -> str | None:
        """What to say of a state that is an older one than it should be."""
        if self.instead_of is None:
            return None
        what = f"no state of worker {self.worker}'s input at step {self.instead_of}"
        return f"there is {what}: this is the one of step {self.step}"


def find_input(
    path: AnyPath,
    worker: int | None,
    step: int | None = None,
    *,
    restart: RestartPoint | None = None,
) -> SavedInput:
    """Find a state; nothing of it is read.

    Parameters
    ----------
    path
        The directory of a job; or the prefix or the index of a tensor bundle.
    worker
        By default the only one.
    step
        By default the one that a restart of the job would go on from.
    restart
        What the job restores, if somebody knows; by default what the directory says.

    Raises
    ------
    StepNotFoundError
        There is no state of that worker, or none of that step.
    PathNotFoundError, NotReadableError
        There is no such directory or bundle, or it cannot be listed.
    UsageError
        There are several workers; or a bundle is given together with a worker or a step.
    StateFileError
        A file that says where the job goes on does not parse.
    """
    path = as_location(path)
    prefix = path.removesuffix(INDEX_SUFFIX)
    if not store_of(path).is_directory(path) and store_of(path).exists(prefix + INDEX_SUFFIX):
        if worker is not None or step is not None:
            raise UsageError("a file has no other workers or steps", path=path)
        name = name_of(prefix)
        return SavedInput(worker_of(name), step_of(name), prefix)
    states = list_inputs(store_of(path).names(path))
    if worker is None:
        if len(states) > 1:
            raise UsageError(f"which worker? There are {', '.join(map(str, states))}", path=path)
        worker = next(iter(states), 0)
    steps = states.get(worker, [])
    if not steps:
        hint = elsewhere_hint(path)
        if states:
            hint = f"there are some of workers {', '.join(map(str, states))}"
        raise StepNotFoundError(f"no states of worker {worker}'s input", path=path, hint=hint)
    instead_of = None
    if step is None:
        restart = restart or restart_point(path)
        step = find_input_step(path, worker, restart, steps)
        wanted = restart.input_step(worker)
        if step is None:
            what = "that is committed" if wanted is None else f"at step {wanted} or before"
            raise StepNotFoundError(
                f"no state of worker {worker}'s input {what}", path=path, hint=_steps_hint(steps)
            )
        instead_of = None if wanted in (None, step) else wanted
    elif step not in steps:
        what = f"no state of worker {worker}'s input at step {step}"
        raise StepNotFoundError(what, path=path, hint=_steps_hint(steps))
    return SavedInput(worker, step, input_prefix(path, worker, step), instead_of)


def read_iterators(prefix: str) -> dict[str, str]:
    """The states in a bundle, all read and verified: the tensor's name by the iterator's.

    Raises
    ------
    MonolithError
        As `TensorBundle` and its `variants`.
    """
    with advising():
        bundle = TensorBundle(prefix)
        found = {}
        for entry in state_entries(bundle):
            for _ in bundle.variants(entry):
                pass
            found[iterator_name(entry)] = entry.name
        return found


def choose_iterator(prefix: str, iterators: Sequence[str], name: str | None = None) -> str:
    """The one of a bundle's iterators that is meant; the only one by default.

    Raises
    ------
    PathNotFoundError
        There is none, or none of that name.
    UsageError
        There are several.
    """
    path = prefix + INDEX_SUFFIX
    if not iterators:
        raise PathNotFoundError("holds no state of an iterator", path=path)
    there = f"there {'is' if len(iterators) == 1 else 'are'} {', '.join(iterators)}"
    if name is None:
        if len(iterators) > 1:
            what = f"holds the states of {len(iterators)} iterators"
            raise UsageError(what, path=path, hint=f"name the one that is meant; {there}")
        return iterators[0]
    if name not in iterators:
        raise PathNotFoundError(f"holds no state of iterator {name}", path=path, hint=there)
    return name


def _steps_hint(steps: Sequence[int]) -> str:
    more = "..., " if len(steps) > _SHOWN else ""
    return f"there are those of steps {more}{', '.join(map(str, steps[-_SHOWN:]))}"
