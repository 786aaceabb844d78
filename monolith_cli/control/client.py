"""A client of a running job, ours or an original one."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.control.address import (
    Address,
    Token,
    look_for_token,
    parse_address,
    read_address,
)
from monolith_cli.control.calls import Calls
from monolith_cli.control.faults import Tls
from monolith_cli.control.wait import time_left
from monolith_cli.errors import (
    BusyError,
    GoneError,
    MonolithError,
    NotYoursError,
    RefusedError,
    UnimplementedError,
    UnreachableError,
)

if TYPE_CHECKING:
    from types import TracebackType

__all__ = [
    "ANSWER_SECONDS",
    "BusyError",
    "JobClient",
    "JobInfo",
    "Lease",
    "NotYoursError",
    "Saved",
    "Tls",
    "connect",
]

ANSWER_SECONDS = 10.0
"""How long a job may take to answer; saves have their own time."""

_LOOK_SECONDS = 2.0  # for a job that may have come in place of another


class JobInfo(NamedTuple):
    """What a job says of itself; None for what an original job does not tell.

    Workers are numbered from 1. Times are in seconds; `expires_in_seconds` is None for ever, too.
    """

    placed: bool
    blocked: list[int]
    unblocked: list[int]
    global_step: int
    action: str | None = None
    reason: str | None = None
    owner: str | None = None
    placed_seconds_ago: float | None = None
    expires_in_seconds: float | None = None
    last_saved_step: int | None = None
    saving: bool | None = None
    run_id: str | None = None
    model_dir: str | None = None
    generation: int | None = None


class Lease(NamedTuple):
    """A barrier of one's own; an original job gives no id, and no end."""

    lease_id: str | None
    generation: int | None
    expires_in_seconds: float | None


class Saved(NamedTuple):
    """A committed step; None for what an original job does not tell."""

    step: int | None
    path: str | None
    finished_workers: list[int] | None
    unfinished_workers: list[int] | None


class JobClient:
    """The Controller service of one job; use it in a `with` block.

    It asks for the job's information first, to see which kind of job it is, and whether it is the
    one of `model_dir`. Importing grpc takes 60 ms, a call less than 10 on one machine.

    Parameters
    ----------
    address
        Where it listens.
    model_dir
        Whose job it must be; None: any.
    token
        What calls that change something show; those that only look do not, so that nobody gets it
        who is not the job that was looked for.
    tls
        None: plaintext.
    timeout_seconds
        For an answer, `ANSWER_SECONDS` by default; saves have their own.

    Attributes
    ----------
    address, model_dir
        As they were given.
    answer_seconds
        How long the job may take to answer.
    first_info
        What the job has said of itself when it was asked first.

    Raises
    ------
    UnreachableError
        Nobody listens there, or somebody else does, or a job of another directory.
    TimedOutError
        No answer in time.
    """

    def __init__(
        self,
        address: Address,
        *,
        model_dir: str | os.PathLike[str] | None = None,
        token: Token | None = None,
        tls: Tls | None = None,
        timeout_seconds: float | None = None,
    ) -> None:
        self.address = address
        self.answer_seconds = ANSWER_SECONDS if timeout_seconds is None else timeout_seconds
        self.model_dir = model_dir
        self._tls = tls
        self._calls = Calls(address, token, tls, self.answer_seconds)
        try:
            self.first_info = self._check(model_dir)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> JobClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the connection go."""
        self._calls.close()

    @property
    def is_original(self) -> bool:
        """Whether the job has only the original service's five methods."""
        return self._calls.faults.is_original

    def info(self, timeout_seconds: float | None = None) -> JobInfo:
        """What the job is at."""
        if self.is_original:
            blocks = self._calls.call("GetBlockStatus", timeout_seconds)
            training = self._calls.call("GetTrainingStatus", timeout_seconds)
            blocked, unblocked = set(blocks.blocked_indices), set(blocks.unblocked_indices)
            return JobInfo(
                0 in blocked, sorted(blocked - {0}), sorted(unblocked - {0}), training.global_step
            )
        said = self._calls.call("GetInfo", timeout_seconds)
        is_known = said.placed and bool(said.owner or said.reason or said.placed_ms_ago)
        return JobInfo(
            placed=said.placed,
            blocked=list(said.blocked_workers),
            unblocked=list(said.unblocked_workers),
            global_step=said.global_step,
            action=said.action,
            reason=said.reason,
            owner=said.owner,
            placed_seconds_ago=said.placed_ms_ago / 1000 if is_known else None,
            expires_in_seconds=_seconds(said.expires_in_ms),
            last_saved_step=said.last_saved_step if said.HasField("last_saved_step") else None,
            saving=said.saving,
            run_id=said.run_id,
            model_dir=said.model_dir,
            generation=said.generation,
        )

    def is_replaced(self, run_id: str | None) -> bool:
        """Whether the job's address file names another address by now, of another run."""
        if self.address.source is None:
            return False
        model_dir = os.path.dirname(self.address.source)
        with contextlib.suppress(MonolithError):
            now = read_address(model_dir)
            if now != self.address:
                with JobClient(
                    now, model_dir=model_dir, tls=self._tls, timeout_seconds=_LOOK_SECONDS
                ) as other:
                    return other.info().run_id != run_id
        return False

    def place(self, *, reason: str, owner: str, ttl_seconds: float | None) -> Lease:
        """Place the barrier; `ttl_seconds` None: until it is removed.

        Raises
        ------
        RefusedError
            It is placed, and by whom; or the job does not take orders from here.
        """
        if self.is_original:
            self._calls.call("StopTraining")
            return Lease(None, None, None)
        said = self._calls.call("PlaceBarrier", reason=reason, owner=owner, ttl_ms=_ms(ttl_seconds))
        return Lease(said.lease_id, said.generation, _seconds(said.expires_in_ms))

    def renew(self, lease: Lease, ttl_seconds: float, timeout_seconds: float | None = None) -> bool:
        """Let one's barrier end later; False if it is gone."""
        if lease.lease_id is None:
            return self.info(timeout_seconds).placed
        fields = {"lease_id": lease.lease_id, "ttl_ms": _ms(ttl_seconds)}
        try:
            self._calls.call("RenewBarrier", timeout_seconds, **fields)
        except GoneError:
            return False
        return True

    def remove(
        self,
        *,
        owner: str,
        lease: Lease | None = None,
        force: bool = False,
        reason: str = "",
        timeout_seconds: float | None = None,
    ) -> None:
        """Remove one's own barrier, or with `force` any; nothing happens if none is placed.

        Raises
        ------
        RefusedError
            It is somebody else's.
        """
        if self.is_original:
            self._calls.call("ResumeTraining", timeout_seconds)
            return
        lease_id = (lease.lease_id if lease else None) or ""
        fields = {"lease_id": lease_id, "owner": owner, "force": force, "reason": reason}
        with contextlib.suppress(GoneError):
            self._calls.call("RemoveBarrier", timeout_seconds, **fields)

    def save(self, *, require_all: bool, reason: str, owner: str, timeout_seconds: float) -> Saved:
        """Save a checkpoint now; returns when it is committed.

        An original job says neither which step, nor that a save has failed: with a model directory
        its `checkpoint` is looked at, until it names what has been saved.

        Raises
        ------
        UnfinishedWorkersError
            With `require_all`: some worker's input was not saved, and nothing was committed.
        TimedOutError
            It was not committed in time; it may be yet.
        RefusedError
            The job does not take orders from here, or could not save.
        """
        if self.is_original:
            return self._save_of_original(timeout_seconds)
        said = self._calls.call(
            "SaveNow", timeout_seconds, require_all=require_all, reason=reason, owner=owner
        )
        return Saved(
            said.step, said.path, list(said.finished_workers), list(said.unfinished_workers)
        )

    def stop(self, *, reason: str, owner: str) -> None:
        """Ask for a clean stop: a last save, then the end. Returns at once.

        Raises
        ------
        RefusedError
            An original job has no way to be asked; or the job does not take orders from here.
        """
        if self.is_original:
            raise RefusedError(
                "an original job cannot be asked over its port to stop",
                path=str(self.address),
                kind="original_job",
                hint="it can be asked by an action file in its directory",
            )
        self._calls.call("StopJob", reason=reason, owner=owner)

    def _save_of_original(self, timeout_seconds: float) -> Saved:
        if self.model_dir is None:
            self._calls.call("SaveCheckpoint", timeout_seconds)
            return Saved(None, None, None, None)
        from monolith_cli.control.commits import Commits

        deadline = time.monotonic() + timeout_seconds
        commits = Commits(self.model_dir)
        step = self.info(min(timeout_seconds, self.answer_seconds)).global_step
        self._calls.call("SaveCheckpoint", time_left(deadline))
        left = deadline - time.monotonic()
        commit = commits.wait(left, told_seconds=timeout_seconds, at_least=step)
        return Saved(commit.step, commit.path, None, None)

    def _check(self, model_dir: str | os.PathLike[str] | None) -> JobInfo:
        try:
            info = self.info()
        except UnimplementedError:
            self._calls.faults.is_original = True
            try:
                return self.info()
            except UnimplementedError as error:
                raise self._calls.faults.no_job(error.what) from error
        if model_dir is not None and info.model_dir and not _is_same(info.model_dir, model_dir):
            raise UnreachableError(
                f"the job that listens at {self.address} belongs to {info.model_dir}",
                path=self.address.source or os.fspath(model_dir),
                hint="see whether this directory's job is alive",
                kind="another_job",
            )
        return info


def connect(
    model_dir: str | os.PathLike[str] | None,
    address: str | None = None,
    *,
    tls: Tls | None = None,
    timeout_seconds: float | None = None,
) -> JobClient:
    """A client of the job that saves into a directory, or that listens at an address.

    Parameters
    ----------
    model_dir
        Has the job's address, and its token; else the environment has that. None: any job's.
    address
        `host:port` in place of the one that the job has left.
    tls, timeout_seconds
        As `JobClient`.

    Raises
    ------
    MonolithError
        As `read_address`, `look_for_token` and `JobClient`.
    """
    where = parse_address(address) if address else read_address(model_dir or "")
    token = look_for_token(model_dir)
    return JobClient(
        where, model_dir=model_dir, token=token, tls=tls, timeout_seconds=timeout_seconds
    )


def _is_same(theirs: str, ours: str | os.PathLike[str]) -> bool:
    """Whether two names are of one directory, as far as can be seen from here."""
    try:
        if os.path.realpath(theirs) == os.path.realpath(ours):
            return True
        return os.path.samefile(theirs, ours)
    except (OSError, ValueError):  # a name may hold what no file's can
        return False


def _ms(seconds: float | None) -> int:
    return 0 if seconds is None else max(1, round(seconds * 1000))


def _seconds(milliseconds: int) -> float | None:
    return milliseconds / 1000 if milliseconds else None
