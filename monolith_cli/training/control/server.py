"""The server of a job's Controller service: who may do what, and a line in the log for each.

Reading is open to whoever reaches the port. What changes something needs the run's token.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import grpc
from absl import logging
from google.protobuf.message import DecodeError

from monolith_cli.control.log import EXPIRED
from monolith_cli.control.service import (
    ADDRESS_FILE,
    ALL_METHODS,
    MAX_MESSAGE_BYTES,
    TOKEN_FILE,
    request,
    response,
)
from monolith_cli.errors import UnfinishedWorkersError
from monolith_cli.formats.atomic import atomic_write
from monolith_cli.training.barrier.op import BarrierAlreadyPlacedError, BarrierOp, BarrierView
from monolith_cli.training.control.calls import CallRefusedError, Calls
from monolith_cli.training.control.log import ControlLog
from monolith_cli.training.control.port import ServerTls, bind
from monolith_cli.training.control.token import make_token

__all__ = ["ControlServer"]

_MOST_SAVES = 4  # that wait at once, so that others are still answered
_MOST_RECEIVED_BYTES = 1024 * 1024  # by grpc, whose own refusal would not say what is too long
_MOST_TEXT_BYTES = 16 * 1024  # of owner and reason, which GetInfo tells in one message
_TOLD_CHARACTERS = 600  # in a status, whose header takes 8 KiB: up to 12 bytes for each
_TIMEOUT_MARGIN_SECONDS = 0.1
_DEADLINE_SECONDS = 600.0  # of calls that come without one, as original clients' do
_NO_DEADLINE_SECONDS = 10 * 365 * 86_400.0  # above this, which is how grpc says that there is none
_GRACE_SECONDS = 1.0  # that calls have left to be answered when the server ends
_LONGEST_TTL_MS = 100 * 365 * 86_400_000
_KNOWN_LEASES = 100  # whose owners are in the log when they are renewed in vain
_HOLDER_SECONDS = 1.0  # to wait for who is placing just now


class _Holder(NamedTuple):
    """Who has placed a barrier over the service."""

    generation: int
    lease_id: str
    owner: str
    reason: str
    placed_at: float  # monotonic


class _Order:
    """A call that changes something, and what its line in the log says of it.

    Attributes
    ----------
    owner
        Who asks.
    holder
        Who had placed a barrier that was removed by force.
    """

    def __init__(self, context: Any) -> None:
        self.context = context
        self.owner = ""
        self.holder: str | None = None


class _Look(NamedTuple):
    """What those see who look at the same time."""

    view: BarrierView
    holder: _Holder | None
    step: int


class ControlServer:
    """Answers for one session of the chief, from when it is made until `stop`.

    Parameters
    ----------
    model_dir
        Where address, token and log go.
    barrier_op, saver_hook
        The chief's. The hook needs `trigger_save`.
    session
        The chief's plain session, which takes runs of several threads.
    global_step
        Its tensor.
    request_stop
        Ends the training cleanly.
    host, port
        What it binds and publishes; port 0: a free one.
    tls
        None: plaintext.
    allow_without_token
        Whether whoever reaches the port may change something.

    Raises
    ------
    UsageError
        The host is none that can be published.
    MonolithError
        The port is taken, or a file cannot be read or written.
    """

    def __init__(
        self,
        model_dir: str,
        barrier_op: BarrierOp,
        saver_hook: Any,
        session: Any,
        global_step: Any,
        request_stop: Callable[[str], None],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ServerTls | None = None,
        allow_without_token: bool = False,
    ) -> None:
        self._model_dir = os.path.abspath(model_dir)
        self._barrier_op = barrier_op
        self._saver_hook = saver_hook
        self._session = session
        self._global_step = global_step
        self._request_stop = request_stop
        self._lock = threading.Lock()  # the holder
        self._saves = threading.BoundedSemaphore(_MOST_SAVES)
        self._holder: _Holder | None = None
        self._owners: deque[tuple[str, str]] = deque(maxlen=_KNOWN_LEASES)
        self._run_id = secrets.token_hex(8)  # until there is one at the barrier
        self._files: dict[str, str] = {}
        self._log = ControlLog(self._model_dir)
        self._token = None
        if not allow_without_token:
            self._token = make_token(os.path.join(self._model_dir, TOKEN_FILE))
            if self._token.path and self._token.text:
                self._files[self._token.path] = self._token.text
        options = [
            ("grpc.max_receive_message_length", _MOST_RECEIVED_BYTES),
            ("grpc.so_reuseport", 0),
        ]
        self._pid = os.getpid()
        self._methods: dict[str, Callable[..., Any]] = {
            method: getattr(self, "".join(f"_{c.lower()}" if c.isupper() else c for c in method))
            for method in ALL_METHODS
        }
        self._calls = Calls(
            check=self._check_token,
            take=self._take_look,
            look=self._answer_look,
            order=self._obey,
            note_refused=lambda method, context, why: self._log.write_refused(
                method, why, context.peer()
            ),
        )
        self._server = grpc.server(self._calls.orders, handlers=[self._calls], options=options)
        barrier_op.when_expired = self._note_expired
        try:
            self.address = bind(self._server, host, port, tls)
            self._server.start()
            self._publish(ADDRESS_FILE, str(self.address))
        except BaseException:
            self.stop()
            raise
        logging.info("The job can be reached at %s.", self.address)

    def stop(self) -> None:
        """End, and remove the address and the token if they are still this server's.

        Takes a second at most: calls under way have that long to be answered.
        """
        if os.getpid() != self._pid:  # a fork has no server, and none of its files
            return
        for path, text in self._files.items():
            with contextlib.suppress(OSError), open(path, errors="replace") as file:
                if file.read() == text:
                    os.unlink(path)
        self._files = {}
        self._server.stop(_GRACE_SECONDS).wait(2 * _GRACE_SECONDS)
        self._calls.shut_down()
        if self._barrier_op.when_expired == self._note_expired:
            self._barrier_op.when_expired = None
        self._log.close()

    # --- what the methods do ----------------------------------------------------------------

    def _stop_training(self, asked: Any, order: _Order) -> Any:
        self._place(order, "", "", None)
        return response("StopTraining")()

    def _resume_training(self, asked: Any, order: _Order) -> Any:
        self._remove(order, "", owner="", force=False, anonymous=True)
        return response("ResumeTraining")()

    def _get_block_status(self, look: _Look) -> Any:
        view = look.view
        # The chief's element is the barrier itself.
        blocked, unblocked = ([0], []) if view.placed else ([], [0])
        return response("GetBlockStatus")(
            blocked_indices=[*blocked, *view.blocked_workers],
            unblocked_indices=[*unblocked, *view.unblocked_workers],
        )

    def _save_checkpoint(self, asked: Any, order: _Order) -> Any:
        self._save(order, require_all=None)
        return response("SaveCheckpoint")()

    def _get_training_status(self, look: _Look) -> Any:
        return response("GetTrainingStatus")(global_step=look.step)

    def _get_info(self, look: _Look) -> Any:
        view, holder = look.view, look.holder
        said = response("GetInfo")(
            run_id=view.run_id or self._run_id,
            model_dir=self._model_dir,
            capacity=self._barrier_op.capacity,
            placed=view.placed,
            action=view.action,
            blocked_workers=view.blocked_workers,
            unblocked_workers=view.unblocked_workers,
            global_step=look.step,
            last_saved_step=getattr(self._saver_hook, "last_saved_step", None),
            saving=bool(getattr(self._saver_hook, "is_saving", False)),
            generation=view.generation,
        )
        now = time.monotonic()
        if holder:
            said.reason, said.owner = holder.reason, holder.owner
            said.placed_ms_ago = round((now - holder.placed_at) * 1000)
        if view.ends_at is not None:  # 0 is never
            said.expires_in_ms = max(1, round((view.ends_at - now) * 1000))
        return said

    def _place_barrier(self, asked: Any, order: _Order) -> Any:
        holder = self._place(order, asked.owner, asked.reason, _ttl_seconds(asked.ttl_ms))
        return response("PlaceBarrier")(
            lease_id=holder.lease_id, generation=holder.generation, expires_in_ms=asked.ttl_ms
        )

    def _renew_barrier(self, asked: Any, order: _Order) -> Any:
        with self._lock:
            order.owner = dict(self._owners).get(asked.lease_id, "")
            ttl_seconds = _ttl_seconds(asked.ttl_ms)
            holder = self._holder_of(self._barrier_op.look(self._session))
            if not holder or not asked.lease_id or holder.lease_id != asked.lease_id:
                raise CallRefusedError(grpc.StatusCode.NOT_FOUND, "that barrier is gone")
            if not self._barrier_op.set_ttl(self._session, ttl_seconds):
                raise CallRefusedError(grpc.StatusCode.NOT_FOUND, "that barrier is gone")
        return response("RenewBarrier")(expires_in_ms=asked.ttl_ms)

    def _remove_barrier(self, asked: Any, order: _Order) -> Any:
        self._remove(order, asked.lease_id, owner=asked.owner, force=asked.force, anonymous=False)
        return response("RemoveBarrier")()

    def _save_now(self, asked: Any, order: _Order) -> Any:
        # Not less than the job demands: it might not be able to start from such a step.
        saved = self._save(order, require_all=asked.require_all or None)
        if saved is None:  # of a dense-only hook
            what = "a full save has just covered this step"
            raise CallRefusedError(grpc.StatusCode.ABORTED, what)
        return response("SaveNow")(
            step=saved.step,
            path=os.path.abspath(saved.path),  # clients have other working directories
            finished_workers=saved.finished_workers,
            unfinished_workers=saved.unfinished_workers,
        )

    def _stop_job(self, asked: Any, order: _Order) -> Any:
        self._request_stop(asked.reason)
        return response("StopJob")()

    # --- how ----------------------------------------------------------------------------------

    def _place(self, order: _Order, owner: str, reason: str, ttl_seconds: float | None) -> _Holder:
        size = len(owner.encode()) + len(reason.encode())
        if size > _MOST_TEXT_BYTES:
            what = f"owner and reason have {size} bytes, and may have {_MOST_TEXT_BYTES}"
            raise CallRefusedError(grpc.StatusCode.INVALID_ARGUMENT, what)
        with self._lock:
            _check_presence(order.context)  # who has waited in vain would not know of the barrier
            try:
                generation = self._barrier_op.place_barrier(self._session, ttl_seconds=ttl_seconds)
            except BarrierAlreadyPlacedError as error:
                view = self._barrier_op.look(self._session)
                raise CallRefusedError(
                    grpc.StatusCode.ALREADY_EXISTS, self._who_holds(view)
                ) from error
            lease_id = secrets.token_hex(16)
            self._holder = _Holder(generation, lease_id, owner, reason, time.monotonic())
            self._owners.append((lease_id, owner))
            return self._holder

    def _remove(
        self, order: _Order, lease_id: str, *, owner: str, force: bool, anonymous: bool
    ) -> None:
        with self._lock:
            view = self._barrier_op.look(self._session)
            holder = self._holder_of(view)
            if view.placement == 0:
                return  # nobody's, or a save's, which ends by itself
            if holder is None:
                own = False
            elif anonymous:
                own = not holder.owner
            elif lease_id:  # an owner may have placed another one since
                own = lease_id == holder.lease_id
            else:
                own = bool(holder.owner) and owner == holder.owner
            if not own and not force:
                raise CallRefusedError(grpc.StatusCode.PERMISSION_DENIED, self._who_holds(view))
            # During a save it stays placed until that ends, and its holder is told until then.
            self._barrier_op.remove_barrier(self._session)
            if not own:
                order.holder = _name_of(holder)

    def _save(self, order: _Order, *, require_all: bool | None) -> Any:
        if not self._saves.acquire(blocking=False):
            raise CallRefusedError(
                grpc.StatusCode.RESOURCE_EXHAUSTED, f"{_MOST_SAVES} saves are waited for already"
            )
        try:
            left = order.context.time_remaining()
            if left is None or left > _NO_DEADLINE_SECONDS:
                left = _DEADLINE_SECONDS
            left = max(left - _TIMEOUT_MARGIN_SECONDS, _TIMEOUT_MARGIN_SECONDS)
            return self._saver_hook.trigger_save(
                self._session, require_all=require_all, timeout_seconds=left
            )
        except UnfinishedWorkersError as error:
            raise CallRefusedError(grpc.StatusCode.FAILED_PRECONDITION, error.what) from error
        except TimeoutError as error:
            raise CallRefusedError(grpc.StatusCode.DEADLINE_EXCEEDED, str(error)) from error
        finally:
            self._saves.release()

    def _take_look(self) -> _Look:
        with _failing("A look"):
            view = self._barrier_op.look(self._session)
            holder = self._holder_of(view)
            if view.placement and holder is None:  # it may just be placed, and not known yet
                with self._known_holder():
                    view = self._barrier_op.look(self._session)
                    holder = self._holder_of(view)
            return _Look(view, holder, int(self._session.run(self._global_step)))

    def _note_expired(self, generation: int) -> None:
        with self._known_holder():
            holder = self._holder
        owner = reason = None
        if holder and holder.generation == generation:
            owner, reason = holder.owner, holder.reason
        self._log.write(EXPIRED, "its time-to-live is over", owner=owner, reason=reason)

    @contextlib.contextmanager
    def _known_holder(self) -> Iterator[None]:
        """Let a placement end that is under way, unless it takes long."""
        is_locked = self._lock.acquire(timeout=_HOLDER_SECONDS)
        try:
            yield
        finally:
            if is_locked:
                self._lock.release()

    def _holder_of(self, view: BarrierView) -> _Holder | None:
        """Who has placed what is placed now, if it was over this service."""
        holder = self._holder
        return holder if holder and view.placement == holder.generation else None

    def _who_holds(self, view: BarrierView) -> str:
        holder = self._holder_of(view)
        if holder is None:
            return "the barrier is placed already, by nobody known"
        since = time.monotonic() - holder.placed_at
        who = _name_of(holder)[: _TOLD_CHARACTERS // 2]
        why = f": {holder.reason}" if holder.reason else ""
        text = f"the barrier was placed by {who} {since:.0f} s ago{why}"
        return text.replace("\n", "\\n")[:_TOLD_CHARACTERS]

    def _check_token(self, authorization: str) -> CallRefusedError | None:
        fault = self._token.find_fault(authorization) if self._token else None
        if fault is None:
            return None
        has_none = self._token is not None and self._token.text is None
        codes = grpc.StatusCode
        return CallRefusedError(
            codes.PERMISSION_DENIED if has_none else codes.UNAUTHENTICATED, fault
        )

    def _answer_look(self, method: str, look: _Look) -> Any:
        with _failing(method):
            return self._methods[method](look)

    def _obey(self, method: str, requests: Iterator[bytes], context: Any) -> Any:
        """Carry out an order, and log what came of it."""
        asked, result = None, "done"
        order = _Order(context)
        try:
            asked = _parse(method, requests, context)
            order.owner = getattr(asked, "owner", "")
            with _failing(method):
                return self._methods[method](asked, order)
        except CallRefusedError as error:
            result = str(error)
            raise
        finally:
            # Who holds a barrier renews it all the time.
            if method != "RenewBarrier" or result != "done":
                self._log.write(
                    method,
                    result,
                    owner=order.owner,
                    peer=context.peer(),
                    reason=getattr(asked, "reason", ""),
                    holder=order.holder,
                )

    def _publish(self, name: str, text: str) -> None:
        path = os.path.join(self._model_dir, name)
        atomic_write(path, text.encode(), mode=0o644)
        self._files[path] = text


@contextlib.contextmanager
def _failing(method: str) -> Iterator[None]:
    """Turn whatever goes wrong into a status."""
    try:
        yield
    except CallRefusedError:
        raise
    except Exception as error:
        # The session is gone or going, or a save or somebody's callback has failed.
        logging.warning("%s failed: %r", method, error)
        what = "monolith: " + str(getattr(error, "message", error)).partition("\n")[0]
        raise CallRefusedError(grpc.StatusCode.ABORTED, what) from error


def _name_of(holder: _Holder | None) -> str:
    if holder is None:
        return "nobody known"
    return holder.owner or "an original client"


def _parse(method: str, requests: Iterator[bytes], context: Any) -> Any:
    try:
        data = next(requests)
    except (StopIteration, grpc.RpcError) as error:
        _check_presence(context)
        what = "there is no request that can be taken"
        raise CallRefusedError(grpc.StatusCode.INVALID_ARGUMENT, what) from error
    if len(data) > MAX_MESSAGE_BYTES:
        what = f"a request of {len(data)} bytes is too long: {MAX_MESSAGE_BYTES} are taken"
        raise CallRefusedError(grpc.StatusCode.INVALID_ARGUMENT, what)
    try:
        return request(method).FromString(data)
    except DecodeError as error:
        what = "the request does not parse"
        raise CallRefusedError(grpc.StatusCode.INVALID_ARGUMENT, what) from error


def _check_presence(context: Any) -> None:
    if not context.is_active():
        raise CallRefusedError(grpc.StatusCode.CANCELLED, "whoever asked has gone")


def _ttl_seconds(ttl_ms: int) -> float | None:
    if not 0 <= ttl_ms <= _LONGEST_TTL_MS:
        what = f"no time-to-live: {ttl_ms} ms"
        raise CallRefusedError(grpc.StatusCode.INVALID_ARGUMENT, what)
    return ttl_ms / 1000 if ttl_ms else None
