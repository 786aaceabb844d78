"""Jobs without an open port: what is asked for in a file, and the answer in another."""

from __future__ import annotations

import contextlib
import os
import time

from monolith_cli.checkpoint.layout import CHECKPOINT
from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.control.service import ACTION_FILE, RESPONSE_FILE
from monolith_cli.errors import (
    AlreadyExistsError,
    PathNotFoundError,
    RefusedError,
    StepNotFoundError,
    TimedOutError,
)
from monolith_cli.formats.atomic import atomic_write
from monolith_cli.formats.checkpoint_state import CheckpointState, read_checkpoint_state

__all__ = ["ask_by_file", "save_by_file"]

_POLL_SECONDS = 0.2
_MOST_BYTES = 4096
_Mark = tuple[int, int]


def ask_by_file(model_dir: str | os.PathLike[str], action: str, timeout_seconds: float) -> None:
    """Ask for `TRIGGER_SAVE` or `STOP`, and wait until the job has answered OK.

    A request that nobody has answered in time is taken back.

    Raises
    ------
    PathNotFoundError
        There is no such directory.
    RefusedError
        Another request is there that has not been answered yet, or the job has answered otherwise.
    TimedOutError
        No answer in time: no job runs there, or it does not look for such files.
    WriteError
        The directory cannot be written.
    """
    directory = os.fspath(model_dir)
    if not os.path.isdir(directory):
        raise PathNotFoundError("no such directory", path=directory)
    path = os.path.join(directory, ACTION_FILE)
    response = os.path.join(directory, RESPONSE_FILE)
    before = _mark(response)
    deadline = time.monotonic() + timeout_seconds
    try:
        atomic_write(path, f"action: {action}\n".encode(), overwrite=False)
    except AlreadyExistsError as error:
        raise RefusedError(
            "somebody else's request is there, which no job has answered yet",
            path=path,
            hint="remove it if no job runs",
        ) from error
    mine = _mark(path)
    answered = False
    try:
        # The original does not rewrite an equal answer, but it does remove the request.
        while os.path.lexists(path) and _mark(response) == before:
            if time.monotonic() >= deadline:
                raise TimedOutError(
                    f"no job has answered in {timeout_seconds:g} s",
                    path=path,
                    hint="see whether it runs, and whether it looks for this file",
                )
            time.sleep(_POLL_SECONDS)
        answered = True
    finally:
        if not answered and _mark(path) == mine:
            with contextlib.suppress(OSError):
                os.unlink(path)
    answer = _read(response)
    if answer not in ("", "OK"):
        raise RefusedError(f"the job has answered: {answer}", path=path)


def save_by_file(
    model_dir: str | os.PathLike[str], timeout_seconds: float
) -> tuple[int | None, str | None]:
    """Ask for a save, and wait until `checkpoint` names a newer step; returns step and prefix.

    Raises
    ------
    TimedOutError
        No answer, or no newer step, in time.
    MonolithError
        As `ask_by_file`, and what is wrong with the directory's state files.
    """
    deadline = time.monotonic() + timeout_seconds
    before = _state(model_dir)
    ask_by_file(model_dir, "TRIGGER_SAVE", timeout_seconds)
    while True:
        state = _state(model_dir)
        if state is not None and state != before:
            with contextlib.suppress(StepNotFoundError):
                saved = open_model_dir(model_dir).checkpoint()
                return saved.step, saved.prefix
        if time.monotonic() >= deadline:
            raise TimedOutError(
                f"no newer checkpoint after {timeout_seconds:g} s", path=os.fspath(model_dir)
            )
        time.sleep(_POLL_SECONDS)


def _state(model_dir: str | os.PathLike[str]) -> CheckpointState | None:
    try:
        return read_checkpoint_state(os.path.join(os.fspath(model_dir), CHECKPOINT))
    except PathNotFoundError:
        return None


def _mark(path: str) -> _Mark | None:
    """Another one for each time that a file was written."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(_MOST_BYTES).decode("utf-8", "replace").strip()
    except OSError:
        return ""
