"""Whether tables are gone that a checkpoint's `ckpt.info-<step>` counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monolith_cli.errors import MonolithError
from monolith_cli.storage.store import store_of

if TYPE_CHECKING:
    from monolith_cli.tables.found import FoundTables

__all__ = ["gone_error"]


def gone_error(path: str | None, found: FoundTables | None) -> MonolithError | None:
    """The error of a checkpoint whose ckpt.info, at `path`, counts tables that are gone.

    Known without counting: the file names a table of which there is no dump, or it counts entries,
    and all dumps are empty. None where dumps are not whole, which is an error already.

    Costs the reading of a small file, and looks at the sizes of others.

    Raises
    ------
    PathNotFoundError, NotReadableError
        A dump went away meanwhile, or cannot be looked at.
    """
    if path is None or found is None or found.problems or found.others:
        return None
    if not store_of(path).exists(path):
        return None  # before anything is imported for it
    from monolith_cli.formats.ckpt_info import CkptInfo, read_ckpt_info
    from monolith_cli.tables.comparison import compare

    try:
        file = read_ckpt_info(path)
    except MonolithError:
        return None  # whoever checks or writes it will say so
    comparison = compare(path, file, CkptInfo({}, dict.fromkeys(found.shared_names, 0)))
    if comparison.verdict != "gone" or not (comparison.lost or found.holds_nothing()):
        return None
    return comparison.error()
