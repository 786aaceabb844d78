"""Steps that are committed without tables, by savers that do not know of them.

TensorFlow's own hook is one; MonitoredTrainingSession adds it without being asked.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any

from absl import logging

from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.checkpoint.names import ASSETS_SUFFIX, CHECKPOINT, INDEX_SUFFIX, step_of
from monolith_cli.errors import MonolithError, TableNotFoundError
from monolith_cli.formats.checkpoint_state import read_checkpoint_state
from monolith_cli.training.tables.iteration import HASH_TABLES, MULTI_HASH_TABLES

__all__ = ["OtherSavers", "no_table"]

_LOOK_SECONDS = 1.0

_TURN_OFF = (
    "TensorFlow's own saver knows of no tables: turn it off (save_checkpoint_secs=None and"
    " save_checkpoint_steps=None for MonitoredTrainingSession)"
)


class OtherSavers:
    """Watches the commits in a directory, and logs an error if a step has no tables.

    Costs a look at one file, once a second.

    Parameters
    ----------
    graph
        If it has no table, nothing is watched.
    model_dir
        The directory, where steps without tables would be mistaken for whole ones.
    """

    def __init__(self, graph: Any, model_dir: str) -> None:
        self._path = os.path.join(model_dir, CHECKPOINT)
        self._has_tables = any(map(graph.get_collection, (HASH_TABLES, MULTI_HASH_TABLES)))
        self._looked_at = -_LOOK_SECONDS
        self._seen: tuple[int, int] | None = None

    def look(self) -> None:
        """Log the latest committed step, if it is new and has no tables."""
        now = time.monotonic()
        if not self._has_tables or now - self._looked_at < _LOOK_SECONDS:
            return
        self._looked_at = now
        with contextlib.suppress(OSError, MonolithError):
            status = os.stat(self._path)
            if self._seen == (status.st_ino, status.st_mtime_ns):
                return
            self._seen = status.st_ino, status.st_mtime_ns
            self._tell(read_checkpoint_state(self._path).model_checkpoint_path)

    def _tell(self, latest: str) -> None:
        prefix = os.path.join(os.path.dirname(self._path), os.path.basename(latest))
        if os.path.isdir(prefix + ASSETS_SUFFIX) or not os.path.exists(prefix + INDEX_SUFFIX):
            return
        logging.error(
            "Step %s has been committed without tables: a restart from it will fail. %s.",
            step_of(os.path.basename(prefix)),
            _TURN_OFF,
        )


def no_table(model_dir: str, prefix: str, step: int | None, name: str) -> TableNotFoundError:
    """The error for a committed step that lacks a table, with what to do about it."""
    path = prefix + ASSETS_SUFFIX
    if os.path.isdir(path):
        return TableNotFoundError(
            f"no dump of hash table {name!r}",
            path=path,
            hint="the step was saved before the model had that table, or under another name",
        )
    whole = _latest_with_tables(model_dir)
    way = (
        f"remove what there is of step {step}"
        if whole is None
        else f"step {whole} has tables: go back to it"
    )
    return TableNotFoundError(
        f"no dump of hash table {name!r}: step {step} was committed without tables",
        path=path,
        hint=f"{_TURN_OFF}, and {way}",
    )


def _latest_with_tables(model_dir: str) -> int | None:
    with contextlib.suppress(MonolithError):
        checkpoints = open_model_dir(model_dir)
        for step in reversed(checkpoints.steps()):
            if os.path.isdir(f"{checkpoints.checkpoint(step).prefix}{ASSETS_SUFFIX}"):
                return step
    return None
