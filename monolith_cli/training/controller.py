"""Lets `monolith barrier` and `monolith job` reach the running job.

`ServerHook` opens a port. Jobs without a port can be asked by a file, `monolith_action`, which
`QueryActionHook` looks for, or by ops, those of `ControllerHook`.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import Any

import tensorflow as tf
from absl import logging

from monolith_cli import messages
from monolith_cli.control.log import FILE_PEER
from monolith_cli.control.service import (
    ACTION_FILE,
    RESPONSE_FILE,
)
from monolith_cli.errors import MonolithError
from monolith_cli.formats import text_proto
from monolith_cli.storage.atomic import atomic_write
from monolith_cli.training.control.log import ControlLog
from monolith_cli.training.control.ops_hook import STOP_ACTION, ControllerHook, StopHelper
from monolith_cli.training.control.port import ServerTls
from monolith_cli.training.control.server_hook import ServerHook, get_stub_from_model_dir
from monolith_cli.training.graph.shared import plain
from monolith_cli.training.run.chief_step import ChiefStep

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

QUERY_INTERVAL = 60
"""Seconds between two checks for an action file; read each time it is used."""

_POLL_SECONDS = 0.1


class QueryActionHook(tf.compat.v1.train.SessionRunHook):
    """Does what the file `monolith_action` in the model directory asks for, and answers.

    While a session lives, from when it is made, a thread looks for the file every `QUERY_INTERVAL`
    seconds. It asks `ControllerHook` through its ops, writes the answer ("OK", or what is wrong)
    into `monolith_action_response`, and removes the request. If it can neither write nor remove, it
    logs that, and carries out the request only once. Each request is a line of `control.log`.

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
        """Start to look for the file; stop doing so for the previous session."""
        self._stop()
        self._stopped = threading.Event()
        made = plain(session), ChiefStep(session, coord), coord, self._stopped
        threading.Thread(target=self._watch, args=made, name="action-file", daemon=True).start()

    def end(self, session: Any) -> None:
        """Stop looking for the file."""
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
        # The answer first: whoever sees that the request is gone can read the answer.
        atomic_write(self._response_path, answer.encode())
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._action_path)
        self._answered = None

    def _act(self, session: Any) -> tuple[str | None, str]:
        """Returns the action (None if it is not known) and the answer."""
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
