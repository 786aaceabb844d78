"""Ports for servers that are started later: no test that runs beside takes them in the meantime.

What the system hands out when somebody asks for any port, for a listener or a connection, lies
above these.
"""

from __future__ import annotations

import itertools
import os
import socket

FIRST, COUNT = 10_000, 20_000
# Each process begins somewhere else, far from those whose numbers are near.
_offsets = itertools.count(os.getpid() * 7919)


def free_ports(count: int = 1) -> list[int]:
    """Ports of 127.0.0.1 on which nobody listens; none is returned twice."""
    found: list[int] = []
    for offset in _offsets:
        port = FIRST + offset % COUNT
        with socket.socket() as free:
            try:
                free.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            break
    return found


def free_addresses(count: int) -> list[str]:
    return [f"127.0.0.1:{port}" for port in free_ports(count)]
