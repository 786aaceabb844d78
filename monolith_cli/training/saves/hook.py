"""The chief's saver hook; `save_utils` has the order of a save."""

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
from monolith_cli.checkpoint.manifests import make_manifest, write_step_manifest
from monolith_cli.checkpoint.names import INDEX_SUFFIX, ckpt_inputs_name
from monolith_cli.checkpoint.override import Override
from monolith_cli.checkpoint.restart import RestartPoint
from monolith_cli.errors import (
    DirectoryInUseError,
    MonolithError,
    UnfinishedWorkersError,
    WriteError,
)
from monolith_cli.training.graph.paths import absolute_path, check_save_path
from monolith_cli.training.graph.shared import plain
from monolith_cli.training.inputs.meta import SavedInput, get_saved_inputs
from monolith_cli.training.run.chief_claim import ChiefClaim
from monolith_cli.training.run.chief_step import (
    ChiefStep,
    beside_a_run,
    is_being_made,
    is_beside_a_run,
)
from monolith_cli.training.saves.barrier_listener import BarrierSaverListener
from monolith_cli.training.saves.directory import (
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
from monolith_cli.training.saves.requests import (
    SESSION_LOST,
    SaveRequest,
    SaveRequests,
    SaveResult,
)
from monolith_cli.training.saves.tide_timer import TideTimer
from monolith_cli.training.tables.other_savers import OtherSavers

__all__ = ["NoFirstSaveCheckpointSaverHook", "SaveResult"]

v1 = tf.compat.v1

# What is tried once more, and can be ignored.
_FAILED = (tf.errors.OpError, OSError)

# The step that a hook with everything in it has saved last.
_full_saves: weakref.WeakKeyDictionary[tf.Graph, int] = weakref.WeakKeyDictionary()

# Saves of one graph come one after another, whoever makes them.
_save_locks: weakref.WeakKeyDictionary[tf.Graph, Any] = weakref.WeakKeyDictionary()

# The hooks with everything in them.
_full_hooks: weakref.WeakKeyDictionary[tf.Graph, weakref.WeakSet[Any]] = weakref.WeakKeyDictionary()


class NoFirstSaveCheckpointSaverHook(tf.compat.v1.train.CheckpointSaverHook):
    """TensorFlow's saver hook, for jobs with tables and inputs; without a save at the start.

    It runs in the chief. A save happens between two steps of the chief, under one lock for all
    hooks of a graph; the chief's next step waits for it. `trigger_save` from another thread hands
    in a request for the chief's thread. Where that is in no run, the other thread saves itself,
    and also beside a run that has not ended after 5 s: the chief's own input, if it has one, then
    counts as unfinished.

    A step that is committed is not written again: a second request for it gets the first one's
    result. Before a save, what lies there of later steps than the latest committed one is removed:
    it is of saves that failed, or of a future that the job has gone back from. The saver's
    `max_to_keep` and `keep_checkpoint_every_n_hours` hold for everything that belongs to a step,
    but `ckpt.info-*`.

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
        At most one. Without either the only saver of the graph's collection is taken. One with
        `skip_save`, as ranks other than the root have it, saves nothing: listeners are called, and
        the directory is left to the root. One with `setup_ps_initialized_state(session)` gets that
        call before the first run of each session, when everything has been restored.
    checkpoint_basename
        What the names of checkpoints begin with.
    listeners
        `CheckpointSaverListener` objects, in their order; `BarrierSaverListener` first. One that
        saves tables may have a method `saved_entries(step)`, which returns for the manifest how
        many entries each dump holds, by its name.
    save_graph_def
        Whether to write `graph.pbtxt` and `meta_graph_for_debugging.pb` when a session is made, a
        `.meta` for each step, and `monolith_checkpoint`.
    tide_start_hour, tide_start_minute, tide_end_hour, tide_end_minute, tide_save_secs
        Outside of start to end, UTC, every day, the time between two saves is `tide_save_secs`. An
        end before the start is of the next day. Without `tide_save_secs` the times do nothing.
    ignore_save_errors
        Whether a save that has failed twice is only logged, the last one too.
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
        that fails for that is logged and left out; `trigger_save` raises, and so does the last
        save, at the session's end.

    Raises
    ------
    ValueError
        Both or none of `save_secs` and `save_steps`, both of `saver` and `scaffold`, or
        `tide_save_secs` without all of the tide's times, or ones that are no times.
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
        # A process may go elsewhere later, and others of the job are elsewhere already.
        checkpoint_dir = absolute_path(checkpoint_dir)
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
        self._claim = ChiefClaim(checkpoint_dir)
        self._lock: Any = threading.RLock()  # a save; from `begin` on the graph's
        self._requests = SaveRequests()
        self._missed_step: int | None = None
        self._step_without_saver: int | None = None
        self._is_new_session = False
        self._chief: ChiefStep | None = None
        self._has_begun_run = False
        self._is_stop_due = False
        self._is_creating = False
        self._is_saving = False
        self._others: OtherSavers | None = None

    @property
    def timer(self) -> Any:
        """When to save: a `SecondOrStepTimer` with `enable()` and `disable()` for saves on time."""
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

        Where a chief has died on another host it takes half a minute to see that it is gone.

        Raises
        ------
        DirectoryInUseError
            Another chief lives that saves into this directory; or a command has been cut off that
            moves or removes steps, and has to be run again.
        WriteError
            The directory cannot be made.
        UsageError
            The directory is a URL or a pattern, or tables are saved under another name.
        """
        self._lock = _save_locks.setdefault(v1.get_default_graph(), self._lock)
        if is_being_made():
            self._requests.note_thread()
        make_local_directory(self._checkpoint_dir)
        check_save_path(self._save_path)
        check_basenames(self._listeners, self._save_path)
        if not self._is_without_saver:
            self._claim.look()
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
        DirectoryInUseError
            As `begin`; from then on also every step and save.
        MonolithError
            The directory cannot be written, or its state files do not parse.
        """
        with self._lock:  # of a save of the session before
            self._begin_session(session, coord)

    def _begin_session(self, session: Any, coord: Any) -> None:
        self._chief = ChiefStep(session, coord)
        self._requests.open(coord)
        self._missed_step = None
        self._is_new_session, self._step_without_saver = True, None
        self._has_begun_run = False
        graph = plain(session).graph
        if not self._is_without_saver:
            claim_directory(coord, self._checkpoint_dir)
            self._claim.hold(plain(session))
        for listener in self._barriers():
            listener.release(session)
        if not self._is_dense_only:  # the job may have gone back from what it saved
            _full_saves.pop(graph, None)
            _full_hooks.setdefault(graph, weakref.WeakSet()).add(self)
        if not self._is_without_saver:
            self._restart = self._find_restart(session)
            self._start_steps().restart(self._restart)
        self._is_creating = self._no_first_save
        try:
            super().after_create_session(session, coord)
        finally:
            self._is_creating = False
        if self._save_graph_def and not self._is_without_saver:
            write_table_type(self._checkpoint_dir, self._table_type)
            write_meta_graph(plain(session).graph, self._get_saver(), self._checkpoint_dir)
        if not self._is_dense_only:
            self._others = OtherSavers(plain(session).graph, self._checkpoint_dir)
            self._others.look()

    def before_run(self, run_context: Any) -> Any:
        """Ask for the global step; first of all let a saver mark what has been restored."""
        self._requests.note_thread()
        if self._chief is not None:
            self._chief.note_thread()
        with self._lock:  # another thread may save
            if self._is_new_session:
                self._claim.note_run()
                self._mark_restored(run_context.session)
                self._is_new_session = False
            # Nobody has served after the last run, if that has failed: its input is dry, say.
            if self._has_begun_run and self._serve(run_context.session):
                run_context.request_stop()
            self._has_begun_run = True
        return super().before_run(run_context)

    def after_run(self, run_context: Any, run_values: Any) -> None:
        """Save if it is time, and for those who wait in `trigger_save`."""
        if self._claim.is_lost:
            self._claim.check()
        with self._lock:
            self._has_begun_run = False
            super().after_run(run_context, run_values)
            if self._serve(run_context.session) or self._is_stop_due:
                run_context.request_stop()
        if self._others is not None:
            self._others.look()

    def end(self, session: Any) -> None:
        """Save the last step, unless it is saved; let nobody wait any longer.

        Raises
        ------
        UnfinishedWorkersError
            With `require_all`, as nobody tries again: some worker did not save its input.
        tensorflow.errors.OpError, OSError
            What went wrong, twice.
        """
        try:
            with self._lock:
                last_step = int(session.run(self._global_step_tensor))
                is_missed = last_step == self._missed_step
                if is_missed or last_step != self._timer.last_triggered_step():
                    self._save(session, last_step, is_last=True)
                self._serve(session)
            for listener in (*self._listeners, *self._guards):
                listener.end(session, last_step)
        finally:
            self._requests.end()
            self._claim.release()
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
        """Save now; from another thread than the chief's, when that is between two steps.

        Where the chief's thread does not come by, as it trains no more, or not yet, this thread
        saves in its place; after 5 s beside its run, if need be. Worker 0, the chief, is then among
        those that have not saved their input, if it has one: what it reads meanwhile is not known.

        Parameters
        ----------
        session
            The chief's.
        ignore_save_errors
            Log what goes wrong, whatever is listed below but the first, and return None.
        require_all
            As the hook's, which is the default.
        timeout_seconds
            How long to wait for the chief's step to end, and for the save; None: as long as the
            session lives. A save that has begun by then goes on.

        Returns
        -------
        SaveResult or None
            The committed step: this save's, or the same step's that was committed before. None
            where a dense-only hook leaves a step out, or the saver saves nothing.

        Raises
        ------
        DirectoryInUseError
            The directory is another chief's by now. Nothing was removed.
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
                return self._requests.ask(require_all, timeout_seconds, self._stand_in)
            result, _ = self._save_now(plain(session), require_all)
        except (*_FAILED, MonolithError) as error:
            if not ignore_save_errors or isinstance(error, DirectoryInUseError):
                raise
            logging.error("Not saved: %s", error)
            return None
        return result

    def _stand_in(self, request: SaveRequest, has_waited: bool) -> None:
        """Save in this thread, if the chief's is in no run, or its run has had its time."""
        chief = self._chief
        if chief is None or not self._lock.acquire(blocking=False):
            return
        try:
            # A run that begins from here on waits for the lock.
            is_inside, session = chief.is_inside, chief.session
            if not chief.is_live or (is_inside and not has_waited):
                return
            if not self._requests.take(request):
                return
            with contextlib.ExitStack() as stack:
                if is_inside:
                    logging.warning(
                        "The chief's step has not ended: saving beside it, without its own input."
                    )
                    stack.enter_context(beside_a_run())
                try:
                    result, should_stop = self._save_now(session, request.require_all)
                except Exception as error:
                    request.fail(error)
                    return
                except BaseException:
                    request.fail(RuntimeError("the save was broken off"))
                    raise
            self._is_stop_due = self._is_stop_due or should_stop
            request.succeed(result)
        finally:
            self._lock.release()

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

    def _save(self, session: Any, step: int, *, is_last: bool = False) -> bool:
        """A save on time, as the base class asks for it; returns whether to stop training."""
        if self._is_creating:
            return False
        self._missed_step = None
        try:
            with self._lock:
                _, should_stop = self._save_step(session, int(step), self._require_all)
        except (*_FAILED, UnfinishedWorkersError) as error:
            is_left_out = isinstance(error, UnfinishedWorkersError) and not is_last
            if not (self._ignore_save_errors or is_left_out):
                raise
            logging.error("Step %d is not saved: %s", step, error)
            self._missed_step = int(step)
            return False
        return should_stop

    def _save_step(
        self, session: Any, step: int, require_all: bool
    ) -> tuple[SaveResult | None, bool]:
        """Save under the lock; returns the result, and whether to stop training."""
        if self._is_without_saver:
            return None, self._save_without_saver(session, step)
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
            run_id = self._run_id(session)
            if self._is_dense_only and self._barriers():
                for hook in _full_hooks.get(graph, ()):
                    hook._mark_inputs_of(session, step, run_id)
            steps.begin(step, run_id)
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

    def _save_without_saver(self, session: Any, step: int) -> bool:
        """Run the listeners, of tables say; another process writes the rest, and commits."""
        if step == self._step_without_saver:
            return False
        graph = plain(session).graph
        should_stop = False
        with graph.as_default(), self._guarded(session, step) as wanting:
            for listener in self._listeners:
                listener.before_save(session, step)
            for listener in self._listeners:
                should_stop = bool(listener.after_save(session, step)) or should_stop
        self._step_without_saver = step
        return should_stop or bool(wanting)

    def _mark_inputs_of(self, session: Any, step: int, run_id: str) -> None:
        """Have the states that workers save for a dense-only step count as uncommitted here."""
        with self._lock:
            steps = self._start_steps(session)
            there = (ckpt_inputs_name(step), f"{self._basename}-{step}{INDEX_SUFFIX}")
            paths = [os.path.join(self._checkpoint_dir, name) for name in there]
            if not steps.is_committed(step) and not any(map(os.path.lexists, paths)):
                steps.begin(step, run_id)

    def _mark_restored(self, session: Any) -> None:
        """Call `setup_ps_initialized_state` of a saver that restores lost servers alone."""
        try:
            mark = getattr(self._get_saver(), "setup_ps_initialized_state", None)
        except RuntimeError:  # there is none, or several
            return
        if callable(mark):
            mark(plain(session))
            logging.info(
                "Parameter servers are marked as initialised. One that loses its memory alone is"
                " restored alone: the model then mixes the step of its checkpoint with the later"
                " one of the others."
            )

    @property
    def _is_without_saver(self) -> bool:
        """Whether the saver saves nothing, as that of a rank other than the root."""
        try:
            saver = self._get_saver()
        except RuntimeError:  # there is none, or several
            return False
        return bool(getattr(saver, "skip_save", getattr(saver, "_skip_save", False)))

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
            rest = self._rest_of_rollback(session, override, workers) if override else None
            note = override.as_note(rest) if override else None
            inputs = StepInputs(step, self._run_id(session), workers, note)
            write_step_inputs(self._checkpoint_dir, inputs)
            self._write_manifest(inputs)
            self._commit(session, step, rest)
        except BaseException:
            # The stock listeners know of no failed save; the barrier must.
            with contextlib.suppress(*SESSION_LOST):
                for listener in self._listeners:
                    if isinstance(listener, BarrierSaverListener):
                        listener.release(session)
            raise
        return workers

    def _write_manifest(self, inputs: StepInputs) -> None:
        entries: dict[str, int] = {}
        for listener in self._listeners:
            count = getattr(listener, "saved_entries", None)
            if callable(count):
                entries.update(count(inputs.step))
        manifest = make_manifest(
            self._checkpoint_dir,
            self._basename,
            inputs.step,
            inputs.run_id,
            workers={worker for worker, entry in inputs.workers.items() if entry.finished},
            entries=entries,
        )
        write_step_manifest(self._checkpoint_dir, manifest)

    def _commit(self, session: Any, step: int, rest: Override | None) -> None:
        steps = self._start_steps()
        try:
            steps.commit(step, rest)
        except WriteError as error:
            if not steps.is_committed(step):
                raise
            logging.error("Step %d is committed; older ones are not removed: %s", step, error)
        self._claim.note_commit()
        self._restart = RestartPoint(step, steps.prefix(step), rest)
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
        saved: dict[int, SavedInput] = {}
        finished: dict[int, bool] = {}
        for barrier in self._barriers():
            saved = saved or get_saved_inputs(session)
            finished.update(dict.fromkeys(barrier.unfinished_workers, False))
            finished.update(dict.fromkeys(barrier.finished_workers, True))
            if 0 in saved or not barrier.has_chief_finished(session):
                finished[0] = barrier.has_chief_finished(session)
        late = sorted(worker for worker, has in finished.items() if not has)
        if require_all and late:
            raise self._unfinished(late)
        return {
            worker: WorkerInput(has, saved[worker].fingerprint if worker in saved else None)
            for worker, has in finished.items()
        }

    def _rest_of_rollback(
        self, session: Any, override: Override, workers: dict[int, WorkerInput]
    ) -> Override | None:
        """What this save leaves of a rollback: who has not come with a state from after it.

        A worker that has finished without saying anything has no input to go back with; one that
        the barrier has no place for is of the job no more. Without a barrier nobody tells, and the
        first commit ends the rollback.
        """
        barriers = self._barriers()
        if not barriers:
            return None
        saved = get_saved_inputs(session)

        def is_back(worker: int) -> bool:
            entry, said = workers.get(worker), saved.get(worker)
            if not (entry.finished if entry else worker == 0):
                return False
            return said is None or said.rollback_ns == override.written_ns

        present = range(barriers[0].barrier_op.capacity)
        return override.rest([worker for worker in present if not is_back(worker)])

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
        if 0 in workers and is_beside_a_run():
            what += ": worker 0 is the chief, whose step has not ended"
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
                self._claim.hold(plain(session))
                self._restart = self._find_restart(session)
            saver = saver_def(self._get_saver(), self._checkpoint_dir)
            self._steps = CommittedSteps(
                self._checkpoint_dir,
                self._basename,
                max_to_keep=saver.max_to_keep,
                keep_every_n_hours=saver.keep_checkpoint_every_n_hours,
                check=self._claim.check,
            )
            self._steps.restart(self._restart)
        return self._steps


def _result(step: int, path: str, workers: Any) -> SaveResult:
    finished = tuple(sorted(worker for worker, entry in workers.items() if entry.finished))
    return SaveResult(step, path, finished, tuple(sorted(set(workers) - set(finished))))
