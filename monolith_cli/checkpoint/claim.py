"""`chief_claim`: which chief saves into a directory, so that two do not take it for theirs.

JSON: `id`, `host`, `pid`, `started` (seconds since 1970), and `counter`, which the chief raises
every 10 seconds; beside them what tells its process from a later one with the same number:
`boot_id`, `pid_namespace` and `process_started` (ticks since the boot), null where the system does
not say. Clocks of hosts differ, so nobody compares times: a chief lives as long as its counter
moves, by the clock of the one who looks.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from monolith_cli.checkpoint.names import CHIEF_CLAIM, JOURNAL
from monolith_cli.errors import (
    DirectoryInUseError,
    MonolithError,
    PathNotFoundError,
    StateFileError,
)
from monolith_cli.storage import machine
from monolith_cli.storage.location import join
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "CLAIM_SECONDS",
    "Claim",
    "being_done",
    "check_journal",
    "in_use",
    "is_gone",
    "lives",
    "parse_claim",
    "raise_counter",
    "read_claim",
    "read_claim_bytes",
    "wait_for_sign_of_life",
    "write_claim",
]

CLAIM_SECONDS = 30.0
"""How long a counter may stand still until its chief counts as gone."""

_POLL_SECONDS = 0.5
_SIZE = 1024
"""Of the file, so that a counter is raised in place: a network shows it to others all at once."""

_LONGEST_COMMAND = 4096
_MALFORMED = (ValueError, KeyError, TypeError, RecursionError)


class Claim(NamedTuple):
    """What `chief_claim` says."""

    id: str
    host: str
    pid: int
    started: float
    counter: int = 0
    boot_id: str | None = None
    pid_namespace: str | None = None
    process_started: int | None = None

    @classmethod
    def of_this_process(cls) -> Claim:
        """A new one."""
        pid = machine.own_pid()
        process = machine.process(pid)
        return cls(
            machine.random_id(),
            machine.host_name(),
            pid,
            time.time(),
            boot_id=machine.boot_id(),
            pid_namespace=machine.pid_namespace(),
            process_started=process[1] if process else None,
        )

    @property
    def who(self) -> str:
        """For people."""
        since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.started))
        return f"process {self.pid} on {self.host}, since {since}"

    def as_bytes(self) -> bytes:
        """The file's contents."""
        text = json.dumps(self._asdict()).encode()
        return text.ljust(_SIZE - 1) + b"\n"


def read_claim(model_dir: str) -> Claim | None:
    """What `chief_claim` says; None without that file.

    Raises
    ------
    StateFileError
        It does not parse; more keys are fine.
    NotReadableError
        The operating system refused.
    """
    data = read_claim_bytes(model_dir)
    return None if data is None else parse_claim(data, model_dir)


def read_claim_bytes(model_dir: str) -> bytes | None:
    """The file as it is, to be compared with what it is later; None without it."""
    path = _path(model_dir)
    try:
        return store_of(path).read(path)
    except PathNotFoundError:
        return None


def write_claim(model_dir: str, claim: Claim, *, overwrite: bool) -> None:
    """Take a directory.

    Raises
    ------
    AlreadyExistsError
        Without `overwrite`: there is a claim.
    WriteError
        The operating system refused.
    """
    path = _path(model_dir)
    store = store_of(path)
    put = store.put if overwrite else store.put_if_absent
    put(path, claim.as_bytes())


def raise_counter(
    model_dir: str,
    claim: Claim,
    overwrite_in_place: Callable[[str, bytes, Callable[[bytes], bool]], bool],
) -> bool:
    """Write a claim with its new counter, in place; False if the file is another chief's, or gone.

    Parameters
    ----------
    overwrite_in_place
        Of the store where it is, as `LocalStore.overwrite_in_place`; its errors are raised.
    """
    path = _path(model_dir)
    return overwrite_in_place(path, claim.as_bytes(), lambda data: _is_of(data, claim.id))


def is_gone(claim: Claim) -> bool:
    """Whether a chief's process is known to have ended: it was one of this host's.

    False where that cannot be known: another host, another container, or another boot whose
    processes may live on. A number that another process has by now is none of the chief's.
    """
    if None in (claim.boot_id, claim.pid_namespace, claim.process_started):
        return False
    if (claim.boot_id, claim.pid_namespace) != (machine.boot_id(), machine.pid_namespace()):
        return False
    process = machine.process(claim.pid)
    if process is not None:
        state, started = process
        return state in ("Z", "X") or started != claim.process_started
    return not machine.is_process(claim.pid)


def lives(claim: Claim) -> bool:
    """Whether a process is known to live, and is not this one."""
    here = (machine.boot_id(), machine.pid_namespace())
    if None in here or (claim.boot_id, claim.pid_namespace) != here or is_gone(claim):
        return False
    return claim.process_started is not None and claim.pid != machine.own_pid()


def wait_for_sign_of_life(
    model_dir: str, data: bytes, seconds: float | None = None
) -> bytes | None:
    """Look at a claim for half a minute; return it if its counter stands still, None if it goes.

    Parameters
    ----------
    data
        What the file said before.
    seconds
        How long; `CLAIM_SECONDS` by default.

    Raises
    ------
    DirectoryInUseError
        The counter moves: there is a living chief.
    """
    deadline = time.monotonic() + (CLAIM_SECONDS if seconds is None else seconds)
    while True:
        now = read_claim_bytes(model_dir)
        if now is None:
            return None
        if now != data:
            raise in_use(model_dir, now)
        left = deadline - time.monotonic()
        if left <= 0:
            return now
        time.sleep(min(_POLL_SECONDS, left))


def in_use(model_dir: str, data: bytes | None, what: str = "another chief saves here") -> Exception:
    """The error for who finds another's claim."""
    if data is not None:
        who = "whose claim cannot be read"
        with suppress(MonolithError):
            who = parse_claim(data, model_dir).who
        what += f": {who}"
    return DirectoryInUseError(
        what,
        path=model_dir,
        hint="stop that job first, or give this one a directory of its own",
        kind="another_chief",
    )


def check_journal(model_dir: str) -> None:
    """Make sure that no command which moves or removes steps is, or was cut off, in the middle.

    Its journal, `.monolith-journal.json`, has the command under `command`, as text or as a list,
    and under `by` the process, as in `chief_claim`.

    Raises
    ------
    DirectoryInUseError
        One is, or was: its kind is `unfinished_command` unless the process is known to live.
    """
    path = join(model_dir, JOURNAL)
    try:
        data = store_of(path).read(path)
    except PathNotFoundError:
        if not store_of(path).exists(path):
            return
        data = b""
    command: object = None
    by: Claim | None = None
    with suppress(*_MALFORMED):
        said = json.loads(data)
        command = said["command"]
        if isinstance(command, list):
            import shlex

            command = shlex.join(map(str, command))
        by = _claim_of(said["by"])
    if by is not None and lives(by):
        raise being_done(path, by)
    hint = "run that command again, which finishes it"
    if isinstance(command, str) and 0 < len(command) <= _LONGEST_COMMAND:
        hint = f"run it again, which finishes it: {command}"
    raise DirectoryInUseError(
        "a command that moves or removes steps was cut off here",
        path=path,
        hint=hint,
        kind="unfinished_command",
    )


def being_done(journal_path: str, by: Claim) -> MonolithError:
    """The error for who finds the journal of a command whose process lives."""
    return DirectoryInUseError(
        f"a command that moves or removes steps is still being done: {by.who}",
        path=journal_path,
        hint="wait for it, and try again",
    )


def _path(model_dir: str) -> str:
    return join(model_dir, CHIEF_CLAIM)


def _is_of(data: bytes, claim_id: str) -> bool:
    try:
        return bool(json.loads(data)["id"] == claim_id)
    except _MALFORMED:
        return False


def _claim_of(said: Any) -> Claim:
    return Claim(
        str(said["id"]),
        str(said["host"]),
        int(said["pid"]),
        float(said["started"]),
        int(said["counter"]),
        said.get("boot_id"),
        said.get("pid_namespace"),
        said.get("process_started"),
    )


def parse_claim(data: bytes, model_dir: str) -> Claim:
    """What such bytes say; raises as `read_claim`."""
    try:
        return _claim_of(json.loads(data))
    except _MALFORMED as error:
        raise StateFileError("not a chief's claim", path=_path(model_dir)) from error
