"""How a call of the Controller service ends with a status."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import grpc
from absl import logging

from monolith_cli.errors import MonolithError

__all__ = ["CallRefusedError", "check_presence", "failing"]


class CallRefusedError(MonolithError):
    """Ends a call with a status, `code`, which is grpc's."""

    kind = "refused"

    def __init__(self, code: Any, details: str) -> None:
        super().__init__(details)
        self.code = code


def check_presence(context: Any) -> None:
    """End the call of grpc's context if nobody waits for it any more."""
    if not context.is_active():
        raise CallRefusedError(grpc.StatusCode.CANCELLED, "whoever asked has gone")


@contextlib.contextmanager
def failing(method: str) -> Iterator[None]:
    """Turn every failure into a status."""
    try:
        yield
    except CallRefusedError:
        raise
    except Exception as error:
        # The session is lost or closing, or a save or a callback has failed.
        logging.warning("%s failed: %r", method, error)
        what = "monolith: " + str(getattr(error, "message", error)).partition("\n")[0]
        raise CallRefusedError(grpc.StatusCode.ABORTED, what) from error
