"""The token that orders to a job must carry: secret, and new for each run."""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
import stat
from typing import NamedTuple

from absl import logging

from monolith_cli.control.address import find_token
from monolith_cli.control.log import NO_TOKEN, TAKES_NO_ORDERS, WRONG_TOKEN
from monolith_cli.control.service import TOKEN_FILE_VARIABLE, TOKEN_VARIABLE
from monolith_cli.errors import MonolithError, WriteError
from monolith_cli.storage.atomic import atomic_write

__all__ = ["RunToken", "make_token"]


class RunToken(NamedTuple):
    """What orders must carry.

    Attributes
    ----------
    text
        None: there is no secret, so no order is accepted.
    path
        The file that has it; None if clients have it from their environment.
    """

    text: str | None
    path: str | None

    def find_fault(self, authorization: str) -> str | None:
        """What is wrong with a call's header ("" for a call without one); None if it is right."""
        if self.text is None:
            return (
                f"{TAKES_NO_ORDERS}: none could be kept secret in its directory, and neither"
                f" {TOKEN_VARIABLE} nor {TOKEN_FILE_VARIABLE} gave one"
            )
        if hmac.compare_digest(authorization.encode(), f"Bearer {self.text}".encode()):
            return None
        return WRONG_TOKEN if authorization else NO_TOKEN


def make_token(path: str) -> RunToken:
    """A new token, in a file that only this user can read, else the one from the environment.

    Leaves no file that clients could mistake for this run's token.
    """
    text = secrets.token_urlsafe(32)
    problem = _write_secret(path, text)
    if problem is None:
        return RunToken(text, path)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    except OSError as error:
        logging.warning("Clients will take %s for the job's token: %s", path, error)
    try:
        given = find_token(None)
    except MonolithError as error:
        given, problem = None, f"{problem}; {error}"
    if given is None:
        logging.warning("The job takes no orders, because it has no token: %s", problem)
    return RunToken(given, None)


def _write_secret(path: str, text: str) -> str | None:
    """Write it, and read it back; returns why it is not there, or not secret."""
    try:
        atomic_write(path, text.encode(), mode=0o600)
        with open(path, encoding="utf-8") as file:
            status, found = os.fstat(file.fileno()), file.read()
    except (WriteError, OSError, UnicodeError) as error:
        return str(error)
    if stat.S_IMODE(status.st_mode) != 0o600 or status.st_uid != os.geteuid():
        return f"{path} would not be secret"
    return None if found == text else f"{path} is not what was written"
