"""A barrier that is held for as long as a command runs."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from monolith_cli.control.program import start_program
from monolith_cli.control.texts import unblocked_text
from monolith_cli.control.wait import wait_until
from monolith_cli.errors import (
    BusyError,
    MonolithError,
    PathNotFoundError,
    RefusedError,
    TimedOutError,
    UnreachableError,
)

if TYPE_CHECKING:
    import subprocess
    from types import FrameType

    from monolith_cli.control.client import JobClient, JobInfo, Lease
    from monolith_cli.control.program import Program

__all__ = ["Held", "code_of", "hold"]

_NOT_RUN, _NOT_EXECUTABLE, _NOT_FOUND = 125, 126, 127
_KEYS = (signal.SIGINT, signal.SIGQUIT)  # which a terminal sends
_SIGNALS = (*_KEYS, signal.SIGTERM, signal.SIGHUP)


_END_SECONDS = 10.0  # for the removal, if the job cannot be asked at once
_ATTEMPT_SECONDS = 3.0
_PAUSE_SECONDS = 0.2
_PASSING = (UnreachableError, TimedOutError, BusyError)  # may be otherwise in a moment


class Held(NamedTuple):
    """How a command ended that ran while the barrier was held.

    Attributes
    ----------
    code
        The command's exit code, as a shell gives it: 128 and the number for one ended by a signal,
        126 or 127 for one that cannot be started. If it was not tried, 128 and the number of the
        signal that came before, else 125.
    problem
        Why the command was not run; None if it was.
    is_lost
        Whether the barrier went before that; None if the job could not be asked any more.
    not_removed
        What went wrong when the barrier was to be removed; None if nothing did.
    ends_in_seconds
        When a barrier that was not removed ends by itself, at the latest; None: never, as on an
        original job.
    """

    code: int
    problem: MonolithError | None
    is_lost: bool | None
    not_removed: MonolithError | None
    ends_in_seconds: float | None


def code_of(error: MonolithError) -> int:
    """The exit code, as a shell has it, for a command whose program `find_program` refuses."""
    return _NOT_FOUND if isinstance(error, PathNotFoundError) else _NOT_EXECUTABLE


def hold(
    client: JobClient,
    program: Program,
    *,
    reason: str,
    owner: str,
    ttl_seconds: float,
    timeout_seconds: float,
) -> Held:
    """Place the barrier, wait until all workers stand, run a command, and remove the barrier.

    The barrier is renewed three times in its time-to-live by a thread; if this process is killed
    it ends by itself (but not on an original job). SIGINT, SIGTERM, SIGHUP and SIGQUIT are passed
    on to the command, whose end is waited for, however often they come; before it is started they
    end the wait. If the barrier cannot be removed at once, that is tried for ten seconds, or until
    the next of these signals. Call it in the main thread.

    Raises
    ------
    MonolithError
        The barrier could not be placed.
    """
    run_id = client.first_info.run_id
    with _signals() as caught:
        lease = client.place(
            reason=reason, owner=owner, ttl_seconds=None if client.is_original else ttl_seconds
        )
        keeper = _Keeper(client, lease, ttl_seconds, run_id)
        try:
            keeper.start()
            _wait(client, timeout_seconds, caught, keeper)
            code, problem = _run(program, caught)
        except MonolithError as error:
            error.hint = "; ".join(filter(None, [error.hint, "the command was not run"]))
            code, problem = _NOT_RUN, error
        finally:
            is_lost, not_removed = _end(keeper, owner, caught)
    left = None if client.is_original else keeper.ends_in_seconds
    return Held(code, problem, is_lost, not_removed, left)


def _end(keeper: _Keeper, owner: str, caught: _Caught) -> tuple[bool | None, MonolithError | None]:
    """Remove the barrier; returns whether it had gone before, and what went wrong."""
    signals = len(caught.numbers)
    keeper.stop()
    seconds = _END_SECONDS
    if not keeper.client.is_original:  # one that ends by itself meanwhile was not lost before
        seconds = min(seconds, keeper.ends_in_seconds)
    deadline = time.monotonic() + seconds
    is_lost: bool | None = None
    attempts = 0
    while True:
        seconds = min(_ATTEMPT_SECONDS, max(deadline - time.monotonic(), _PAUSE_SECONDS))
        try:
            # One that has gone after the first attempt to remove it was not lost.
            if is_lost is None:
                is_lost = keeper.look(seconds, is_last=True)
            if not is_lost:
                attempts += 1
                keeper.client.remove(owner=owner, lease=keeper.lease, timeout_seconds=seconds)
            return is_lost, None
        except MonolithError as error:
            if not isinstance(error, _PASSING):
                # Somebody else's barrier, or another chief: an earlier attempt has removed ours.
                return is_lost, None if attempts > 1 else error
            if time.monotonic() >= deadline or len(caught.numbers) > signals:
                return is_lost, error
        time.sleep(_PAUSE_SECONDS)


class _Caught:
    """The signals that came, and the process that they are passed on to."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.process: subprocess.Popen[bytes] | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.numbers.append(number)
        self.pass_on(number)

    def pass_on(self, number: int) -> None:
        # A terminal sends what its keys stand for to the command as well.
        if self.process is not None and not (number in _KEYS and _in_foreground()):
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)


class _Keeper(threading.Thread):
    """Renews a barrier until it is stopped, or the barrier is gone."""

    def __init__(
        self, client: JobClient, lease: Lease, ttl_seconds: float, run_id: str | None
    ) -> None:
        super().__init__(name="barrier-keeper", daemon=True)
        self.client = client
        self.lease = lease
        self._ttl_seconds = ttl_seconds
        self._run_id = run_id
        self._ends_at = time.monotonic() + ttl_seconds
        self._stopped = threading.Event()
        self.lost = False

    @property
    def ends_in_seconds(self) -> float:
        """When the barrier ends by itself, at the latest."""
        return max(0.0, self._ends_at - time.monotonic())

    def run(self) -> None:
        while not self._stopped.wait(self._ttl_seconds / 3):
            # What cannot be asked may come back in time; if it does not, the last look tells.
            with contextlib.suppress(MonolithError):
                if self.look():
                    return

    def stop(self) -> None:
        """Renew no more."""
        self._stopped.set()
        if self.ident is not None:
            self.join(_ATTEMPT_SECONDS)

    def look(self, timeout_seconds: float | None = None, *, is_last: bool = False) -> bool:
        """Renew the barrier, with `is_last` for a few seconds only, and see whether it is lost."""
        if self.lost:
            return True
        ttl_seconds = min(self._ttl_seconds, _END_SECONDS) if is_last else self._ttl_seconds
        try:
            self.lost = not self.client.renew(self.lease, ttl_seconds, timeout_seconds)
            self._ends_at = time.monotonic() + ttl_seconds
        except TimedOutError:
            self._ends_at = max(self._ends_at, time.monotonic() + ttl_seconds)  # it may be done
            raise
        except UnreachableError:
            # A chief that has started again listens somewhere else, and has no barrier.
            self.lost = self.client.is_replaced(self._run_id)
            if not self.lost:
                raise
        except _PASSING:
            raise
        except MonolithError:
            # A chief that has started again has no barrier, and another token.
            if self.client.info(timeout_seconds).run_id == self._run_id:
                raise
            self.lost = True
        return self.lost


def _wait(client: JobClient, timeout_seconds: float, caught: _Caught, keeper: _Keeper) -> None:
    def is_over(info: JobInfo) -> bool:
        return bool(caught.numbers) or keeper.lost or not (info.placed and info.unblocked)

    info = wait_until(client, is_over, timeout_seconds, unblocked_text)
    if not caught.numbers and (keeper.lost or not info.placed):
        what = "the barrier was removed before all workers stood"
        raise RefusedError(what, path=str(client.address))


def _run(program: Program, caught: _Caught) -> tuple[int, MonolithError | None]:
    if caught.numbers:
        number = caught.numbers[0]
        kind = "interrupted" if number == signal.SIGINT else "terminated"
        return 128 + number, MonolithError("stopped before the command was run", kind=kind)
    try:
        process = start_program(program)
    except MonolithError as error:  # which only this attempt could tell
        return code_of(error), error
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
