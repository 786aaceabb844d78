"""What came of reading tables: damage, oddities, and the errors that a run ends with."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.tables.found import NO_TABLES
from monolith_cli.tables.gone import gone_error
from monolith_cli.tables.skipped import distinct, skipped_error

if TYPE_CHECKING:
    from collections.abc import Iterable

    from monolith_cli.checkpoint.checkpoint import Checkpoint
    from monolith_cli.errors import MonolithError
    from monolith_cli.formats.tfrecord import Skipped
    from monolith_cli.tables.found import FoundTables

__all__ = ["ReadOutcome", "read_outcome"]


class ReadOutcome(NamedTuple):
    """What to say of tables that were read.

    Attributes
    ----------
    skipped
        The damaged places that were left out, each once.
    missing
        What is not as it should be about which tables there are, a phrase each.
    odd
        The same about what is in them.
    copies
        Where damaged files have copies, a phrase each.
    errors
        What was wrong with these tables, and with others of the checkpoint.
    """

    skipped: list[Skipped]
    missing: list[str]
    odd: list[str]
    copies: list[str]
    errors: list[MonolithError]


def read_outcome(
    checkpoint: Checkpoint, found: FoundTables, skipped: Iterable[Skipped] = ()
) -> ReadOutcome:
    """Sum up after reading. Costs what `gone_error` does.

    Parameters
    ----------
    skipped
        Damage that was met in the entries; what the tables met besides is added.

    Raises
    ------
    PathNotFoundError, NotReadableError
        As `gone_error`.
    """
    tables = found.tables
    places = distinct([*skipped, *(damage for each in tables for damage in each.skipped())])
    errors = [
        skipped_error(places),
        *found.problems,
        *found.filter_problems,
        *found.others,
        gone_error(checkpoint.ckpt_info_path, found),
    ]
    return ReadOutcome(
        skipped=places,
        missing=[*([NO_TABLES] if found.is_empty else []), *found.warnings],
        odd=list(dict.fromkeys(warning for each in tables for warning in each.warnings())),
        copies=found.copies_of(places),
        errors=[error for error in errors if error is not None],
    )
