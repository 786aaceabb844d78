"""What a check of a model directory can find: the ids of findings, and how severe each is.

An id is a kind (`kinds.py`), so that a program knows one vocabulary. Where an error of the library
has another kind, `finding_of` has the id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.kinds import RECORD_DAMAGE

if TYPE_CHECKING:
    from monolith_cli.errors import MonolithError

__all__ = [
    "ERROR",
    "NOTE",
    "SEVERITIES",
    "SEVERITY",
    "UNREAD",
    "WARNING",
    "Finding",
    "finding",
    "finding_of",
]

ERROR, WARNING, NOTE = "error", "warning", "note"
SEVERITIES = (ERROR, WARNING, NOTE)
"""Worst first: damage or loss; what a job can start from, and is not right; worth knowing."""

SEVERITY = {
    **dict.fromkeys(
        (
            "missing_shard",
            "shard_totals_differ",
            "empty_shard",
            "table_gone",
            *RECORD_DAMAGE,
            "not_records",
            "too_few_entries",
            "empty_contents",
            "short_contents",
            "copies_differ",
            "unloadable_leftover",
            "missing_bundle_file",
            "short_bundle_file",
            "bad_bundle_index",
            "bad_bundle_value",
            "bundle_mixed",
            "missing_slice",
            "bad_state_file",
            "step_gone",
            "bad_input_state",
            "manifest_differs",
        ),
        ERROR,
    ),
    **dict.fromkeys(
        (
            "counts_differ",
            "extra_entries",
            "input_missing",
            "input_behind",
            "exempt_unlisted",
            "two_writers",
            "override_stale",
            "dims_differ",
            "unstable_read",
            "not_readable",
            "v1_format",
        ),
        WARNING,
    ),
    **dict.fromkeys(
        (
            "leftover",
            "running_save",
            "unlisted_step",
            "foreign_file",
            "manifest_stale",
            "no_manifest",
            "shard_uneven",
            "duplicate_fids",
            "table_came",
            "table_went",
        ),
        NOTE,
    ),
}
"""Every id that fsck gives, worst first, with its severity."""

UNREAD = ("v1_format", "not_readable")
"""The ids of what could not be looked at, so that nobody knows whether it is right."""

_IDS = {"shard_mismatch": "shard_totals_differ", "too_few_records": "too_few_entries"}
"""The ids of errors whose kind is called otherwise."""


class Finding(NamedTuple):
    """One thing that a check has found.

    Attributes
    ----------
    id
        One of `SEVERITY`.
    severity
        `error`, `warning` or `note`; usually the id's own.
    message
        One sentence without the file's name, which starts in lower case.
    step
        The step that it is about; None for what is of no step, or of all.
    table, variable, worker
        What it is about, where that is known.
    file
        The file to look at; where it is missing, that which should be there.
    offset
        A byte in it, as it is stored.
    suggest
        What to do about it, as an imperative phrase.
    """

    id: str
    severity: str
    message: str
    step: int | None = None
    table: str | None = None
    variable: str | None = None
    worker: int | None = None
    file: str | None = None
    offset: int | None = None
    suggest: str | None = None


def finding(
    id: str,
    message: str,
    *,
    severity: str | None = None,
    step: int | None = None,
    table: str | None = None,
    variable: str | None = None,
    worker: int | None = None,
    file: str | None = None,
    offset: int | None = None,
    suggest: str | None = None,
) -> Finding:
    """A finding; its severity is the id's own unless another one is given."""
    return Finding(
        id,
        severity or SEVERITY[id],
        message,
        step,
        table,
        variable,
        worker,
        file,
        offset,
        suggest,
    )


def finding_of(
    error: MonolithError,
    id: str | None = None,
    *,
    step: int | None = None,
    table: str | None = None,
    variable: str | None = None,
    worker: int | None = None,
) -> Finding:
    """What an error of the library is as a finding; by default its kind is the id."""
    return finding(
        id or _IDS.get(error.kind, error.kind),
        error.what,
        step=step,
        table=table,
        variable=variable,
        worker=worker,
        file=error.path,
        offset=error.offset,
        suggest=error.hint,
    )
