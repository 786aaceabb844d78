"""What a save does besides the model: all workers at the barrier, each with its input's state.

The chief tells the step in a variable on the parameter server, `WorkerCkptMetaInfo`, and asks at
the barrier; the workers' callbacks write the iterators' states and acknowledge.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf
from absl import logging

from monolith_cli import messages
from monolith_cli.checkpoint.inputs import (
    find_input_step,
    input_prefix,
    read_step_inputs,
    write_input_state,
)
from monolith_cli.checkpoint.names import INDEX_SUFFIX, ckpt_inputs_name
from monolith_cli.checkpoint.removal import remove
from monolith_cli.checkpoint.restart import RestartPoint
from monolith_cli.errors import MonolithError, PathNotFoundError, StateFileError
from monolith_cli.formats.atomic import sync
from monolith_cli.training import termination
from monolith_cli.training.barrier_ops import BarrierOp, RunningRequest, running_request
from monolith_cli.training.barrier_state import plain, shared_device
from monolith_cli.training.chief_step import is_beside_a_run
from monolith_cli.training.fingerprint import differences, fingerprint
from monolith_cli.training.input_state import InputState, iterators_of_graph
from monolith_cli.training.restarts import restart_of_graph
from monolith_cli.training.save_path import check_save_path

__all__ = [
    "SAVE_ACTION",
    "BarrierSaverListener",
    "WorkerCkptHelper",
    "assign_ckpt_info",
    "disable_iterator_save_restore",
    "get_ckpt_info",
    "get_fingerprints",
]

v1 = tf.compat.v1

SAVE_ACTION = "Save"
_SESSION_LOST = (tf.errors.AbortedError, tf.errors.UnavailableError, tf.errors.CancelledError)


class _Meta:
    """What a graph's hooks share: the step that is being saved, and what the inputs are."""

    def __init__(self, is_chief: bool) -> None:
        keys = v1.GraphKeys
        with v1.name_scope(None), v1.device(shared_device()), tf.control_dependencies(None):
            self.info = v1.Variable(
                "",
                name="WorkerCkptMetaInfo",
                dtype=tf.string,
                trainable=False,
                collections=[keys.LOCAL_VARIABLES if is_chief else keys.GLOBAL_VARIABLES],
                use_resource=True,
            )
            with v1.name_scope("WorkerCkptMetaInfo_ops"):
                self.text = v1.placeholder(tf.string, [], name="info_placeholder")
                self.assign = self.info.assign(self.text).op
                self.read = self.info.read_value()
                # A table needs no initializer, and no capacity.
                table = tf.raw_ops.MutableHashTableV2(
                    key_dtype=tf.int64, value_dtype=tf.string, shared_name="WorkerCkptInputs"
                )
                self.index = v1.placeholder(tf.int64, [1], name="index_placeholder")
                self.input = v1.placeholder(tf.string, [1], name="input_placeholder")
                self.insert = tf.raw_ops.LookupTableInsertV2(
                    table_handle=table, keys=self.index, values=self.input
                )
                self.inputs = tf.raw_ops.LookupTableExportV2(
                    table_handle=table, Tkeys=tf.int64, Tvalues=tf.string
                )


# In the graph itself, which what it holds refers to. Meta graphs leave out a key that is no string.
_METAS = ("monolith_worker_ckpt_meta",)
_without_iterators: weakref.WeakSet[tf.Graph] = weakref.WeakSet()


def _meta(graph: tf.Graph, is_chief: bool = True) -> _Meta:
    """A graph's, made when it is first asked for."""
    metas = graph.get_collection_ref(_METAS)
    if not metas:
        with graph.as_default():
            metas.append(_Meta(is_chief))
    meta: _Meta = metas[0]
    return meta


def assign_ckpt_info(session: Any, info: Any) -> None:
    """Store a WorkerCkptInfo message, of any protobuf class, where the workers read it.

    One round trip to the parameter server. The first use in a graph makes ops.
    """
    raw = plain(session)
    meta = _meta(raw.graph)
    raw.run(meta.assign, {meta.text: info.SerializeToString()})


def get_ckpt_info(session: Any) -> Any:
    """The WorkerCkptInfo message that was stored last; an empty one before the first.

    One round trip to the parameter server. The first use in a graph makes ops.
    """
    message = messages.get_message("monolith.hooks.WorkerCkptInfo")
    raw = plain(session)
    return message.FromString(raw.run(_meta(raw.graph).read))


class SavedInput(NamedTuple):
    """What a worker says of the input whose state it has saved.

    Attributes
    ----------
    fingerprint
        What it is; None where that is not known.
    rollback_ns
        The time of the rollback that the worker has gone back by in this session, which tells it
        from others; None without one.
    """

    fingerprint: Any
    rollback_ns: int | None


def get_saved_inputs(session: Any) -> dict[int, SavedInput]:
    """By worker, the input whose state it has saved last; 0 is the chief.

    One round trip to the parameter server.
    """
    raw = plain(session)
    workers, texts = raw.run(_meta(raw.graph).inputs)
    return {
        int(worker): SavedInput(*json.loads(text))
        for worker, text in zip(workers, texts, strict=True)
    }


def get_fingerprints(session: Any) -> dict[int, Any]:
    """By worker, the fingerprint of the input whose state it has saved last; 0 is the chief.

    One round trip to the parameter server.
    """
    return {worker: said.fingerprint for worker, said in get_saved_inputs(session).items()}


def disable_iterator_save_restore() -> None:
    """Neither save nor restore iterators in the default graph.

    For inputs whose position TensorFlow cannot know, a standard input for one.
    """
    _without_iterators.add(v1.get_default_graph())


class BarrierSaverListener(tf.compat.v1.train.CheckpointSaverListener):
    """Brings every worker to the barrier for a save, and lets them go after it.

    Before the save it stores the step, asks for `SAVE_ACTION` at the barrier, and waits until all
    workers have finished their callbacks, or for `max_pending_seconds`. A barrier that somebody
    has placed already serves as well, and stays after the save.

    List it before listeners that save what must stand still. It takes the barrier's lock when it
    asks and when it ends, not while it waits.

    Parameters
    ----------
    barrier_op
        The chief's `BarrierOp`.
    wait_seconds
        Time between two looks at who has finished; ten a second are made at least.
    max_pending_seconds
        How long to wait for workers. Those that have not finished then are logged and recorded.

    Attributes
    ----------
    finished_workers, unfinished_workers
        Of the last save: who had finished before it committed, as far as known.
    """

    def __init__(
        self, barrier_op: BarrierOp, wait_seconds: float = 1, max_pending_seconds: float = 30
    ) -> None:
        super().__init__()
        self._barrier_op = barrier_op
        self._wait_seconds = wait_seconds
        self._max_pending_seconds = max_pending_seconds
        self._generation: int | None = None
        self.finished_workers: list[int] = []
        self.unfinished_workers: list[int] = []
        _meta(v1.get_default_graph())

    def begin(self) -> None:
        """The barrier's workers stay for the last save."""
        self._barrier_op.chief_end.begin_part(self)

    @property
    def barrier_op(self) -> BarrierOp:
        """The barrier."""
        return self._barrier_op

    def before_save(self, session: Any, global_step_value: int) -> None:
        """Ask, and wait.

        Raises
        ------
        Exception
            What a callback of the chief raises, or the session. The barrier is then removed.
        """
        self.release(session)  # a save that failed has not come to after_save
        info = messages.get_message("monolith.hooks.WorkerCkptInfo")
        assign_ckpt_info(session, info(global_step=int(global_step_value)))
        logging.info(
            "Place barrier for saving step %d: workers %s have %g s.",
            global_step_value,
            list(range(1, self._barrier_op.capacity)),
            self._max_pending_seconds,
        )
        self._generation, placed = self._barrier_op.begin_request(session, SAVE_ACTION)
        if not placed:
            logging.info("The barrier is placed already, and stays after this save.")
        seconds = self._pending_seconds
        try:
            self.finished_workers = self._barrier_op.wait_until_acknowledged(
                session, self._generation, seconds, min(self._wait_seconds, 0.1)
            )
            gone = self._barrier_op.get_gone_indices(session)
        except BaseException:
            with contextlib.suppress(Exception):  # of a session that is lost, say
                self.release(session)
            raise
        self._set_unfinished()
        self._tell_unblocked()
        for workers, why in (
            ([i for i in self.unfinished_workers if i in gone], "they have left the job"),
            (
                [i for i in self.unfinished_workers if i not in gone],
                f"not finished within {seconds:g} s",
            ),
        ):
            if workers:
                logging.warning(
                    "Saving step %d without workers %s: %s.", global_step_value, workers, why
                )

    def check(self, session: Any) -> None:
        """Look again who still stands, right before a commit; who has gone counts as unfinished."""
        if self._generation is None:
            return
        standing = self._barrier_op.get_acknowledged_indices(session, self._generation)
        gone = sorted(set(self.finished_workers) - set(standing))
        if gone:
            logging.warning("Workers %s have left the barrier during the save.", gone)
        self.finished_workers = [i for i in self.finished_workers if i in standing]
        self._set_unfinished()

    def has_chief_finished(self, session: Any) -> bool:
        """Whether the chief's own callbacks have done what this save asked for."""
        if self._generation is None:
            return False
        return self._barrier_op.has_chief_finished(session, self._generation)

    def after_save(self, session: Any, global_step_value: int) -> None:
        """Let the workers go, unless somebody else holds the barrier."""
        self.release(session)

    def release(self, session: Any) -> None:
        """What `after_save` does, for saves that failed; does nothing where no save is going on."""
        if self._generation is not None:
            self._generation = None
            logging.info("Remove barrier for saving.")
            self._barrier_op.end_request(session)

    def end(self, session: Any, global_step_value: int) -> None:
        """Leave no barrier of a save behind; this was the last one."""
        self.release(session)
        self._barrier_op._end_chief(session, self)

    @property
    def _pending_seconds(self) -> float:
        """Less after SIGTERM: the job must have ended in time."""
        since = termination.seconds_since()
        if since is None:
            return self._max_pending_seconds
        left = self._barrier_op.limits.sigterm_grace_seconds - since
        return min(self._max_pending_seconds, max(1.0, left))

    def _tell_unblocked(self) -> None:
        """In the original's words: they are searched for."""
        if self.unfinished_workers:
            logging.info("Unblocked worker indices: %s.", self.unfinished_workers)
        else:
            logging.info("All workers have been blocked.")

    def _set_unfinished(self) -> None:
        workers = range(1, self._barrier_op.capacity)
        self.unfinished_workers = [i for i in workers if i not in self.finished_workers]


class WorkerCkptHelper:
    """Saves and restores the positions of one worker's input: all iterators of its graph.

    Files: the bundle `input_worker_<index>.ckpt-<step>`, written under another name first, and
    the state file `checkpoint_input_worker_<index>`.

    Make it after the input and before the graph is finalized. Iterators that come later are seen
    by the hook's `begin`.

    Parameters
    ----------
    model_dir
        A local path; made if it is not there.
    index
        The worker's; 0 is the chief, which initialises what is shared.
    require_all
        Whether a restore ends with an error if the state of the model's step is missing, or does
        not fit. Else it says so, and takes the newest older state, or starts over.
    """

    def __init__(
        self, model_dir: str | os.PathLike[str], index: int, *, require_all: bool = False
    ) -> None:
        check_save_path(os.fspath(model_dir))
        self._model_dir = os.path.abspath(os.fspath(model_dir))
        self._index = index
        self._require_all = require_all
        self._graph = v1.get_default_graph()
        self._meta = _meta(self._graph, is_chief=index == 0)
        self._state = InputState(iterators_of_graph())
        self._fingerprint: Any = None
        self._has_restorer = False
        self._restored: Any = None  # the session, a weak reference
        self._rollback_ns: int | None = None
        if self._graph in _without_iterators:
            logging.info("The iterators of worker %d are neither saved nor restored.", index)

    def create_save_iterator_callback(self) -> Callable[[str, Any], bool | None]:
        """A callback for `BarrierOp`: saves the iterators when the action is `SAVE_ACTION`.

        It returns False if it has not saved what it should: the request is over, the restorer hook
        has not restored in this session yet, the chief's run goes on meanwhile, or the files cannot
        be written, which is logged. What
        cannot be saved by its nature gives a warning.
        Costs the serialization of what the iterators hold (a shuffle buffer is written whole), and
        four round trips to the parameter server.
        """
        return self._save

    def create_restorer_hook(self) -> tf.compat.v1.train.SessionRunHook:
        """A hook that restores the iterators whenever a session has been made.

        In a directory with a model: the state of the committed step, or of the step that a
        rollback names. Without a model: the latest state. It warns if the input is another one
        than that whose state it restores.

        Raises (from the session's creation)
        ------
        PathNotFoundError, StateFileError
            With `require_all`: a state is missing, or does not fit.
        CorruptionError, NotReadableError
            A state, or a state file, is damaged or cannot be read.
        """
        return _InputRestorerHook(self)

    def _begin(self) -> None:
        """Take in iterators that have been made since, while the graph can still be changed."""
        self._has_restorer = True
        iterators = iterators_of_graph()
        if [it.name for it in iterators] != [it.name for it in self._state.iterators]:
            self._state = InputState(iterators)

    @property
    def _is_off(self) -> bool:
        return self._graph in _without_iterators or not self._state.iterators

    def _save(self, action: str, session: Any) -> bool | None:
        if action != SAVE_ACTION or self._is_off:
            return None
        if not self._is_restored(session):
            logging.warning(
                "The input of worker %d is not saved: it is not restored yet.", self._index
            )
            return False
        if is_beside_a_run():
            logging.warning("The input of worker %d is not saved: it may be in use.", self._index)
            return False
        request = running_request()
        step = int(get_ckpt_info(session).global_step)

        def is_asked_for() -> bool:
            if request is None:
                return True
            still_open = request.barrier_op.is_request_open(session, request.generation)
            return still_open and int(get_ckpt_info(session).global_step) == step

        if not is_asked_for():
            return False
        if request is not None and self._is_of_the_past(request, session, step):
            logging.info("Step %d is committed: its input states stay as they are.", step)
            return None
        try:
            return self._write(plain(session), step, is_asked_for)
        except _SESSION_LOST:
            raise
        except (OSError, tf.errors.OpError) as error:
            logging.error("The input of worker %d is not saved: %s", self._index, error)
            return False

    def _is_restored(self, session: Any) -> bool:
        """Whether the input is where it belongs; before that, it is where every session begins."""
        if not self._has_restorer:
            return True
        return self._restored is not None and self._restored() is plain(session)

    def _is_of_the_past(self, request: RunningRequest, session: Any, step: int) -> bool:
        """Whether somebody has only placed the barrier, with the action of a save that is over."""
        if request.barrier_op.look(session).placement != request.generation:
            return False
        try:
            latest = restart_of_graph(self._graph, self._model_dir).step
        except MonolithError:
            return False
        path = os.path.join(self._model_dir, ckpt_inputs_name(step))
        return (latest is not None and step <= latest) or os.path.lexists(path)

    def _write(self, session: Any, step: int, is_asked_for: Callable[[], bool]) -> bool:
        prefix = input_prefix(self._model_dir, self._index, step)
        base = os.path.basename(prefix)
        self._remove_leftovers()
        temporary = os.path.join(self._model_dir, f".{base}.{os.urandom(4).hex()}.tmp")
        try:
            os.makedirs(temporary)
            unsaved = self._state.save(session, os.path.join(temporary, base))
            for name in unsaved:
                logging.warning("Step %d has no state of iterator %s.", step, name)
            names = sorted(os.listdir(temporary), key=lambda name: name.endswith(INDEX_SUFFIX))
            for name in names:
                sync(os.path.join(temporary, name))
            meta = self._meta
            text = json.dumps(SavedInput(self._get_fingerprint(), self._rollback_ns))
            session.run(meta.insert, {meta.index: [self._index], meta.input: [text]})
            if not is_asked_for():
                return False
            self._move(names, temporary)
            if names:
                write_input_state(self._model_dir, self._index, step)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        logging.info("Saved the input of worker %d at step %d.", self._index, step)
        return True

    def _move(self, names: list[str], temporary: str) -> None:
        """Have the files appear, the index last: without it there is no state."""
        if names:
            remove(os.path.join(self._model_dir, names[-1]))  # of a save that was given up
        moved: list[str] = []
        try:
            for name in names:
                target = os.path.join(self._model_dir, name)
                os.replace(os.path.join(temporary, name), target)
                moved.append(target)
        except BaseException:
            for target in moved:
                with contextlib.suppress(OSError):
                    os.unlink(target)
            raise

    def _remove_leftovers(self) -> None:
        """Remove what a process of this worker that was killed has left behind."""
        start = f".{os.path.basename(input_prefix('', self._index, 0)).removesuffix('0')}"
        with contextlib.suppress(OSError):
            for name in os.listdir(self._model_dir):
                if name.startswith(start) and name.endswith(".tmp"):
                    shutil.rmtree(os.path.join(self._model_dir, name), ignore_errors=True)

    def _get_fingerprint(self) -> Any:
        if self._fingerprint is None:
            try:
                self._fingerprint = fingerprint(self._state.iterators)
            except Exception as error:  # no save may fail for want of it, nor a restore
                logging.warning(
                    "The input of worker %d cannot be described: %r", self._index, error
                )
        return self._fingerprint

    def _restore(self, session: Any) -> None:
        who = f"worker {self._index}"
        self._fingerprint = None
        if self._is_off:
            logging.info("The input of %s is not restored: nothing to restore.", who)
            return
        restart = restart_of_graph(self._graph, self._model_dir)
        override = restart.override
        goes_back = override is not None and self._index in override.inputs
        self._rollback_ns = override.written_ns if override and goes_back else None
        step = find_input_step(self._model_dir, self._index, restart)
        if step is None or (restart.step is not None and step != restart.input_step(self._index)):
            self._tell_missing(restart, step)
        if step is None:
            return
        prefix = input_prefix(self._model_dir, self._index, step)
        self._warn_of_changes(step)
        unfit = self._state.restore(session, prefix)
        if unfit and self._require_all:
            what = f"has no fitting state of {', '.join(unfit)} of {who}"
            raise StateFileError(what, path=prefix + INDEX_SUFFIX)
        for name in unfit:
            logging.warning("%s of %s starts over: no state fits it.", name, who)
        if len(unfit) < len(self._state.iterators):
            logging.info("Restored the input of %s from step %d.", who, step)

    def _tell_missing(self, restart: RestartPoint, step: int | None) -> None:
        wanted = restart.input_step(self._index)
        if wanted is None:
            logging.info("There is no state of worker %d's input: skipped.", self._index)
            return
        what = f"no state of worker {self._index}'s input at step {wanted}"
        if self._require_all:
            raise PathNotFoundError(
                what, path=input_prefix(self._model_dir, self._index, wanted) + INDEX_SUFFIX
            )
        instead = "it starts over" if step is None else f"it goes on from step {step}"
        logging.warning("There is %s: %s.", what, instead)

    def _warn_of_changes(self, step: int) -> None:
        inputs = read_step_inputs(self._model_dir, step)
        worker = inputs.workers.get(self._index) if inputs else None
        if worker is None or worker.fingerprint is None:
            return
        now = self._get_fingerprint()
        for difference in differences(worker.fingerprint, now) if now else ():
            logging.warning(
                "The input of worker %d is not the one of step %d: %s",
                self._index,
                step,
                difference,
            )


class _InputRestorerHook(tf.compat.v1.train.SessionRunHook):
    """Restores a worker's iterators into each new session."""

    def __init__(self, helper: WorkerCkptHelper) -> None:
        self._helper = helper

    def begin(self) -> None:
        """Take in all iterators."""
        self._helper._begin()

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Restore; iterators have been initialised by now."""
        self._helper._restore(session)
        self._helper._restored = weakref.ref(plain(session))
