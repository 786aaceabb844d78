"""Where a job goes on: the committed step that it restores, and a rollback of its inputs."""

from __future__ import annotations

import json
import os
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from monolith_cli.checkpoint.inputs import read_step_inputs
from monolith_cli.checkpoint.layout import CHECKPOINT, CKPT_OVERRIDE
from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.errors import StateFileError, WriteError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Override", "RestartPoint", "read_override", "remove_override", "restart_point"]


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


def restart_point(model_dir: str | os.PathLike[str]) -> RestartPoint:
    """The step that `ckpt.override` asks for, or the latest that `checkpoint` names.

    Without a `checkpoint` file nothing is committed, whatever else lies there. Reads two small
    files and lists the directory.

    Raises
    ------
    StateFileError
        One of the two files does not parse.
    StepNotFoundError
        The step's files are gone, or it was never committed.
    NotReadableError
        The operating system refused.
    """
    path = os.fspath(model_dir)
    if not os.path.lexists(os.path.join(path, CHECKPOINT)):
        return RestartPoint()
    directory = open_model_dir(path)
    override = read_override(path)
    if override:
        # A chief that dies right after a commit leaves an override that has done its work.
        steps = directory.steps()
        ended_by = read_step_inputs(path, steps[-1]) if steps else None
        if ended_by and ended_by.override == override.as_json():
            override = None
    checkpoint = directory.checkpoint(override.model_step if override else None)
    return RestartPoint(checkpoint.step, checkpoint.prefix, override)


def read_override(model_dir: str | os.PathLike[str]) -> Override | None:
    """What `ckpt.override` says; None if there is no such file.

    Raises
    ------
    StateFileError
        It is not JSON of the form `{"model_step": step, "inputs": {"1": step}}`.
    """
    path = os.path.join(os.fspath(model_dir), CKPT_OVERRIDE)
    try:
        with open(path, "rb") as file:
            written_ns = os.fstat(file.fileno()).st_mtime_ns
            said = json.load(file)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise StateFileError("not JSON", path=path) from error
    try:
        step = _step(said["model_step"])
        inputs = {int(worker): _step(at) for worker, at in said.get("inputs", {}).items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StateFileError("not an override of a job's inputs", path=path) from error
    return Override(step, MappingProxyType(inputs), written_ns)


def remove_override(model_dir: str | os.PathLike[str]) -> bool:
    """End a rollback; False if there was none.

    Raises
    ------
    WriteError
        The operating system refused.
    """
    path = os.path.join(os.fspath(model_dir), CKPT_OVERRIDE)
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise WriteError(f"not removed: {error.strerror}", path=path) from error
    return True


def _step(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} is no step")
    return value
