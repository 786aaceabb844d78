"""Which steps a hook saves: one at a time, and none twice."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from absl import logging

from monolith_cli.training.graph.shared import plain
from monolith_cli.training.saves.graph_saves import GraphSaves
from monolith_cli.training.saves.held_directory import HeldDirectory
from monolith_cli.training.saves.listeners import SaveListeners
from monolith_cli.training.saves.model_saver import ModelSaver
from monolith_cli.training.saves.requests import SaveResult
from monolith_cli.training.saves.save import Save
from monolith_cli.training.saves.workers import run_id_of, unfinished_error

__all__ = ["StepSaver"]


class StepSaver:
    """Saves the steps of one hook, under the lock of its graph, in any thread.

    A step that is committed is not saved again. A dense-only hook leaves out a step that has just
    been saved in full.

    Parameters
    ----------
    directory, listeners, saver
        Where to save, and what does it.
    writes_graph
        As for `Save`.
    is_dense_only
        Whether another hook of the graph saves everything, into another directory.
    require_all
        Whether to commit only if every worker's input is saved, unless a call says otherwise.
    """

    def __init__(
        self,
        directory: HeldDirectory,
        listeners: SaveListeners,
        saver: ModelSaver,
        *,
        writes_graph: bool,
        is_dense_only: bool,
        require_all: bool,
    ) -> None:
        self._directory = directory
        self._listeners = listeners
        self._saver = saver
        self._writes_graph = writes_graph
        self._is_dense_only = is_dense_only
        self._require_all = require_all
        self._shared = GraphSaves()  # until `begin`
        self._global_step: Any = None
        self._summary_writer: Any = None
        self._step_without_saver: int | None = None
        self._is_saving = False

    @property
    def lock(self) -> Any:
        """The graph's lock; reentrant."""
        return self._shared.lock

    @property
    def is_saving(self) -> bool:
        """Whether a save is going on now, in any thread."""
        return self._is_saving

    def begin(self, graph: tf.Graph, global_step: Any, summary_writer: Any) -> None:
        """Set the graph, with the tensor of its global step."""
        self._shared = GraphSaves.of(graph, self.lock)
        self._global_step, self._summary_writer = global_step, summary_writer

    def begin_session(self) -> None:
        """The job may have gone back to before what was saved."""
        self._step_without_saver = None
        if not self._is_dense_only:
            self._shared.full_step = None
            self._shared.full_savers.add(self)

    def step_of(self, session: Any) -> int:
        """The step that a session is at.

        Raises
        ------
        RuntimeError
            Before `begin`.
        """
        if self._global_step is None:
            raise RuntimeError("the hook has not begun: it belongs into a monitored session")
        return int(session.run(self._global_step))

    def save_now(self, session: Any, require_all: bool | None) -> tuple[SaveResult | None, bool]:
        """Save the step that the session is at; returns as `save`.

        Raises
        ------
        UnfinishedWorkersError
            With `require_all`: some worker did not save its input. Nothing is committed, unless it
            was before.
        """
        require_all = self._require_all if require_all is None else require_all
        with self.lock:
            result, should_stop = self._save(session, self.step_of(session), require_all)
        if result and result.unfinished_workers and require_all:  # committed before
            raise unfinished_error(result.unfinished_workers, self._directory.path)
        return result, should_stop

    def save(self, session: Any, step: int) -> tuple[SaveResult | None, bool]:
        """Save a step that the session is at.

        Returns
        -------
        result
            None if the step is left out, or the saver saves nothing.
        should_stop
            Whether a listener wants training to stop.

        Raises
        ------
        RuntimeError
            A listener asks for a save inside a save.
        Exception
            As `Save.run`.
        """
        with self.lock:
            return self._save(session, step, self._require_all)

    def _save(self, session: Any, step: int, require_all: bool) -> tuple[SaveResult | None, bool]:
        if self._saver.saves_nothing:
            return None, self._save_without_saver(session, step)
        self._restart_late(session)
        directory = self._directory
        if directory.is_committed(step):
            logging.info("Step %d is committed already.", step)
            return directory.committed(step), False
        if self._is_dense_only and self._shared.full_step == step:
            logging.info("Step %d has just been saved in full.", step)
            return None, False
        if self._is_saving:
            raise RuntimeError("a save is going on: its listeners cannot ask for another")
        self._is_saving = True
        try:
            directory.clear()
            run_id = run_id_of(session, self._listeners.barriers)
            if self._is_dense_only and self._listeners.barriers:
                for other in self._shared.full_savers:
                    other.mark_inputs_of(session, step, run_id)
            directory.begin(step, run_id)
            return Save(
                session,
                step,
                directory,
                self._listeners,
                get_saver=self._saver.get,
                summary_writer=self._summary_writer,
                writes_graph=self._writes_graph,
                require_all=require_all,
                note_commit=lambda: self._note_commit(step),
            ).run()
        finally:
            self._is_saving = False

    def _save_without_saver(self, session: Any, step: int) -> bool:
        """Run the listeners, of tables for example; another process writes the rest and commits."""
        if step == self._step_without_saver:
            return False
        with plain(session).graph.as_default():
            should_stop = self._listeners.run_alone(session, step)
        self._step_without_saver = step
        return should_stop

    def mark_inputs_of(self, session: Any, step: int, run_id: str) -> None:
        """Make states that workers save for a dense-only step count as uncommitted here."""
        with self.lock:
            self._restart_late(session)
            self._directory.begin_inputs(step, run_id)

    def _restart_late(self, session: Any) -> None:
        """Take the directory as it is, if that was not done when the session was made."""
        if not self._directory.is_restarted:
            self._directory.hold(session)
            self._directory.restart(session, self.step_of(session))

    def _note_commit(self, step: int) -> None:
        if not self._is_dense_only:
            self._shared.full_step = step
