"""The states of a worker's iterators: saved when the barrier asks, restored into each session."""

from __future__ import annotations

import json
import os
import weakref
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from absl import logging

from monolith_cli.checkpoint.inputs import (
    find_input_step,
    input_prefix,
    read_step_inputs,
    write_input_state,
)
from monolith_cli.checkpoint.names import INDEX_SUFFIX, ckpt_inputs_name
from monolith_cli.checkpoint.restart import RestartPoint
from monolith_cli.errors import MonolithError, PathNotFoundError, StateFileError
from monolith_cli.storage.local import LOCAL
from monolith_cli.storage.staging import move_files, staging_directory, sweep, sync_files
from monolith_cli.training.barrier.callbacks import RunningRequest, running_request
from monolith_cli.training.graph.lost import SESSION_LOST
from monolith_cli.training.graph.paths import check_save_path
from monolith_cli.training.graph.shared import plain
from monolith_cli.training.inputs.meta import SAVE_ACTION, SavedInput, get_ckpt_info, meta_of
from monolith_cli.training.inputs.state import InputState, iterators_of_graph
from monolith_cli.training.pipelines.fingerprint import differences, fingerprint
from monolith_cli.training.run.chief_step import is_beside_a_run
from monolith_cli.training.run.restarts import restart_of_graph

__all__ = ["WorkerCkptHelper", "disable_iterator_save_restore"]

v1 = tf.compat.v1

_without_iterators: weakref.WeakSet[tf.Graph] = weakref.WeakSet()


def disable_iterator_save_restore() -> None:
    """Neither save nor restore iterators in the default graph.

    For inputs whose state TensorFlow cannot save, such as standard input.
    """
    _without_iterators.add(v1.get_default_graph())


class WorkerCkptHelper:
    """Saves and restores one worker's iterator state: that of all iterators of its graph.

    It writes the bundle `input_worker_<index>.ckpt-<step>`, under another name first, and the state
    file `checkpoint_input_worker_<index>`.

    Make it after the input and before the graph is finalized. Its hook's `begin` takes in iterators
    that are made later.

    Parameters
    ----------
    model_dir
        A local path; made if it is not there.
    index
        The worker's; 0 is the chief, which initialises what is shared.
    require_all
        Whether a restore ends with an error if the state of the model's step is missing, or does
        not fit. Otherwise it logs that, and takes the newest older state, or starts over.
    """

    def __init__(
        self, model_dir: str | os.PathLike[str], index: int, *, require_all: bool = False
    ) -> None:
        check_save_path(os.fspath(model_dir))
        self._model_dir = os.path.abspath(os.fspath(model_dir))
        self._index = index
        self._require_all = require_all
        self._graph = v1.get_default_graph()
        self._meta = meta_of(self._graph, is_chief=index == 0)
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
        has not restored in the TensorFlow session yet, the chief's run goes on meanwhile, or the
        files cannot be written, which is logged. If an iterator's state can never be saved, it logs
        a warning.

        Costs the serialization of what the iterators hold (a shuffle buffer is written whole), and
        four round trips to the parameter server.
        """
        return self._save

    def create_restorer_hook(self) -> tf.compat.v1.train.SessionRunHook:
        """A hook that restores the iterators whenever a session has been made.

        If the directory has a model, it takes the state of the committed step, or of the step that
        a rollback names; otherwise the latest state. It warns if the input is not the one whose
        state it restores.

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
        except SESSION_LOST:
            raise
        except (OSError, tf.errors.OpError) as error:
            logging.error("The input of worker %d is not saved: %s", self._index, error)
            return False

    def _is_restored(self, session: Any) -> bool:
        """Whether the input has been restored; until then it is at its start."""
        if not self._has_restorer:
            return True
        return self._restored is not None and self._restored() is plain(session)

    def _is_of_the_past(self, request: RunningRequest, session: Any, step: int) -> bool:
        """Whether the barrier was only placed by somebody, with the action of an earlier save."""
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
        sweep(self._model_dir, f".{base.removesuffix(str(step))}", ".tmp")
        temporary = os.path.join(self._model_dir, f".{base}.{os.urandom(4).hex()}.tmp")
        with staging_directory(temporary):
            unsaved = self._state.save(session, os.path.join(temporary, base))
            for name in unsaved:
                logging.warning("Step %d has no state of iterator %s.", step, name)
            names = sorted(os.listdir(temporary), key=lambda name: name.endswith(INDEX_SUFFIX))
            sync_files(temporary, names)
            meta = self._meta
            text = json.dumps(SavedInput(self._get_fingerprint(), self._rollback_ns))
            session.run(meta.insert, {meta.index: [self._index], meta.input: [text]})
            if not is_asked_for():
                return False
            self._move(names, temporary)
            if names:
                write_input_state(self._model_dir, self._index, step)
        logging.info("Saved the input of worker %d at step %d.", self._index, step)
        return True

    def _move(self, names: list[str], temporary: str) -> None:
        """Move the files into place, the index last: without it there is no state."""
        if names:
            LOCAL.delete(os.path.join(self._model_dir, names[-1]))  # from a save that was given up
        move_files(temporary, self._model_dir, names)

    def _get_fingerprint(self) -> Any:
        if self._fingerprint is None:
            try:
                self._fingerprint = fingerprint(self._state.iterators)
            except Exception as error:  # no save and no restore may fail for that
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
