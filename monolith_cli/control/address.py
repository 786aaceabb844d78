"""Where a running job can be reached, and the token that it wants to see."""

from __future__ import annotations

import ipaddress
import os
import re
from typing import NamedTuple

from monolith_cli.control.service import (
    ADDRESS_FILE,
    TOKEN_FILE,
    TOKEN_FILE_VARIABLE,
    TOKEN_VARIABLE,
)
from monolith_cli.errors import NotReadableError, PathNotFoundError, UnreachableError, UsageError

__all__ = ["Address", "find_token", "parse_address", "read_address"]

_MOST_BYTES = 4096
_TEXT = re.compile(r"(?:\[([0-9A-Fa-f:.%]+)\]|([^\s:/\[\]]+)):([0-9]{1,5})")


class Address(NamedTuple):
    """Host and port of a job's Controller service.

    Attributes
    ----------
    source
        The file that it was read from; None if it was given.
    """

    host: str
    port: int
    source: str | None = None

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether it can only be reached from the host that the job runs on."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def parse_address(text: str) -> Address:
    """An address as a user gives it: `host:port`, or `[host]:port` for IPv6.

    Raises
    ------
    UsageError
        It is none.
    """
    match = _TEXT.fullmatch(text.strip())
    if match is None or not 0 < int(match[3]) < 65536:
        raise UsageError(f"{text!r} is no address: give HOST:PORT")
    return Address(match[1] or match[2], int(match[3]))


def read_address(model_dir: str | os.PathLike[str]) -> Address:
    """The address that a job has left in its model directory; it may be stale.

    Raises
    ------
    PathNotFoundError
        There is no such directory.
    UnreachableError
        No job has left an address there, or what is there is none.
    NotReadableError
        The operating system refused.
    """
    directory = os.fspath(model_dir)
    path = os.path.join(directory, ADDRESS_FILE)
    try:
        with open(path, "rb") as file:
            text = file.read(_MOST_BYTES).decode("utf-8", "replace")
    except FileNotFoundError as error:
        if not os.path.isdir(directory):
            what = "a file in place of a directory" if os.path.exists(directory) else "not there"
            raise PathNotFoundError(what, path=directory) from error
        raise UnreachableError(
            f"no job has left its address ({ADDRESS_FILE}) here",
            path=directory,
            hint="start it with a ServerHook, or give --address, or --via file",
        ) from error
    except NotADirectoryError as error:
        raise PathNotFoundError("a file in place of a directory", path=directory) from error
    except OSError as error:
        raise NotReadableError(f"not readable: {error.strerror}", path=path) from error
    try:
        return parse_address(text)._replace(source=path)
    except UsageError as error:
        what = "empty" if not text.strip() else f"holds no address: {text.strip()[:60]!r}"
        raise UnreachableError(what, path=path, hint="see whether the job is alive") from error


def find_token(model_dir: str | os.PathLike[str] | None) -> str | None:
    """The job's token: from the environment, a file that it names, or the model directory.

    Raises
    ------
    NotReadableError, PathNotFoundError
        The file that the environment names, or the job's, cannot be read.
    """
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if token:
        return token
    named = os.environ.get(TOKEN_FILE_VARIABLE)
    if named:
        return _read_token(named)
    path = None if model_dir is None else os.path.join(os.fspath(model_dir), TOKEN_FILE)
    return _read_token(path) if path and os.path.lexists(path) else None


def _read_token(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            return file.read(_MOST_BYTES).decode("ascii", "replace").strip() or None
    except FileNotFoundError as error:
        raise PathNotFoundError("not there", path=path) from error
    except OSError as error:
        raise NotReadableError(
            f"not readable: {error.strerror}", path=path, hint="only the job's own user may"
        ) from error
