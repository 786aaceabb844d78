"""Where a job's server may listen, and how it uses TLS."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any, NamedTuple

import grpc

from monolith_cli.control.address import Address, parse_address
from monolith_cli.errors import NotReadableError, UsageError
from monolith_cli.storage.local import read_regular

__all__ = ["ServerTls", "bind", "check_host"]


class ServerTls(NamedTuple):
    """Names of PEM files: the server's own, and the authority of its clients (None: any client)."""

    certificate: str
    key: str
    client_authority: str | None = None


def check_host(host: str, *, may_be_open: bool) -> None:
    """Check that a host can be bound, and can be published to clients.

    Raises
    ------
    UsageError
        It does not resolve, means every interface, or is reachable by others although that is not
        allowed.
    """
    try:
        well_formed = parse_address(str(Address(host, 1))).host == host
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM) if well_formed else []
    except (UsageError, OSError, UnicodeError):
        found = []
    if not found:
        raise UsageError(f"{host!r} is not an address of this host")
    addresses = [ipaddress.ip_address(address[0]) for *_, address in found]
    addresses = [getattr(address, "ipv4_mapped", None) or address for address in addresses]
    if any(address.is_unspecified for address in addresses):
        raise UsageError(f"{host!r} is not an address that clients can use")
    if not may_be_open and not all(address.is_loopback for address in addresses):
        raise UsageError(f"{host} can be reached by others: give tls, or say plaintext=True")


def bind(server: Any, host: str, port: int, tls: ServerTls | None) -> Address:
    """Make a grpc server listen, and return its address; port 0: any free one.

    Raises
    ------
    UsageError
        The port is taken or invalid, the host is not this one, or a file is missing or wrong.
    """
    if port < 0 or port > 65535:
        raise UsageError(f"{port} is not a port")
    name = str(Address(host, port))
    if tls is None:
        bound = _add(server, name, None)
    else:
        credentials = grpc.ssl_server_credentials(
            [(_read(tls.key), _read(tls.certificate))],
            _read(tls.client_authority) if tls.client_authority else None,
            require_client_auth=tls.client_authority is not None,
        )
        bound = _add(server, name, credentials)
    return parse_address(str(Address(host, bound)))


def _add(server: Any, name: str, credentials: Any) -> int:
    try:
        if credentials is None:
            bound = server.add_insecure_port(name)
        else:
            bound = server.add_secure_port(name, credentials)
    except RuntimeError as error:
        raise UsageError(f"cannot listen at {name}: {error}") from error
    if not bound:
        raise UsageError(f"cannot listen at {name}")
    return int(bound)


def _read(path: str) -> bytes:
    try:
        return read_regular(path)
    except OSError as error:
        raise UsageError(NotReadableError.because(error, path).what, path=path) from error
