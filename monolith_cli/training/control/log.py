"""Writes `control.log`; calls that are refused because of their token cannot fill it."""

from __future__ import annotations

import datetime
import json
import os
import threading
from collections import Counter

from absl import logging

from monolith_cli.control.log import MORE_REFUSED
from monolith_cli.control.service import LOG_FILE

__all__ = ["ControlLog"]

_SPAN_SECONDS = 60.0
_REFUSALS_A_SPAN = 5  # with a line of their own
_NAMED_PEERS = 5  # of the other refusals
_LOGGED_CHARACTERS = 1000  # of a caller's text


class ControlLog:
    """Appends a line for each thing that a job was asked for, or that followed from it.

    If a line cannot be written, the job's own log says so, and the job goes on. Several threads and
    processes may write at once.
    """

    def __init__(self, model_dir: str) -> None:
        self._path = os.path.join(model_dir, LOG_FILE)
        self._lock = threading.Lock()  # for the attributes below
        self._write_lock = threading.Lock()
        self._refusals = 0  # in this span
        self._more: Counter[str] = Counter()  # by host, refusals without a line of their own
        self._span: threading.Timer | None = None

    def write(
        self,
        method: str | None,
        result: str,
        *,
        owner: str | None = None,
        peer: str | None = None,
        reason: str | None = None,
        holder: str | None = None,
    ) -> None:
        """Append a line; long texts are cut."""
        line = {
            "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds"),
            "method": method,
            "owner": _cut(owner),
            "peer": peer,
            "reason": _cut(reason),
            "result": _cut(result),
        }
        if holder is not None:
            line["holder"] = _cut(holder)
        try:
            with self._write_lock:
                _append_line(self._path, json.dumps(line))
        except OSError as error:
            logging.error("%s is not logged: %s", method or result, error)

    def write_refused(self, method: str, result: str, peer: str) -> None:
        """Append a line for an order without the token, unless there are many.

        The first few in a minute have one line each, the others one line together at its end.
        """
        with self._lock:
            if self._span is None:
                self._span = threading.Timer(_SPAN_SECONDS, self._end_span)
                self._span.name, self._span.daemon = "control-log", True
                self._span.start()
            self._refusals += 1
            if self._refusals > _REFUSALS_A_SPAN:
                host = peer.rpartition(":")[0] or peer
                known = host in self._more or len(self._more) < _NAMED_PEERS
                self._more[host if known else "others"] += 1
                return
        self.write(method, result, peer=peer)

    def close(self) -> None:
        """Write the line for the refusals that have none yet."""
        with self._lock:
            span = self._span
        if span is not None:
            span.cancel()
            self._end_span()

    def _end_span(self) -> None:
        with self._lock:
            more, self._more = self._more, Counter()
            self._refusals, self._span = 0, None
        if more:
            self.write(None, f"{more.total()} {MORE_REFUSED}", peer=", ".join(more))


def _cut(text: str | None) -> str | None:
    return text if text is None else text[:_LOGGED_CHARACTERS]


def _append_line(path: str, line: str) -> None:
    """Append a line in one write, so that lines of several threads or processes do not mix.

    If a killed process or a full disk has left part of a line, that is ended first.
    """
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        size = os.fstat(file).st_size
        is_torn = size > 0 and os.pread(file, 1, size - 1) != b"\n"
        os.write(file, ("\n" if is_torn else "").encode() + line.encode() + b"\n")
    finally:
        os.close(file)
