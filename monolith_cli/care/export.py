"""The tables of a step as files for analysts, in a directory that appears whole or not at all."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.care.new_directory import check_new_directory, new_directory
from monolith_cli.checkpoint.manifests import read_step_manifest
from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.errors import (
    MonolithError,
    PathNotFoundError,
)
from monolith_cli.execution.workers import Workers
from monolith_cli.storage.location import (
    as_location,
    normal,
    parent_of,
)
from monolith_cli.storage.store import local_path
from monolith_cli.tables.export.export import ExportedTable, ExportOptions, TablesExport
from monolith_cli.tables.export.files import TOOL
from monolith_cli.tables.found import find_tables
from monolith_cli.tables.gone import gone_error
from monolith_cli.tables.outcome import ReadOutcome, read_outcome
from monolith_cli.tables.stream import ReadOptions
from monolith_cli.tables.table import shared_dumps

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from monolith_cli.checkpoint.checkpoint import Checkpoint
    from monolith_cli.storage.location import AnyPath
    from monolith_cli.tables.table import Table

__all__ = ["Exported", "export_tables"]


class Exported(NamedTuple):
    """What was exported.

    Attributes
    ----------
    step
        None where the directory has none.
    path
        Of the new directory.
    tables
        What is in it.
    outcome
        What is odd; and what was wrong: with these tables, where that was to be skipped, and with
        others and with filters.
    notes, warnings
        Remarks on the checkpoint.
    """

    step: int | None
    path: str
    tables: Sequence[ExportedTable]
    outcome: ReadOutcome
    notes: Sequence[str]
    warnings: Sequence[str]


def export_tables(
    model_dir: AnyPath,
    target: AnyPath,
    step: int | None = None,
    *,
    patterns: Sequence[str] = (),
    options: ExportOptions | None = None,
    reading: ReadOptions | None = None,
    jobs: int | None = None,
    executor: Executor | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Exported:
    """Write the entries of tables as files for analysts into a new directory, a folder each.

    Everything is read once, for arrays of NumPy twice; entries that have other columns than the
    first ones cost two more passes over their table. The files do not depend on who does the work.

    Parameters
    ----------
    target
        The new directory, on this machine. It must not exist.
    step
        The latest by default.
    patterns
        Which tables, as of `find_tables`.
    options, reading
        How it is written and read. With `skip` what is damaged is left out, and told in `outcome`.
    jobs, executor
        As of `Workers`.
    progress
        Called with the bytes read so far, and those to read.

    Raises
    ------
    UsageError
        `options` make no sense, or the new directory would be in the model directory.
    AlreadyExistsError
        There is something at `target`.
    StepNotFoundError, TableNotFoundError
        There is no such step or table.
    PathNotFoundError, NotReadableError, ChangedWhileReadError
        There is no such directory, or files went away meanwhile, or changed. Nothing is made.
    CorruptionError
        A table is damaged, or not whole, and that is not to be skipped. Nothing is made.
    WriteError
        The store refused to write. Nothing is made.
    """
    location, to = as_location(model_dir), normal(local_path(as_location(target)))
    options, reading = options or ExportOptions(), reading or ReadOptions()
    options.make_format()
    checkpoint = open_model_dir(location).checkpoint(step)
    check_new_directory(to, location)
    found = find_tables(checkpoint, patterns, reading)
    if not reading.skip:
        for problem in [*found.problems, gone_error(checkpoint.ckpt_info_path, found)]:
            if problem is not None:
                raise problem
    try:
        with new_directory(to) as stage:
            with found.naming_copies(), Workers(jobs, executor) as workers:
                export = TablesExport(
                    found.tables, reading, options, _metadata(checkpoint), workers, progress
                )
                tables = export.write(stage)
            checkpoint.require()
            outcome = read_outcome(checkpoint, found, export.skipped)
    except PathNotFoundError:
        checkpoint.require()  # which says it better if the step was deleted meanwhile
        raise
    outcome.missing.extend(_of_no_table(found.tables))
    return Exported(checkpoint.step, to, tables, outcome, checkpoint.notes, checkpoint.warnings)


def _metadata(checkpoint: Checkpoint) -> dict[str, bytes]:
    """What every file says of where it comes from."""
    metadata = {"monolith.tool": TOOL.encode()}
    if checkpoint.step is None or checkpoint.prefix is None:
        return metadata
    metadata["monolith.step"] = str(checkpoint.step).encode()
    with suppress(MonolithError):  # what is wrong with a manifest is told with the tables
        manifest = read_step_manifest(parent_of(checkpoint.prefix), checkpoint.step)
        if manifest is not None:
            document = {"run_id": manifest.run_id, "index_crc32c": manifest.index_crc32c}
            metadata["monolith.manifest"] = json.dumps(document).encode()
    return metadata


def _of_no_table(tables: Sequence[Table]) -> list[str]:
    """A phrase for each dump with entries of which damage hides the table."""
    return [
        f"{dump.base}: entries are left out of which damage hides the table that they belong to"
        for dump in shared_dumps(tables)
        if any(extent.size for extent in dump.extents_of(None))
    ]
