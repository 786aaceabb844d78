"""The Controller service, as both sides name it: methods, messages, files.

It has no package, so a method's full name is `/Controller/<method>`. The first five methods are
those of the original service.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from monolith_cli import messages

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "ACTION_FILE",
    "ADDRESS_FILE",
    "ALL_METHODS",
    "LOG_FILE",
    "MAX_MESSAGE_BYTES",
    "ORIGINAL_METHODS",
    "READING_METHODS",
    "RESPONSE_FILE",
    "SERVICE",
    "TOKEN_FILE",
    "TOKEN_FILE_VARIABLE",
    "TOKEN_VARIABLE",
    "make_stub",
    "request",
    "response",
]

SERVICE = "Controller"
ORIGINAL_METHODS = (
    "StopTraining",
    "ResumeTraining",
    "GetBlockStatus",
    "SaveCheckpoint",
    "GetTrainingStatus",
)
ALL_METHODS = (
    *ORIGINAL_METHODS,
    "GetInfo",
    "PlaceBarrier",
    "RenewBarrier",
    "RemoveBarrier",
    "SaveNow",
    "StopJob",
)
READING_METHODS = ("GetBlockStatus", "GetTrainingStatus", "GetInfo")
"""Those that change nothing, and need no token."""

ADDRESS_FILE = "controller_server_addr.txt"
TOKEN_FILE = "controller_token"
LOG_FILE = "control.log"
ACTION_FILE = "monolith_action"
RESPONSE_FILE = "monolith_action_response"
TOKEN_VARIABLE = "MONOLITH_CONTROLLER_TOKEN"
TOKEN_FILE_VARIABLE = "MONOLITH_CONTROLLER_TOKEN_FILE"

MAX_MESSAGE_BYTES = 64 * 1024


def request(method: str) -> Any:
    """The class of a method's request message."""
    return messages.get_message(f"monolith.hooks.{method}Request")


def response(method: str) -> Any:
    """The class of a method's response message."""
    return messages.get_message(f"monolith.hooks.{method}Response")


class _Stub:
    """A callable for each method, by its name."""


def make_stub(channel: Any, methods: tuple[str, ...] = ALL_METHODS) -> Any:
    """An object with a callable for each method, as grpc's generated stubs have.

    Requests may be messages of any class: only their bytes count.
    """
    stub = _Stub()
    for method in methods:
        call: Callable[..., Any] = channel.unary_unary(
            f"/{SERVICE}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=response(method).FromString,
        )
        setattr(stub, method, call)
    return stub
