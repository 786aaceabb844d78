"""What a failed call means: grpc's status, as an error of the library."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from monolith_cli.control.log import TAKES_NO_ORDERS
from monolith_cli.control.service import READING_METHODS, TOKEN_FILE_VARIABLE, TOKEN_VARIABLE
from monolith_cli.errors import (
    BusyError,
    GoneError,
    MonolithError,
    NotYoursError,
    RefusedError,
    TimedOutError,
    UnfinishedWorkersError,
    UnimplementedError,
    UnreachableError,
)

if TYPE_CHECKING:
    from monolith_cli.control.address import Address, Token

__all__ = ["BusyError", "Faults", "GoneError", "NotYoursError", "Tls", "UnimplementedError"]

_TOLD_CHARACTERS = 700  # of what a job says; ours says less
_RAISED = "Exception calling application: "  # grpc's, in a job whose method has raised
_WEB = "Received http2 header with status: "  # grpc's, of a web server's answer
# grpc's, the last before 1.50.
_UNKNOWN_HOST = ("resolv", "name or service", "domain name not found")
_NOT_CONNECTED = "failed to connect"  # grpc's, where there was no connection to lose


class Tls(NamedTuple):
    """How to check whom one talks to, and who one is: names of PEM files."""

    authority: str
    certificate: str | None = None
    key: str | None = None


class Faults:
    """Makes errors of the statuses that calls of one job end with.

    Attributes
    ----------
    has_answered
        Whether the job has answered a call: its address was not stale then.
    is_original
        Whether it has the original service.
    """

    def __init__(self, address: Address, tls: Tls | None, token: Token | None) -> None:
        self._address = address
        self._tls = tls
        self._token = token
        self._path = address.source or str(address)
        self.has_answered = False
        self.is_original = False

    def error_of(self, failed: Any, method: str, seconds: float) -> MonolithError:
        """The error for grpc's, of a call that had so much time."""
        code, details = failed.code().name, _first_line(failed.details() or "")
        address = str(self._address)
        if details.startswith(_WEB):
            return self.no_job(details)
        if code == "UNIMPLEMENTED":
            return UnimplementedError(f"the job there has no {method}: {details}", path=address)
        if code == "NOT_FOUND":
            return GoneError(details, path=address)
        if code == "DEADLINE_EXCEEDED":
            return self._timed_out(method, seconds)
        if code == "FAILED_PRECONDITION" and method == "SaveNow":
            return UnfinishedWorkersError(details, path=address)
        if code == "UNAUTHENTICATED":
            return RefusedError(details, path=address, hint=self._token_hint())
        if code == "ALREADY_EXISTS" and self.is_original:
            what = "the barrier is placed already; an original job does not know by whom"
            return RefusedError(what, path=address)
        if code == "PERMISSION_DENIED" and method == "RemoveBarrier":
            takes_orders = not details.startswith(TAKES_NO_ORDERS)
            return (NotYoursError if takes_orders else RefusedError)(details, path=address)
        if code in (
            "ALREADY_EXISTS",
            "PERMISSION_DENIED",
            "INVALID_ARGUMENT",
            "FAILED_PRECONDITION",
        ):
            return RefusedError(details, path=address)
        if code == "RESOURCE_EXHAUSTED":
            return BusyError(details, path=address, hint="try again later")
        if code in ("UNAVAILABLE", "CANCELLED") or details == "Stream removed":
            return self._unreachable(details)
        is_the_jobs = code == "ABORTED" or details.startswith(("monolith: ", _RAISED))
        if is_the_jobs or self.has_answered:
            what = details.removeprefix("monolith: ").removeprefix(_RAISED)
            return BusyError(f"{method} has failed in the job: {what}", path=address)
        hint = "a job in trouble listens there, or something else"
        return self._error(f"{method} has failed at {address}: {details}", hint)

    def no_job(self, details: str) -> UnreachableError:
        """What listens there knows nothing of the service."""
        what = f"what listens at {self._address} is not a job's controller: {details}"
        return self._error(what, self._stale_hint())

    def _timed_out(self, method: str, seconds: float) -> TimedOutError:
        took = f"{round(seconds, 2):g} s"
        what = f"no answer from {self._address} in {took}"
        if method in READING_METHODS:
            hint = "the job hangs, or something else listens there"
            return TimedOutError(what, path=self._path, hint=hint)
        hint = "it may still do it"
        if method in ("SaveNow", "SaveCheckpoint"):
            what, hint = f"not saved in {took}", "the save may still be done"
        return TimedOutError(what, path=self._path, hint=hint, kind="may_be_done")

    def _unreachable(self, details: str) -> UnreachableError:
        where, lower = str(self._address), details.lower()
        if self.has_answered and _NOT_CONNECTED not in lower:
            what = "the job's session has ended, or a new run has begun, before it answered"
            return self._error(what, kind="session_ended")
        if "refused" in lower:
            what = f"nobody listens at {where}" + (" any more" if self.has_answered else "")
            return self._error(what, self._stale_hint(), kind="nobody_listens")
        if any(words in lower for words in _UNKNOWN_HOST):
            return self._error(f"the host {self._address.host!r} is not known here")
        if "handshake" in lower or "certificate" in lower:
            hint = "see whether the job uses TLS, and whose certificate it shows"
            return self._error(f"no secure connection with {where}: {details}", hint)
        if ("http/2" in lower or "closed" in lower or "reset" in lower) and self._tls is None:
            what = f"what listens at {where} is not a job's controller, or needs TLS"
            return self._error(what, self._stale_hint(), kind="wants_tls")
        if self._tls is not None and self._tls.certificate is None:
            what = f"no secure connection with {where}: {details}"
            hint = f"if the job does not ask for a client certificate, {self._stale_hint()}"
            return self._error(what, hint, kind="wants_certificate")
        return self._error(f"no connection with {where}: {details}", self._stale_hint())

    def _error(
        self, what: str, hint: str | None = None, *, kind: str | None = None
    ) -> UnreachableError:
        return UnreachableError(what, path=self._path, hint=hint, kind=kind)

    def _token_hint(self) -> str:
        give_it = f"set {TOKEN_VARIABLE}, or {TOKEN_FILE_VARIABLE} to the name of its file"
        if self._token is None:
            return give_it
        text, source, problem = self._token
        if text is None:
            return f"the token in {source} is {problem}; {give_it}"
        hint = f"the token in {source} is not that of this run"
        named = os.environ.get(TOKEN_FILE_VARIABLE)
        if source not in (TOKEN_VARIABLE, named) and (os.environ.get(TOKEN_VARIABLE) or named):
            hint += "; the environment's counts only if that file is not there"
        return hint

    def _stale_hint(self) -> str:
        if self.has_answered:
            return "the job has ended or died since, or is starting again"
        if self._address.source is None:
            return "see whether the job is alive, and whether the address is right"
        if self._address.is_loopback:
            return (
                "the address is stale, as the job has ended or died, or the job runs on another"
                " host: the address is one of its own host only"
            )
        return "the address is stale: the job has ended or died"


def _first_line(text: str) -> str:
    line = text.partition("\n")[0]
    cut = line if len(line) <= _TOLD_CHARACTERS else line[:_TOLD_CHARACTERS] + "..."
    return cut or "no reason given"
