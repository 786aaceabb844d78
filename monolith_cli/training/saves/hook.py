"""The chief's saver hook; `save_utils` has the order of a save."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from absl import logging

from monolith_cli.errors import DirectoryInUseError, MonolithError, UnfinishedWorkersError
from monolith_cli.training.graph.lost import SESSION_LOST
from monolith_cli.training.graph.paths import absolute_path, check_save_path
from monolith_cli.training.graph.shared import plain
from monolith_cli.training.saves.directory import (
    check_basenames,
    claim_directory,
    make_local_directory,
)
from monolith_cli.training.saves.held_directory import HeldDirectory
from monolith_cli.training.saves.listeners import SaveListeners
from monolith_cli.training.saves.model_saver import ModelSaver
from monolith_cli.training.saves.on_demand import OnDemand
from monolith_cli.training.saves.requests import SaveResult
from monolith_cli.training.saves.save import FAILED
from monolith_cli.training.saves.step_saver import StepSaver
from monolith_cli.training.saves.tide_timer import TideTimer
from monolith_cli.training.tables.other_savers import OtherSavers

__all__ = ["NoFirstSaveCheckpointSaverHook"]

v1 = tf.compat.v1


class NoFirstSaveCheckpointSaverHook(tf.compat.v1.train.CheckpointSaverHook):
    """TensorFlow's saver hook, for jobs with tables and inputs; without a save at the start.

    It runs in the chief. A save happens between two steps of the chief, under one lock for all
    hooks of a graph; the chief's next step waits for it. `trigger_save` in another thread passes
    the request to the chief's thread. If that thread is in no run, the other thread saves itself.
    It also saves beside a run that has not ended after 5 s; then the chief's own input, if it has
    one, counts as unfinished.

    A step that is committed is not written again: a second request for it gets the first one's
    result. Before a save, files of steps later than the latest committed one are removed. They come
    from saves that failed, or from before the job went back. The saver's `max_to_keep` and
    `keep_checkpoint_every_n_hours` hold for all files of a step, except `ckpt.info-*`.

    If another saver commits a step into the directory, such as TensorFlow's own hook, that step has
    no tables. If the graph has tables, this is logged as an error.

    A save costs what its listeners cost, a pass over the dense variables, and a few small files. A
    step costs one fetch of the global step.

    Parameters
    ----------
    checkpoint_dir
        A local directory; made if it is not there. Its path has no `*`, `?`, `[` or backslash,
        because TensorFlow reads these as a pattern when it restores and deletes.
    save_secs, save_steps
        Exactly one of them: the seconds, or the steps, between two saves.
    saver, scaffold
        At most one. Without either, the only saver of the graph's collection is used. A saver with
        `skip_save`, as ranks other than the root have it, saves nothing: listeners are called, and
        the directory is left to the root. A saver with `setup_ps_initialized_state(session)` gets
        that call before the first run of each session, when everything has been restored.
    checkpoint_basename
        The beginning of the names of checkpoints.
    listeners
        `CheckpointSaverListener` objects, in their order; `BarrierSaverListener` first. One that
        saves tables may have a method `saved_entries(step)`, which returns a dictionary for the
        manifest: by the name of each dump, how many entries it has.
    save_graph_def
        Whether to write `graph.pbtxt` and `meta_graph_for_debugging.pb` when a session is made, a
        `.meta` for each step, and `monolith_checkpoint`.
    tide_start_hour, tide_start_minute, tide_end_hour, tide_end_minute, tide_save_secs
        Outside of start to end, UTC, every day, `tide_save_secs` is the time between two saves. An
        end before the start is on the next day. Without `tide_save_secs` the times do nothing.
    ignore_save_errors
        Whether a save that has failed twice is only logged, also the last one.
    is_dense_only
        The hook saves only dense variables, into a directory of its own. A step that another hook
        of the same graph has just saved in full is left out.
    use_native_multi_hash_table
        What `monolith_checkpoint` says about the tables.
    no_first_save
        False: save when a session is made, as TensorFlow does.
    guard_saver_listeners
        Their `before_save`, and `after_save` in reverse order, surround a save whatever happens in
        it, including its second try.
    require_all
        Whether a step is committed only if every worker's input was saved with it. A periodic save
        that fails for that reason is logged and skipped; `trigger_save` raises, and so does the
        last save, at the session's end.

    Raises
    ------
    ValueError
        Both or neither of `save_secs` and `save_steps`; both of `saver` and `scaffold`; or
        `tide_save_secs` without all of the tide's times, or with invalid times.
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
        # This process may change its directory later, and others of the job have other ones.
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
        self._timer = TideTimer(save_secs, save_steps, *tide)
        self._ignore_save_errors = ignore_save_errors
        self._is_dense_only = is_dense_only
        self._no_first_save = no_first_save
        self._is_creating = False
        self._is_new_session = False
        self._missed_step: int | None = None  # skipped, or failed, when it was due
        self._others: OtherSavers | None = None
        self._model_saver = ModelSaver(self._get_saver)
        self._all_listeners = SaveListeners(self._listeners, list(guard_saver_listeners or ()))
        self._directory = HeldDirectory(
            checkpoint_dir,
            checkpoint_basename,
            self._model_saver,
            "MULTI_CUCKOO_HASH_MAP" if use_native_multi_hash_table else "CUCKOO_HASH_MAP",
            is_dense_only=is_dense_only,
        )
        self._step_saver = StepSaver(
            self._directory,
            self._all_listeners,
            self._model_saver,
            writes_graph=save_graph_def,
            is_dense_only=is_dense_only,
            require_all=require_all,
        )
        self._on_demand = OnDemand(self._step_saver)

    @property
    def timer(self) -> Any:
        """When to save: a `SecondOrStepTimer` with `enable()`, `disable()` for periodic saves."""
        return self._timer

    @property
    def last_saved_step(self) -> int | None:
        """The latest committed step; None before the first."""
        return self._directory.latest

    @property
    def is_saving(self) -> bool:
        """Whether a save is going on now, in any thread."""
        return self._step_saver.is_saving

    # --- the hook ------------------------------------------------------------------------------

    def begin(self) -> None:
        """Find the global step, and let listeners build what they need.

        If a chief has died on another host, it takes half a minute to see that it is gone.

        Raises
        ------
        DirectoryInUseError
            Another chief that saves into this directory is alive; or a command that moves or
            removes steps was cut off, and must be run again.
        WriteError
            The directory cannot be made.
        UsageError
            The directory is a URL or a pattern, or tables are saved under another name.
        """
        self._on_demand.begin()
        make_local_directory(self._checkpoint_dir)
        check_save_path(self._save_path)
        check_basenames(self._listeners, self._save_path)
        if not self._model_saver.saves_nothing:
            self._directory.claim.look()
        super().begin()
        graph = v1.get_default_graph()
        self._step_saver.begin(graph, self._global_step_tensor, self._summary_writer)
        self._all_listeners.begin_guards()

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Take the directory as it is, and write what describes the graph.

        Raises
        ------
        UsageError
            The session was not restored from the latest checkpoint there, or from the one that
            `ckpt.override` asks for. Or another hook of the session saves into this directory.
        DirectoryInUseError
            As `begin`; from then on every step and every save may raise it too.
        MonolithError
            The directory cannot be written, or its state files do not parse.
        """
        with self._step_saver.lock:  # the previous session may still save
            self._begin_session(session, coord)

    def _begin_session(self, session: Any, coord: Any) -> None:
        self._on_demand.open(session, coord)
        self._missed_step = None
        self._is_new_session = True
        if not self._model_saver.saves_nothing:
            claim_directory(coord, self._checkpoint_dir)
            self._directory.hold(session)
        self._all_listeners.release(session)
        self._step_saver.begin_session()
        if not self._model_saver.saves_nothing:
            self._directory.restart(session, self._step_saver.step_of(session))
        self._is_creating = self._no_first_save
        try:
            super().after_create_session(session, coord)
        finally:
            self._is_creating = False
        if self._save_graph_def and not self._model_saver.saves_nothing:
            self._directory.describe(session)
        if not self._is_dense_only:
            self._others = OtherSavers(plain(session).graph, self._checkpoint_dir)
            self._others.look()

    def before_run(self, run_context: Any) -> Any:
        """Ask for the global step; before the first run, let a saver mark what was restored."""
        self._on_demand.note_thread()
        with self._step_saver.lock:  # another thread may save
            if self._is_new_session:
                self._directory.claim.note_run()
                self._model_saver.mark_restored(run_context.session)
                self._is_new_session = False
            if self._on_demand.begin_run(run_context.session):
                run_context.request_stop()
        return super().before_run(run_context)

    def after_run(self, run_context: Any, run_values: Any) -> None:
        """Save if it is time, or if somebody waits in `trigger_save`."""
        if self._directory.claim.is_lost:
            self._directory.claim.check()
        with self._step_saver.lock:
            self._on_demand.end_run()
            super().after_run(run_context, run_values)
            if self._on_demand.serve(run_context.session) or self._on_demand.is_stop_due:
                run_context.request_stop()
        if self._others is not None:
            self._others.look()

    def end(self, session: Any) -> None:
        """Save the last step, unless it is saved; let nobody wait any longer.

        Raises
        ------
        UnfinishedWorkersError
            With `require_all`, because nobody tries again: some worker did not save its input.
        tensorflow.errors.OpError, OSError
            The error of the second try.
        """
        try:
            with self._step_saver.lock:
                last_step = int(session.run(self._global_step_tensor))
                is_missed = last_step == self._missed_step
                if is_missed or last_step != self._timer.last_triggered_step():
                    self._save(session, last_step, is_last=True)
                self._on_demand.serve(session)
            self._all_listeners.end(session, last_step)
        finally:
            self._on_demand.end()
            self._directory.claim.release()
            with contextlib.suppress(*SESSION_LOST):
                self._all_listeners.release(session)

    # --- saves ----------------------------------------------------------------------------------

    def trigger_save(
        self,
        session: Any,
        ignore_save_errors: bool = False,
        *,
        require_all: bool | None = None,
        timeout_seconds: float | None = None,
    ) -> SaveResult | None:
        """Save now; in another thread than the chief's, as soon as that is between two steps.

        If the chief's thread does not come by, because it trains no more, or not yet, this thread
        saves in its place; after 5 s, if need be, beside its run. Worker 0, the chief, then counts
        among those that have not saved their input, if it has one, because it may be reading it.

        Parameters
        ----------
        session
            The chief's.
        ignore_save_errors
            Log all errors listed below except the first, and return None.
        require_all
            As for the hook, whose value is the default.
        timeout_seconds
            How long to wait for the chief's step to end, and for the save; None: as long as the
            session lives. A save that has begun by then goes on.

        Returns
        -------
        SaveResult or None
            The committed step: by this save, or by an earlier one of the same step. None if a
            dense-only hook leaves the step out, or the saver saves nothing.

        Raises
        ------
        DirectoryInUseError
            The directory belongs to another chief by now. Nothing was removed.
        UnfinishedWorkersError
            With `require_all`: some worker did not save its input. Nothing is committed, unless
            it was before.
        TimeoutError
            The time is over.
        tensorflow.errors.AbortedError
            The session ended before the save.
        tensorflow.errors.OpError, OSError
            The error of the second try.
        RuntimeError
            A listener asks for a save inside a save.
        """
        try:
            return self._on_demand.save(session, require_all, timeout_seconds)
        except (*FAILED, MonolithError) as error:
            if not ignore_save_errors or isinstance(error, DirectoryInUseError):
                raise
            logging.error("Not saved: %s", error)
            return None

    def _save(self, session: Any, step: int, *, is_last: bool = False) -> bool:
        """Make a periodic save, as the base class asks; returns whether to stop training."""
        if self._is_creating:
            return False
        self._missed_step = None
        try:
            _, should_stop = self._step_saver.save(session, int(step))
        except (*FAILED, UnfinishedWorkersError) as error:
            is_left_out = isinstance(error, UnfinishedWorkersError) and not is_last
            if not (self._ignore_save_errors or is_left_out):
                raise
            logging.error("Step %d is not saved: %s", step, error)
            self._missed_step = int(step)
            return False
        return should_stop
