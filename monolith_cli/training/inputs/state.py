"""The states of a graph's iterators as a tensor bundle, one tensor each.

The tensor of an iterator is called `<resource name>_STATE`, as TensorFlow's own Saver calls it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf
from absl import logging

from monolith_cli.checkpoint.names import INDEX_SUFFIX
from monolith_cli.errors import CorruptionError, MonolithError, NotReadableError, UsageError
from monolith_cli.training.graph.lost import SESSION_LOST

__all__ = ["InputState", "iterators_of_graph", "reason_of", "state_of_graph"]

v1 = tf.compat.v1

GLOBAL_ITERATORS = "iterators"
_IGNORE = tf.data.experimental.ExternalStatePolicy.IGNORE.value


def iterators_of_graph() -> list[Any]:
    """The resources of all iterators in the default graph, in the order they were made."""
    return list({it.name: it for it in v1.get_collection(GLOBAL_ITERATORS)}.values())


# In the graph itself, which the ops refer to. Meta graphs leave out keys that are no strings.
_STATES = ("monolith_input_state",)


def state_of_graph(graph: Any) -> InputState:
    """The ops for all of a graph's iterators; made if they are not there yet.

    Raises
    ------
    UsageError
        There are none, and the graph is finalized.
    """
    with graph.as_default():
        iterators = iterators_of_graph()
        names = [iterator.name for iterator in iterators]
        for state in graph.get_collection_ref(_STATES):
            if [iterator.name for iterator in state.iterators] == names:
                found: InputState = state
                return found
        if graph.finalized:
            raise UsageError(
                "the graph is finalized, and has no ops that restore its iterators",
                hint="call prepare_restore or make a WorkerCkptHelper before",
            )
        return InputState(iterators)


class InputState:
    """Ops that save and restore iterators; build it before the graph is finalized.

    If the state of one iterator cannot be saved, a generator's for example, the others' still are.

    Parameters
    ----------
    iterators
        Resource tensors. The bundle is written by the process of the first one.
    """

    def __init__(self, iterators: list[Any]) -> None:
        self.iterators = iterators
        self._names = [iterator.name for iterator in iterators]
        self._some_fail = False
        if not iterators:
            return
        iterators[0].graph.get_collection_ref(_STATES).append(self)
        with v1.name_scope(None), v1.name_scope("input_state"), tf.control_dependencies(None):
            self._prefix = v1.placeholder(tf.string, [], name="prefix")
            self._parts = v1.placeholder(tf.string, [None], name="parts")
            states = []
            for iterator in iterators:
                with _cpu_of(iterator):
                    states.append(
                        tf.raw_ops.SerializeIterator(
                            resource_handle=iterator, external_state_policy=_IGNORE
                        )
                    )
            self._states = [state.op for state in states]
            with _cpu_of(iterators[0]):
                self._save_all = self._save_op(self._names, states)
                self._save_one = [
                    self._save_op([name], [state])
                    for name, state in zip(self._names, states, strict=True)
                ]
                self._merge = tf.raw_ops.MergeV2Checkpoints(
                    checkpoint_prefixes=self._parts,
                    destination_prefix=self._prefix,
                    delete_old_dirs=False,
                )
            self._read_one = []
            self._restore_one = []
            self._starts = []
            for iterator, name, start in zip(iterators, self._names, states, strict=True):
                with _cpu_of(iterator):
                    self._starts.append(_Start(iterator, start))
                    [state] = tf.raw_ops.RestoreV2(
                        prefix=self._prefix,
                        tensor_names=[_key(name)],
                        shape_and_slices=[""],
                        dtypes=[tf.variant],
                    )
                    self._read_one.append(state.op)
                    self._restore_one.append(
                        tf.raw_ops.DeserializeIterator(resource_handle=iterator, serialized=state)
                    )

    def save(self, session: Any, prefix: str) -> list[str]:
        """Write the bundle; return the names of iterators whose state it does not have.

        Waits for threads that prefetch until they have finished what they are doing. Nothing is
        written if no iterator has a state.
        iterator has a state.

        Raises
        ------
        tensorflow.errors.OpError
            Not written, for example for want of space; or the session is lost.
        """
        if not self.iterators:
            return []
        if not self._some_fail:
            try:
                session.run(self._save_all, {self._prefix: prefix})
                return []
            except SESSION_LOST:
                raise
            except tf.errors.OpError as error:
                logging.info("Saving iterators one by one: %s", reason_of(error))
        saved = [i for i, _ in enumerate(self._names) if self._can_be_saved(session, i)]
        unsaved = [name for i, name in enumerate(self._names) if i not in saved]
        self._some_fail = bool(unsaved)
        # First a prefix of its own for each, then all of them in one.
        directory = f"{prefix}.parts"
        parts = [os.path.join(directory, str(i)) for i in saved]
        try:
            os.makedirs(directory, exist_ok=True)
            for i, part in zip(saved, parts, strict=True):
                session.run(self._save_one[i], {self._prefix: part})
            if parts:
                session.run(self._merge, {self._prefix: prefix, self._parts: parts})
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        return unsaved

    def restore(self, session: Any, prefix: str) -> list[str]:
        """Set the iterators; return the names of those for which the bundle has no fitting state.

        These stay as they are. TensorFlow notices nodes that are missing or added in a pipeline,
        but not files or parameters that have changed.

        Raises
        ------
        CorruptionError, NotReadableError
            The bundle cannot be read.
        tensorflow.errors.OpError
            The session is lost.
        """
        if not self.iterators:
            return []
        try:
            there = tf.train.load_checkpoint(prefix).get_variable_to_shape_map()
        except tf.errors.OpError as error:
            raise _unreadable(prefix, error) from error
        failed = []
        for i, name in enumerate(self._names):
            if _key(name) not in there:
                failed.append(name)
                continue
            with self._starts[i].kept(session) as start:
                try:
                    session.run(self._restore_one[i], {self._prefix: prefix})
                except SESSION_LOST:
                    raise
                except tf.errors.OpError as error:
                    self._check_readable(session, i, prefix)
                    logging.warning("The state of %s does not fit it: %s", name, reason_of(error))
                    failed.append(name)
                    start.go_back(session)
        return failed

    def restore_all(self, session: Any, prefix: str, keys: Mapping[str, str]) -> None:
        """Set iterators to the tensors of those names, or none of them if one does not fit.

        Their own states are kept in memory meanwhile.

        Raises
        ------
        tensorflow.errors.OpError
            A state does not fit, the bundle cannot be read, or the session is lost.
        """
        failure = None
        with contextlib.ExitStack() as stack:
            starts: list[_Start] = []
            for i, name in enumerate(self._names):
                if name not in keys:
                    continue
                starts.append(stack.enter_context(self._starts[i].kept(session)))
                key = self._read_one[i].inputs[1]
                try:
                    session.run(self._restore_one[i], {self._prefix: prefix, key: [keys[name]]})
                except SESSION_LOST:
                    raise
                except tf.errors.OpError as error:
                    failure = error
                    break
            if failure is not None:
                for start in starts:
                    start.go_back(session)
        if failure is not None:
            raise failure

    def _check_readable(self, session: Any, i: int, prefix: str) -> None:
        """Tell a damaged state from one that does not fit: reading it alone fails as well."""
        try:
            session.run(self._read_one[i], {self._prefix: prefix})
        except SESSION_LOST:
            raise
        except tf.errors.OpError as error:
            raise _unreadable(prefix, error) from error

    def _can_be_saved(self, session: Any, i: int) -> bool:
        try:
            session.run(self._states[i])
        except SESSION_LOST:
            raise
        except tf.errors.OpError as error:
            logging.warning("%s cannot be saved: %s", self._names[i], reason_of(error))
            return False
        return True

    def _save_op(self, names: list[str], states: list[Any]) -> Any:
        return tf.raw_ops.SaveV2(
            prefix=self._prefix,
            tensor_names=[_key(name) for name in names],
            shape_and_slices=[""] * len(names),
            tensors=states,
        )


class _Start:
    """The state of an iterator before a restore that may fail.

    A restore that fails also ends the iterator if it prefetches, which TensorFlow adds to most
    pipelines by itself: its next element would be the end of the input.
    """

    def __init__(self, iterator: Any, state: Any) -> None:
        place = tf.raw_ops.VarHandleOp(
            dtype=tf.variant, shape=None, shared_name=f"input_start_{os.urandom(8).hex()}"
        )
        self._keep = tf.raw_ops.AssignVariableOp(resource=place, value=state)
        kept = tf.raw_ops.ReadVariableOp(resource=place, dtype=tf.variant)
        self._go_back = tf.raw_ops.DeserializeIterator(resource_handle=iterator, serialized=kept)
        self._forget = tf.raw_ops.DestroyResourceOp(resource=place)
        self._is_kept = False

    @contextlib.contextmanager
    def kept(self, session: Any) -> Iterator[_Start]:
        """Keep it meanwhile, if the iterator has a state at all."""
        self._is_kept = False
        try:
            session.run(self._keep)
            self._is_kept = True
        except SESSION_LOST:
            raise
        except tf.errors.OpError as error:
            logging.info("Not kept: %s", reason_of(error))
        yield self
        if self._is_kept:
            session.run(self._forget)

    def go_back(self, session: Any) -> None:
        """Undo what the restore did."""
        if self._is_kept:
            session.run(self._go_back)


def _key(name: str) -> str:
    return f"{name}_STATE"


def _unreadable(prefix: str, error: Any) -> MonolithError:
    """As an error of this package, because TensorFlow's for a short file also ends an input."""
    is_refused = isinstance(error, tf.errors.PermissionDeniedError)
    kind = NotReadableError if is_refused else CorruptionError
    return kind(f"iterator states not readable: {reason_of(error)}", path=prefix + INDEX_SUFFIX)


def reason_of(error: Any) -> str:
    """What went wrong, without the places in the graph that TensorFlow adds."""
    _, found, after = error.message.rpartition("\nNode: ")
    text = after.partition("\n")[2] if found else error.message
    return str(text.partition("\n\t [[")[0]).strip()


def _cpu_of(tensor: Any) -> Any:
    """The scope of the CPU in the process where a tensor is."""
    where = tf.DeviceSpec.from_string(tensor.device)
    return v1.device(where.replace(device_type="CPU", device_index=0).to_string())
