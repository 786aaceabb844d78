"""A barrier that is held for as long as a command runs."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from monolith_cli.errors import MonolithError, RefusedError, TimedOutError

if TYPE_CHECKING:
    from types import FrameType

    from monolith_cli.control.client import JobClient, JobInfo, Lease

__all__ = ["Held", "hold"]

_NOT_EXECUTABLE, _NOT_FOUND = 126, 127
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Held(NamedTuple):
    """How a command ended that ran while the barrier was held.

    Attributes
    ----------
    code
        The command's exit code, as a shell gives it: 128 and the number for one ended by a signal,
        126 or 127 for one that could not be started.
    problem
        Why it was not started; None if it was.
    was_lost
        Whether the barrier went before the command ended.
    not_removed
        What went wrong when the barrier was to be removed; None if nothing did.
    is_endless
        Whether a barrier that is not removed stays, as on an original job.
    """

    code: int
    problem: str | None
    was_lost: bool
    not_removed: MonolithError | None
    is_endless: bool


def hold(
    client: JobClient,
    command: Sequence[str],
    *,
    reason: str,
    owner: str,
    ttl_seconds: float,
    timeout_seconds: float,
) -> Held:
    """Place the barrier, wait until all workers stand, run a command, and remove the barrier.

    The barrier is renewed three times in its time-to-live by a thread; if this process is killed
    it ends by itself (but not on an original job). SIGINT, SIGTERM and SIGHUP are passed on to the
    command, whose end is waited for; before it is started they end the wait. Call it in the main
    thread.

    Raises
    ------
    TimedOutError
        Not all workers stood in time; the command was not run.
    RefusedError
        The barrier was removed before that; the command was not run.
    MonolithError
        The barrier could not be placed.
    """
    run_id = client.info().run_id
    with _signals() as caught:
        lease = client.place(
            reason=reason, owner=owner, ttl_seconds=None if client.is_original else ttl_seconds
        )
        keeper = _Keeper(client, lease, ttl_seconds, run_id)
        code, problem, not_removed = 128, None, None
        try:
            keeper.start()
            _wait(client, timeout_seconds, caught, keeper)
            if caught.numbers:
                code, problem = 128 + caught.numbers[0], "stopped before the command was run"
            else:
                code, problem = _run(command, caught)
        finally:
            keeper.stop()
            if not keeper.lost:
                try:
                    client.remove(owner=owner, lease=lease)
                except MonolithError as error:
                    not_removed = error
    return Held(code, problem, keeper.lost, not_removed, client.is_original)


class _Caught:
    """The signals that came, and the process that they are passed on to."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.process: subprocess.Popen[bytes] | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.numbers.append(number)
        self.pass_on(number)

    def pass_on(self, number: int) -> None:
        # A terminal sends Ctrl-C to the command as well.
        if self.process is not None and not (number == signal.SIGINT and _in_foreground()):
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)


class _Keeper(threading.Thread):
    """Renews a barrier until it is stopped, or the barrier is gone."""

    def __init__(
        self, client: JobClient, lease: Lease, ttl_seconds: float, run_id: str | None
    ) -> None:
        super().__init__(name="barrier-keeper", daemon=True)
        self._client = client
        self._lease = lease
        self._ttl_seconds = ttl_seconds
        self._run_id = run_id
        self._stopped = threading.Event()
        self.lost = False

    def run(self) -> None:
        while not self._stopped.wait(self._ttl_seconds / 3):
            self._renew()
            if self.lost:
                return

    def stop(self) -> None:
        """End, after a last look."""
        self._stopped.set()
        if self.ident is not None:
            self.join()
        if not self.lost:
            self._renew()

    def _renew(self) -> None:
        # What cannot be asked may come back in time; if it does not, the last look tells.
        with contextlib.suppress(MonolithError):
            try:
                self.lost = not self._client.renew(self._lease, self._ttl_seconds)
            except MonolithError:
                # A chief that has started again has no barrier, and another token.
                self.lost = self._client.info().run_id != self._run_id


def _wait(client: JobClient, timeout_seconds: float, caught: _Caught, keeper: _Keeper) -> None:
    def is_over(info: JobInfo) -> bool:
        return bool(caught.numbers) or keeper.lost or not (info.placed and info.unblocked)

    def missing(info: JobInfo) -> str:
        workers = ", ".join(map(str, info.unblocked))
        return f"workers {workers} are not blocked"

    try:
        info = client.wait(is_over, timeout_seconds, missing)
    except TimedOutError as error:
        raise TimedOutError(error.what, path=error.path, hint="the command was not run") from error
    if not caught.numbers and (keeper.lost or not info.placed):
        keeper.lost = True
        raise RefusedError(
            "the barrier was removed before all workers stood",
            path=str(client.address),
            hint="the command was not run",
        )


def _run(command: Sequence[str], caught: _Caught) -> tuple[int, str | None]:
    try:
        process = subprocess.Popen(list(command))
    except FileNotFoundError:
        return _NOT_FOUND, f"{command[0]}: not found"
    except OSError as error:
        return _NOT_EXECUTABLE, f"{command[0]}: {error.strerror}"
    caught.process = process
    for number in caught.numbers:  # that came while it was started
        caught.pass_on(number)
    code = process.wait()
    caught.process = None
    return (128 - code if code < 0 else code), None


@contextlib.contextmanager
def _signals() -> Iterator[_Caught]:
    caught = _Caught()
    before: dict[int, Any] = {}
    try:
        for signum in _SIGNALS:
            if signal.getsignal(signum) is not signal.SIG_IGN:
                before[signum] = signal.signal(signum, caught)
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _in_foreground() -> bool:
    """Whether Ctrl-C at the terminal reaches this process, wherever its stdin comes from."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
