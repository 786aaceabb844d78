"""`ckpt.checked-<step>`: that every byte of a step was read and found right, and when.

JSON: `{"at", "verdict", "files": [{"name", "bytes", "mtime_ns", "version"}]}`. `at` is in seconds
since 1970. The record holds for as long as every file in it is the one that was read: as large, of
the same time, and with the same version, which is whatever the store tells files apart by.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from monolith_cli.errors import StateFileError
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from monolith_cli.storage.store import Status

__all__ = ["CheckRecord", "CheckedFile", "format_check_record", "pinned", "read_check_record"]


class CheckedFile(NamedTuple):
    """A file, by its name below the model directory, as it was when it was read."""

    name: str
    bytes: int
    mtime_ns: int
    version: str


class CheckRecord(NamedTuple):
    """What `ckpt.checked-<step>` says."""

    at: float
    verdict: str
    files: tuple[CheckedFile, ...]


def pinned(name: str, status: Status) -> CheckedFile:
    """A file as a record has it."""
    version = status.version
    parts = version if isinstance(version, tuple) else (version,)
    return CheckedFile(name, status.size, status.modified_ns, "-".join(map(str, parts)))


def format_check_record(record: CheckRecord) -> bytes:
    """The bytes of the file."""
    document = {
        "at": record.at,
        "verdict": record.verdict,
        "files": [file._asdict() for file in record.files],
    }
    return (json.dumps(document) + "\n").encode("ascii")


def read_check_record(path: str) -> CheckRecord:
    """Read the file; keys that are not known are fine.

    Raises
    ------
    StateFileError
        It is not what `format_check_record` writes.
    PathNotFoundError, NotReadableError
        It is not there, or the operating system refused.
    """
    data = store_of(path).read(path)
    try:
        said = json.loads(data)
        files = tuple(_file(file) for file in said["files"])
        at, verdict = said["at"], said["verdict"]
        if isinstance(at, bool) or not isinstance(at, (int, float)) or not isinstance(verdict, str):
            raise ValueError("not a time, or not a verdict")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        what = "not a record of a check"
        raise StateFileError(what, path=path, hint="remove it") from error
    return CheckRecord(float(at), verdict, files)


def _file(said: Any) -> CheckedFile:
    file = CheckedFile(said["name"], said["bytes"], said["mtime_ns"], said["version"])
    if not (isinstance(file.name, str) and isinstance(file.version, str)):
        raise ValueError("a name or a version that is no text")
    if not (isinstance(file.bytes, int) and isinstance(file.mtime_ns, int)):
        raise ValueError("a size or a time that is no number")
    return file
