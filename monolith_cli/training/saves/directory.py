"""The directory that a hook saves into: that it exists, is held, and what was restored from it."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Iterable
from typing import Any

import tensorflow as tf
from absl import logging

from monolith_cli.checkpoint.names import INDEX_SUFFIX, MONOLITH_CHECKPOINT
from monolith_cli.checkpoint.restart import RestartPoint
from monolith_cli.errors import PathNotFoundError, UsageError
from monolith_cli.formats.checkpoint_state import (
    MonolithCheckpointState,
    format_monolith_checkpoint_state,
    read_monolith_checkpoint_state,
)
from monolith_cli.storage.atomic import atomic_write, make_directory
from monolith_cli.training.graph.paths import check_save_path
from monolith_cli.training.graph.shared import plain
from monolith_cli.training.run.restarts import restart_of_graph

__all__ = [
    "check_basenames",
    "check_written",
    "claim_directory",
    "find_restart",
    "make_local_directory",
    "note_save",
    "saver_def",
    "write_meta_graph",
    "write_table_type",
]

_META_GRAPH = "meta_graph_for_debugging.pb"

# Where the hooks of a session save, by the session's coordinator.
_claimed: weakref.WeakKeyDictionary[Any, set[str]] = weakref.WeakKeyDictionary()


def make_local_directory(path: str) -> None:
    """Make a directory, unless it is there.

    Raises
    ------
    UsageError
        It is a URL, or TensorFlow reads it as a pattern.
    WriteError
        The operating system refused, or something else has that name.
    """
    check_save_path(path)
    make_directory(path)


def check_basenames(listeners: Iterable[Any], save_path: str) -> None:
    """Make sure that tables go beside the dense variables that they belong to.

    Raises
    ------
    UsageError
        A listener saves under another name.
    """
    for listener in listeners:
        basename = getattr(listener, "basename", None)
        if isinstance(basename, str) and os.path.abspath(basename) != os.path.abspath(save_path):
            raise UsageError(
                f"tables are saved as {basename}, dense variables as {save_path}",
                hint="give both the same directory and name",
            )


def saver_def(saver: Any, path: str) -> Any:
    """The definition of a saver.

    Raises
    ------
    UsageError
        There is none, or it writes TensorFlow's V1 format, which this package cannot read.
    """
    if saver is None:
        raise UsageError(
            "there is no saver: the scaffold is not that of the session, or saves nothing",
            path=path,
        )
    found = saver.saver_def
    if found.version == found.V1:
        raise UsageError("the saver writes version 1 of TensorFlow's format", path=path)
    return found


def check_written(written: str | None, prefix: str) -> None:
    """Make sure that a saver has written what is about to be committed.

    Raises
    ------
    UsageError
        It has written other names, as a saver with `pad_step_number` does; or nothing, as one
        without variables does.
    """
    if written is None:
        raise UsageError(f"the saver has written nothing for {prefix}: nothing is committed")
    if os.path.abspath(written) != os.path.abspath(prefix):
        raise UsageError(f"the saver has written {written}, not {prefix}: nothing is committed")
    if not os.path.lexists(prefix + INDEX_SUFFIX):
        raise UsageError(f"the saver has left no {prefix}{INDEX_SUFFIX}: nothing is committed")


def claim_directory(coord: Any, path: str) -> None:
    """Reserve a directory for one hook of a monitored session; two would remove each other's steps.

    Raises
    ------
    UsageError
        Another hook of TensorFlow's session has reserved it.
    """
    if coord is None:
        return
    claimed = _claimed.setdefault(coord, set())
    directory = os.path.realpath(path)
    if directory in claimed:
        raise UsageError(
            "two saver hooks of a session save into one directory",
            path=path,
            hint="give the hook that saves dense variables only a directory of its own",
        )
    claimed.add(directory)


def find_restart(session: Any, step: int, path: str, *, is_dense_only: bool) -> RestartPoint:
    """What a session that is at this step was restored from.

    Raises
    ------
    UsageError
        It was not restored from the latest checkpoint there, or from the one that `ckpt.override`
        asks for.
    MonolithError
        As `restart_point`.
    """
    graph = plain(session).graph
    restart = restart_of_graph(graph, path)
    asked = restart.override.model_step if restart.override else None
    if asked is not None and step != _step_inside(restart.prefix, graph, step):
        raise UsageError(
            f"the session is at step {step}, but 'ckpt.override' asks for {asked}",
            path=path,
            hint="make the session with monolith_cli.training.runs, or remove ckpt.override",
        )
    if restart.step is None or restart.step <= step:
        return restart
    if is_dense_only:  # the job went back; this directory's newer steps no longer count
        return RestartPoint(step)
    # If it went on, every step there would count as uncommitted, and be removed.
    raise UsageError(
        f"the session is at step {step}, but the latest checkpoint there is of {restart.step}",
        path=path,
        hint="restore it, or take another directory",
    )


def write_meta_graph(graph: tf.Graph, saver: Any, directory: str) -> None:
    """Write `meta_graph_for_debugging.pb`: the graph as it is now, with its collections and saver.

    Raises
    ------
    tf.errors.OpError
        The file was not written.
    """
    path = os.path.join(directory, _META_GRAPH)
    with graph.as_default():
        tf.compat.v1.train.export_meta_graph(
            path,
            graph_def=graph.as_graph_def(add_shapes=True),
            saver_def=saver.saver_def if saver is not None else None,
        )
    logging.info("Wrote %s.", path)


def write_table_type(directory: str, table_type: str) -> None:
    """Write a table type into `monolith_checkpoint`, and keep what else is there.

    Raises
    ------
    WriteError
        The operating system refused.
    StateFileError, NotReadableError
        The file does not parse, or cannot be read.
    """
    state = _read(directory)
    if state.builtin_hash_table_type != table_type:
        _write(directory, state._replace(builtin_hash_table_type=table_type))


def note_save(directory: str, table_type: str) -> None:
    """Note in `monolith_checkpoint` that a step was saved now; raises as `write_table_type`."""
    now = int(time.time())
    state = _read(directory)._replace(builtin_hash_table_type=table_type)
    _write(directory, state._replace(last_checkpoint_save_timestamp=now))


def _read(directory: str) -> MonolithCheckpointState:
    try:
        return read_monolith_checkpoint_state(os.path.join(directory, MONOLITH_CHECKPOINT))
    except PathNotFoundError:
        return MonolithCheckpointState(builtin_hash_table_type="")


def _write(directory: str, state: MonolithCheckpointState) -> None:
    text = format_monolith_checkpoint_state(state)
    path = os.path.join(directory, MONOLITH_CHECKPOINT)
    atomic_write(path, text.encode())
    logging.info("Wrote %s.", path)


def _step_inside(prefix: str | None, graph: tf.Graph, default: int) -> int:
    """The global step that a checkpoint holds; it may be later than the one in its name."""
    name = tf.compat.v1.train.get_global_step(graph).op.name
    reader = tf.train.load_checkpoint(prefix) if prefix else None
    if reader is None or not reader.has_tensor(name):
        return default
    return int(reader.get_tensor(name))
