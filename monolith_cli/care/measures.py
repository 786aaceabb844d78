"""What is measured of a model directory again and again: for monitoring."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.care.figures import StepFigures, figures_of
from monolith_cli.care.survey import Survey, survey

if TYPE_CHECKING:
    from monolith_cli.care.survey import StepSurvey
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
    figures
        Of the latest.
    """

    survey: Survey
    latest: StepSurvey | None
    complete: StepSurvey | None
    figures: StepFigures | None


def measure(model_dir: AnyPath) -> Measures:
    """Look at a model directory; no table is read.

    Raises
    ------
    MonolithError
        As `survey`.
    """
    found = survey(model_dir)
    latest = found.latest
    complete = next((step for step in reversed(found.steps) if step.state == "complete"), None)
    return Measures(found, latest, complete, figures_of(found, latest) if latest else None)
