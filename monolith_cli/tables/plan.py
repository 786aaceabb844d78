"""What a count reads: which parts of which files, and whose entries are in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.tables.stream import SMALL_BYTES, Extent
from monolith_cli.tables.table import shared_dumps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monolith_cli.execution.workers import Workers
    from monolith_cli.formats.tfrecord import DumpFile, Skipped
    from monolith_cli.tables.multi_dump import MultiDump
    from monolith_cli.tables.table import Table

__all__ = ["BY_TABLE", "CONTENTS", "WHOLE", "Plan", "plan_reading"]

CONTENTS = "contents"
"""Files of multi tables are not read: what their contents files say is enough."""

WHOLE = "whole"
"""They are read whole, as one, which needs no search for where their tables lie."""

BY_TABLE = "by_table"
"""Each table in them is read by itself, which takes a pass over the files before."""


class Plan(NamedTuple):
    """What is read.

    Attributes
    ----------
    multis
        How multi tables are read: `CONTENTS`, `WHOLE` or `BY_TABLE`.
    dumps
        Those that hold the multi tables.
    extents
        What is read, each of one table; None stands for a whole file of many, or for entries whose
        table damage hides.
    skipped
        Damage that was met when the tables were looked for.
    extra
        Files with records behind those of their tables, and how many; these are not read.
    unmapped
        Files that are read whole, of which nobody knows how long they are before that: SNAPPY in a
        store where seeking is not cheap.
    """

    multis: str
    dumps: list[MultiDump]
    extents: list[Extent]
    skipped: list[Skipped]
    extra: list[tuple[DumpFile, int]]
    unmapped: list[DumpFile]

    def tells_apart(self, table: Table) -> bool:
        """Whether it will be known which entries are this table's."""
        return not table.dumps or self.multis == BY_TABLE


def plan_reading(
    tables: Sequence[Table], multis: str, workers: Workers, *, unattributed: bool
) -> Plan:
    """Plan to read tables: single ones first, whole, then files of multi ones.

    Parameters
    ----------
    multis
        `CONTENTS`, `WHOLE` or `BY_TABLE`.
    workers
        Make the pass that `BY_TABLE` takes.
    unattributed
        With `BY_TABLE`, read also the entries whose table damage hides.

    Raises
    ------
    CorruptionError
        Damage met on that pass, unless it is to be skipped.
    PathNotFoundError, NotReadableError, ChangedWhileReadError
        As `DumpFile.open`.
    """
    dumps = shared_dumps(tables)
    extents = [extent for table in tables if not table.dumps for extent in table.extents()]
    plan = Plan(multis, dumps, extents, [], [], [])
    if multis == WHOLE:
        if not workers.alone and sum(sum(dump.sizes) for dump in dumps) >= SMALL_BYTES:
            from monolith_cli.tables.extents import map_files

            map_files([file for dump in dumps for file in dump.files], workers)
        for file in (file for dump in dumps for file in dump.files):
            if file.is_mapped:
                extents.append(Extent(file, 0, file.stream_bytes, None))
            else:
                plan.unmapped.append(file)
    elif multis == BY_TABLE and dumps:
        _add_tables(plan, {table.name for table in tables if table.dumps}, unattributed, workers)
    return plan


def _add_tables(plan: Plan, names: set[str], unattributed: bool, workers: Workers) -> None:
    from monolith_cli.tables.extents import find_extents

    find_extents(plan.dumps, workers)
    for dump in plan.dumps:
        for file, shard in zip(dump.files, dump.all_extents(), strict=True):
            plan.skipped.extend(shard.skipped)
            if shard.extra:
                plan.extra.append((file, shard.extra))
            plan.extents.extend(
                extent
                for extent in shard.extents
                if (unattributed if extent.table is None else extent.table in names)
            )
