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
import stat
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import grpc
import tensorflow as tf
from absl import logging

from monolith_cli.control.address import Address, find_token, parse_address
from monolith_cli.control.service import (
    ADDRESS_FILE,
    ALL_METHODS,
    LOG_FILE,
    MAX_MESSAGE_BYTES,
    SERVICE,
    TOKEN_FILE,
    TOKEN_FILE_VARIABLE,
    TOKEN_VARIABLE,
    request,
    response,
)
from monolith_cli.errors import MonolithError, UnfinishedWorkersError, UsageError, WriteError
from monolith_cli.formats.atomic import atomic_write
from monolith_cli.training.barrier_ops import BarrierAlreadyPlacedError, BarrierOp, BarrierView

__all__ = ["ControlServer", "ServerTls"]

_READING = ("GetBlockStatus", "GetTrainingStatus", "GetInfo")
_WORKERS = 8  # threads that answer
_MOST_CALLS = 64  # at once
_MOST_SAVES = 4  # that wait at once, so that others are still answered
# Between two answers to those who only look: however many ask, training has the interpreter.
_LOOK_SECONDS = 0.002
_TIMEOUT_MARGIN_SECONDS = 0.1


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
        self._server = grpc.server(
            ThreadPoolExecutor(_WORKERS, thread_name_prefix="controller"),
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
        """End, and remove the address and the token if they are still this server's."""
        self._server.stop(None)
        for path, text in self._files.items():
            with contextlib.suppress(OSError), open(path) as file:
                if file.read() == text:
                    os.unlink(path)
        self._files = {}

    # --- what the methods do ----------------------------------------------------------------

    def _stop_training(self, asked: Any, context: Any) -> Any:
        self._place("", "", None)
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
        run_id, _ = self._barrier_op.run.get(self._session)
        said = response("GetInfo")(
            run_id=run_id or self._run_id,
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
        if asked.ttl_ms < 0:
            raise _RefusalError(grpc.StatusCode.INVALID_ARGUMENT, "a negative time-to-live")
        ttl_seconds = asked.ttl_ms / 1000 if asked.ttl_ms else None
        holder = self._place(asked.owner, asked.reason, ttl_seconds)
        return response("PlaceBarrier")(
            lease_id=holder.lease_id, generation=holder.generation, expires_in_ms=asked.ttl_ms
        )

    def _renew_barrier(self, asked: Any, context: Any) -> Any:
        if asked.ttl_ms < 0:
            raise _RefusalError(grpc.StatusCode.INVALID_ARGUMENT, "a negative time-to-live")
        with self._lock:
            holder = self._holder_of(self._barrier_op.look(self._session))
            if not holder or not asked.lease_id or holder.lease_id != asked.lease_id:
                raise _RefusalError(grpc.StatusCode.NOT_FOUND, "that barrier is gone")
            ttl_seconds = asked.ttl_ms / 1000 if asked.ttl_ms else None
            if not self._barrier_op.set_ttl(self._session, ttl_seconds):
                raise _RefusalError(grpc.StatusCode.NOT_FOUND, "that barrier is gone")
        return response("RenewBarrier")(expires_in_ms=asked.ttl_ms)

    def _remove_barrier(self, asked: Any, context: Any) -> Any:
        self._remove(asked.lease_id, owner=asked.owner, force=asked.force, anonymous=False)
        return response("RemoveBarrier")()

    def _save_now(self, asked: Any, context: Any) -> Any:
        saved = self._save(context, require_all=asked.require_all)
        return response("SaveNow")(
            step=saved.step,
            path=saved.path,
            finished_workers=saved.finished_workers,
            unfinished_workers=saved.unfinished_workers,
        )

    def _stop_job(self, asked: Any, context: Any) -> Any:
        self._request_stop(asked.reason)
        return response("StopJob")()

    # --- how ----------------------------------------------------------------------------------

    def _place(self, owner: str, reason: str, ttl_seconds: float | None) -> _Holder:
        with self._lock:
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
            if view.placement == 0 and not holder:
                return  # nobody's, or a save's, which ends by itself
            named = holder is not None and bool(holder.owner)
            if anonymous:
                own = not named and holder is not None
            else:
                own = holder is not None and (
                    (bool(lease_id)
                    and lease_id == holder.lease_id)
                    or (named
                    and owner == holder.owner)
                )
            if not own and not force:
                raise _RefusalError(grpc.StatusCode.PERMISSION_DENIED, self._who_holds(view))
            self._barrier_op.remove_barrier(self._session)
            self._holder = None

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

        def answer(asked: Any, context: Any) -> Any:
            with self._answering(method, asked, context) as done:
                done.append(act(asked, context))
            return done[0]

        return grpc.unary_unary_rpc_method_handler(
            answer,
            request_deserializer=request(method).FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )

    @contextlib.contextmanager
    def _answering(self, method: str, asked: Any, context: Any) -> Iterator[list[Any]]:
        """Check the token, log the outcome, and turn what goes wrong into a status."""
        outcome, code = "done", None
        try:
            if method in _READING:
                with self._look_lock:
                    time.sleep(_LOOK_SECONDS)
            else:
                self._check_token(context)
            yield []
        except _RefusalError as error:
            outcome, code = str(error), error.code
        except (tf.errors.OpError, RuntimeError, OSError, MonolithError) as error:
            # The session is gone or going, or a save has failed.
            logging.warning("%s failed: %s", method, error)
            outcome = "monolith: " + str(getattr(error, "message", error)).partition("\n")[0]
            code = grpc.StatusCode.ABORTED
        # Who holds a barrier renews it all the time.
        if method not in _READING and (method != "RenewBarrier" or code is not None):
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
            "owner": getattr(asked, "owner", ""),
            "peer": context.peer(),
            "reason": getattr(asked, "reason", ""),
            "result": result,
        }
        try:
            with self._log_lock, open(os.path.join(self._model_dir, LOG_FILE), "a") as file:
                file.write(json.dumps(line) + "\n")
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


def is_loopback(host: str) -> bool:
    """Whether only this host can reach it."""
    return Address(host, 1).is_loopback


def is_wildcard(host: str) -> bool:
    """Whether it stands for every interface, which is none to publish."""
    try:
        return not host or ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise UsageError(f"not readable: {error.strerror}", path=path) from error
