"""Whether a job runs on a directory, for what must not be done beside it."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from monolith_cli.control.address import read_address
from monolith_cli.control.client import JobClient
from monolith_cli.errors import (
    PathNotFoundError,
    RefusedError,
    TimedOutError,
    UnreachableError,
)

if TYPE_CHECKING:
    import os

__all__ = ["check_stopped", "why_it_may_run"]

_LOOK_SECONDS = 2.0


def check_stopped(model_dir: str | os.PathLike[str]) -> str | None:
    """Make sure that the job which saves into a directory does not answer.

    Without an address there nobody is asked, and where nobody listens that is seen at once. Else it
    takes a call, which importing grpc makes 60 ms; at most some seconds.

    Returns
    -------
    str or None
        Why a job may run all the same; None if nothing speaks for that. That an address was left by
        a job which is gone is quite normal.

    Raises
    ------
    RefusedError
        A job answers. Its kind is `job_runs`.
    NotReadableError
        The address cannot be read.
    """
    try:
        address = read_address(model_dir)
    except (PathNotFoundError, UnreachableError):
        return None
    try:
        socket.create_connection((address.host, address.port), _LOOK_SECONDS).close()
    except ConnectionRefusedError:
        if address.is_loopback:
            return f"nobody listens at {address} on this host, but it may run on another one"
        return None
    except OSError as error:
        return f"no connection with {address}: {error.strerror or error}"
    try:
        with JobClient(address, model_dir=model_dir, timeout_seconds=_LOOK_SECONDS) as job:
            at = f"at {address}, and is at step {job.first_info.global_step}"
    except RefusedError as error:  # busy, say: it is there
        at = f"at {address}: {error.what}"
    except (TimedOutError, UnreachableError) as error:
        return error.what
    raise RefusedError(
        f"a job runs here: it answers {at}", path=model_dir, hint="stop it first", kind="job_runs"
    )


def why_it_may_run(model_dir: str | os.PathLike[str], *, refuse: bool) -> str | None:
    """What speaks for a job that runs on a directory, in a phrase; None if nothing does.

    Parameters
    ----------
    refuse
        Raise as `check_stopped` where a job answers; else that is said like the rest.
    """
    try:
        doubt = check_stopped(model_dir)
    except RefusedError as error:
        if refuse:
            raise
        return error.what
    return f"the job may run: {doubt}" if doubt else None
