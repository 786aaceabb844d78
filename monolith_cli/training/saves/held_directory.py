"""A directory and its steps, as seen by the one hook that saves there."""

from __future__ import annotations

import os
from typing import Any

from absl import logging

from monolith_cli.checkpoint.commits import CommittedSteps
from monolith_cli.checkpoint.inputs import read_step_inputs
from monolith_cli.checkpoint.names import INDEX_SUFFIX, ckpt_inputs_name
from monolith_cli.checkpoint.override import Override
from monolith_cli.checkpoint.restart import RestartPoint
from monolith_cli.errors import WriteError
from monolith_cli.storage.local import LOCAL
from monolith_cli.training.graph.shared import plain
from monolith_cli.training.run.chief_claim import ChiefClaim
from monolith_cli.training.saves.directory import (
    find_restart,
    make_local_directory,
    note_save,
    saver_def,
    write_meta_graph,
    write_table_type,
)
from monolith_cli.training.saves.model_saver import ModelSaver
from monolith_cli.training.saves.requests import SaveResult
from monolith_cli.training.saves.workers import result_of

__all__ = ["HeldDirectory"]


class HeldDirectory:
    """Held by a claim for several sessions; each goes on from a step that is there.

    Parameters
    ----------
    path
        An absolute path.
    basename
        What the names of checkpoints begin with.
    saver
        Its `max_to_keep` and `keep_checkpoint_every_n_hours` hold for all files of a step.
    table_type
        What `monolith_checkpoint` says about the tables.
    is_dense_only
        Whether the steps stand beside those of the job, which may go back independently of them.

    Attributes
    ----------
    claim
        How the directory is held.
    """

    def __init__(
        self, path: str, basename: str, saver: ModelSaver, table_type: str, *, is_dense_only: bool
    ) -> None:
        self.path = path
        self.basename = basename
        self.claim = ChiefClaim(path)
        self._saver = saver
        self._table_type = table_type
        self._is_dense_only = is_dense_only
        self._steps: CommittedSteps | None = None
        self._restart = RestartPoint()

    # --- sessions -----------------------------------------------------------------------------

    def hold(self, session: Any) -> None:
        """Take the directory for as long as a session is open; raises as `ChiefClaim.hold`."""
        self.claim.hold(plain(session))

    @property
    def is_restarted(self) -> bool:
        """Whether `restart` has been called."""
        return self._steps is not None

    def restart(self, session: Any, step: int) -> None:
        """Take the directory as it is, for a session that is at this step.

        Raises
        ------
        UsageError
            The session does not go on from a checkpoint there; or its saver cannot save here.
        MonolithError
            The files in the directory do not say what is there.
        """
        self._restart = find_restart(session, step, self.path, is_dense_only=self._is_dense_only)
        if self._steps is None:
            saver = saver_def(self._saver.get(), self.path)
            self._steps = CommittedSteps(
                self.path,
                self.basename,
                max_to_keep=saver.max_to_keep,
                keep_every_n_hours=saver.keep_checkpoint_every_n_hours,
                check=self.claim.check,
                store=LOCAL,
            )
        self._steps.restart(self._restart)

    def describe(self, session: Any) -> None:
        """Write what describes the graph and its tables."""
        write_table_type(self.path, self._table_type)
        write_meta_graph(plain(session).graph, self._saver.get(), self.path)

    # --- steps --------------------------------------------------------------------------------

    @property
    def save_path(self) -> str:
        """What the paths of checkpoints begin with."""
        return os.path.join(self.path, self.basename)

    def prefix(self, step: int) -> str:
        """Of a step's files."""
        return self._started.prefix(step)

    @property
    def latest(self) -> int | None:
        """The latest committed step; None before the first."""
        return self._steps.latest if self._steps else None

    @property
    def override(self) -> Override | None:
        """What is left of the rollback that the session began with, if anything."""
        return self._restart.override

    def is_committed(self, step: int) -> bool:
        """Whether a step is committed."""
        return self._started.is_committed(step)

    def committed(self, step: int) -> SaveResult:
        """What is known about a committed step; reads its `ckpt.inputs`."""
        inputs = read_step_inputs(self.path, step)
        workers = inputs.workers if inputs else {}
        restored = self._restart.prefix if self._restart.step == step else None
        return result_of(step, restored or self.prefix(step), workers)

    def clear(self) -> None:
        """Remove what no commit covers, before anything is written."""
        make_local_directory(self.path)
        cleared = self._started.clear_uncommitted()
        if cleared:
            logging.warning("Removed what no commit covers: %s.", ", ".join(cleared))

    def begin(self, step: int, run_id: str) -> None:
        """Make sure that the files of a step count as uncommitted from now on."""
        self._started.begin(step, run_id)

    def begin_inputs(self, step: int, run_id: str) -> None:
        """The same for iterator states that workers save for a step of another directory."""
        there = (ckpt_inputs_name(step), f"{self.basename}-{step}{INDEX_SUFFIX}")
        paths = [os.path.join(self.path, name) for name in there]
        if not self.is_committed(step) and not any(map(os.path.lexists, paths)):
            self.begin(step, run_id)

    def commit(self, step: int, rest: Override | None) -> None:
        """Commit a step that is written, with what it leaves of a rollback.

        Raises
        ------
        WriteError
            It is not committed. If only older steps could not be removed, that is logged.
        """
        steps = self._started
        try:
            steps.commit(step, rest)
        except WriteError as error:
            if not steps.is_committed(step):
                raise
            logging.error("Step %d is committed; older ones are not removed: %s", step, error)
        self.claim.note_commit()
        self._restart = RestartPoint(step, steps.prefix(step), rest)

    def note_save(self) -> None:
        """Note in `monolith_checkpoint` that a step was saved now."""
        note_save(self.path, self._table_type)

    @property
    def _started(self) -> CommittedSteps:
        assert self._steps is not None, "`restart` comes first"
        return self._steps
