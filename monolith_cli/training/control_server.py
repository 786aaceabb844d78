"""The server of a job's Controller service: who may do what, and a line in the log for each.

Reading is open to whoever reaches the port. What changes something needs the run's token.
"""

from __future__ import annotations

import contextlib
import datetime
import hmac
import ipaddress
import json
import os
import secrets
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import grpc
from absl import logging
from google.protobuf.message import DecodeError

from monolith_cli.control.address import Address, find_token, parse_address
from monolith_cli.control.service import (
    ADDRESS_FILE,
    ALL_METHODS,
    LOG_FILE,
    MAX_MESSAGE_BYTES,
    READING_METHODS,
    SERVICE,
    TOKEN_FILE,
    TOKEN_FILE_VARIABLE,
    TOKEN_VARIABLE,
    request,
    response,
)
from monolith_cli.errors import UnfinishedWorkersError, UsageError, WriteError
from monolith_cli.formats.atomic import atomic_write
from monolith_cli.training.barrier_ops import BarrierAlreadyPlacedError, BarrierOp, BarrierView

__all__ = ["ControlServer", "ServerTls", "check_host"]

_WORKERS = 8  # threads that answer
_MOST_CALLS = 64  # at once
_MOST_SAVES = 4  # that wait at once, so that others are still answered
# Between two answers to those who only look: however many ask, training has the interpreter.
_LOOK_SECONDS = 0.005
_TIMEOUT_MARGIN_SECONDS = 0.1
_GRACE_SECONDS = 1.0  # that calls have left to be answered when the server ends
_LONGEST_TTL_MS = 100 * 365 * 86_400_000
_LOGGED_CHARACTERS = 1000  # of what a caller says; nobody without a token shall fill the disk


class ServerTls(NamedTuple):
    """Names of PEM files: the server's own, and whose clients it lets in (None: anybody's)."""

    certificate: str
    key: str
    client_authority: str | None = None


class _Holder(NamedTuple):
    """Who has placed a barrier over the service."""

    generation: int
    lease_id: str
    owner: str
    reason: str
    placed_at: float  # monotonic


class _RefusalError(Exception):
    """Ends a call with a status."""

    def __init__(self, code: Any, details: str) -> None:
        super().__init__(details)
        self.code = code


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
        self._allow_without_token = allow_without_token
        self._lock = threading.Lock()  # the holder
        self._log_lock = threading.Lock()
        self._look_lock = threading.Lock()
        self._saves = threading.BoundedSemaphore(_MOST_SAVES)
        self._holder: _Holder | None = None
        self._run_id = secrets.token_hex(8)  # until there is one at the barrier
        self._files: dict[str, str] = {}
        self._token = None if allow_without_token else self._make_token()
        options = [
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.so_reuseport", 0),
        ]
        self._pid = os.getpid()
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="controller")
        self._server = grpc.server(
            self._pool,
            options=options,
            maximum_concurrent_rpcs=_MOST_CALLS,
        )
        handlers = {method: self._handler(method) for method in ALL_METHODS}
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, handlers),)
        )
        try:
            self.address = self._bind(host, port, tls)
            self._server.start()
            self._publish(ADDRESS_FILE, str(self.address), 0o644)
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
        self._pool.shutdown(wait=False)

    # --- what the methods do ----------------------------------------------------------------

    def _stop_training(self, asked: Any, context: Any) -> Any:
        self._place(context, "", "", None)
        return response("StopTraining")()

    def _resume_training(self, asked: Any, context: Any) -> Any:
        self._remove("", owner="", force=False, anonymous=True)
        return response("ResumeTraining")()

    def _get_block_status(self, asked: Any, context: Any) -> Any:
        op, session = self._barrier_op, self._session
        blocked = op.get_blocked_indices(session)
        unblocked = [i for i in range(op.capacity) if i not in blocked]
        return response("GetBlockStatus")(blocked_indices=blocked, unblocked_indices=unblocked)

    def _save_checkpoint(self, asked: Any, context: Any) -> Any:
        self._save(context, require_all=None)
        return response("SaveCheckpoint")()

    def _get_training_status(self, asked: Any, context: Any) -> Any:
        return response("GetTrainingStatus")(global_step=self._step())

    def _get_info(self, asked: Any, context: Any) -> Any:
        view = self._barrier_op.look(self._session)
        said = response("GetInfo")(
            run_id=view.run_id or self._run_id,
            model_dir=self._model_dir,
            capacity=self._barrier_op.capacity,
            placed=view.placed,
            action=view.action,
            blocked_workers=view.blocked_workers,
            unblocked_workers=view.unblocked_workers,
            global_step=self._step(),
            last_saved_step=getattr(self._saver_hook, "last_saved_step", None) or 0,
            saving=bool(getattr(self._saver_hook, "is_saving", False)),
            generation=view.generation,
        )
        holder = self._holder_of(view)
        if holder:
            said.reason, said.owner = holder.reason, holder.owner
            said.placed_ms_ago = round((time.monotonic() - holder.placed_at) * 1000)
        left = self._barrier_op.expires_in_seconds
        said.expires_in_ms = 0 if left is None or not view.placed else max(1, round(left * 1000))
        return said

    def _place_barrier(self, asked: Any, context: Any) -> Any:
        holder = self._place(context, asked.owner, asked.reason, _ttl_seconds(asked.ttl_ms))
        return response("PlaceBarrier")(
            lease_id=holder.lease_id, generation=holder.generation, expires_in_ms=asked.ttl_ms
        )

    def _renew_barrier(self, asked: Any, context: Any) -> Any:
        ttl_seconds = _ttl_seconds(asked.ttl_ms)
        with self._lock:
            holder = self._holder_of(self._barrier_op.look(self._session))
            if not holder or not asked.lease_id or holder.lease_id != asked.lease_id:
                raise _RefusalError(grpc.StatusCode.NOT_FOUND, "that barrier is gone")
            if not self._barrier_op.set_ttl(self._session, ttl_seconds):
                raise _RefusalError(grpc.StatusCode.NOT_FOUND, "that barrier is gone")
        return response("RenewBarrier")(expires_in_ms=asked.ttl_ms)

    def _remove_barrier(self, asked: Any, context: Any) -> Any:
        self._remove(asked.lease_id, owner=asked.owner, force=asked.force, anonymous=False)
        return response("RemoveBarrier")()

    def _save_now(self, asked: Any, context: Any) -> Any:
        # Not less than the job demands: it might not be able to start from such a step.
        saved = self._save(context, require_all=asked.require_all or None)
        if saved is None:  # of a dense-only hook
            what = "a full save has just covered this step"
            raise _RefusalError(grpc.StatusCode.ABORTED, what)
        return response("SaveNow")(
            step=saved.step,
            path=os.path.abspath(saved.path),  # clients have other working directories
            finished_workers=saved.finished_workers,
            unfinished_workers=saved.unfinished_workers,
        )

    def _stop_job(self, asked: Any, context: Any) -> Any:
        self._request_stop(asked.reason)
        return response("StopJob")()

    # --- how ----------------------------------------------------------------------------------

    def _place(self, context: Any, owner: str, reason: str, ttl_seconds: float | None) -> _Holder:
        with self._lock:
            _check_presence(context)  # who has waited in vain would not know of the barrier
            try:
                generation = self._barrier_op.place_barrier(self._session, ttl_seconds=ttl_seconds)
            except BarrierAlreadyPlacedError as error:
                view = self._barrier_op.look(self._session)
                raise _RefusalError(
                    grpc.StatusCode.ALREADY_EXISTS, self._who_holds(view)
                ) from error
            lease_id = secrets.token_hex(16)
            self._holder = _Holder(generation, lease_id, owner, reason, time.monotonic())
            return self._holder

    def _remove(self, lease_id: str, *, owner: str, force: bool, anonymous: bool) -> None:
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
                raise _RefusalError(grpc.StatusCode.PERMISSION_DENIED, self._who_holds(view))
            # During a save it stays placed until that ends, and its holder is told until then.
            self._barrier_op.remove_barrier(self._session)

    def _save(self, context: Any, *, require_all: bool | None) -> Any:
        if not self._saves.acquire(blocking=False):
            raise _RefusalError(
                grpc.StatusCode.RESOURCE_EXHAUSTED, f"{_MOST_SAVES} saves are waited for already"
            )
        try:
            left = context.time_remaining()
            if left is not None:
                left = max(left - _TIMEOUT_MARGIN_SECONDS, _TIMEOUT_MARGIN_SECONDS)
            return self._saver_hook.trigger_save(
                self._session, require_all=require_all, timeout_seconds=left
            )
        except UnfinishedWorkersError as error:
            raise _RefusalError(grpc.StatusCode.FAILED_PRECONDITION, error.what) from error
        except TimeoutError as error:
            raise _RefusalError(grpc.StatusCode.DEADLINE_EXCEEDED, str(error)) from error
        finally:
            self._saves.release()

    def _step(self) -> int:
        return int(self._session.run(self._global_step))

    def _holder_of(self, view: BarrierView) -> _Holder | None:
        """Who has placed what is placed now, if it was over this service."""
        holder = self._holder
        return holder if holder and view.placement == holder.generation else None

    def _who_holds(self, view: BarrierView) -> str:
        holder = self._holder_of(view)
        if holder is None:
            return "the barrier is placed already, by nobody known"
        since = time.monotonic() - holder.placed_at
        who = holder.owner or "an original client"
        why = f": {holder.reason}" if holder.reason else ""
        return f"the barrier was placed by {who} {since:.0f} s ago{why}"

    def _handler(self, method: str) -> Any:
        name = "".join(f"_{c.lower()}" if c.isupper() else c for c in method)
        act: Callable[[Any, Any], Any] = getattr(self, name)

        def answer(data: bytes, context: Any) -> Any:
            try:
                asked = request(method).FromString(data)
            except DecodeError:
                asked = None
            with self._answering(method, asked, context) as done:
                if asked is None:
                    what = "the request does not parse"
                    raise _RefusalError(grpc.StatusCode.INVALID_ARGUMENT, what)
                done.append(act(asked, context))
            return done[0]

        return grpc.unary_unary_rpc_method_handler(
            answer,
            response_serializer=lambda message: message.SerializeToString(),
        )

    @contextlib.contextmanager
    def _answering(self, method: str, asked: Any, context: Any) -> Iterator[list[Any]]:
        """Check the token, log the outcome, and turn what goes wrong into a status."""
        outcome, code = "done", None
        try:
            if method in READING_METHODS:
                with self._look_lock:
                    time.sleep(_LOOK_SECONDS)
            else:
                self._check_token(context)
                _check_presence(context)
            yield []
        except _RefusalError as error:
            outcome, code = str(error), error.code
        except Exception as error:
            # The session is gone or going, or a save or somebody's callback has failed.
            logging.warning("%s failed: %r", method, error)
            outcome = "monolith: " + str(getattr(error, "message", error)).partition("\n")[0]
            code = grpc.StatusCode.ABORTED
        # Who holds a barrier renews it all the time.
        if method not in READING_METHODS and (method != "RenewBarrier" or code is not None):
            self._log(method, asked, context, outcome)
        if code is not None:
            context.abort(code, outcome)

    def _check_token(self, context: Any) -> None:
        if self._allow_without_token:
            return
        given = dict(context.invocation_metadata()).get("authorization", "")
        if self._token is None:
            raise _RefusalError(
                grpc.StatusCode.PERMISSION_DENIED,
                "this job has no token, and so takes no orders: none could be kept secret in its"
                f" directory, and neither {TOKEN_VARIABLE} nor {TOKEN_FILE_VARIABLE} gave one",
            )
        if not hmac.compare_digest(given.encode(), f"Bearer {self._token}".encode()):
            raise _RefusalError(
                grpc.StatusCode.UNAUTHENTICATED,
                "a wrong token" if given else "this job takes orders only with its token",
            )

    def _log(self, method: str, asked: Any, context: Any, result: str) -> None:
        line = {
            "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds"),
            "method": method,
            "owner": getattr(asked, "owner", "")[:_LOGGED_CHARACTERS],
            "peer": context.peer(),
            "reason": getattr(asked, "reason", "")[:_LOGGED_CHARACTERS],
            "result": result[:_LOGGED_CHARACTERS],
        }
        try:
            with self._log_lock:
                _append_line(os.path.join(self._model_dir, LOG_FILE), json.dumps(line))
        except OSError as error:
            logging.error("%s is not logged: %s", method, error)

    # --- address and token --------------------------------------------------------------------

    def _bind(self, host: str, port: int, tls: ServerTls | None) -> Address:
        if port < 0 or port > 65535:
            raise UsageError(f"{port} is no port")
        name = str(Address(host, port))
        if tls is None:
            bound = self._add(name, None)
        else:
            credentials = grpc.ssl_server_credentials(
                [(_read(tls.key), _read(tls.certificate))],
                _read(tls.client_authority) if tls.client_authority else None,
                require_client_auth=tls.client_authority is not None,
            )
            bound = self._add(name, credentials)
        return parse_address(str(Address(host, bound)))

    def _add(self, name: str, credentials: Any) -> int:
        try:
            if credentials is None:
                bound = self._server.add_insecure_port(name)
            else:
                bound = self._server.add_secure_port(name, credentials)
        except RuntimeError as error:
            raise UsageError(f"cannot listen at {name}: {error}") from error
        if not bound:
            raise UsageError(f"cannot listen at {name}")
        return int(bound)

    def _make_token(self) -> str | None:
        """A given token, or a new one that only this user can read; None if that cannot be."""
        if os.environ.get(TOKEN_VARIABLE) or os.environ.get(TOKEN_FILE_VARIABLE):
            return find_token(None)
        token = secrets.token_urlsafe(32)
        try:
            path = self._publish(TOKEN_FILE, token, 0o600)
            status = os.stat(path)
        except (WriteError, OSError) as error:
            logging.warning("The job takes no orders, as its token cannot be written: %s", error)
            return None
        if stat.S_IMODE(status.st_mode) == 0o600 and status.st_uid == os.geteuid():
            return token
        logging.warning("The job takes no orders: %s would not be secret.", path)
        del self._files[path]
        with contextlib.suppress(OSError):
            os.unlink(path)
        return None

    def _publish(self, name: str, text: str, mode: int) -> str:
        path = os.path.join(self._model_dir, name)
        atomic_write(path, text.encode(), mode=mode)
        self._files[path] = text
        return path


def _append_line(path: str, line: str) -> None:
    """Append a line in one write, so that those of several processes do not mix.

    What a killed process or a full disk has left of a line ends before it.
    """
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        size = os.fstat(file).st_size
        is_torn = size > 0 and os.pread(file, 1, size - 1) != b"\n"
        os.write(file, ("\n" if is_torn else "").encode() + line.encode() + b"\n")
    finally:
        os.close(file)


def check_host(host: str, *, may_be_open: bool) -> None:
    """See whether a host can be bound and told to clients.

    Raises
    ------
    UsageError
        It does not resolve, stands for every interface, or can be reached by others although that
        is not wanted.
    """
    try:
        well_formed = parse_address(str(Address(host, 1))).host == host
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM) if well_formed else []
    except (UsageError, OSError, UnicodeError):
        found = []
    if not found:
        raise UsageError(f"{host!r} is no address of this host")
    addresses = [ipaddress.ip_address(address[0]) for *_, address in found]
    addresses = [getattr(address, "ipv4_mapped", None) or address for address in addresses]
    if any(address.is_unspecified for address in addresses):
        raise UsageError(f"{host!r} is no address that clients can be told")
    if not may_be_open and not all(address.is_loopback for address in addresses):
        raise UsageError(f"{host} can be reached by others: give tls, or say plaintext=True")


def _check_presence(context: Any) -> None:
    if not context.is_active():
        raise _RefusalError(grpc.StatusCode.CANCELLED, "whoever asked has gone")


def _ttl_seconds(ttl_ms: int) -> float | None:
    if not 0 <= ttl_ms <= _LONGEST_TTL_MS:
        what = f"no time-to-live: {ttl_ms} ms"
        raise _RefusalError(grpc.StatusCode.INVALID_ARGUMENT, what)
    return ttl_ms / 1000 if ttl_ms else None


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise UsageError(f"not readable: {error.strerror}", path=path) from error
