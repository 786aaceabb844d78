"""`control.log`: one JSON object per line for everything that was asked of a job, or came of it."""

from __future__ import annotations

import json
import os
import re
from collections import deque
from typing import Any

from monolith_cli.control.service import LOG_FILE
from monolith_cli.errors import NotReadableError, PathNotFoundError
from monolith_cli.storage.local import open_regular

__all__ = [
    "EXPIRED",
    "KEYS",
    "MORE_REFUSED",
    "NO_TOKEN",
    "TAKES_NO_ORDERS",
    "WRONG_TOKEN",
    "read_log",
]

KEYS = ("time", "method", "owner", "peer", "reason", "result", "holder")
"""What an entry has; null where a line has not got it."""

EXPIRED = "ExpireBarrier"
"""The `method` of a time-to-live that has ended; the owner is who had placed the barrier."""

FILE_PEER = "file"
"""The `peer` of what an action file has asked for; its method is the action."""

NO_TOKEN = "this job takes orders only with its token"
WRONG_TOKEN = "a wrong token"
TAKES_NO_ORDERS = "this job has no token, and so takes no orders"
MORE_REFUSED = "more calls refused within a minute"
_REFUSED = re.compile(f"{NO_TOKEN}|{WRONG_TOKEN}|{TAKES_NO_ORDERS}: .*|[0-9]+ {MORE_REFUSED}")


def read_log(model_dir: str | os.PathLike[str], last: int | None = None) -> list[dict[str, Any]]:
    """The last entries, or all, oldest first.

    As many of calls that were refused for want of the token are added to the last of the others,
    which they must not push out. A line that is none, as a killed job may leave, is passed over.

    Raises
    ------
    PathNotFoundError
        There is no such directory, or no log in it.
    NotReadableError
        The operating system refused.
    """
    directory = os.fspath(model_dir)
    path = os.path.join(directory, LOG_FILE)
    entries: deque[tuple[int, dict[str, Any]]] = deque(maxlen=last)
    refused: deque[tuple[int, dict[str, Any]]] = deque(maxlen=last)
    try:
        with open(path, encoding="utf-8", errors="replace", opener=open_regular) as file:
            for number, line in enumerate(file):
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue
                if isinstance(entry, dict):
                    is_refused = _REFUSED.fullmatch(str(entry.get("result")))
                    known = {key: entry.get(key) for key in KEYS}
                    (refused if is_refused else entries).append((number, known))
    except (FileNotFoundError, NotADirectoryError) as error:
        if not os.path.isdir(directory):
            what = "a file in place of a directory" if os.path.exists(directory) else "not there"
            raise PathNotFoundError(what, path=directory) from error
        what = "no log: nobody has asked a job here for anything"
        raise PathNotFoundError(what, path=path) from error
    except OSError as error:
        raise NotReadableError.because(error, path) from error
    both = sorted([*entries, *refused], key=lambda numbered: numbered[0])
    return [entry for _, entry in both]
