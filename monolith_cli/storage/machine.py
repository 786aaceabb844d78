"""What is of this machine and of no store: its processes, told apart from those of others."""

from __future__ import annotations

import os
import socket
from contextlib import suppress

__all__ = [
    "boot_id",
    "forget_cached",
    "host_name",
    "is_process",
    "own_pid",
    "pid_namespace",
    "process",
    "random_id",
]

own_pid = os.getpid
host_name = socket.gethostname


def random_id() -> str:
    """32 hex digits that nobody else has."""
    return os.urandom(16).hex()


def boot_id() -> str | None:
    """What this boot of the machine is called; None where the system does not say."""
    with suppress(OSError), open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip() or None
    return None


def forget_cached(path: str) -> None:
    """Have the next read of a file come from where it is stored, not from this machine's memory.

    As far as the system does that: what is being written stays. Nothing happens to what is no file.
    """
    if not hasattr(os, "posix_fadvise"):
        return
    with suppress(OSError, ValueError):
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.posix_fadvise(number, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(number)


def pid_namespace() -> str | None:
    """Within what the numbers of processes count; None where the system does not say."""
    with suppress(OSError):
        return os.readlink("/proc/self/ns/pid")
    return None


def process(pid: int) -> tuple[str, int] | None:
    """A process's state, a letter, and when it began, in ticks since the boot; None if unseen."""
    with suppress(OSError, IndexError, ValueError), open(f"/proc/{pid}/stat", "rb") as file:
        # The name before it, in parentheses, may hold anything.
        fields = file.read().rpartition(b")")[2].split()
        return fields[0].decode(), int(fields[19])
    return None


def is_process(pid: int) -> bool:
    """Whether there is such a process; True where that cannot be known.

    Those of other users may be hidden from `process`, but not from this.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass
    return True
