"""The running job's side of `monolith barrier` and `monolith job`.

`ServerHook` opens a port. Jobs that have none are asked by a file, `monolith_action`, which
`QueryActionHook` looks for, and by ops, those of `ControllerHook`.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from absl import logging

from monolith_cli import messages
from monolith_cli.control.address import read_address
from monolith_cli.control.log import FILE_PEER
from monolith_cli.control.service import (
    ACTION_FILE,
    ORIGINAL_METHODS,
    RESPONSE_FILE,
    make_stub,
)
from monolith_cli.errors import MonolithError
from monolith_cli.formats import text_proto
from monolith_cli.formats.atomic import atomic_write
from monolith_cli.training.barrier_ops import BarrierAlreadyPlacedError, BarrierOp
from monolith_cli.training.barrier_state import job_scope, plain, shared_device
from monolith_cli.training.chief_step import ChiefStep
from monolith_cli.training.control_log import ControlLog
from monolith_cli.training.control_port import ServerTls, check_host
from monolith_cli.training.control_server import ControlServer
from monolith_cli.training.save_directory import make_local_directory

__all__ = [
    "QUERY_INTERVAL",
    "STOP_ACTION",
    "ControllerHook",
    "QueryActionHook",
    "ServerHook",
    "ServerTls",
    "StopHelper",
    "get_stub_from_model_dir",
]

v1 = tf.compat.v1

STOP_ACTION = "Stop"
QUERY_INTERVAL = 60
"""Seconds between two looks for an action file; read when it is used."""

_STOP_WAIT_SECONDS = 30.0
_POLL_SECONDS = 0.1


class ServerHook(tf.compat.v1.train.SessionRunHook):
    """Serves the Controller service while a session of the chief lives, from when it is made.

    That is before its first run; saves are made once all hooks have restored. A save waits for the
    chief's step to end. Where the chief is in none, or its step has not ended after 5 s, as its
    input is dry, the thread that was asked makes it. A call for a save without a deadline ends
    after ten minutes, if the save has not begun.

    The address goes into `controller_server_addr.txt`, a token, new for each session, into
    `controller_token` (mode 0600). Both go when the session ends or fails, if they are still this
    hook's. Only where such a file cannot be kept secret, the token comes from the environment of
    both sides (MONOLITH_CONTROLLER_TOKEN, or the file that MONOLITH_CONTROLLER_TOKEN_FILE names);
    if there is none, calls that change something are refused. Each of those is a line of
    `control.log`, but of many that are refused for want of the token in a minute only the first.

    Costs a dozen threads that sleep, and nothing a step. Calls that change something wait for no
    others: those that only look, and those that are refused, have one thread, which answers them
    in rounds, and so may wait 30 ms, or longer if more than 32 ask at once.

    Parameters
    ----------
    model_dir
        Where the job saves.
    barrier_op, saver_hook
        The chief's; the hook is a `NoFirstSaveCheckpointSaverHook`.
    host, port
        The address to bind and to publish. A free port by default.
    tls
        To serve over TLS, and with a client authority to let in only its clients.
    plaintext
        To let others than this host in without TLS.
    allow_without_token
        To take orders from whoever reaches the port, as original clients have no token.

    Raises
    ------
    UsageError
        A host that is no address of one interface, or one that others reach without `tls` or
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
        """Open the port; that of the session before is closed.

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
            # Workers come to the last save's barrier, and end after it.
            self._barrier_op.stop_all(run_context.session)
            run_context.request_stop()

    def end(self, session: Any) -> None:
        """Close the port."""
        self.stop()

    def stop(self) -> None:
        """Close the port, whether it is open or not."""
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
        with self._lock:  # whoever comes second waits, and then finds the port free
            if self._server is server:
                server.stop()
                self._server = None


def _wait_for_end(chief: ChiefStep, coord: Any) -> None:
    """Until a session ends or fails, be it because a hook fails when it is made."""
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

    They take request messages of any protobuf class, and the arguments of grpc's callables; a job
    of ours wants its token as metadata: `[("authorization", "Bearer <token>")]`.

    Raises
    ------
    UnreachableError
        No job has left an address there.
    """
    import grpc

    options = [("grpc.enable_http_proxy", 0)]
    channel = grpc.insecure_channel(f"dns:///{read_address(model_dir)}", options)
    return make_stub(channel, ORIGINAL_METHODS)


class ControllerHook(tf.compat.v1.train.SessionRunHook):
    """Does in the chief what some process has asked for by an op: stop, or save.

    A stop ends the training of every process that has a `BarrierHook`, after a last save of all.

    Costs one fetch of two bools a step.

    Parameters
    ----------
    num_ps
        With parameter servers the flags are on the first of them.
    barrier_op
        At which all workers learn of a stop; None: a stop is only noted.
    trigger_save
        Called without arguments; `saver_hook.timer.reset` makes the next step save.

    Raises
    ------
    UsageError
        There is a ControllerHook in the graph, or a name scope is open: other processes would not
        find its flags. It is a ValueError.
    """

    def __init__(
        self,
        num_ps: int = 0,
        barrier_op: BarrierOp | None = None,
        trigger_save: Callable[[], object] | None = None,
    ) -> None:
        self._barrier_op = barrier_op
        self._trigger_save = trigger_save
        device = "/job:ps/task:0/device:CPU:0" if num_ps else shared_device()
        with job_scope("monolith_controller_hook", "a ControllerHook"), v1.device(device):
            flags = v1.Variable(
                [False, False],
                name="control_var",
                trainable=False,
                collections=[v1.GraphKeys.LOCAL_VARIABLES],
                use_resource=True,
            )
            self._stop_op = flags[0].assign(True).op
            self._save_op = flags[1].assign(True).op
            self._clear_stop = flags[0].assign(False).op
            self._clear_save = flags[1].assign(False).op
            self._args = v1.train.SessionRunArgs(flags.read_value())

    @property
    def stop_op(self) -> Any:
        """Asks for a stop."""
        return self._stop_op

    @property
    def trigger_save_op(self) -> Any:
        """Asks for a save."""
        return self._save_op

    def before_run(self, run_context: Any) -> Any:
        """Ask for the flags."""
        return self._args

    def after_run(self, run_context: Any, run_values: Any) -> None:
        """Do what is asked for."""
        stop, save = run_values.results
        session = run_context.session
        if stop:
            plain(session).run(self._clear_stop)
            self._stop(session)
        if save:
            plain(session).run(self._clear_save)
            if self._trigger_save is not None:
                self._trigger_save()

    def _stop(self, session: Any) -> None:
        if self._barrier_op is None:
            return
        barrier = self._barrier_op
        logging.info("Trying to stop all workers, for up to %g s.", _STOP_WAIT_SECONDS)
        barrier.stop_all(session)
        try:
            generation = barrier.place_barrier(session, STOP_ACTION)
        except BarrierAlreadyPlacedError:
            # Whoever holds it keeps it; the workers there learn of the stop as of a save.
            generation, _ = barrier.begin_request(session, STOP_ACTION)
            try:
                barrier.wait_until_acknowledged(session, generation, _STOP_WAIT_SECONDS)
            finally:
                barrier.end_request(session)
            return
        try:
            deadline = time.monotonic() + _STOP_WAIT_SECONDS
            while True:
                late = set(barrier.get_unacknowledged_indices(session, generation))
                late -= set(barrier.get_gone_indices(session))
                if not late:
                    return
                if time.monotonic() >= deadline:
                    break
                time.sleep(_POLL_SECONDS)
            logging.warning("Workers %s have not learnt of the stop.", sorted(late))
        finally:
            barrier.remove_barrier(session)


class StopHelper:
    """Ends a process when a stop comes over the barrier: a callback, and a hook."""

    def __init__(self) -> None:
        self._asked = False

    def create_barrier_callback(self) -> Callable[[str, Any], None]:
        """For `BarrierOp`: notes a `STOP_ACTION`."""

        def note(action: str, session: Any) -> None:
            if action == STOP_ACTION:
                self._asked = True
                logging.info("Asked at the barrier to stop the training.")

        return note

    def create_stop_hook(self) -> tf.compat.v1.train.SessionRunHook:
        """Ends the training after the step in which the stop was noted."""
        return _StopHook(self)


class _StopHook(tf.compat.v1.train.SessionRunHook):
    def __init__(self, helper: StopHelper) -> None:
        self._helper = helper

    def after_run(self, run_context: Any, run_values: Any) -> None:
        if self._helper._asked:
            run_context.request_stop()


class QueryActionHook(tf.compat.v1.train.SessionRunHook):
    """Does what the file `monolith_action` in the model directory asks for, and answers.

    A thread looks for the file every `QUERY_INTERVAL` seconds while a session lives, from when it
    is made, asks `ControllerHook` by its ops, writes the answer into `monolith_action_response`
    ("OK", or what is wrong), and removes the request. Where it can do neither it says so in the
    log, and does what is asked for only once. Each request is a line of `control.log`.

    Parameters
    ----------
    model_dir
        Where the job saves.
    hook
        The `ControllerHook`.
    """

    def __init__(self, model_dir: str | os.PathLike[str], hook: ControllerHook) -> None:
        directory = os.path.abspath(os.fspath(model_dir))
        self._action_path = os.path.join(directory, ACTION_FILE)
        self._response_path = os.path.join(directory, RESPONSE_FILE)
        self._log = ControlLog(directory)
        self._hook = hook
        self._stopped: threading.Event | None = None
        self._answered: tuple[tuple[int, int], str] | None = None

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Begin to look; no more for the session before."""
        self._stop()
        self._stopped = threading.Event()
        made = plain(session), ChiefStep(session, coord), coord, self._stopped
        threading.Thread(target=self._watch, args=made, name="action-file", daemon=True).start()

    def end(self, session: Any) -> None:
        """Look no more."""
        self._stop()

    def _stop(self) -> None:
        if self._stopped is not None:
            self._stopped.set()

    def _watch(self, session: Any, chief: ChiefStep, coord: Any, stopped: threading.Event) -> None:
        looked_at = time.monotonic()
        is_made = False
        while not stopped.wait(_POLL_SECONDS) and not coord.should_stop():
            if not is_made and not chief.is_inside:
                if not chief.is_live:  # some hook has failed
                    return
                is_made = True
            if time.monotonic() - looked_at < QUERY_INTERVAL:
                continue
            looked_at = time.monotonic()
            try:
                self._look(session)
            except OSError as error:
                logging.error("An action file is not answered or removed: %s", error)
            except (tf.errors.OpError, RuntimeError) as error:
                logging.info("Action files are looked for no more: %s", error)
                return

    def _look(self, session: Any) -> None:
        try:
            status = os.lstat(self._action_path)
        except FileNotFoundError:
            return
        mark = status.st_ino, status.st_mtime_ns
        if self._answered is None or self._answered[0] != mark:
            action, result = self._act(session)
            self._answered = mark, result
            self._log.write(action, result, peer=FILE_PEER)
        answer = self._answered[1]
        logging.info("An action file is answered: %s", answer)
        # The answer first: whoever sees the request gone finds it.
        atomic_write(self._response_path, answer.encode())
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._action_path)
        self._answered = None

    def _act(self, session: Any) -> tuple[str | None, str]:
        """Returns the action, None if it is not known, and the answer."""
        actions = messages.get_message(
            "monolith.ControllerHooksProto"
        ).DESCRIPTOR.enum_types_by_name
        numbers = {value.name: value.number for value in actions["Action"].values}
        try:
            fields = text_proto.read(self._action_path)
        except MonolithError as error:
            return None, f"Not understood: {error.what}"
        action: object = "UNKNOWN"
        for field in fields:
            if field.name != "action":
                return None, f"Not understood: no field {field.name[:100]!r} is known"
            action = field.value
        if action in ("TRIGGER_SAVE", numbers["TRIGGER_SAVE"]):
            session.run(self._hook.trigger_save_op)
            return "TRIGGER_SAVE", "OK"
        if action in ("STOP", numbers["STOP"]):
            session.run(self._hook.stop_op)
            return "STOP", "OK"
        return None, f"Unknown action {action}"[:200]
