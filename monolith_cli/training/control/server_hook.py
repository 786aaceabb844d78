"""The chief's hook that opens a port, and the client's stub for it."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from typing import Any

import tensorflow as tf
from absl import logging

from monolith_cli.control.address import read_address
from monolith_cli.control.service import (
    ORIGINAL_METHODS,
    make_stub,
)
from monolith_cli.training.barrier.op import BarrierOp
from monolith_cli.training.control.port import ServerTls, check_host
from monolith_cli.training.control.server import ControlServer
from monolith_cli.training.graph.shared import plain
from monolith_cli.training.run.chief_step import ChiefStep
from monolith_cli.training.saves.directory import make_local_directory

__all__ = ["ServerHook", "get_stub_from_model_dir"]

v1 = tf.compat.v1

_POLL_SECONDS = 0.1


class ServerHook(tf.compat.v1.train.SessionRunHook):
    """Serves the Controller service while a session of the chief lives, from when it is made.

    It starts before the session's first run; saves are made only when all hooks have restored. A
    save waits for the chief's step to end. If the chief is in no step, or its step has not ended
    after 5 s, for example because its input has ended, the thread that was asked makes the save. A
    call for a save that has no deadline ends after ten minutes, if the save has not begun.

    The address goes into `controller_server_addr.txt`, and a token, new for each session, into
    `controller_token` (mode 0600). Both are removed when the session ends or fails, if they are
    still this hook's. Only if such a file cannot be kept secret, the token comes from the
    environment of both sides (MONOLITH_CONTROLLER_TOKEN, or the file that
    MONOLITH_CONTROLLER_TOKEN_FILE names). If there is none, calls that change something are
    refused. Each of these calls is a line of `control.log`; of many that are refused because of
    their token, only the first in a minute.

    Costs a dozen threads that sleep, and nothing a step. Calls that change something wait for no
    others. Calls that only look, or are refused, share one thread, which answers them in rounds. So
    they may wait 30 ms, or longer if more than 32 ask at once.

    Parameters
    ----------
    model_dir
        Where the job saves.
    barrier_op, saver_hook
        The chief's; the hook is a `NoFirstSaveCheckpointSaverHook`.
    host, port
        The address to bind and to publish; a free port by default.
    tls
        Serve over TLS; with a client authority, let in only its clients.
    plaintext
        Let other hosts in without TLS.
    allow_without_token
        Take orders from anybody who reaches the port, because original clients have no token.

    Raises
    ------
    UsageError
        The host is not the address of one interface, or others can reach it without `tls` or
        `plaintext`. It is a ValueError.
    """

    def __init__(
        self,
        model_dir: str | os.PathLike[str],
        barrier_op: BarrierOp,
        saver_hook: Any,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ServerTls | None = None,
        plaintext: bool = False,
        allow_without_token: bool = False,
    ) -> None:
        check_host(host, may_be_open=tls is not None or plaintext)
        self._model_dir = os.path.abspath(os.fspath(model_dir))
        self._barrier_op = barrier_op
        self._saver_hook = saver_hook
        self._options: dict[str, Any] = {
            "host": host,
            "port": port,
            "tls": tls,
            "allow_without_token": allow_without_token,
        }
        self._global_step: Any = None
        self._server: ControlServer | None = None
        self._lock = threading.Lock()
        self._stop_reason: str | None = None
        _hooks.add(self)

    @property
    def address(self) -> str | None:
        """Where it listens now; None while it does not."""
        server = self._server
        return str(server.address) if server else None

    def begin(self) -> None:
        """Find the global step."""
        self._global_step = v1.train.get_or_create_global_step().read_value()
        self._stop_reason = None

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Open the port; the previous session's is closed.

        Raises
        ------
        MonolithError
            The port is taken, or the model directory cannot be written.
        """
        self.stop()
        self._start(plain(session), coord)

    def after_run(self, run_context: Any, run_values: Any) -> None:
        """Stop, if somebody has asked for it."""
        if self._stop_reason is not None:
            logging.info("Asked to stop: %s", self._stop_reason or "no reason given")
            # Workers come to the barrier of the last save, and end after it.
            self._barrier_op.stop_all(run_context.session)
            run_context.request_stop()

    def end(self, session: Any) -> None:
        """Close the port."""
        self.stop()

    def stop(self) -> None:
        """Close the port, if it is open."""
        server = self._server
        if server is not None:
            self._stop_if(server)

    def _start(self, session: Any, coord: Any) -> None:
        make_local_directory(self._model_dir)
        server = ControlServer(
            self._model_dir,
            self._barrier_op,
            self._saver_hook,
            session,
            self._global_step,
            self._request_stop,
            **self._options,
        )
        self._server = server
        chief = ChiefStep(session, coord)

        def watch() -> None:
            _wait_for_end(chief, coord)
            self._stop_if(server)

        # A session that fails does not call `end`.
        threading.Thread(target=watch, name="controller-watch", daemon=True).start()

    def _request_stop(self, reason: str) -> None:
        self._stop_reason = reason

    def _stop_if(self, server: ControlServer) -> None:
        with self._lock:  # a second caller waits, and then finds the port free
            if self._server is server:
                server.stop()
                self._server = None


def _wait_for_end(chief: ChiefStep, coord: Any) -> None:
    """Wait until a session ends or fails, also if a hook fails while it is made."""
    while chief.is_inside and not chief.is_live:
        if coord.wait_for_stop(_POLL_SECONDS):
            return
    if chief.is_live:
        coord.wait_for_stop()


_hooks: weakref.WeakSet[ServerHook] = weakref.WeakSet()


@atexit.register
def _stop_servers() -> None:
    for hook in list(_hooks):
        hook.stop()


def get_stub_from_model_dir(model_dir: str | os.PathLike[str]) -> Any:
    """A stub of the job's service, over plaintext: a callable for each of the five methods.

    They take request messages of any protobuf class, and the arguments of grpc's callables. A job
    of this package needs its token as metadata: `[("authorization", "Bearer <token>")]`.

    Raises
    ------
    UnreachableError
        No job has left its address there.
    """
    import grpc

    options = [("grpc.enable_http_proxy", 0)]
    channel = grpc.insecure_channel(f"dns:///{read_address(model_dir)}", options)
    return make_stub(channel, ORIGINAL_METHODS)
