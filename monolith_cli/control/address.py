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
from monolith_cli.errors import (
    MonolithError,
    NotReadableError,
    PathNotFoundError,
    UnreachableError,
    UsageError,
)
from monolith_cli.storage.local import read_regular

__all__ = [
    "Address",
    "Token",
    "find_token",
    "look_for_token",
    "parse_address",
    "read_address",
    "read_small_file",
]

_MOST_BYTES = 4096
_TEXT = re.compile(r"(?:\[([0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?)\]|([^\s:/\[\]]+)):([0-9]{1,5})")


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
        raise UsageError(f"{text!r} is not an address: give HOST:PORT")
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
        text = read_small_file(path)
    except FileNotFoundError as error:
        if not os.path.isdir(directory):
            what = "a file in place of a directory" if os.path.exists(directory) else "not there"
            raise PathNotFoundError(what, path=directory) from error
        raise UnreachableError(
            f"no job has left its address ({ADDRESS_FILE}) here",
            path=directory,
            kind="no_address",
            hint="it may be starting again, or have no open port",
        ) from error
    except NotADirectoryError as error:
        raise PathNotFoundError("a file in place of a directory", path=directory) from error
    except OSError as error:
        raise NotReadableError.because(error, path) from error
    try:
        return parse_address(text)._replace(source=path)
    except UsageError as error:
        what = f"holds no address: {text[:60]!r}" if text else "empty"
        raise UnreachableError(what, path=path, hint="see whether the job is alive") from error


class Token(NamedTuple):
    """What calls that change something show to a job.

    Attributes
    ----------
    text
        None where there is a file that cannot be read.
    source
        The variable or the file that it is in.
    problem
        Why it cannot be read.
    """

    text: str | None
    source: str
    problem: str | None = None


def look_for_token(model_dir: str | os.PathLike[str] | None) -> Token | None:
    """The job's token: from the model directory, else the environment, or a file that it names.

    The environment may be another job's, so the directory comes first. Only the job's own user can
    read the token there. Others may still look at the job, so that this is no error yet.

    Raises
    ------
    PathNotFoundError, NotReadableError
        The file that the environment names cannot be read.
    UsageError
        What the environment, or that file, gives is no token.
    """
    unread = None
    if model_dir is not None:
        path = os.path.join(os.fspath(model_dir), TOKEN_FILE)
        try:
            text = _read_token(path)
            if text:
                return Token(_checked(text, path), path)
        except (NotReadableError, UsageError) as error:
            unread = Token(None, path, error.what)
        except PathNotFoundError:
            pass
    return _token_of_environment() or unread


def find_token(model_dir: str | os.PathLike[str] | None) -> str | None:
    """As `look_for_token`, the text alone; None if there is none or it cannot be read."""
    token = look_for_token(model_dir)
    return None if token is None else token.text


def _token_of_environment() -> Token | None:
    text = os.environ.get(TOKEN_VARIABLE, "").strip()
    if text:
        return Token(_checked(text, None), TOKEN_VARIABLE)
    path = os.environ.get(TOKEN_FILE_VARIABLE)
    if not path:
        return None
    try:
        text = _read_token(path)
        return Token(_checked(text, path), path) if text else None
    except MonolithError as error:
        error.hint = f"{TOKEN_FILE_VARIABLE} names it"
        raise


def _checked(text: str, path: str | None) -> str:
    # Other bytes cannot travel in a header, and grpc's own words for that are no help.
    if not re.fullmatch(r"[!-~]+", text):
        raise UsageError("not a token: it has spaces or other bytes", path=path or TOKEN_VARIABLE)
    return text


def _read_token(path: str) -> str:
    try:
        return read_small_file(path)
    except FileNotFoundError as error:
        raise PathNotFoundError("not there", path=path) from error
    except OSError as error:
        raise NotReadableError.because(error, path) from error


def read_small_file(path: str) -> str:
    """The text of a file, without blanks around it; its beginning, if there is more.

    What is not a regular file is refused: of a pipe one might wait for ever.

    Raises
    ------
    OSError
        The operating system refused, or it is not a regular file.
    """
    return read_regular(path, _MOST_BYTES).decode("utf-8", "replace").strip()
