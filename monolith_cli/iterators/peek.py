"""The next elements of a worker's input, computed by TensorFlow in a process of its own.

That process runs `monolith_cli.training.inputs.peek`. It writes a line for each thing that it has
to tell, to a pipe: a letter of `Told`, a blank, and JSON.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from enum import Enum
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli import errors
from monolith_cli.errors import DatasetError, MonolithError, UsageError
from monolith_cli.iterators.resume import choose_iterator, read_iterators

if TYPE_CHECKING:
    from collections.abc import Callable

    from monolith_cli.iterators.resume import SavedInput

__all__ = ["Peeked", "Told", "peek"]

_MODULE = "monolith_cli.training.inputs.peek"
_STOP_SECONDS = 5.0


class Told(str, Enum):
    """What a line from the process is about."""

    ELEMENT = "E"
    NOTE = "N"
    WARNING = "W"
    FAILURE = "F"
    DONE = "D"


class Peeked(NamedTuple):
    """How it went.

    Attributes
    ----------
    elements
        How many there were.
    has_ended
        Whether the input has no more.
    non_finite
        Floats that were written as null.
    """

    elements: int
    has_ended: bool
    non_finite: int


def peek(
    saved: SavedInput,
    dataset: str,
    count: int,
    *,
    name: str | None = None,
    number_ids: bool = False,
    debug: bool = False,
    show: Callable[[str], object],
    note: Callable[[str], object],
    warn: Callable[[str], object],
) -> Peeked:
    """Build a dataset, set it to a state, and show its next elements as JSON.

    The function is called in a new process with the current directory first in its module path. It
    is called as it was when the state was saved: in a graph, or eagerly for a state that
    `tf.train.Checkpoint` has written. It gets the worker if it has an argument `worker`, or needs
    exactly one. Nothing is written to the checkpoint. Importing TensorFlow takes some seconds.

    Parameters
    ----------
    dataset
        `module:function`.
    name
        The iterator in the bundle that is meant, where there are several.
    number_ids
        Whether 64-bit integers are numbers in JSON; else they are strings.
    debug
        Whether what is raised in the function is printed with its traceback.
    show, note, warn
        Called with an element as JSON, with remarks, and with what differs from the input that was
        saved: TensorFlow notices little of it.

    Raises
    ------
    UsageError
        `dataset` is not of that form; or the bundle has several iterators, and none is named.
    PathNotFoundError, NotReadableError, CorruptionError
        The state is not there, cannot be read, or is damaged; or a record of the input is.
    DatasetError
        TensorFlow is not installed; the module or the function is not there, it raises, or returns
        no dataset; or an element cannot be computed.
    DifferentError
        The state does not fit: the dataset has other nodes.
    """
    module, colon, function = dataset.partition(":")
    parts = [*module.split("."), *function.split(".")]
    if not colon or not all(part.isidentifier() for part in parts):
        raise UsageError(f"{dataset!r} is not of the form module:function")
    # All that needs no TensorFlow comes first, as importing it takes so long.
    chosen = choose_iterator(saved.prefix, list(read_iterators(saved.prefix)), name)
    if find_spec("tensorflow") is None:
        hint = "install it, or this tool with its extra: pip install 'monolith-cli[tensorflow]'"
        raise DatasetError("TensorFlow is not installed", hint=hint)
    order = {
        "prefix": saved.prefix,
        "worker": saved.worker,
        "step": saved.step,
        "iterator": chosen,
        "module": module,
        "function": function,
        "count": count,
        "number_ids": number_ids,
        "debug": debug,
    }
    # A directory of our own name in the current one is not meant.
    safe = ["-P"] if sys.version_info >= (3, 11) else []
    process = subprocess.Popen(
        [sys.executable, *safe, "-m", _MODULE, json.dumps(order)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,  # a Ctrl-C is for this process, which ends the other
    )
    done = None
    try:
        assert process.stdout is not None
        for line in process.stdout:
            text = line.decode().rstrip("\n")
            told, what = Told(text[:1]), text[2:]
            if told is Told.ELEMENT:
                show(what)
            elif told is Told.NOTE:
                note(json.loads(what))
            elif told is Told.WARNING:
                warn(json.loads(what))
            elif told is Told.FAILURE:
                raise _error(json.loads(what))
            else:
                done = Peeked(**json.loads(what))
        code = process.wait()
    finally:
        _end(process)
    if done is None:
        raise DatasetError(f"the process with TensorFlow {_ended(code)}", hint="see what it said")
    return done


def _error(said: dict[str, str | int | None]) -> MonolithError:
    """The error that ended the process."""
    kind = getattr(errors, str(said.pop("class")))
    error: MonolithError = kind(said.pop("what"), **said)
    return error


def _ended(code: int) -> str:
    if code >= 0:
        return f"has ended with {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """Whatever has happened, no process stays."""
    if process.stdout is not None:
        process.stdout.close()
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
