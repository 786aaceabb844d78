"""Jobs without an open port: what is asked for in a file, and the answer in another."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

from monolith_cli.control.address import read_small_file
from monolith_cli.control.commits import Commits, file_mark
from monolith_cli.control.service import ACTION_FILE, RESPONSE_FILE
from monolith_cli.errors import (
    AlreadyExistsError,
    PathNotFoundError,
    RefusedError,
    TimedOutError,
)
from monolith_cli.storage.atomic import atomic_write
from monolith_cli.storage.store import local_path

if TYPE_CHECKING:
    from monolith_cli.control.commits import Commit

__all__ = ["ask_by_file", "save_by_file"]

_POLL_SECONDS = 0.1
_SETTLE_SECONDS = 1.0  # between a job's two steps of answering


def ask_by_file(model_dir: str | os.PathLike[str], action: str, timeout_seconds: float) -> None:
    """Ask for `TRIGGER_SAVE` or `STOP`, and wait until the job has answered OK.

    A request that nobody has answered in time is taken back.

    Raises
    ------
    UsageError
        The directory is a URL.
    PathNotFoundError
        There is no such directory.
    RefusedError
        Another request is there that has not been answered yet, or the job has answered otherwise.
    TimedOutError
        No answer in time: no job runs there, or it does not look for such files.
    WriteError
        The directory cannot be written.
    """
    directory = local_path(os.fspath(model_dir))
    if not os.path.isdir(directory):
        raise PathNotFoundError("no such directory", path=directory)
    path = os.path.join(directory, ACTION_FILE)
    response = os.path.join(directory, RESPONSE_FILE)
    before = file_mark(response)
    start = time.monotonic()
    try:
        atomic_write(path, f"action: {action}\n".encode(), overwrite=False)
    except AlreadyExistsError as error:
        raise RefusedError(
            "somebody else's request is there, which no job has answered yet",
            path=path,
            hint="remove it if no job runs",
        ) from error
    mine = file_mark(path)
    settled: float | None = None
    try:
        # A job writes its answer and removes the request, one after the other. An original one
        # does not write an answer again that is the same as the one before.
        while True:
            now = time.monotonic()
            is_taken, now_there = file_mark(path) != mine, file_mark(response)
            is_written = now_there != before and now_there is not None and now_there[2] > 0
            if is_taken and is_written:
                break
            if not is_taken and not is_written:
                settled = None
                if now - start >= timeout_seconds:
                    raise TimedOutError(
                        f"no job has answered in {timeout_seconds:g} s",
                        path=path,
                        hint="see whether it runs, and whether it looks for this file",
                    )
            elif settled is None:
                settled = now
            elif now - settled >= _SETTLE_SECONDS:
                break
            time.sleep(_POLL_SECONDS)
    finally:
        if file_mark(path) == mine:
            with contextlib.suppress(OSError):
                os.unlink(path)
    answer = ""
    with contextlib.suppress(OSError):
        answer = read_small_file(response)
    if answer not in ("", "OK"):
        raise RefusedError(f"the job has answered: {answer}", path=path)


def save_by_file(model_dir: str | os.PathLike[str], timeout_seconds: float) -> Commit:
    """Ask for a save, and wait until `checkpoint` has been written anew.

    Raises
    ------
    TimedOutError
        No answer, or nothing new, in time.
    MonolithError
        As `ask_by_file`, and what is wrong with the directory's state files.
    """
    deadline = time.monotonic() + timeout_seconds
    commits = Commits(local_path(os.fspath(model_dir)))
    ask_by_file(model_dir, "TRIGGER_SAVE", timeout_seconds)
    left = deadline - time.monotonic()
    return commits.wait(left, told_seconds=timeout_seconds, at_least=None)
