"""Calls of a running job's Controller service: one connection, and what a call of it returns."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from monolith_cli.control.faults import Faults
from monolith_cli.control.service import MAX_MESSAGE_BYTES, READING_METHODS, make_stub, request
from monolith_cli.errors import NotReadableError, PathNotFoundError, UsageError
from monolith_cli.storage.local import read_regular

if TYPE_CHECKING:
    from monolith_cli.control.address import Address, Token
    from monolith_cli.control.faults import Tls

__all__ = ["Calls"]

_POLL_SECONDS = 0.2


class Calls:
    """A connection with a job. Nothing is sent before the first call.

    Parameters
    ----------
    address
        Where the job listens.
    token
        What calls that change something show; None: nothing.
    tls
        None: plaintext.
    timeout_seconds
        For an answer, unless a call has its own.

    Attributes
    ----------
    faults
        Says what failed calls mean, and knows which kind of job it is.

    Raises
    ------
    PathNotFoundError, NotReadableError
        A file of `tls` is not there, or cannot be read.
    """

    def __init__(
        self, address: Address, token: Token | None, tls: Tls | None, timeout_seconds: float
    ) -> None:
        # Its own log would come in between the lines of a command.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        import grpc

        self._grpc = grpc
        self._token = token
        self._timeout_seconds = timeout_seconds
        self.faults = Faults(address, tls, token)
        options = [
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.enable_http_proxy", 0),
            # Who tries again within seconds is not to be told of an older failure.
            ("grpc.initial_reconnect_backoff_ms", 200),
            ("grpc.max_reconnect_backoff_ms", 1000),
        ]
        # Without a scheme a host such as "unix" would be taken for one.
        target = "dns:///" + str(address).replace("%", "%25")
        if tls is None:
            self._channel = grpc.insecure_channel(target, options)
        else:
            credentials = grpc.ssl_channel_credentials(
                _read(tls.authority),
                _read(tls.key) if tls.key else None,
                _read(tls.certificate) if tls.certificate else None,
            )
            self._channel = grpc.secure_channel(target, credentials, options)
        self._stub = make_stub(self._channel)

    def close(self) -> None:
        """Let the connection go."""
        self._channel.close()

    def call(self, method: str, timeout_seconds: float | None = None, **fields: Any) -> Any:
        """What a method answers, a message. A call that only looks waits for a job that is busy.

        Raises
        ------
        UsageError
            A field is text that is no UTF-8, or a number that is too large.
        MonolithError
            What `Faults.error_of` makes of the call's end.
        """
        seconds = self._timeout_seconds if timeout_seconds is None else timeout_seconds
        try:
            message = request(method)(**fields)
        except ValueError as error:
            raise UsageError(f"{method} cannot be asked for that: {error}") from error
        metadata = []
        if self._token and self._token.text and method not in READING_METHODS:
            metadata.append(("authorization", f"Bearer {self._token.text}"))
        deadline = time.monotonic() + seconds
        left = seconds
        while True:
            try:
                said = getattr(self._stub, method)(message, timeout=left, metadata=metadata)
                self.faults.has_answered = True
                return said
            except self._grpc.RpcError as error:
                is_full = error.code() == self._grpc.StatusCode.RESOURCE_EXHAUSTED
                left = deadline - time.monotonic() - _POLL_SECONDS
                # Many may look at a job, even more than it answers at once.
                if not (is_full and method in READING_METHODS and left > 0):
                    raise self.faults.error_of(error, method, seconds) from error
            time.sleep(_POLL_SECONDS)


def _read(path: str) -> bytes:
    try:
        return read_regular(path)
    except FileNotFoundError as error:
        raise PathNotFoundError("not there", path=path) from error
    except OSError as error:
        raise NotReadableError.because(error, path) from error
