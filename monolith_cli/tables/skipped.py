"""Damage that was skipped: a list of it, and the error that a run ends with all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from monolith_cli.errors import CorruptionError
    from monolith_cli.formats.tfrecord import Skipped

__all__ = ["distinct", "skipped_error"]


def distinct(skipped: Iterable[Skipped]) -> list[Skipped]:
    """Each damaged place once, in order of appearance: a file may have been read twice."""
    return list({damage.place: damage for damage in skipped}.values())


def skipped_error(skipped: Sequence[Skipped]) -> CorruptionError | None:
    """The first damaged place as an error, which says how many others there are."""
    if not skipped:
        return None
    error = skipped[0].error()
    others = len(skipped) - 1
    error.hint = "skipped"
    if others:
        error.hint += f", like {others} more damaged place{'' if others == 1 else 's'}"
    return error
