"""The full depth of a check: every byte of a step's data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monolith_cli.care.fsck.counts import check_counts
from monolith_cli.care.fsck.dense import check_values
from monolith_cli.care.fsck.inputs import check_states
from monolith_cli.care.fsck.manifest import check_checksums
from monolith_cli.care.fsck.tables import check_copies, read_tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from monolith_cli.care.findings import Finding
    from monolith_cli.care.fsck.reading import Reading
    from monolith_cli.care.fsck.step import StepLook

__all__ = ["check_data"]


def check_data(look: StepLook, reading: Reading) -> Iterator[Finding]:
    """Tables, filters, dense values, iterator states, and checksums that the manifest has.

    Raises
    ------
    PathNotFoundError, ChangedWhileReadError
        A file went away, or is being written to.
    """
    read = read_tables(look, reading)
    yield from read.findings
    yield from check_counts(look, read)
    yield from check_copies(look, reading)
    yield from check_values(look, reading)
    yield from check_states(look, reading)
    yield from check_checksums(look, reading)
