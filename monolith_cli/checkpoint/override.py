"""`ckpt.override`: a rollback of a job's inputs that was asked for, and what is left of it.

`{"model_step": 200, "inputs": {"1": 100, "2": 100}}` asks for the model of a committed step, and
for older states of some workers' inputs. The job that goes on so ends it bit by bit. Its first
commit voids the step of the model. A worker's entry goes with the first commit that holds a state
which this worker has saved after it had restored by the rollback; until then it would have nothing
else to go on from, were it to start again. What is left is written into the file, with
`"model_step": null` and the time of the first writing, by which it is known as the same rollback.

Each commit notes in its `ckpt.inputs` which rollback it has honoured and what it leaves of it, so
that a chief that dies before it has changed the file is none the worse.
"""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from monolith_cli.checkpoint.inputs import read_step_inputs
from monolith_cli.checkpoint.names import CKPT_OVERRIDE
from monolith_cli.errors import PathNotFoundError, StateFileError
from monolith_cli.storage.location import as_location, join
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from monolith_cli.checkpoint.inputs import StepInputs
    from monolith_cli.storage.location import AnyPath

__all__ = [
    "Override",
    "left_by",
    "read_override",
    "remove_override",
    "what_is_left",
    "write_override",
    "write_rest",
]

_START_LATEST = "remove it to start from the latest step"


class Override(NamedTuple):
    """What `ckpt.override` asks for, written by a rollback of inputs.

    Attributes
    ----------
    model_step
        The committed step that the model is restored from; None where that is done, and the model
        is the latest.
    inputs
        For each worker that it names, the step of the iterator state to go on from.
    written_ns
        When it was asked for, in nanoseconds since 1970; tells it from an equal one.
    """

    model_step: int | None
    inputs: Mapping[int, int]
    written_ns: int = 0

    def as_json(self) -> dict[str, Any]:
        """As commits record it."""
        return {
            "model_step": self.model_step,
            "inputs": {str(worker): step for worker, step in sorted(self.inputs.items())},
            "written_ns": self.written_ns,
        }

    def as_note(self, rest: Override | None) -> dict[str, Any]:
        """As a commit that leaves this rest of it records it."""
        left = sorted(rest.inputs) if rest else []
        return {**self.as_json(), "left": [str(worker) for worker in left]}

    def rest(self, workers: Collection[int]) -> Override | None:
        """What a commit leaves of it if these workers' inputs stay; None for nothing."""
        inputs = {worker: step for worker, step in self.inputs.items() if worker in workers}
        return Override(None, MappingProxyType(inputs), self.written_ns) if inputs else None

    def is_rest_of(self, other: Override) -> bool:
        """Whether it is the same rollback, or what is left of it."""
        return (
            self.written_ns == other.written_ns
            and self.model_step in (None, other.model_step)
            and self.inputs.items() <= other.inputs.items()
        )


def read_override(model_dir: AnyPath) -> Override | None:
    """What `ckpt.override` says; None if there is no such file.

    Commits may have done a part of it: see `what_is_left`.

    Raises
    ------
    StateFileError
        It is not JSON of the form `{"model_step": step, "inputs": {"1": step}}`.
    NotReadableError
        The operating system refused.
    """
    path = join(as_location(model_dir), CKPT_OVERRIDE)
    data = b""
    try:
        data, status = store_of(path).read_with_status(path)
        said = json.loads(data)
    except PathNotFoundError:
        if store_of(path).is_directory(path):
            raise
        return None
    except StateFileError:
        raise
    except (ValueError, RecursionError) as error:
        from monolith_cli.formats.magic import malformed

        raise malformed("not JSON", data, path, hint=_START_LATEST) from error
    try:
        override = _parse(said)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = "not an override of a job's inputs"
        raise StateFileError(what, path=path, hint=_START_LATEST) from error
    return override if override.written_ns else override._replace(written_ns=status.modified_ns)


def what_is_left(model_dir: str, override: Override, steps: Iterable[int]) -> Override | None:
    """What these steps' commits have left of a rollback; itself if none has honoured it.

    Reads their `ckpt.inputs`, the last first. A chief that dies right after a commit leaves an
    override that has done its work, all or a part of it.

    Raises
    ------
    StateFileError, NotReadableError
        As `read_step_inputs`.
    """
    for step in reversed(list(steps)):
        inputs = read_step_inputs(model_dir, step)
        noted = _noted(inputs)
        if noted and noted[0].is_rest_of(override):
            return override.rest(noted[1])
    return override


def left_by(inputs: StepInputs) -> Override | None:
    """What the commit of a step has left of the rollback that it honoured; None for nothing.

    Parameters
    ----------
    inputs
        What `ckpt.inputs-<step>` says.
    """
    noted = _noted(inputs)
    return noted[0].rest(noted[1]) if noted else None


def _noted(inputs: StepInputs | None) -> tuple[Override, set[int]] | None:
    """The rollback that a commit has honoured, and the workers that had not gone back by it yet."""
    note: Any = inputs.override if inputs else None
    try:
        return _parse(note), {int(worker) for worker in note.get("left", ())}
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def write_override(model_dir: AnyPath, model_step: int, inputs: Mapping[int, int]) -> None:
    """Ask the next run to begin with the model of a committed step, and these steps of inputs.

    What `ckpt.override` said before is replaced. One that says the same is a new rollback all the
    same: that the earlier one has done its work does not end it.

    Raises
    ------
    WriteError
        The operating system refused.
    """
    document = Override(model_step, inputs).as_json()
    del document["written_ns"]
    _write(model_dir, document)


def write_rest(model_dir: AnyPath, rest: Override | None) -> None:
    """Let `ckpt.override` say what is left of it; without anything it goes.

    Raises
    ------
    WriteError
        The operating system refused.
    """
    if rest is None:
        remove_override(model_dir)
    else:
        _write(model_dir, rest.as_json())


def remove_override(model_dir: AnyPath) -> bool:
    """End a rollback; False if there was none.

    Raises
    ------
    WriteError
        The operating system refused.
    """
    path = join(as_location(model_dir), CKPT_OVERRIDE)
    return store_of(path).delete(path)


def _write(model_dir: AnyPath, document: Mapping[str, Any]) -> None:
    path = join(as_location(model_dir), CKPT_OVERRIDE)
    store_of(path).put(path, (json.dumps(document) + "\n").encode())


def _parse(said: Any) -> Override:
    """As JSON has it; any of a few built-in errors if it is something else."""
    model_step = said["model_step"]
    inputs = {_step(int(worker)): _step(at) for worker, at in said.get("inputs", {}).items()}
    if model_step is not None or not inputs:
        model_step = _step(model_step)
    return Override(model_step, MappingProxyType(inputs), _step(said.get("written_ns", 0)))


def _step(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} is not a step")
    return value
