"""What a failure looks like from outside: an exit code, one line, or one JSON object.

This is the one place that knows which error has which exit code.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from typing import NamedTuple

import click

from monolith_cli.errors import (
    AlreadyExistsError,
    BarrierAlreadyPlacedError,
    CorruptionError,
    DifferentError,
    DirectoryInUseError,
    EntryNotFoundError,
    MonolithError,
    ProtectedError,
    RefusedError,
    TimedOutError,
    UnfinishedWorkersError,
    UnreachableError,
    UsageError,
)

OK = 0
WRONG = 1
USAGE = 2
NOT_THERE = 3
CORRUPT = 4
REFUSED = 5
TIMED_OUT = 6
INTERNAL = 70
CLOSED_PIPE = 141

EXIT_CODES = {
    OK: "fine",
    WRONG: "checked, and found wrong or different",
    USAGE: "wrong usage; also a malformed cursor",
    NOT_THERE: "missing, not readable, or not writable",
    CORRUPT: "corrupt or incomplete data; also a missing shard",
    REFUSED: "the job cannot be reached, or refused",
    TIMED_OUT: "time ran out",
    INTERNAL: "an error in this program; --debug shows where",
    125: "'barrier hold' itself failed, not the command that it ran",
    126: "'barrier hold' cannot execute the command",
    127: "'barrier hold' cannot find the command",
    129: "hung up (SIGHUP)",
    130: "interrupted (SIGINT)",
    131: "'barrier hold' got SIGQUIT",
    CLOSED_PIPE: "standard output was closed; no message is printed",
    143: "terminated (SIGTERM)",
}
"""Every exit code in use, with its meaning. The man pages are made from it."""

_OF_WRITING = {
    errno.EAGAIN,
    errno.EBADF,
    errno.ECONNRESET,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EINVAL,
    errno.EIO,
    errno.ENOSPC,
    errno.ENOTCONN,
    errno.ENXIO,
    errno.EPERM,
    errno.EPIPE,
    errno.ESTALE,
}
"""What a write to an open file, a terminal, a pipe or a socket can fail with."""

WORST_FIRST = (INTERNAL, USAGE, CORRUPT, NOT_THERE, TIMED_OUT, REFUSED, WRONG)
"""Which code a run ends with where several errors have others."""

_CODES: tuple[tuple[type[MonolithError], int], ...] = (
    # The first class that fits counts.
    (UsageError, USAGE),
    (CorruptionError, CORRUPT),
    (AlreadyExistsError, WRONG),
    (DifferentError, WRONG),
    (EntryNotFoundError, WRONG),
    (ProtectedError, WRONG),
    (UnreachableError, REFUSED),
    (RefusedError, REFUSED),
    (BarrierAlreadyPlacedError, REFUSED),
    (DirectoryInUseError, REFUSED),
    (UnfinishedWorkersError, REFUSED),
    (TimedOutError, TIMED_OUT),
    (MonolithError, NOT_THERE),
)


class Terminated(BaseException):
    """A signal asked the process to end; raised in the main thread, so that `finally` runs."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


class CodedError(Exception):
    """An error of the library that ends a command with another code than it usually does."""

    def __init__(self, error: MonolithError, code: int) -> None:
        super().__init__(error, code)
        self.error = error
        self.code = code


class Failure(NamedTuple):
    """A failed run, described for people and for programs.

    `message` is as it is, for programs; `line` can be shown.
    """

    code: int
    kind: str
    message: str
    file: str | None = None
    offset: int | None = None

    @property
    def line(self) -> str:
        from monolith_cli.reports.text import name_text

        return f"Error: {name_text(self.message)}"

    @property
    def document(self) -> dict[str, dict[str, object]]:
        """The object that ends stderr under `--json`."""
        return {"error": self._asdict()}


def describe(error: BaseException) -> Failure:
    """What to say, and the code to exit with, for any exception that ended a run."""
    if isinstance(error, CodedError):
        return describe(error.error)._replace(code=error.code)
    if isinstance(error, MonolithError):
        code = next(code for cls, code in _CODES if isinstance(error, cls))
        return Failure(code, error.kind, str(error), error.path, error.offset)
    if isinstance(error, click.UsageError):
        return Failure(USAGE, "usage", _usage_message(error))
    if isinstance(error, click.ClickException):
        return Failure(USAGE, "usage", _one_line(error.format_message()))
    if isinstance(error, Terminated):
        return Failure(128 + error.signum, "terminated", "terminated")
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        return Failure(130, "interrupted", "interrupted")
    if isinstance(error, MemoryError):
        return Failure(
            INTERNAL, "out_of_memory", "out of memory; lower --jobs or --max-record-bytes"
        )
    if isinstance(error, OSError) and error.errno is not None:
        return _os_failure(error)
    name = type(error).__name__
    return Failure(
        INTERNAL,
        "internal",
        f"internal error: {_one_line(f'{name}: {error}')}; run it again with --debug and report it",
    )


def raise_worst(errors: Iterable[MonolithError | None], tell: Callable[[str], object]) -> None:
    """Raise the error whose exit code comes first in `WORST_FIRST`; `tell` the others."""
    found = [error for error in errors if error is not None]
    if not found:
        return
    worst = min(found, key=lambda error: WORST_FIRST.index(describe(error).code))
    for error in found:
        if error is not worst:
            tell(str(error))
    raise worst


def _usage_message(error: click.UsageError) -> str:
    message = _one_line(error.format_message()).rstrip(".")
    if error.ctx is None:
        return message
    return f"{message}; see '{error.ctx.command_path} --help'"


def _os_failure(error: OSError) -> Failure:
    reason = os.strerror(error.errno or 0)
    if error.filename is None and error.errno in _OF_WRITING:
        # The library names the files that it writes: what is left is our own output.
        message = f"standard output: {reason}; what was written is incomplete"
        return Failure(NOT_THERE, "not_written", message)
    if error.filename is None:
        return Failure(NOT_THERE, "not_readable", f"{reason}; --debug shows where")
    file = os.fsdecode(error.filename)
    return Failure(NOT_THERE, "not_readable", _one_line(f"{file}: {reason}"), file)


def _one_line(text: str) -> str:
    return " ".join(text.split())
