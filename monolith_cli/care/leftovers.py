"""What lies in a model directory, and belongs to no committed step."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.checkpoint.names import is_unfinished_dump, target_of_temporary
from monolith_cli.errors import MonolithError
from monolith_cli.storage.location import join, name_of
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from monolith_cli.care.states import Survey

__all__ = ["ROLLED_BACK", "Leftovers", "bytes_of", "count_leftovers"]

ROLLED_BACK = "rolled-back"
"""Where a rollback of the model moves newer steps to, a directory each time."""


class Leftovers(NamedTuple):
    """What lies in a model directory, and belongs to no committed step.

    Attributes
    ----------
    uncommitted
        The number of uncommitted steps.
    temporaries
        The number of files and directories that are being written, or whose writer died.
    rolled_back
        How often newer steps were moved away by a rollback, and are still there.
    bytes
        Of all that.
    """

    uncommitted: int
    temporaries: int
    rolled_back: int
    bytes: int


def count_leftovers(found: Survey) -> Leftovers:
    """What belongs to no committed step, that of `dense_only` too. Lists what it counts."""
    uncommitted = temporaries = size = 0
    counted: set[str] = set()
    for step in found.steps:
        is_uncommitted = step.state == "uncommitted"
        if is_uncommitted:
            uncommitted += 1
            counted.update(step.names)
        for name, size_bytes in step.table_files.items():
            if is_unfinished_dump(name_of(name)):
                temporaries += 1
                size += 0 if is_uncommitted else size_bytes or 0
    unfinished = {name for name, file in found.step_files.items() if file.is_temporary}
    unfinished |= {n for n in found.items if ".tmp" in n and target_of_temporary(n) is not None}
    temporaries += len(unfinished)
    counted |= unfinished
    size += sum(bytes_of(join(found.directory, name)) for name in counted)
    rolled_back = 0
    if ROLLED_BACK in found.items:
        directory = join(found.directory, ROLLED_BACK)
        rolled_back = len(_names(directory))
        size += bytes_of(directory)
    mine = Leftovers(uncommitted, temporaries, rolled_back, size)
    if found.dense_only is None:
        return mine
    return Leftovers(*map(sum, zip(mine, count_leftovers(found.dense_only), strict=True)))


def _names(directory: str) -> list[str]:
    try:
        return store_of(directory).names(directory)
    except MonolithError:
        return []


def bytes_of(path: str) -> int:
    """Of a file, or of all files in a directory; links are not followed."""
    store = store_of(path)
    try:
        status = store.status(path, follow=False)
    except MonolithError:
        return 0
    if status.kind != "directory":
        return status.size
    return sum(bytes_of(join(path, name)) for name in _names(path))
