"""One save of one step: what is written, in which order, and what happens if that fails."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from absl import logging

from monolith_cli.checkpoint.inputs import StepInputs, WorkerInput, write_step_inputs
from monolith_cli.checkpoint.manifests import make_manifest, write_step_manifest
from monolith_cli.training.graph.shared import plain
from monolith_cli.training.saves.directory import check_written
from monolith_cli.training.saves.held_directory import HeldDirectory
from monolith_cli.training.saves.listeners import SaveListeners
from monolith_cli.training.saves.requests import SaveResult
from monolith_cli.training.saves.workers import (
    covered_inputs,
    rest_of_rollback,
    result_of,
    run_id_of,
    unfinished,
    unfinished_error,
)

__all__ = ["FAILED", "Save"]

v1 = tf.compat.v1

FAILED = (tf.errors.OpError, OSError)
"""Errors after which a save is tried once more, and which can be ignored."""


class Save:
    """Everything of one step up to the commit, which comes last, and the calls after it.

    Inside the guards come the listeners, the dense variables, `ckpt.inputs`, `ckpt.manifest` and
    the commit; then the listeners again.

    If something fails before the commit, all of it is tried once more, from the listeners on,
    inside the same guards. After each failure, barriers among the listeners are removed. Files that
    are left count as uncommitted, and the next save removes them. After the commit nothing is tried
    again.

    Parameters
    ----------
    session, step
        The chief's session, and the step that it is at.
    directory
        Where to save. It has begun the step.
    listeners
        They save what else belongs to the step.
    get_saver
        Finds the saver of the dense variables, in the session's graph.
    summary_writer
        Gets the step.
    writes_graph
        Whether to write a `.meta`, and `monolith_checkpoint`.
    require_all
        Whether to commit only if every worker's input is saved.
    note_commit
        Called right after the commit.
    """

    def __init__(
        self,
        session: Any,
        step: int,
        directory: HeldDirectory,
        listeners: SaveListeners,
        *,
        get_saver: Callable[[], Any],
        summary_writer: Any,
        writes_graph: bool,
        require_all: bool,
        note_commit: Callable[[], object],
    ) -> None:
        self._session = session
        self._step = step
        self._directory = directory
        self._listeners = listeners
        self._get_saver = get_saver
        self._summary_writer = summary_writer
        self._writes_graph = writes_graph
        self._require_all = require_all
        self._note_commit = note_commit

    def run(self) -> tuple[SaveResult, bool]:
        """Save; returns the result, and whether to stop training.

        Raises
        ------
        UnfinishedWorkersError
            With `require_all`: some worker has not saved its input. Nothing is committed.
        tensorflow.errors.OpError, OSError
            The error of the second try, or of a listener after the commit.
        """
        graph = plain(self._session).graph
        # Each thread has a default graph of its own.
        with graph.as_default(), self._listeners.guarded(self._session, self._step) as wanting:
            started = time.monotonic()
            try:
                workers = self._write()
            except FAILED as error:
                logging.warning(
                    "Saving step %d failed, trying once more: %s", self._step, error, exc_info=True
                )
                started = time.monotonic()
                workers = self._write()
            # From here on nothing is tried again: the step is committed.
            self._tell()
            logging.info("Calling checkpoint listeners after saving checkpoint %d...", self._step)
            should_stop = self._listeners.after_save(self._session, self._step)
            # In the original's words, because people search for them.
            seconds = time.monotonic() - started
            logging.info("saving checkpoint took %f seconds", seconds)
        result = result_of(self._step, self._directory.prefix(self._step), workers)
        return result, should_stop or bool(wanting)

    def _write(self) -> dict[int, WorkerInput]:
        """Everything up to the commit; returns the inputs that the save covers."""
        session, step = self._session, self._step
        logging.info("Calling checkpoint listeners before saving checkpoint %d...", step)
        try:
            self._listeners.before_save(session, step, self._workers)
            self._write_dense()
            for barrier in self._listeners.barriers:
                barrier.check(session)
            workers = self._workers()
            override = self._directory.override
            barriers = self._listeners.barriers
            rest = rest_of_rollback(session, barriers, override, workers) if override else None
            note = override.as_note(rest) if override else None
            inputs = StepInputs(step, run_id_of(session, barriers), workers, note)
            write_step_inputs(self._directory.path, inputs)
            self._write_manifest(inputs)
            self._directory.commit(step, rest)
            self._note_commit()
        except BaseException:
            self._listeners.after_failure(session)
            raise
        return workers

    def _write_dense(self) -> None:
        path = self._directory.save_path
        logging.info("Saving checkpoints for %d into %s.", self._step, path)
        # The saver's own state file, list and deletions would come before the commit.
        written = self._get_saver().save(
            self._session,
            path,
            global_step=self._step,
            write_meta_graph=self._writes_graph,
            write_state=False,
        )
        check_written(written, self._directory.prefix(self._step))

    def _write_manifest(self, inputs: StepInputs) -> None:
        manifest = make_manifest(
            self._directory.path,
            self._directory.basename,
            inputs.step,
            inputs.run_id,
            workers={worker for worker, entry in inputs.workers.items() if entry.finished},
            entries=self._listeners.saved_entries(inputs.step),
        )
        write_step_manifest(self._directory.path, manifest)

    def _workers(self) -> dict[int, WorkerInput]:
        """The inputs that the save covers by now."""
        workers = covered_inputs(self._session, self._listeners.barriers)
        late = unfinished(workers)
        if self._require_all and late:
            raise unfinished_error(late, self._directory.path)
        return workers

    def _tell(self) -> None:
        """Note the step in `monolith_checkpoint` and in the summaries."""
        try:
            if self._writes_graph:
                self._directory.note_save()
            path = self._directory.save_path
            log = v1.SessionLog(status=v1.SessionLog.CHECKPOINT, checkpoint_path=path)
            self._summary_writer.add_session_log(log, self._step)
        except FAILED as error:
            logging.error("Step %d is committed, but not told of: %s", self._step, error)
