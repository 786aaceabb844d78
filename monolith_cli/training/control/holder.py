"""Who holds a job's barrier over the Controller service, and until when."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import grpc

from monolith_cli.errors import BarrierAlreadyPlacedError
from monolith_cli.training.barrier.op import BarrierOp
from monolith_cli.training.barrier.view import BarrierView
from monolith_cli.training.control.refusals import CallRefusedError, check_presence

__all__ = ["HeldBarrier", "Holder", "seconds_to_live"]

_MOST_TEXT_BYTES = 16 * 1024  # of owner and reason, which GetInfo sends in one message
_TOLD_CHARACTERS = 600  # in a status, whose header has 8 KiB: up to 12 bytes for each
_LONGEST_TTL_MS = 100 * 365 * 86_400_000
_KNOWN_LEASES = 100  # whose owners the log can name if they are renewed in vain
_HOLDER_SECONDS = 1.0  # to wait for somebody who is just placing the barrier


def seconds_to_live(ttl_ms: int) -> float | None:
    """The time-to-live that a request asks for; None: no end."""
    if not 0 <= ttl_ms <= _LONGEST_TTL_MS:
        what = f"no time-to-live: {ttl_ms} ms"
        raise CallRefusedError(grpc.StatusCode.INVALID_ARGUMENT, what)
    return ttl_ms / 1000 if ttl_ms else None


class Holder(NamedTuple):
    """Who has placed a barrier through the service."""

    generation: int
    lease_id: str
    owner: str
    reason: str
    placed_at: float  # monotonic


class HeldBarrier:
    """The chief's barrier, which one client at a time can hold.

    It knows who placed the barrier through the service, and lets only that client renew and remove
    it. Its methods may be called from several threads. What they refuse is a `CallRefusedError`.

    Parameters
    ----------
    barrier_op
        The chief's.
    session
        Its plain session.
    """

    def __init__(self, barrier_op: BarrierOp, session: Any) -> None:
        self._barrier_op = barrier_op
        self._session = session
        self._lock = threading.Lock()  # for the holder
        self._holder: Holder | None = None
        self._owners: deque[tuple[str, str]] = deque(maxlen=_KNOWN_LEASES)

    @property
    def capacity(self) -> int:
        """The number of the barrier's elements."""
        return self._barrier_op.capacity

    # Who holds it.

    def look(self) -> tuple[BarrierView, Holder | None]:
        """The barrier now, and who placed it."""
        view = self._barrier_op.look(self._session)
        holder = self._holder_of(view)
        if view.placement and holder is None:  # it may just have been placed, and not be known yet
            with self._known_holder():
                view = self._barrier_op.look(self._session)
                holder = self._holder_of(view)
        return view, holder

    def who_placed(self, generation: int) -> Holder | None:
        """Who made this placement, if it is the newest one through the service."""
        with self._known_holder():
            holder = self._holder
        return holder if holder and holder.generation == generation else None

    def owner_of(self, lease_id: str) -> str:
        """Who was given a lease, also after its end; "" if that is not known."""
        with self._lock:
            return dict(self._owners).get(lease_id, "")

    @contextlib.contextmanager
    def _known_holder(self) -> Iterator[None]:
        """Wait for a placement that is under way, unless it takes long."""
        is_locked = self._lock.acquire(timeout=_HOLDER_SECONDS)
        try:
            yield
        finally:
            if is_locked:
                self._lock.release()

    def _holder_of(self, view: BarrierView) -> Holder | None:
        """Who made the placement that is there now, if it was through this service."""
        holder = self._holder
        return holder if holder and view.placement == holder.generation else None

    # What clients do with it.

    def place(self, owner: str, reason: str, ttl_seconds: float | None, context: Any) -> Holder:
        """Place the barrier, if the caller still waits at grpc's context."""
        size = len(owner.encode()) + len(reason.encode())
        if size > _MOST_TEXT_BYTES:
            what = f"owner and reason have {size} bytes, and may have {_MOST_TEXT_BYTES}"
            raise CallRefusedError(grpc.StatusCode.INVALID_ARGUMENT, what)
        with self._lock:
            check_presence(context)  # a caller that no longer waits would not know of the barrier
            try:
                generation = self._barrier_op.place_barrier(self._session, ttl_seconds=ttl_seconds)
            except BarrierAlreadyPlacedError as error:
                holder = self._holder_of(self._barrier_op.look(self._session))
                raise CallRefusedError(grpc.StatusCode.ALREADY_EXISTS, _told(holder)) from error
            lease_id = secrets.token_hex(16)
            self._holder = Holder(generation, lease_id, owner, reason, time.monotonic())
            self._owners.append((lease_id, owner))
            return self._holder

    def renew(self, lease_id: str, ttl_seconds: float | None) -> None:
        """Let the barrier end that long after now, or never, if the lease is its holder's."""
        with self._lock:
            holder = self._holder_of(self._barrier_op.look(self._session))
            if not holder or not lease_id or holder.lease_id != lease_id:
                raise CallRefusedError(grpc.StatusCode.NOT_FOUND, "that barrier is gone")
            if not self._barrier_op.set_ttl(self._session, ttl_seconds):
                raise CallRefusedError(grpc.StatusCode.NOT_FOUND, "that barrier is gone")

    def remove(
        self, *, lease_id: str = "", owner: str = "", anonymous: bool = False, force: bool = False
    ) -> str | None:
        """Remove the barrier if it is the caller's, or by force; do nothing if none is placed.

        Parameters
        ----------
        lease_id, owner
            Who asks: identified by the lease if there is one, else by the name.
        anonymous
            An original client asks, which has neither lease nor name.

        Returns
        -------
        str or None
            Who held the barrier, if that was not the caller.
        """
        with self._lock:
            view = self._barrier_op.look(self._session)
            if view.placement == 0:
                return None  # nobody's, or a save's, which ends by itself
            holder = self._holder_of(view)
            is_own = _is_own(holder, lease_id=lease_id, owner=owner, anonymous=anonymous)
            if not is_own and not force:
                raise CallRefusedError(grpc.StatusCode.PERMISSION_DENIED, _told(holder))
            # During a save it stays placed until the save ends, and its holder is shown until then.
            self._barrier_op.remove_barrier(self._session)
            return None if is_own else _name_of(holder)


def _is_own(holder: Holder | None, *, lease_id: str, owner: str, anonymous: bool) -> bool:
    """Whether the caller has placed it; original clients are anonymous."""
    if holder is None:
        return False
    if anonymous:
        return not holder.owner
    if lease_id:  # the same owner may have placed another one since
        return lease_id == holder.lease_id
    return bool(holder.owner) and owner == holder.owner


def _name_of(holder: Holder | None) -> str:
    if holder is None:
        return "nobody known"
    return holder.owner or "an original client"


def _told(holder: Holder | None) -> str:
    """What callers are told who cannot have the barrier."""
    if holder is None:
        return "the barrier is placed already, by nobody known"
    since = time.monotonic() - holder.placed_at
    who = _name_of(holder)[: _TOLD_CHARACTERS // 2]
    why = f": {holder.reason}" if holder.reason else ""
    text = f"the barrier was placed by {who} {since:.0f} s ago{why}"
    return text.replace("\n", "\\n")[:_TOLD_CHARACTERS]
