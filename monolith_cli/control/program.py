"""A program that is to be run: whether it can be, found out before anybody waits for it."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import subprocess
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.errors import NotReadableError, PathNotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Program", "find_program", "start_program"]

_MOST_LINE_BYTES = 256  # of a script's first line that Linux reads
_INTERPRETER = re.compile(rb"#![ \t]*([^ \t\0\n]+)")  # a carriage return belongs to the name


class Program(NamedTuple):
    """A program that was found: its path, and the command line with the name that it was given."""

    path: str
    command: Sequence[str]


def find_program(command: Sequence[str]) -> Program:
    """Find the program of a command line: in PATH, or where its name says.

    What only an attempt can tell, such as a binary for another machine, is not found out.

    Raises
    ------
    PathNotFoundError
        It is not there.
    NotReadableError
        It cannot be executed: no permission, a directory, a script for what is not there.
    """
    name = command[0]
    has_place = bool(os.path.dirname(name))
    directories = [""] if has_place else os.get_exec_path()
    paths = [os.path.join(directory, name) for directory in directories if name]
    for path in paths:
        if os.path.isfile(path) and os.access(path, os.X_OK):
            _check_first_line(path)
            return Program(path, command)
    if has_place and os.path.isdir(name):
        raise NotReadableError("a directory", path=name)
    if any(map(os.path.isfile, paths)) or (has_place and os.path.exists(name)):
        raise NotReadableError("Permission denied", path=name)
    raise PathNotFoundError("not found", path=name)


def start_program(program: Program) -> subprocess.Popen[bytes]:
    """Start it. A script that does not say what it is for is run by `sh`, as shells do.

    Raises
    ------
    PathNotFoundError, NotReadableError
        As `find_program`, and what only this attempt could tell.
    """
    path, command = program
    try:
        return subprocess.Popen(list(command), executable=path)
    except FileNotFoundError as error:
        raise PathNotFoundError("not found", path=command[0]) from error
    except OSError as error:
        if error.errno != errno.ENOEXEC or b"\0" in _first_bytes(path):
            raise NotReadableError(error.strerror or "not run", path=command[0]) from error
    return subprocess.Popen(["/bin/sh", path, *command[1:]])


def _check_first_line(path: str) -> None:
    match = _INTERPRETER.match(_first_bytes(path))
    if match and not os.path.exists(match[1]):
        what = f"a script for {os.fsdecode(match[1])!r}, which is not there"
        raise NotReadableError(what, path=path)


def _first_bytes(path: str) -> bytes:
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return file.read(_MOST_LINE_BYTES)
    return b""  # what can be executed need not be readable
