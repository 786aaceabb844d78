"""`control.log`: a JSON object a line for everything that was asked of a job."""

from __future__ import annotations

import json
import os
from typing import Any

from monolith_cli.control.service import LOG_FILE
from monolith_cli.errors import NotReadableError, PathNotFoundError

__all__ = ["read_log"]


def read_log(model_dir: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """All entries, oldest first; a line that is none, as a killed job may leave, is passed over.

    Raises
    ------
    PathNotFoundError
        There is no log.
    NotReadableError
        The operating system refused.
    """
    path = os.path.join(os.fspath(model_dir), LOG_FILE)
    entries = []
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue
                if isinstance(entry, dict):
                    entries.append(entry)
    except (FileNotFoundError, NotADirectoryError) as error:
        what = "no log: nobody has asked a job here for anything"
        raise PathNotFoundError(what, path=path) from error
    except OSError as error:
        raise NotReadableError(f"not readable: {error.strerror}", path=path) from error
    return entries
