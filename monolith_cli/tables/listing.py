"""What a checkpoint is made of, as far as names, sizes and tables of contents tell.

No entries are read and no variables: what this says of them is not verified.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.checkpoint.dense import DenseVariable, FileSize, list_dense
from monolith_cli.checkpoint.names import META_SUFFIX, ckpt_info_name, ckpt_inputs_name
from monolith_cli.errors import MonolithError
from monolith_cli.tables.table import open_tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from monolith_cli.checkpoint.checkpoint import Checkpoint, TableFiles
    from monolith_cli.checkpoint.shard_set import ShardSet

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
        As a table of contents says; None for others, whose entries would have to be counted.
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
        Single ones, then multi ones, then filters, in natural order; none if some of their files
        are missing or damaged.
    table_bytes
        Of all their files, tables of contents included; None where they are left out.
    variables
        See `DenseListing`.
    dense_bytes
        Of all variables; None where some are left out.
    files
        Those of the checkpoint but the tables', beginning with the tensor bundles'.
    problems
        What is damaged or missing.
    """

    tables: list[TableListing]
    table_bytes: int | None
    variables: list[DenseVariable]
    dense_bytes: int | None
    files: list[FileSize]
    problems: list[MonolithError]


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
    tables: list[TableListing] = []
    table_bytes: int | None = None
    try:
        sets = checkpoint.table_files()
        tables = list(_tables(checkpoint, sets))
        table_bytes = sum(shards.stored_bytes for shards in _all_sets(sets))
    except MonolithError as error:
        problems.append(error)
    files = [*dense.files, *_other_files(checkpoint)]
    checkpoint.require()
    return CheckpointListing(
        tables, table_bytes, dense.variables, dense.size_bytes, files, problems
    )


def _tables(checkpoint: Checkpoint, files: TableFiles) -> Iterator[TableListing]:
    for table in open_tables(checkpoint):
        yield TableListing(
            table.name, table.kind, table.promised_entries, table.shards, table.stored_bytes
        )
    for name, sets in files.hash_filters.items():
        shards = sum(len(one.paths) for one in sets)
        yield TableListing(name, "filter", None, shards, sum(one.stored_bytes for one in sets))


def _all_sets(files: TableFiles) -> Iterator[ShardSet]:
    for sets in (*files.singles.values(), *files.hash_filters.values()):
        yield from sets
    for pairs in files.multis.values():
        for pair in pairs:
            yield from pair


def _other_files(checkpoint: Checkpoint) -> Iterator[FileSize]:
    """What else belongs to a step, if it is there."""
    if checkpoint.prefix is None or checkpoint.step is None:
        return
    directory, base = os.path.split(checkpoint.prefix)
    step = checkpoint.step
    for name in (f"{base}{META_SUFFIX}", ckpt_info_name(step), ckpt_inputs_name(step)):
        path = os.path.join(directory, name)
        with suppress(OSError):
            yield FileSize(path, os.stat(path).st_size)
