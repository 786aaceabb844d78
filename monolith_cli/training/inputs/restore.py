"""Restores iterators from a worker's state; see `iterator_restore`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf
from absl import logging

from monolith_cli.checkpoint.inputs import read_step_inputs
from monolith_cli.checkpoint.names import INDEX_SUFFIX
from monolith_cli.errors import (
    DifferentError,
    MonolithError,
    NotReadableError,
    PathNotFoundError,
    UsageError,
)
from monolith_cli.formats.tensor_bundle import TensorBundle
from monolith_cli.formats.variant import parse_state_part
from monolith_cli.iterators.resume import (
    SavedInput,
    choose_iterator,
    find_input,
    read_iterators,
)
from monolith_cli.training.graph.lost import SESSION_LOST
from monolith_cli.training.graph.paths import literal_prefix
from monolith_cli.training.graph.shared import plain
from monolith_cli.training.inputs.state import InputState, reason_of, state_of_graph
from monolith_cli.training.pipelines.fingerprint import (
    dataset_fingerprint,
    differences,
    fingerprint,
)
from monolith_cli.training.run.restarts import restart_of_graph

__all__ = ["Restored", "prepare_restore", "restore_iterator"]

v1 = tf.compat.v1

_IGNORE = tf.data.experimental.ExternalStatePolicy.IGNORE.value
_MISFIT = re.compile(r"from checkpoint: (\S+?)\. Make sure")
_NO_FILE = re.compile(r"from checkpoint: (.+?); No such file or directory")


class Restored(NamedTuple):
    """What an iterator was set to.

    Attributes
    ----------
    step
        Of the state; None for a bundle given by a path without a step.
    prefix
        Of the tensor bundle.
    warnings
        One line for each thing that differs from the input whose state it is, and for a state that
        is older than it should be. They have been logged.
    """

    step: int | None
    prefix: str
    warnings: list[str]


def restore_iterator(
    session_or_iterator: Any,
    model_dir: str | os.PathLike[str],
    worker: int | None,
    step: int | None = None,
    *,
    name: str | None = None,
) -> Restored:
    """Set a graph's iterators, or an eager one, to a worker's iterator state of a step.

    Both take states that a job has saved, and states of `tf.train.Checkpoint(iterator=...)`.
    Nothing is written. If one state does not fit, all iterators stay as they were; for that, their
    own states are kept in memory meanwhile.

    In a graph all iterators are set that were made in the default way, each to the state under its
    own name. If there is only one iterator and one state, names do not matter. Run the initializers
    first, because they put an iterator back to the start. The ops for the restore must be made
    before the graph is finalized: see `prepare_restore`.

    TensorFlow takes the state of a pipeline with other files, another order or other parameters
    without an error, and then goes on at a wrong record. Here a warning says what differs, if the
    job has left fingerprints (`ckpt.inputs-<step>`).

    Parameters
    ----------
    session_or_iterator
        A session of a graph, also a monitored one; or what `iter(dataset)` returns.
    model_dir
        The job's; or the path of a tensor bundle, as `Checkpoint.write` returns it.
    worker
        0 is the chief. None: the only one there is, or that of the bundle.
    step
        Default: the step that the job would go on from now, which is that of its latest checkpoint
        or of a rollback. If the worker has no state of it, the newest older one is taken, and that
        is logged.
    name
        The name of the iterator in the bundle, if there are several.

    Raises
    ------
    StepNotFoundError, PathNotFoundError
        There is no state of that worker, of that step, or of an iterator of that name; or the file
        is gone that the iterator was reading, which TensorFlow opens by the name that the job used.
    CorruptionError, NotReadableError
        A state is damaged or cannot be read.
    DifferentError
        A state does not fit: the pipeline has other nodes.
    UsageError
        It is neither a session nor an iterator; an iterator was not initialised; the graph is
        finalized and lacks the ops; or there are several workers or states, and none is named.
    """
    graph = None
    if not isinstance(session_or_iterator, tf.data.Iterator):
        graph = _plain(session_or_iterator).graph
    restart = None
    if graph is not None and step is None and os.path.isdir(model_dir):
        restart = restart_of_graph(graph, model_dir)
    saved = find_input(model_dir, worker, step, restart=restart)
    warnings: list[str] = []

    def warn(text: str) -> None:
        warnings.append(text)
        logging.warning("%s", text)

    if saved.note:
        warn(saved.note)
    restore_saved(session_or_iterator, saved, name=name, warn=warn)
    logging.info("Restored an input from %s.", saved.prefix)
    return Restored(saved.step, saved.prefix, warnings)


def prepare_restore(graph: Any = None) -> None:
    """Make the ops that `restore_iterator` runs, for all iterators that a graph has by now.

    Call it for graphs that are finalized later. A `WorkerCkptHelper` makes these ops as well.

    Parameters
    ----------
    graph
        None: the default graph.

    Raises
    ------
    UsageError
        The graph is finalized.
    """
    state_of_graph(graph if graph is not None else v1.get_default_graph())


def restore_saved(
    session_or_iterator: Any,
    saved: SavedInput,
    *,
    name: str | None = None,
    warn: Callable[[str], object],
) -> bool:
    """As `restore_iterator`, with a state that was found; says what differs before it restores.

    Returns whether there was a fingerprint to compare with.
    """
    states = read_iterators(saved.prefix)
    if isinstance(session_or_iterator, tf.data.Iterator):
        chosen = choose_iterator(saved.prefix, list(states), name)
        prints = _saved_prints(saved, warn)
        iterator = session_or_iterator
        if chosen in prints and iterator._dataset is not None:
            _compare({chosen: prints[chosen]}, lambda: _eager_print(chosen, iterator), warn)
        try:
            with literal_prefix(saved.prefix) as prefix:
                _restore_eager(iterator, prefix, states[chosen])
        except tf.errors.OpError as error:
            raise _misfit(saved.prefix, {chosen: states[chosen]}, error) from error
        return chosen in prints
    session = _plain(session_or_iterator)
    state = state_of_graph(session.graph)
    chosen_for = _pairs(saved.prefix, state, list(states), name)
    prints = _saved_prints(saved, warn)
    known = {own: prints[there] for own, there in chosen_for.items() if there in prints}
    _compare(known, lambda: _graph_print(state, known), warn)
    keys = {own: states[there] for own, there in chosen_for.items()}
    try:
        with literal_prefix(saved.prefix) as prefix:
            state.restore_all(session, prefix, keys)
    except SESSION_LOST:
        raise
    except tf.errors.OpError as error:
        raise _misfit(saved.prefix, keys, error) from error
    return len(known) == len(keys)


def _plain(session: Any) -> Any:
    """A session without hooks."""
    raw = plain(session)
    if isinstance(raw, v1.Session):
        return raw
    raise UsageError(
        f"a {type(session).__name__} is neither a session nor an iterator of a dataset",
        hint="give the session of a graph, or what iter(dataset) returns in eager mode",
    )


def _pairs(prefix: str, state: InputState, there: list[str], name: str | None) -> dict[str, str]:
    """For each iterator of the graph, the name of its state in the bundle."""
    own = [iterator.name for iterator in state.iterators]
    if not own:
        raise UsageError("the session's graph has no iterators")
    if len(own) == 1 and (name is not None or (own[0] not in there)):
        return {own[0]: choose_iterator(prefix, there, name)}
    if name is not None:
        return {choose_iterator(prefix, own, name): choose_iterator(prefix, there, name)}
    return {each: choose_iterator(prefix, there, each) for each in own}


# What differs.


def _saved_prints(saved: SavedInput, warn: Callable[[str], object]) -> Mapping[str, Any]:
    """The fingerprints of the step, by the iterators' names."""
    if saved.worker is None or saved.step is None:
        return {}
    try:
        inputs = read_step_inputs(os.path.dirname(saved.prefix), saved.step)
    except MonolithError as error:
        warn(f"the input is not compared with the one that was saved: {error}")
        return {}
    entry = inputs.workers.get(saved.worker) if inputs else None
    found = entry.fingerprint if entry else None
    return found if isinstance(found, dict) else {}


def _compare(
    was: Mapping[str, Any], now: Callable[[], Mapping[str, Any]], warn: Callable[[str], object]
) -> None:
    if not was:
        return
    try:
        lines = differences(was, now())
    except Exception as error:  # TensorFlow cannot describe it, but no restore may fail for that
        warn(f"the input cannot be described: {error!r}")
        return
    for line in lines:
        warn(f"the input is not the one that was saved: {line}")


def _eager_print(name: str, iterator: Any) -> Mapping[str, Any]:
    return {name: dataset_fingerprint(iterator._dataset)}


def _graph_print(state: InputState, names: Mapping[str, Any]) -> Mapping[str, Any]:
    return fingerprint(it for it in state.iterators if it.name in names)


# Restoring.


def _restore_eager(iterator: Any, prefix: str, key: str) -> None:
    """Set it, or leave it as it is."""
    resource = iterator._iterator_resource
    [state] = tf.raw_ops.RestoreV2(
        prefix=prefix, tensor_names=[key], shape_and_slices=[""], dtypes=[tf.variant]
    )
    start = None
    try:
        start = tf.raw_ops.SerializeIterator(
            resource_handle=resource, external_state_policy=_IGNORE
        )
    except tf.errors.OpError as error:
        logging.info("Where the iterator is cannot be kept: %s", reason_of(error))
    try:
        tf.raw_ops.DeserializeIterator(resource_handle=resource, serialized=state)
    except tf.errors.OpError:
        if start is not None:
            tf.raw_ops.DeserializeIterator(resource_handle=resource, serialized=start)
        raise


def _misfit(prefix: str, keys: Mapping[str, str], error: Any) -> MonolithError:
    """Why a state that was read and verified cannot be restored."""
    path = prefix + INDEX_SUFFIX
    text = reason_of(error)
    if isinstance(error, tf.errors.FailedPreconditionError):
        return UsageError(
            "the iterator is not initialised", hint="run its initializer before the restore"
        )
    if isinstance(error, tf.errors.PermissionDeniedError):
        return NotReadableError(f"not readable: {text}", path=path)
    match = _NO_FILE.search(text)
    if match is not None:
        hint = "put it there: TensorFlow opens it by the name in the state"
        if not os.path.isabs(match[1]) and "://" not in match[1]:
            hint = "the name is relative: try it in the directory where the job ran"
        return PathNotFoundError(
            f"the input was in the file {match[1]}, which is not there", path=path, hint=hint
        )
    match = _MISFIT.search(text)
    if match is not None:
        text = _other_node(prefix, keys, match[1]) or text
    names = ", ".join(keys)
    return DifferentError(f"the state does not fit {names}: {text}", path=path)


def _other_node(prefix: str, keys: Mapping[str, str], path: str) -> str | None:
    """Where the state first has other nodes than the dataset, which has one at that path."""
    bundle = TensorBundle(prefix)
    parts = [
        parse_state_part(element).name.split("::")
        for key in keys.values()
        for element in bundle.variants(bundle.entries[key])
    ]
    wanted = path.split("::")
    for depth, node in enumerate(wanted):
        there = {_op(part[depth]) for part in parts if len(part) > depth} - {""}
        parts = [part for part in parts if len(part) > depth and part[depth] == node]
        if not parts and depth:
            has = ", ".join(sorted(there)) or "no node"
            above = _op(wanted[depth - 1])
            where = "at its end" if above == "Root" else f"below {above}"
            return f"{where} the dataset has {_op(node)}, and the state {has}"
    return None


def _op(part: str) -> str:
    """The op in the name of a part, without the part of the name that says which value it is."""
    match = re.match(r"[A-Z][A-Za-z0-9]*", part)
    return match[0] if match else ""
