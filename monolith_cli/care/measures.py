"""What is measured of a model directory again and again: for monitoring."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.care.check_records import fitting_record
from monolith_cli.care.findings import SEVERITIES
from monolith_cli.care.fsck.check import CheckOptions, check
from monolith_cli.care.listing import list_steps
from monolith_cli.care.states import Survey
from monolith_cli.care.survey import survey
from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.errors import MonolithError
from monolith_cli.formats.ckpt_info import read_ckpt_info

if TYPE_CHECKING:
    from collections.abc import Mapping

    from monolith_cli.care.listing import StepListing
    from monolith_cli.care.states import StepSurvey
    from monolith_cli.checkpoint.model_dir import ModelDir
    from monolith_cli.storage.location import AnyPath

__all__ = ["Measures", "measure"]


class Measures(NamedTuple):
    """What there is in a model directory.

    Attributes
    ----------
    survey
        Its steps.
    latest
        The step that `checkpoint` names, or the only one; None without any.
    complete
        The newest step that is complete: one can start from it.
    listing
        What small files say of the latest.
    by_table
        Its entries by table, as far as its manifest and its `ckpt.info` tell; of multi tables by
        their own names where they do, else of their dump.
    findings
        How many a quick check of all steps finds, by their severity.
    checked_step, checked_at
        The newest step that was read in full, and found right, since it was written; and when, in
        seconds since 1970. None if nobody has recorded that.
    """

    survey: Survey
    latest: StepSurvey | None
    complete: StepSurvey | None
    listing: StepListing | None
    by_table: Mapping[str, int]
    findings: Mapping[str, int]
    checked_step: int | None
    checked_at: float | None


def measure(model_dir: AnyPath) -> Measures:
    """Look at a model directory: listings, indexes and small files; no table is read.

    Raises
    ------
    MonolithError
        As `survey`, and as a quick `check`.
    """
    directory = open_model_dir(model_dir)
    found = survey(directory)
    latest = found.latest
    complete = next((step for step in reversed(found.steps) if step.state == "complete"), None)
    return Measures(
        found,
        latest,
        complete,
        next((row for row in list_steps(found).steps if row.survey is latest), None),
        _by_table(latest) if latest else {},
        _findings(directory, found),
        *_checked(found),
    )


def _by_table(step: StepSurvey) -> dict[str, int]:
    known = {base: count for base, count in (step.entries or {}).items() if count is not None}
    singles = {base: n for base, n in known.items() if step.dumps.get(base) == "single"}
    multis = {base: n for base, n in known.items() if step.dumps.get(base) == "multi"}
    path = step.checkpoint.ckpt_info_path if step.checkpoint else None
    if path is not None:
        with suppress(MonolithError):  # what is wrong with it is a finding
            multis = read_ckpt_info(path).feature_counts or multis
    return singles | multis


def _findings(model_dir: ModelDir, found: Survey) -> dict[str, int]:
    judgement = check(model_dir, "all", CheckOptions(quick=True, jobs=1), found=found)
    severities = Counter(finding.severity for finding in judgement.findings)
    return {severity: severities[severity] for severity in SEVERITIES}


def _checked(found: Survey) -> tuple[int | None, float | None]:
    for step in reversed(found.steps):
        if step.step is not None and f"ckpt.checked-{step.step}" in found.items:
            record = fitting_record(found.directory, step.step)
            if record is not None:
                return step.step, record.at
    return None, None
