"""The records that full checks leave: whether one still fits the files that it is about."""

from __future__ import annotations

from monolith_cli.checkpoint.names import INDEX_SUFFIX, ckpt_checked_name
from monolith_cli.errors import MonolithError
from monolith_cli.formats.check_record import CheckedFile, CheckRecord, pinned, read_check_record
from monolith_cli.storage.location import join
from monolith_cli.storage.store import store_of

__all__ = ["fitting_record", "pin_file"]


def fitting_record(directory: str, step: int | None) -> CheckRecord | None:
    """The check record of a step, if all of its files are still those that were read then.

    Reads it, and looks at every file that it names. A record that is damaged fits nothing.
    """
    if step is None:
        return None
    try:
        record = read_check_record(join(directory, ckpt_checked_name(step)))
        if not any(file.name.endswith(f"-{step}{INDEX_SUFFIX}") for file in record.files):
            return None  # of another step
        for file in record.files:
            if pin_file(directory, file.name) != file:
                return None
    except MonolithError:
        return None
    return record


def pin_file(directory: str, name: str) -> CheckedFile:
    """A file below a directory as it is now; raises as `Store.status`."""
    path = join(directory, name)
    return pinned(name, store_of(path).status(path))
