"""Where a job goes on: the committed step that it restores, and a rollback of its inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.checkpoint.names import CHECKPOINT, CKPT_OVERRIDE, INPUT_WORKER_PREFIX
from monolith_cli.checkpoint.override import Override, read_override, what_is_left
from monolith_cli.errors import PathNotFoundError, StepNotFoundError
from monolith_cli.storage.location import as_location, join
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from monolith_cli.checkpoint.checkpoint import Checkpoint
    from monolith_cli.storage.location import AnyPath

__all__ = ["RestartPoint", "require_restorable", "restart_point"]


class RestartPoint(NamedTuple):
    """What a job restores when it starts.

    Attributes
    ----------
    step
        A committed step; None where there is none yet, and all starts anew.
    prefix
        Of its tensor bundle; None likewise.
    override
        The rollback of inputs that is to be honoured, if there is one: that asks for this step, or
        what earlier commits have left of it.
    """

    step: int | None = None
    prefix: str | None = None
    override: Override | None = None

    def input_step(self, worker: int) -> int | None:
        """The step that a worker's input goes on from: the model's, unless it was rolled back."""
        inputs = self.override.inputs if self.override else {}
        return inputs.get(worker, self.step)


def restart_point(model_dir: AnyPath, *, run_step: int | None = None) -> RestartPoint:
    """The step that `ckpt.override` asks for, or the latest that `checkpoint` names.

    Without a `checkpoint` file nothing is committed, whatever else lies there. Reads two small
    files and lists the directory; looks at the files of the step where it has a manifest.

    Parameters
    ----------
    run_step
        The step that the running job has gone on from, for a process that joins it: it is too late
        for a rollback to another one.

    Raises
    ------
    StateFileError
        One of the two files does not parse, or a `ckpt.inputs` that may have honoured the rollback.
    StepNotFoundError
        The step's files are gone, or it was never committed. The kind is `override_stale` where
        that is the step of a rollback.
    MissingShardError, CorruptionError
        A file of the step that its manifest names is gone, or of another size.
    NotReadableError
        The operating system refused.
    """
    path = as_location(model_dir)
    override = read_override(path)
    if not _is_there(join(path, CHECKPOINT)):
        if override and override.model_step is not None:
            what = f"step {override.model_step} was never committed"
            raise _stale(path, what, "remove it to start over")
        return RestartPoint()
    directory = open_model_dir(path)
    if override:
        override = what_is_left(path, override, directory.steps())
    model_step = override.model_step if override else None
    if run_step is not None and model_step not in (None, run_step):
        override = model_step = None
    try:
        checkpoint = directory.checkpoint(model_step)
        require_restorable(checkpoint, path)
    except StepNotFoundError as error:
        if model_step is None:
            raise
        what = f"asks for the model of step {model_step}: {error.what}"
        hint = "remove it to go on from the latest step, or roll the inputs back once more"
        if error.hint:
            hint += f"; {error.hint}"
        raise _stale(path, what, hint) from error
    return RestartPoint(checkpoint.step, checkpoint.prefix, override)


def require_restorable(checkpoint: Checkpoint, path: str) -> None:
    """Raise an error if a job could not begin with the model of a step of the directory `path`.

    For an iterator's state there is a way without it: an older one.

    Raises
    ------
    StepNotFoundError
        It has no dense variables.
    MissingShardError, CorruptionError
        A file that its manifest names is gone, or of another size.
    PathNotFoundError, NotReadableError
        As `Checkpoint.lost_files`.
    """
    if not checkpoint.has_index:
        what = "no dense variables to restore: their index is missing"
        raise StepNotFoundError(what, path=checkpoint.prefix or path)
    for lost in checkpoint.lost_files():
        if not lost.name.startswith(INPUT_WORKER_PREFIX):
            raise lost.error


def _stale(path: str, what: str, hint: str) -> StepNotFoundError:
    """An override that cannot be honoured."""
    override = join(path, CKPT_OVERRIDE)
    return StepNotFoundError(what, path=override, hint=hint, kind="override_stale")


def _is_there(path: str) -> bool:
    """As `Store.exists`; but a disk that fails does not pass for a file that is not there."""
    try:
        store_of(path).status(path, follow=False)
    except PathNotFoundError:
        return False
    return True
