"""What a checkpoint is made of, as far as names, sizes and contents files tell.

No entries are read and no variables: what this says of them is not verified.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.checkpoint.dense import DenseVariable, FileSize, list_dense
from monolith_cli.checkpoint.step_files import list_step_files
from monolith_cli.errors import MonolithError
from monolith_cli.tables.found import FoundTables, find_tables
from monolith_cli.tables.gone import gone_error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from monolith_cli.checkpoint.checkpoint import Checkpoint

__all__ = ["CheckpointListing", "TableListing", "list_checkpoint"]


class TableListing(NamedTuple):
    """A hash table, or an occurrence filter.

    Attributes
    ----------
    name
        As in `Table`; of a filter its base name.
    kind
        `single`, `multi` or `filter`.
    entries
        As a contents file says; None for others, whose entries would have to be counted.
    shards
        The number of its files.
    bytes
        On disk; None for a multi table, which shares its files.
    """

    name: str
    kind: str
    entries: int | None
    shards: int
    bytes: int | None


class CheckpointListing(NamedTuple):
    """What a checkpoint is made of.

    Attributes
    ----------
    tables
        Single ones, then multi ones, then filters, in natural order; without those that are not
        whole.
    table_bytes
        Of all their files, contents files included; None where some are left out.
    variables
        See `DenseListing`.
    dense_bytes
        Of all variables; None where some are left out.
    files
        Those of the checkpoint but the tables', beginning with the tensor bundles'.
    problems
        What is damaged or missing.
    warnings
        What is odd and no error: a phrase each.
    """

    tables: list[TableListing]
    table_bytes: int | None
    variables: list[DenseVariable]
    dense_bytes: int | None
    files: list[FileSize]
    problems: list[MonolithError]
    warnings: list[str]


def list_checkpoint(checkpoint: Checkpoint) -> CheckpointListing:
    """List what a checkpoint is made of; damage of a part does not hide the others.

    Raises
    ------
    PathNotFoundError
        The checkpoint was deleted meanwhile.
    NotReadableError
        The operating system refused to look whether it was.
    """
    dense = list_dense(checkpoint)
    problems = list(dense.problems)
    known = {problem.path for problem in problems}
    problems += [
        lost.error
        for lost in checkpoint.lost_files()
        if "/" not in lost.name and lost.error.path not in known  # tables have their own
    ]
    known.update(problem.path for problem in problems)
    tables: list[TableListing] = []
    table_bytes: int | None = None
    warnings: list[str] = []
    try:
        found = find_tables(checkpoint)
        lost = [*found.problems, *found.filter_problems]
        problems += [each for each in lost if each.path not in known]
        gone = gone_error(checkpoint.ckpt_info_path, found)
        problems += [gone] if gone and not lost else []
        warnings = found.warnings
        tables = list(_tables(found))
        if all(each in found.files.beside for each in lost):
            table_bytes = sum(shards.stored_bytes for shards in found.files.sets())
    except MonolithError as error:
        problems.append(error)
    beside = list_step_files(checkpoint)
    files = [*dense.files, *beside.files]
    checkpoint.notes += [
        f"worker {worker}'s newest item pool is of step {step}: a job that goes on from step"
        f" {checkpoint.step} loads none for it"
        for worker, step in beside.newer_pools.items()
    ]
    checkpoint.require()
    return CheckpointListing(
        tables, table_bytes, dense.variables, dense.size_bytes, files, problems, warnings
    )


def _tables(found: FoundTables) -> Iterator[TableListing]:
    for table in found.tables:
        yield TableListing(
            table.name, table.kind, table.promised_entries, table.shards, table.stored_bytes
        )
    for name, shards in found.files.hash_filters.items():
        yield TableListing(name, "filter", None, len(shards.paths), shards.stored_bytes)
