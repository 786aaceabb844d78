"""The server of a job's Controller service: who may do what, with a log line for each order.

Anybody who reaches the port may look. Calls that change something need the run's token.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any

import grpc
from absl import logging

from monolith_cli.control.log import EXPIRED
from monolith_cli.control.service import ADDRESS_FILE, TOKEN_FILE
from monolith_cli.storage.atomic import atomic_write
from monolith_cli.training.barrier.op import BarrierOp
from monolith_cli.training.control.asked_saves import AskedSaves
from monolith_cli.training.control.calls import Calls
from monolith_cli.training.control.holder import HeldBarrier
from monolith_cli.training.control.log import ControlLog
from monolith_cli.training.control.looks import Looks
from monolith_cli.training.control.orders import Orders
from monolith_cli.training.control.port import ServerTls, bind
from monolith_cli.training.control.refusals import CallRefusedError
from monolith_cli.training.control.token import make_token

__all__ = ["ControlServer"]

_MOST_RECEIVED_BYTES = 1024 * 1024  # for grpc, whose own refusal would not say what is too long
_GRACE_SECONDS = 1.0  # for calls to be answered when the server ends


class ControlServer:
    """Answers for one session of the chief, from when it is made until `stop`.

    Parameters
    ----------
    model_dir
        Where address, token and log go.
    barrier_op, saver_hook
        The chief's. The hook needs `trigger_save`.
    session
        The chief's plain session; several threads run it.
    global_step
        The tensor of the global step.
    request_stop
        Ends the training cleanly.
    host, port
        The address that it binds and publishes; port 0: a free one.
    tls
        None: plaintext.
    allow_without_token
        Whether anybody who reaches the port may change something.

    Raises
    ------
    UsageError
        The host cannot be published.
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
        self._barrier = HeldBarrier(barrier_op, session)
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
        looks = Looks(self._barrier, saver_hook, session, global_step, self._model_dir)
        saves = AskedSaves(saver_hook, session)
        self._calls = Calls(
            check=self._check_token,
            take=looks.take,
            look=looks.answer,
            order=Orders(self._barrier, saves, request_stop, self._log).obey,
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

        Takes at most a second, which is the time that calls under way have to be answered.
        """
        if os.getpid() != self._pid:  # a forked process has no server, and none of its files
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

    def _note_expired(self, generation: int) -> None:
        holder = self._barrier.who_placed(generation)
        owner, reason = (holder.owner, holder.reason) if holder else (None, None)
        self._log.write(EXPIRED, "its time-to-live is over", owner=owner, reason=reason)

    def _check_token(self, authorization: str) -> CallRefusedError | None:
        fault = self._token.find_fault(authorization) if self._token else None
        if fault is None:
            return None
        has_none = self._token is not None and self._token.text is None
        codes = grpc.StatusCode
        return CallRefusedError(
            codes.PERMISSION_DENIED if has_none else codes.UNAUTHENTICATED, fault
        )

    def _publish(self, name: str, text: str) -> None:
        path = os.path.join(self._model_dir, name)
        atomic_write(path, text.encode(), mode=0o644)
        self._files[path] = text
