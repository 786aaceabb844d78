"""Save and restore the graph's `HashTable`s with its checkpoints."""

from __future__ import annotations

import os
from typing import Any

import tensorflow as tf
from absl import logging

from monolith_cli.checkpoint.assets import list_assets
from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.checkpoint.names import ASSETS_SUFFIX, parse_shard_name
from monolith_cli.errors import UsageError, WriteError
from monolith_cli.storage.atomic import make_directory, sync, write_error
from monolith_cli.storage.staging import move_files, staging_directory, sweep, sync_files
from monolith_cli.training.graph.paths import check_save_path
from monolith_cli.training.graph.shared import plain
from monolith_cli.training.run.restarts import restart_of_graph
from monolith_cli.training.run.restorer_hook import CheckpointRestorerListener
from monolith_cli.training.tables.iteration import HASH_TABLES
from monolith_cli.training.tables.other_savers import no_table
from monolith_cli.training.tables.table import HashTable, dump_name

__all__ = ["HashTableCheckpointRestorerListener", "HashTableCheckpointSaverListener"]

_TEMPORARY = ".tmp"


class HashTableCheckpointSaverListener(tf.compat.v1.train.CheckpointSaverListener):
    """Saves every `HashTable` of the graph into `<basename>-<step>.assets/`.

    It takes the tables that exist when it is made; tables of other classes have their own savers.
    The processes with the tables write; all must see the same file system as this process.

    The files are written into a directory whose name starts with a dot, and moved to their place
    when all of them are whole and synced to disk. So a failed save leaves nothing, and existing
    files are never half overwritten.

    Costs, at each save, one pass over each table (all tables at the same time), one over the files,
    and a sync. Each table is locked while it is written. Put the listener behind the one that
    places the barrier, so that tables and dense variables fit together.

    Parameters
    ----------
    basename
        As a Saver gets it: `<model_dir>/model.ckpt`. A local path.

    Raises
    ------
    UsageError
        There is no HashTable in the graph, or the path is a URL or a pattern. It is a ValueError.
    """

    def __init__(self, basename: str | os.PathLike[str]) -> None:
        super().__init__()
        check_save_path(os.fspath(basename))
        # Absolute, because other processes may run in other directories.
        self._basename = os.path.abspath(os.fspath(basename))
        self._names = [dump_name(table.name) for table in _tables_of_the_graph()]
        self._directory = tf.compat.v1.placeholder(tf.string, [], name="hash_table_save_directory")
        self._save = {
            name: table.save(tf.strings.join([self._directory, f"/{name}"])).written_entries
            for name, table in zip(self._names, _tables_of_the_graph(), strict=True)
        }
        self._saved: tuple[int | None, dict[str, int]] = (None, {})

    @property
    def basename(self) -> str:
        """The absolute path that names of checkpoints begin with."""
        return self._basename

    def saved_entries(self, step: int) -> dict[str, int]:
        """By the name of a dump, its entries; empty if another step was saved last."""
        saved_step, entries = self._saved
        return entries if saved_step == step else {}

    def before_save(self, session: Any, global_step_value: int) -> None:
        """Save the tables.

        Raises
        ------
        WriteError
            A directory or a file cannot be made, moved or synced. It is an OSError.
        tf.errors.OpError
            A table cannot be written, for example because there is no space.
        """
        parent, base = os.path.split(self._basename)
        assets = f"{self._basename}-{int(global_step_value)}{ASSETS_SUFFIX}"
        logging.info("Saving %d hash tables into %s.", len(self._names), assets)
        sweep(parent, f".{base}-", ASSETS_SUFFIX + _TEMPORARY)
        temporary = os.path.join(parent, f".{os.path.basename(assets)}{_TEMPORARY}")
        with staging_directory(temporary):
            counts = session.run(self._save, {self._directory: temporary})
            make_directory(assets)
            self._move(temporary, assets)
        entries = {name: int(count) for name, count in counts.items()}
        self._saved = int(global_step_value), entries
        logging.info("Saved %d hash tables into %s.", len(self._names), assets)

    def _move(self, temporary: str, assets: str) -> None:
        listing = list_assets(temporary)
        listing.require_whole()
        written = listing.singles
        missing = [name for name in self._names if name not in written]
        if missing:
            raise WriteError(
                f"no dump of {', '.join(missing)} appeared",
                path=temporary,
                hint="all processes with tables must see the same files",
            )
        try:
            for name in os.listdir(assets):
                shard = parse_shard_name(name)
                if shard and shard.base in written:  # from an attempt that was given up
                    os.unlink(os.path.join(assets, name))
        except OSError as error:
            raise write_error(assets, error) from error
        names = [os.path.basename(path) for shards in written.values() for path in shards.paths]
        sync_files(temporary, names)
        move_files(temporary, assets, names)
        sync(assets)


class HashTableCheckpointRestorerListener(CheckpointRestorerListener):
    """Restores every `HashTable` of the graph from the latest checkpoint, before the first step.

    It takes the tables that exist when it is made. The latest checkpoint is the one that the file
    `checkpoint` names, or an override `ckpt.override`; a step that was not committed does not
    count. If there is no checkpoint, the tables are emptied, because dense variables start over
    too, and what an earlier process left on a parameter server must not be used. So only the chief
    has this listener. Its hook comes before any hook that saves as soon as a session is made, such
    as TensorFlow's own CheckpointSaverHook, which would save what is not restored yet.

    Costs, at each session that is made, one pass over the files, all tables at the same time. Each
    table is locked until it is restored.

    Parameters
    ----------
    basename
        As a Saver gets it: `<model_dir>/model.ckpt`. A local path.

    Raises
    ------
    UsageError
        There is no HashTable in the graph, or the path is a URL or a pattern. It is a ValueError.
    """

    def __init__(self, basename: str | os.PathLike[str]) -> None:
        super().__init__()
        check_save_path(os.fspath(basename))
        self._model_dir = os.path.dirname(os.path.abspath(os.fspath(basename)))
        tables = _tables_of_the_graph()
        self._dumps = {
            dump_name(table.name): tf.compat.v1.placeholder(tf.string, [], name="hash_table_dump")
            for table in tables
        }
        restored = [table.restore(self._dumps[dump_name(table.name)]) for table in tables]
        self._restore = tf.group(*[table.as_op() for table in restored])
        self._clear = tf.group(*[table.clear().as_op() for table in tables])

    def before_restore(self, session: Any) -> None:
        """Restore the tables.

        Raises
        ------
        TableNotFoundError
            The checkpoint has no dump of a table. The error says whether it has any (one by
            TensorFlow's own saver has none), and which step has.
        MonolithError
            The checkpoint is not there or not whole, or a state file does not parse.
        tf.errors.OpError
            A dump cannot be read, is damaged, or has entries of another size.
        """
        # Without that file, tables that lie there are from a save that was given up.
        restart = restart_of_graph(plain(session).graph, self._model_dir)
        if restart.step is None:
            logging.info("No checkpoint in %s: hash tables start empty.", self._model_dir)
            session.run(self._clear)
            return
        checkpoint = open_model_dir(self._model_dir).checkpoint(restart.step)
        listing = checkpoint.table_files()
        listing.require_whole()
        dumps = listing.singles
        feeds = {}
        for name, placeholder in self._dumps.items():
            if name not in dumps:
                raise no_table(self._model_dir, str(checkpoint.prefix), checkpoint.step, name)
            feeds[placeholder] = os.path.join(dumps[name].directory, name)
        session.run(self._restore, feeds)
        logging.info("Restored %d hash tables of step %s.", len(feeds), checkpoint.step)


def _tables_of_the_graph() -> list[HashTable]:
    tables = [t for t in tf.compat.v1.get_collection(HASH_TABLES) if isinstance(t, HashTable)]
    if not tables:
        raise UsageError(
            "no HashTable in the graph: the listener was made before the model",
            hint="make it once the model is built",
        )
    return tables
