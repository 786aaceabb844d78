"""Where a job goes on: the committed step that it restores, and a rollback of its inputs."""

from __future__ import annotations

import json
import os
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from monolith_cli.checkpoint.inputs import read_step_inputs
from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.checkpoint.names import CHECKPOINT, CKPT_OVERRIDE
from monolith_cli.checkpoint.removal import remove
from monolith_cli.errors import (
    NotReadableError,
    PathNotFoundError,
    StateFileError,
    StepNotFoundError,
)
from monolith_cli.formats.atomic import atomic_write
from monolith_cli.formats.small_file import malformed, read_with_status

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "Override",
    "RestartPoint",
    "is_spent",
    "read_override",
    "remove_override",
    "restart_point",
    "write_override",
]

_START_LATEST = "remove it to start from the latest step"


class Override(NamedTuple):
    """What `ckpt.override` asks for, written by a rollback of inputs.

    Attributes
    ----------
    model_step
        The committed step that the model is restored from.
    inputs
        For each worker that it names, the step of the iterator state to go on from.
    written_ns
        When the file was written, in nanoseconds since 1970; tells it from an equal one.
    """

    model_step: int
    inputs: Mapping[int, int]
    written_ns: int = 0

    def as_json(self) -> dict[str, Any]:
        """As the first commit after it records it."""
        return {
            "model_step": self.model_step,
            "inputs": {str(worker): step for worker, step in sorted(self.inputs.items())},
            "written_ns": self.written_ns,
        }


class RestartPoint(NamedTuple):
    """What a job restores when it starts.

    Attributes
    ----------
    step
        A committed step; None where there is none yet, and all starts anew.
    prefix
        Of its tensor bundle; None likewise.
    override
        The rollback that asked for it, if there was one.
    """

    step: int | None = None
    prefix: str | None = None
    override: Override | None = None

    def input_step(self, worker: int) -> int | None:
        """The step that a worker's input goes on from: the model's, unless it was rolled back."""
        inputs = self.override.inputs if self.override else {}
        return inputs.get(worker, self.step)


def restart_point(
    model_dir: str | os.PathLike[str], *, run_step: int | None = None
) -> RestartPoint:
    """The step that `ckpt.override` asks for, or the latest that `checkpoint` names.

    Without a `checkpoint` file nothing is committed, whatever else lies there. Reads two small
    files and lists the directory.

    Parameters
    ----------
    run_step
        The step that the running job has gone on from, for a process that joins it: it is too late
        for a rollback to another one.

    Raises
    ------
    StateFileError
        One of the two files does not parse, or a `ckpt.inputs` that may have ended the rollback.
    StepNotFoundError
        The step's files are gone, or it was never committed. The kind is `override_stale` where
        that is the step of a rollback.
    NotReadableError
        The operating system refused.
    """
    path = os.fspath(model_dir)
    override = read_override(path)
    if not _is_there(os.path.join(path, CHECKPOINT)):
        if override:
            what = f"step {override.model_step} was never committed"
            raise _stale(path, what, "remove it to start anew")
        return RestartPoint()
    directory = open_model_dir(path)
    if override and run_step is not None and override.model_step != run_step:
        override = None
    if override and is_spent(path, override, directory.steps()):
        override = None
    try:
        checkpoint = directory.checkpoint(override.model_step if override else None)
        if not checkpoint.has_index:
            what = "no dense variables to restore: their index is missing"
            raise StepNotFoundError(what, path=checkpoint.prefix or path)
    except StepNotFoundError as error:
        if override is None:
            raise
        what = f"asks for the model of step {override.model_step}: {error.what}"
        hint = "remove it to go on from the latest step, or roll the inputs back once more"
        if error.hint:
            hint += f"; {error.hint}"
        raise _stale(path, what, hint) from error
    return RestartPoint(checkpoint.step, checkpoint.prefix, override)


def _stale(path: str, what: str, hint: str) -> StepNotFoundError:
    """An override that cannot be honoured."""
    override = os.path.join(path, CKPT_OVERRIDE)
    return StepNotFoundError(what, path=override, hint=hint, kind="override_stale")


def is_spent(model_dir: str, override: Override, steps: Iterable[int]) -> bool:
    """Whether one of these steps ended that rollback; reads their `ckpt.inputs`, the last first.

    A chief that dies right after a commit leaves an override that has done its work.

    Raises
    ------
    StateFileError, NotReadableError
        As `read_step_inputs`.
    """
    said = override.as_json()
    for step in reversed(list(steps)):
        inputs = read_step_inputs(model_dir, step)
        if inputs and inputs.override == said:
            return True
    return False


def read_override(model_dir: str | os.PathLike[str]) -> Override | None:
    """What `ckpt.override` says; None if there is no such file.

    Raises
    ------
    StateFileError
        It is not JSON of the form `{"model_step": step, "inputs": {"1": step}}`.
    NotReadableError
        The operating system refused.
    """
    path = os.path.join(os.fspath(model_dir), CKPT_OVERRIDE)
    data = b""
    try:
        data, status = read_with_status(path)
        said = json.loads(data)
    except PathNotFoundError:
        if os.path.isdir(path):
            raise
        return None
    except StateFileError:
        raise
    except (ValueError, RecursionError) as error:
        raise malformed("not JSON", data, path, hint=_START_LATEST) from error
    try:
        step = _step(said["model_step"])
        inputs = {_step(int(worker)): _step(at) for worker, at in said.get("inputs", {}).items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = "not an override of a job's inputs"
        raise StateFileError(what, path=path, hint=_START_LATEST) from error
    return Override(step, MappingProxyType(inputs), status.st_mtime_ns)


def write_override(
    model_dir: str | os.PathLike[str], model_step: int, inputs: Mapping[int, int]
) -> None:
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
    path = os.path.join(os.fspath(model_dir), CKPT_OVERRIDE)
    atomic_write(path, (json.dumps(document) + "\n").encode())


def remove_override(model_dir: str | os.PathLike[str]) -> bool:
    """End a rollback; False if there was none.

    Raises
    ------
    WriteError
        The operating system refused.
    """
    return remove(os.path.join(os.fspath(model_dir), CKPT_OVERRIDE))


def _is_there(path: str) -> bool:
    """As `os.path.lexists`; but a disk that fails does not pass for a file that is not there."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise NotReadableError.because(error, path) from error
    return True


def _step(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} is no step")
    return value
