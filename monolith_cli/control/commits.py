"""What a job has committed since it was asked to: `checkpoint` tells, whoever has asked."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.checkpoint.names import CHECKPOINT
from monolith_cli.errors import (
    MonolithError,
    PathNotFoundError,
    StepNotFoundError,
    TimedOutError,
)

if TYPE_CHECKING:
    from monolith_cli.checkpoint.model_dir import Checkpoint

__all__ = ["Commit", "Commits", "file_mark"]

_LOOK_SECONDS = 0.5  # looking for a checkpoint lists the directory


class Commit(NamedTuple):
    """A committed step, and the absolute path of its files without suffix."""

    step: int | None
    path: str


class Commits:
    """Looks at a directory when it is made, so that what is newer is known by the difference.

    Raises
    ------
    PathNotFoundError
        There is no such directory.
    """

    def __init__(self, model_dir: str | os.PathLike[str]) -> None:
        self._model_dir = os.fspath(model_dir)
        if not os.path.isdir(self._model_dir):
            raise PathNotFoundError("no such directory", path=self._model_dir)
        self._file = os.path.join(self._model_dir, CHECKPOINT)
        self._mark = file_mark(self._file)
        self._before: Checkpoint | None = None
        with contextlib.suppress(MonolithError):  # a save makes another `checkpoint`
            self._before = self._latest()

    def wait(self, timeout_seconds: float, *, told_seconds: float, at_least: int | None) -> Commit:
        """Wait until `checkpoint` was written anew, and names a step whose files are there.

        That may be the same step as before, of a job that has made none, or a lower one, of a job
        that has started over.

        Parameters
        ----------
        told_seconds
            What the error calls the time.
        at_least
            A step as high as this will do though `checkpoint` was not written; None: none will.

        Raises
        ------
        TimedOutError
            The time is over.
        MonolithError
            What is wrong with the directory's state files.
        """
        deadline = time.monotonic() + timeout_seconds
        while True:
            is_new = file_mark(self._file) != self._mark
            found = self._latest() if is_new or at_least is not None else None
            step = -1 if found is None or found.step is None else found.step
            if found and (is_new or (at_least is not None and step >= at_least)):
                return Commit(found.step, os.path.abspath(found.prefix or self._model_dir))
            left = deadline - time.monotonic()
            if left <= 0:
                newer = f" than step {self._before.step}" if self._before else ""
                raise TimedOutError(
                    f"no newer checkpoint{newer} after {told_seconds:g} s",
                    path=self._model_dir,
                    hint="it may still come, unless the save has failed in the job",
                )
            time.sleep(min(_LOOK_SECONDS, left))

    def _latest(self) -> Checkpoint | None:
        """The committed step that `checkpoint` names; None if it names none that is there."""
        # Without the file, what is there may be a save that goes on.
        if os.path.lexists(self._file):
            with contextlib.suppress(StepNotFoundError):
                return open_model_dir(self._model_dir).checkpoint()
        return None


def file_mark(path: str) -> tuple[int, int, int] | None:
    """Another one for each time that a file was written; None without the file."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
