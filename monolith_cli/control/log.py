"""`control.log`: a JSON object a line for everything that was asked of a job."""

from __future__ import annotations

import json
import os
from collections import deque
from typing import Any

from monolith_cli.control.service import LOG_FILE
from monolith_cli.errors import NotReadableError, PathNotFoundError

__all__ = ["KEYS", "read_log"]

KEYS = ("time", "method", "owner", "peer", "reason", "result")
"""What an entry has; null where a line has not got it."""


def read_log(model_dir: str | os.PathLike[str], last: int | None = None) -> list[dict[str, Any]]:
    """The last entries, or all, oldest first.

    A line that is none, as a killed job may leave, is passed over.

    Raises
    ------
    PathNotFoundError
        There is no such directory, or no log in it.
    NotReadableError
        The operating system refused.
    """
    directory = os.fspath(model_dir)
    path = os.path.join(directory, LOG_FILE)
    entries: deque[dict[str, Any]] = deque(maxlen=last)
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue
                if isinstance(entry, dict):
                    entries.append({key: entry.get(key) for key in KEYS})
    except (FileNotFoundError, NotADirectoryError) as error:
        if not os.path.isdir(directory):
            what = "a file in place of a directory" if os.path.exists(directory) else "not there"
            raise PathNotFoundError(what, path=directory) from error
        what = "no log: nobody has asked a job here for anything"
        raise PathNotFoundError(what, path=path) from error
    except OSError as error:
        raise NotReadableError(f"not readable: {error.strerror}", path=path) from error
    return list(entries)
