"""Where output goes: lines on stdout, messages and a progress bar on stderr."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, TextIO, cast

from monolith_cli.reports.text import Look, json_value, name_text

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

    from monolith_cli.reports.model import Report

__all__ = ["Messages", "Progress", "look_of", "show", "show_json", "show_report"]

PIPE_WIDTH = 80


def look_of(stream: TextIO) -> Look:
    """What a stream can show: colours on a terminal only, and not with `NO_COLOR`."""
    encoding = (getattr(stream, "encoding", None) or "ascii").lower().replace("-", "")
    unicode = encoding.startswith("utf")
    if not stream.isatty():
        return Look(width=PIPE_WIDTH, unicode=unicode)
    colour = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    from shutil import get_terminal_size

    return Look(width=max(40, get_terminal_size().columns), colour=colour, unicode=unicode)


def show(lines: Iterable[str], stream: TextIO | None = None) -> None:
    """Write lines to stdout."""
    (stream or sys.stdout).writelines(f"{line}\n" for line in lines)


def show_json(document: object, stream: TextIO | None = None) -> None:
    """Write one JSON document to stdout, in a line.

    Names and paths in it may hold bytes that are no text: they look alike in every document.
    """
    from json import dumps

    show([dumps(json_value(document))], stream)


def show_report(report: Report, *, json: bool = False, rows: bool = False) -> None:
    """Write a report to stdout: its sections as lines, or its document as JSON.

    Parameters
    ----------
    json
        The document.
    rows
        Which is a list; then each object has a line of its own.
    """
    if not json:
        from monolith_cli.reports.lines import report_lines

        show(report_lines(report.sections(), look_of(sys.stdout)))
    elif rows:
        for row in cast("Iterable[object]", report.document()):
            show_json(row)
    else:
        show_json(report.document())


class Messages:
    """Remarks on stderr, a line each; None is no remark.

    Parameters
    ----------
    quiet
        Say nothing.
    verbose
        Say how long things took, too.
    """

    def __init__(self, *, quiet: bool = False, verbose: bool = False) -> None:
        self.quiet = quiet
        self.verbose = verbose
        self._start = time.monotonic()

    def warnings(self, *texts: str | None) -> None:
        """Things that are not as they should be, and do not make the run fail by themselves."""
        for text in texts:
            self._say("Warning", text)

    def notes(self, *texts: str | None) -> None:
        """Things that one would want to know."""
        for text in texts:
            self._say("Note", text)

    def errors(self, *texts: str | None) -> None:
        """What has gone wrong where a command still has to end in its own way; never quiet."""
        for text in texts:
            self._say("Error", text)

    def took(self, what: str) -> None:
        """With `verbose`: what was done, and in how many seconds since this was made."""
        if self.verbose:
            self.notes(f"{what} in {time.monotonic() - self._start:.2f} s")

    def _say(self, label: str, text: str | None) -> None:
        if text is not None and (label == "Error" or not self.quiet):
            # What was printed before it comes first, also where both go to one pipe.
            sys.stdout.flush()
            with suppress(OSError):  # a full disk behind stderr makes no run fail
                print(f"{label}: {name_text(text)}", file=sys.stderr)


class Progress:
    """A progress bar on stderr; on a terminal only, and only for work over a second.

    It is a context manager; call it with the bytes read so far and the bytes to read, from one
    thread at a time.

    Parameters
    ----------
    label
        What is being done.
    quiet
        Show nothing.
    rows
        Rows go to stdout meanwhile: no bar among them, where stdout is a terminal, too.
    unit
        What is counted: `bytes`, or a word for other things.
    delay_seconds
        How long work may take without a bar.
    """

    def __init__(
        self,
        label: str,
        *,
        quiet: bool = False,
        rows: bool = False,
        unit: str = "bytes",
        delay_seconds: float = 1.0,
    ) -> None:
        self.label = label
        self.unit = unit
        self._wanted = not quiet and sys.stderr.isatty() and not (rows and sys.stdout.isatty())
        self._start = time.monotonic() + delay_seconds
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Progress:
        return self

    def __call__(self, done: int, total: int) -> None:
        if not self._wanted:
            return
        if self._bar is None:
            if time.monotonic() < self._start:
                return
            self._begin(total)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=total)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._wanted = False
        if self._bar is not None:
            self._bar.stop()

    def _begin(self, total: int) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            ProgressColumn,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        amounts: tuple[ProgressColumn, ...]
        if self.unit == "bytes":
            amounts = DownloadColumn(binary_units=True), TransferSpeedColumn()
        else:
            text = "{task.completed:,.0f}/{task.total:,.0f} " + self.unit
            amounts = (TextColumn(text, markup=False),)
        bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            *amounts,
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = bar.add_task(self.label, total=total)
        self._bar = bar
        bar.start()
