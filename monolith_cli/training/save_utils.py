"""Saves of a training job: in order, committed by one rename, and never half taken for whole.

A save of step S goes through the barrier and the inputs' states, the tables, `ckpt.info-S`, the
dense variables, `ckpt.inputs-S`, and last `checkpoint`, which alone commits. The barrier, tables
and counts are listeners; this module has the rest.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf
from absl import logging

from monolith_cli.checkpoint.commits import CommittedSteps
from monolith_cli.checkpoint.inputs import (
    StepInputs,
    WorkerInput,
    read_step_inputs,
    write_step_inputs,
)
from monolith_cli.checkpoint.restart import RestartPoint
from monolith_cli.errors import MonolithError, UnfinishedWorkersError, WriteError
from monolith_cli.training.barrier_state import plain
from monolith_cli.training.ckpt_hooks import BarrierSaverListener, get_fingerprints
from monolith_cli.training.other_savers import OtherSavers
from monolith_cli.training.save_directory import (
    check_basenames,
    check_written,
    claim_directory,
    find_restart,
    make_local_directory,
    note_save,
    saver_def,
    write_meta_graph,
    write_table_type,
)
from monolith_cli.training.save_path import check_save_path
from monolith_cli.training.save_requests import SESSION_LOST, SaveRequests, SaveResult
from monolith_cli.training.tide_timer import TideTimer

__all__ = ["NoFirstSaveCheckpointSaverHook", "SaveResult"]

v1 = tf.compat.v1

# What is tried once more, and can be ignored.
_FAILED = (tf.errors.OpError, OSError)

# The step that a hook with everything in it has saved last.
_full_saves: weakref.WeakKeyDictionary[tf.Graph, int] = weakref.WeakKeyDictionary()


class NoFirstSaveCheckpointSaverHook(tf.compat.v1.train.CheckpointSaverHook):
    """TensorFlow's saver hook, for jobs with tables and inputs; without a save at the start.

    It runs in the chief. A save happens between two steps of the chief, in its thread and under a
    lock; `trigger_save` from another thread hands in a request and waits. A step that is committed
    is not written again: a second request for it gets the first one's result. Before a save,
    what lies there of later steps than the latest committed one is removed: it is of saves that
    failed, or of a future that the job has gone back from. The saver's `max_to_keep` and
    `keep_checkpoint_every_n_hours` hold for everything that belongs to a step, but `ckpt.info-*`.

    A step that another saver commits into the directory, TensorFlow's own hook say, has no tables;
    where the graph has some that is logged as an error.

    A save costs what its listeners cost, a pass over the dense variables, and a few small files. A
    step costs one fetch of the global step.

    Parameters
    ----------
    checkpoint_dir
        A local directory; made if it is not there. Without `*`, `?`, `[` and backslashes anywhere
        in its path: TensorFlow takes that for a pattern when it restores and deletes.
    save_secs, save_steps
        Exactly one of them: time, or steps, between two saves.
    saver, scaffold
        At most one. Without either the only saver of the graph's collection is taken.
    checkpoint_basename
        What the names of checkpoints begin with.
    listeners
        `CheckpointSaverListener` objects, in their order; `BarrierSaverListener` first.
    save_graph_def
        Whether to write `graph.pbtxt` and `meta_graph_for_debugging.pb` when a session is made, a
        `.meta` for each step, and `monolith_checkpoint`.
    tide_start_hour, tide_start_minute, tide_end_hour, tide_end_minute, tide_save_secs
        All or none: from start to end, UTC, every day, the time between two saves is
        `tide_save_secs`. An end before the start is of the next day.
    ignore_save_errors
        Whether a save that has failed twice is only logged.
    is_dense_only
        It saves dense variables only, into a directory of its own. A step that another hook of
        the same graph has just saved in full is left out.
    use_native_multi_hash_table
        What `monolith_checkpoint` says of the tables.
    no_first_save
        False: save when a session is made, as TensorFlow does.
    guard_saver_listeners
        Their `before_save`, and `after_save` in reverse, surround a save whatever happens in it,
        the second try of it too.
    require_all
        Whether a step is committed only if every worker's input was saved with it. A save on time
        that fails for that is logged and left out; `trigger_save` raises.

    Raises
    ------
    ValueError
        Both or none of `save_secs` and `save_steps`, both of `saver` and `scaffold`, or some but
        not all of the tide's arguments, or ones that are no times.
    """

    def __init__(
        self,
        checkpoint_dir: str | os.PathLike[str],
        save_secs: float | None = None,
        save_steps: int | None = None,
        saver: Any = None,
        checkpoint_basename: str = "model.ckpt",
        scaffold: Any = None,
        listeners: Sequence[Any] | None = None,
        save_graph_def: bool = True,
        tide_start_hour: int | None = None,
        tide_start_minute: int | None = None,
        tide_end_hour: int | None = None,
        tide_end_minute: int | None = None,
        tide_save_secs: float | None = None,
        ignore_save_errors: bool = False,
        is_dense_only: bool = False,
        use_native_multi_hash_table: bool = False,
        no_first_save: bool = True,
        guard_saver_listeners: Sequence[Any] | None = None,
        *,
        require_all: bool = False,
    ) -> None:
        checkpoint_dir = os.fspath(checkpoint_dir)
        super().__init__(
            checkpoint_dir,
            save_secs=save_secs,
            save_steps=save_steps,
            saver=saver,
            checkpoint_basename=checkpoint_basename,
            scaffold=scaffold,
            listeners=list(listeners or ()),
            save_graph_def=save_graph_def,
        )
        tide = (tide_start_hour, tide_start_minute, tide_end_hour, tide_end_minute, tide_save_secs)
        self._global_step_tensor = None  # until `begin`
        self._timer = TideTimer(save_secs, save_steps, *tide)
        self._basename = checkpoint_basename
        self._guards = list(guard_saver_listeners or ())
        self._ignore_save_errors = ignore_save_errors
        self._is_dense_only = is_dense_only
        self._no_first_save = no_first_save
        self._require_all = require_all
        self._table_type = (
            "MULTI_CUCKOO_HASH_MAP" if use_native_multi_hash_table else "CUCKOO_HASH_MAP"
        )
        self._steps: CommittedSteps | None = None
        self._restart = RestartPoint()
        self._lock = threading.RLock()  # a save
        self._requests = SaveRequests()
        self._missed_step: int | None = None
        self._is_creating = False
        self._is_saving = False
        self._others: OtherSavers | None = None

    @property
    def timer(self) -> Any:
        """The timer that says when to save, a `SecondOrStepTimer`."""
        return self._timer

    @property
    def last_saved_step(self) -> int | None:
        """The latest committed step; None before the first."""
        return self._steps.latest if self._steps else None

    @property
    def is_saving(self) -> bool:
        """Whether a save is going on now, in any thread."""
        return self._is_saving

    # --- the hook ------------------------------------------------------------------------------

    def begin(self) -> None:
        """Find the global step, and let listeners build what they need.

        Raises
        ------
        WriteError
            The directory cannot be made.
        UsageError
            The directory is a URL or a pattern, or tables are saved under another name.
        """
        make_local_directory(self._checkpoint_dir)
        check_save_path(self._save_path)
        check_basenames(self._listeners, self._save_path)
        super().begin()
        for listener in self._guards:
            listener.begin()

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Take the directory as it is, and write what describes the graph.

        Raises
        ------
        UsageError
            The session was not restored from the checkpoint that is the latest there, or that
            `ckpt.override` asks for. Or another hook of the session saves into this directory.
        MonolithError
            The directory cannot be written, or its state files do not parse.
        """
        self._requests.open(coord)
        self._missed_step = None
        claim_directory(coord, self._checkpoint_dir)
        for listener in self._barriers():
            listener.release(session)
        if not self._is_dense_only:  # the job may have gone back from what it saved
            _full_saves.pop(plain(session).graph, None)
        self._restart = self._find_restart(session)
        self._start_steps().restart(self._restart)
        self._is_creating = self._no_first_save
        try:
            super().after_create_session(session, coord)
        finally:
            self._is_creating = False
        if self._save_graph_def:
            write_table_type(self._checkpoint_dir, self._table_type)
            write_meta_graph(plain(session).graph, self._get_saver(), self._checkpoint_dir)
        if not self._is_dense_only:
            self._others = OtherSavers(plain(session).graph, self._checkpoint_dir)
            self._others.look()

    def before_run(self, run_context: Any) -> Any:
        """Ask for the global step."""
        self._requests.note_thread()
        return super().before_run(run_context)

    def after_run(self, run_context: Any, run_values: Any) -> None:
        """Save if it is time, and for those who wait in `trigger_save`."""
        super().after_run(run_context, run_values)
        if self._serve(run_context.session):
            run_context.request_stop()
        if self._others is not None:
            self._others.look()

    def end(self, session: Any) -> None:
        """Save the last step, unless it is saved; let nobody wait any longer."""
        try:
            last_step = int(session.run(self._global_step_tensor))
            is_missed = last_step == self._missed_step
            if is_missed or last_step != self._timer.last_triggered_step():
                self._save(session, last_step)
            self._serve(session)
            for listener in (*self._listeners, *self._guards):
                listener.end(session, last_step)
        finally:
            self._requests.end()
            with contextlib.suppress(*SESSION_LOST):
                for listener in self._barriers():
                    listener.release(session)

    # --- saves ----------------------------------------------------------------------------------

    def trigger_save(
        self,
        session: Any,
        ignore_save_errors: bool = False,
        *,
        require_all: bool | None = None,
        timeout_seconds: float | None = None,
    ) -> SaveResult | None:
        """Save now; from another thread than the chief's, after its step.

        Parameters
        ----------
        session
            The chief's.
        ignore_save_errors
            Log what goes wrong, whatever is listed below, and return None.
        require_all
            As the hook's, which is the default.
        timeout_seconds
            How long to wait for the chief's step to end, and for the save; None: for ever, as long
            as the session lives. A save that has begun by then goes on.

        Returns
        -------
        SaveResult or None
            The committed step: this save's, or the same step's that was committed before. None
            where a dense-only hook leaves a step out.

        Raises
        ------
        UnfinishedWorkersError
            With `require_all`: some worker did not save its input. Nothing is committed, unless
            it was before.
        TimeoutError
            The time is over.
        tensorflow.errors.AbortedError
            The session has ended before the save.
        tensorflow.errors.OpError, OSError
            What went wrong, twice.
        RuntimeError
            A listener asks for a save inside a save.
        """
        try:
            if self._requests.is_elsewhere:
                return self._requests.ask(require_all, timeout_seconds)
            result, _ = self._save_now(plain(session), require_all)
        except (*_FAILED, MonolithError) as error:
            if not ignore_save_errors:
                raise
            logging.error("Not saved: %s", error)
            return None
        return result

    def _serve(self, session: Any) -> bool:
        """Save for all who wait; returns whether to stop training."""
        return self._requests.serve(lambda require_all: self._save_now(session, require_all))

    def _save_now(self, session: Any, require_all: bool | None) -> tuple[SaveResult | None, bool]:
        """Save, in this thread; returns the result, and whether to stop training."""
        with self._lock:
            if self._global_step_tensor is None:
                raise RuntimeError("the hook has not begun: it belongs into a monitored session")
            step = int(session.run(self._global_step_tensor))
            require_all = self._require_all if require_all is None else require_all
            result, should_stop = self._save_step(session, step, require_all)
        if result and result.unfinished_workers and require_all:  # committed before
            raise self._unfinished(result.unfinished_workers)
        return result, should_stop

    def _save(self, session: Any, step: int) -> bool:
        """A save on time, as the base class asks for it; returns whether to stop training."""
        if self._is_creating:
            return False
        self._missed_step = None
        try:
            with self._lock:
                _, should_stop = self._save_step(session, int(step), self._require_all)
        except (*_FAILED, UnfinishedWorkersError) as error:
            if not (self._ignore_save_errors or isinstance(error, UnfinishedWorkersError)):
                raise
            logging.error("Step %d is not saved: %s", step, error)
            self._missed_step = int(step)
            return False
        return should_stop

    def _save_step(
        self, session: Any, step: int, require_all: bool
    ) -> tuple[SaveResult | None, bool]:
        """Save under the lock; returns the result, and whether to stop training."""
        steps = self._start_steps(session)
        graph = plain(session).graph
        if steps.is_committed(step):
            logging.info("Step %d is committed already.", step)
            return self._committed(step), False
        if self._is_dense_only and _full_saves.get(graph) == step:
            logging.info("Step %d has just been saved in full.", step)
            return None, False
        if self._is_saving:
            raise RuntimeError("a save is going on: its listeners cannot ask for another")
        self._is_saving = True
        try:
            make_local_directory(self._checkpoint_dir)
            cleared = steps.clear_uncommitted()
            if cleared:
                logging.warning("Removed what no commit covers: %s.", ", ".join(cleared))
            steps.begin(step, self._run_id(session))
            # Each thread has a default graph of its own.
            with graph.as_default(), self._guarded(session, step) as wanting:
                started = time.monotonic()
                try:
                    workers = self._write(session, step, require_all)
                except _FAILED as error:
                    logging.warning(
                        "Saving step %d failed, trying once more: %s", step, error, exc_info=True
                    )
                    started = time.monotonic()
                    workers = self._write(session, step, require_all)
                # From here on nothing is tried again: the step is committed.
                should_stop = self._after_commit(session, step)
                # In the original's words: they are searched for.
                seconds = time.monotonic() - started
                logging.info("saving checkpoint took %f seconds", seconds)
        finally:
            self._is_saving = False
        return _result(step, steps.prefix(step), workers), should_stop or bool(wanting)

    def _write(self, session: Any, step: int, require_all: bool) -> dict[int, WorkerInput]:
        """Everything up to the commit; returns whose input it covers."""
        steps = self._start_steps()
        logging.info("Calling checkpoint listeners before saving checkpoint %d...", step)
        try:
            if any(isinstance(guard, BarrierSaverListener) for guard in self._guards):
                self._workers(session, require_all)
            for listener in self._listeners:
                listener.before_save(session, step)
                if isinstance(listener, BarrierSaverListener):
                    self._workers(session, require_all)
            logging.info("Saving checkpoints for %d into %s.", step, self._save_path)
            # The saver's own state file, list and deletions would come before the commit.
            written = self._get_saver().save(
                session,
                self._save_path,
                global_step=step,
                write_meta_graph=self._save_graph_def,
                write_state=False,
            )
            check_written(written, steps.prefix(step))
            for barrier in self._barriers():
                barrier.check(session)
            workers = self._workers(session, require_all)
            override = self._restart.override
            note = override.as_json() if override else None
            inputs = StepInputs(step, self._run_id(session), workers, note)
            write_step_inputs(self._checkpoint_dir, inputs)
            self._commit(session, step)
        except BaseException:
            # The stock listeners know of no failed save; the barrier must.
            with contextlib.suppress(*SESSION_LOST):
                for listener in self._listeners:
                    if isinstance(listener, BarrierSaverListener):
                        listener.release(session)
            raise
        return workers

    def _commit(self, session: Any, step: int) -> None:
        steps = self._start_steps()
        try:
            steps.commit(step)
        except WriteError as error:
            if not steps.is_committed(step):
                raise
            logging.error("Step %d is committed; older ones are not removed: %s", step, error)
        self._restart = RestartPoint(step, steps.prefix(step))
        if not self._is_dense_only:
            _full_saves[plain(session).graph] = step

    def _after_commit(self, session: Any, step: int) -> bool:
        """Tell of the step; returns whether a listener wants training to stop."""
        try:
            if self._save_graph_def:
                note_save(self._checkpoint_dir, self._table_type)
            log = v1.SessionLog(status=v1.SessionLog.CHECKPOINT, checkpoint_path=self._save_path)
            self._summary_writer.add_session_log(log, step)
        except _FAILED as error:
            logging.error("Step %d is committed, but not told of: %s", step, error)
        logging.info("Calling checkpoint listeners after saving checkpoint %d...", step)
        should_stop = False
        failure: BaseException | None = None
        for listener in self._listeners:
            try:
                if listener.after_save(session, step):
                    logging.info("A listener requested that training be stopped: %s", listener)
                    should_stop = True
            except BaseException as error:  # the others still let go what they hold
                failure = failure or error
        if failure is not None:
            raise failure
        return should_stop

    @contextlib.contextmanager
    def _guarded(self, session: Any, step: int) -> Iterator[list[Any]]:
        """Inside the guard listeners that were entered, whatever happens.

        The list gets those that ask for the end of training.
        """
        wanting: list[Any] = []

        def leave(guard: Any) -> None:
            if guard.after_save(session, step):
                logging.info("A listener requested that training be stopped: %s", guard)
                wanting.append(guard)

        with contextlib.ExitStack() as stack:
            for guard in self._guards:
                guard.before_save(session, step)
                stack.callback(leave, guard)
            yield wanting

    def _workers(self, session: Any, require_all: bool) -> dict[int, WorkerInput]:
        """Whose input this save covers, as far as is known by now."""
        fingerprints: dict[int, Any] = {}
        finished: dict[int, bool] = {}
        for barrier in self._barriers():
            fingerprints = fingerprints or get_fingerprints(session)
            finished.update(dict.fromkeys(barrier.unfinished_workers, False))
            finished.update(dict.fromkeys(barrier.finished_workers, True))
            if 0 in fingerprints or not barrier.has_chief_finished(session):
                finished[0] = barrier.has_chief_finished(session)
        late = sorted(worker for worker, has in finished.items() if not has)
        if require_all and late:
            raise self._unfinished(late)
        return {
            worker: WorkerInput(has, fingerprints.get(worker)) for worker, has in finished.items()
        }

    def _run_id(self, session: Any) -> str:
        for barrier in self._barriers():
            run_id, _ = barrier.barrier_op.run.get(session)
            return str(run_id)
        return ""

    def _unfinished(self, workers: Sequence[int]) -> UnfinishedWorkersError:
        names = ", ".join(map(str, workers))
        one = len(workers) == 1
        what = f"worker{'' if one else 's'} {names} {'has' if one else 'have'} not saved"
        what += " its input" if one else " their input"
        return UnfinishedWorkersError(what, path=self._checkpoint_dir)

    def _committed(self, step: int) -> SaveResult:
        inputs = read_step_inputs(self._checkpoint_dir, step)
        workers = inputs.workers if inputs else {}
        restored = self._restart.prefix if self._restart.step == step else None
        return _result(step, restored or self._start_steps().prefix(step), workers)

    def _barriers(self) -> list[BarrierSaverListener]:
        """The guards first: theirs is the save's barrier."""
        everyone = [*self._guards, *self._listeners]
        return [listener for listener in everyone if isinstance(listener, BarrierSaverListener)]

    def _find_restart(self, session: Any) -> RestartPoint:
        step = int(session.run(self._global_step_tensor))
        return find_restart(session, step, self._checkpoint_dir, is_dense_only=self._is_dense_only)

    def _start_steps(self, session: Any = None) -> CommittedSteps:
        """The directory's steps; a session tells where it is, if nobody has yet."""
        if self._steps is None:
            if session is not None:
                self._restart = self._find_restart(session)
            saver = saver_def(self._get_saver(), self._checkpoint_dir)
            self._steps = CommittedSteps(
                self._checkpoint_dir,
                self._basename,
                max_to_keep=saver.max_to_keep,
                keep_every_n_hours=saver.keep_checkpoint_every_n_hours,
            )
            self._steps.restart(self._restart)
        return self._steps


def _result(step: int, path: str, workers: Any) -> SaveResult:
    finished = tuple(sorted(worker for worker, entry in workers.items() if entry.finished))
    return SaveResult(step, path, finished, tuple(sorted(set(workers) - set(finished))))
