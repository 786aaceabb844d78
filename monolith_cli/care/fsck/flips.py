"""Damage that one flipped bit explains: the finding says which one, and what it is a bit of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monolith_cli.errors import CorruptionError
from monolith_cli.formats.flips import name_flips
from monolith_cli.formats.tfrecord import DumpFile
from monolith_cli.kinds import RECORD_DAMAGE
from monolith_cli.tables.stream import ReadOptions, open_reader_of_all, skipped_by

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monolith_cli.care.findings import Finding
    from monolith_cli.formats.flips import Flip
    from monolith_cli.formats.tfrecord import Skipped

__all__ = ["flip_in_contents", "flips_in", "with_flip"]

_SUGGEST = "put the bit back: repair the step into another directory; or restore the file"
_RECORDS = 1 << 14


def flips_in(path: str, damage: Sequence[Skipped], message: str) -> Sequence[Flip | None]:
    """For each damage of a file the bit that explains it, if one does; all of it is given.

    Raises
    ------
    PathNotFoundError, NotReadableError, ChangedWhileReadError
        As `name_flips`.
    """
    return name_flips(DumpFile(path), damage, message) if damage else []


def flip_in_contents(error: Exception) -> Flip | None:
    """The bit that explains why a contents file cannot be read, if one does. Raises likewise."""
    if not isinstance(error, CorruptionError) or error.path is None:
        return None
    if error.kind not in RECORD_DAMAGE or error.offset is None:
        return None
    file = DumpFile(error.path)
    reader = open_reader_of_all(file, ReadOptions(skip=True))
    while not reader.done:
        reader.skip(_RECORDS)
    damage = skipped_by(reader, file)
    named = zip(damage, name_flips(file, damage, "contents"), strict=True)
    return next((flip for each, flip in named if each.position == error.offset), None)


def with_flip(finding: Finding, flip: Flip | None) -> Finding:
    """The finding of a damage, with the bit that explains it; None is none."""
    if flip is None:
        return finding
    message = f"{finding.message}; {flip.sentence}"
    return finding._replace(message=message, suggest=_SUGGEST)
