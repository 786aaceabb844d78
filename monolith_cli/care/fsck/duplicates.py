"""Feature ids that a step's tables have more than once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monolith_cli.care.findings import finding
from monolith_cli.tables.duplicates import find_duplicates
from monolith_cli.tables.found import find_tables
from monolith_cli.tables.stream import ReadOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from monolith_cli.care.findings import Finding
    from monolith_cli.care.fsck.reading import Reading
    from monolith_cli.care.fsck.step import StepLook

__all__ = ["check_duplicates"]

_MEMORY_BYTES = 256 << 20
_SHOWN = 3


def check_duplicates(look: StepLook, reading: Reading) -> Iterator[Finding]:
    """A finding for each table with such feature ids, of what is whole and undamaged.

    Costs one more read of the tables. What does not fit into 256 MiB of memory, at 32 bytes an
    entry, waits in a file in the system's temporary directory.

    Raises
    ------
    MonolithError
        As `find_tables` and `find_duplicates`.
    """
    options = ReadOptions(skip=True)
    found = find_tables(look.checkpoint, (), options)
    if not found.tables:
        return
    taken = 0

    def take(done: int, _: int) -> None:
        nonlocal taken
        reading.took(done - taken)
        taken = done

    with found.naming_copies():
        tables = find_duplicates(
            found.tables,
            options,
            memory_bytes=_MEMORY_BYTES,
            jobs=reading.workers.jobs,
            progress=take,
        )
    for table in tables:
        if not table.fids:
            continue
        ids = "1 feature id comes" if table.fids == 1 else f"{table.fids:,} feature ids come"
        examples = ", ".join(map(str, table.examples[:_SHOWN]))
        yield finding(
            "duplicate_fids",
            f"{ids} more than once ({examples}{', …' if table.fids > _SHOWN else ''}):"
            f" of {table.entries:,} entries nobody knows which counts",
            step=look.step,
            table=table.table,
            suggest="see which with 'monolith table stats --duplicates'",
        )
