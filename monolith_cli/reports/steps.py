"""The steps of a model directory, and the states that they are in: what `ckpt ls` shows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from monolith_cli.reports.model import (
    AGE,
    BYTES,
    COUNT,
    KEY,
    NAME,
    NUMBER,
    Block,
    Column,
    Report,
    Row,
    Section,
    Table,
    Text,
    Title,
)
from monolith_cli.reports.text import bytes_text, count_text

if TYPE_CHECKING:
    from monolith_cli.care.leftovers import Leftovers
    from monolith_cli.care.listing import StepListing, StepsListing

__all__ = ["StepsReport"]

_MISSING_SHOWN = 5

COLUMNS = (
    Column("step", NUMBER),
    Column("age", AGE),
    Column("state", NAME),
    Column("entries", COUNT),
    Column("change", KEY, ""),
    Column("size", BYTES),
    Column("input", NAME),
    Column("", NAME, ""),
)
WIDE_COLUMNS = (
    *COLUMNS[:5],
    Column("tables", COUNT),
    Column("size of tables", BYTES),
    Column("of dense", BYTES),
    Column("input", NAME),
    Column("proof", NAME),
    Column("checked", AGE),
    Column("", NAME, ""),
)


class StepsReport(Report):
    """A row a step, newest last; then what is missing, and what else lies there.

    Parameters
    ----------
    states
        Only steps in one of these; all without any.
    form
        `wide` for all columns, `name` for the numbers of the steps alone; else what fits into a
        line of 80.
    """

    def __init__(
        self,
        listing: StepsListing,
        leftovers: Leftovers,
        *,
        model_dir: str,
        states: Collection[str] = (),
        form: str | None = None,
    ) -> None:
        self.listing = listing
        self.leftovers = leftovers
        self.model_dir = model_dir
        self.states = states
        self.form = form

    def sections(self) -> Iterator[Section]:
        steps = self._picked(self.listing.steps)
        if self.form == "name":
            yield [Row(each.survey.step) for each in steps if each.survey.step is not None]
            return
        yield self._of(steps)
        if self.listing.dense_only is not None:
            yield [Title("dense_only"), *self._of(self._picked(self.listing.dense_only))]
        below = [*self._remarks(steps)]
        if below:
            yield below

    def _picked(self, steps: Sequence[StepListing]) -> list[StepListing]:
        return [each for each in steps if not self.states or each.survey.state in self.states]

    def _of(self, steps: Sequence[StepListing]) -> list[Block]:
        if not steps:
            which = f" that is {' or '.join(sorted(self.states))}" if self.states else ""
            return [Text(f"no step{which}")]
        if self.form == "wide":
            table = Table(WIDE_COLUMNS, [_wide_row(each) for each in steps])
        else:
            table = Table(COLUMNS, [_row(each) for each in steps])
        return [table, *(Text(line, 2) for each in steps for line in _missing(each))]

    def _remarks(self, steps: Sequence[StepListing]) -> Iterator[Text]:
        whole = [each.survey for each in steps if each.survey.is_whole]
        unproven = sum(each.proof == "formats" for each in whole)
        if unproven:
            which = "all" if unproven == len(whole) else f"{unproven} of {len(whole)}"
            yield Text(
                f"without a manifest a step is whole as far as can be seen; {which} that are whole"
                " have none"
            )
        left = self.leftovers
        parts = [
            count_text(left.uncommitted, "uncommitted save") if left.uncommitted else "",
            count_text(left.temporaries, "temporary", "temporaries") if left.temporaries else "",
            count_text(left.rolled_back, "rollback", "rollbacks") + " moved away"
            if left.rolled_back
            else "",
        ]
        found = ", ".join(filter(None, parts))
        if found:
            yield Text(f"leftovers: {found}; {bytes_text(left.bytes)}")

    def document(self) -> dict[str, object]:
        dense_only = self.listing.dense_only
        return {
            "model_dir": self.model_dir,
            "steps": [_document(each) for each in self._picked(self.listing.steps)],
            "dense_only": None
            if dense_only is None
            else [_document(each) for each in self._picked(dense_only)],
            "leftovers": self.leftovers._asdict(),
        }


def _row(each: StepListing) -> tuple[object, ...]:
    step = each.survey
    size = step.table_bytes + step.dense_bytes
    checked = "" if each.checked_seconds_ago is None else "checked"
    notes = " ".join(filter(None, (_notes(each), checked)))
    return (*_first(each), size, _inputs(each), notes or None)


def _wide_row(each: StepListing) -> tuple[object, ...]:
    step = each.survey
    return (
        *_first(each),
        each.tables,
        step.table_bytes,
        step.dense_bytes,
        _inputs(each),
        step.proof,
        each.checked_seconds_ago,
        _notes(each),
    )


def _first(each: StepListing) -> tuple[object, ...]:
    step = each.survey
    change = None if each.change is None else f"{each.change:+,}" if each.change else "="
    return (step.step, each.age_seconds, step.state, each.entries, change)


def _notes(each: StepListing) -> str | None:
    notes = ("latest" if each.is_latest else "", "pinned" if each.is_pinned else "")
    return " ".join(filter(None, notes)) or None


def _inputs(each: StepListing) -> str | None:
    return f"{each.workers_with_input}/{each.workers}" if each.workers else None


def _missing(each: StepListing) -> Iterator[str]:
    """What is missing of a step that is listed; what was never committed lacks all sorts."""
    missing = each.survey.missing if each.survey.state == "incomplete" else ()
    for file, what in missing[:_MISSING_SHOWN]:
        where = "" if each.survey.step is None else f"step {each.survey.step}: "
        yield f"{where}{file}: {what}"
    if len(missing) > _MISSING_SHOWN:
        yield f"step {each.survey.step}: {len(missing) - _MISSING_SHOWN} more files"


def _document(each: StepListing) -> dict[str, object]:
    step = each.survey
    return {
        "step": step.step,
        "state": step.state,
        "proof": step.proof,
        "missing": [missing._asdict() for missing in step.missing],
        "time": step.time,
        "entries": each.entries,
        "tables": each.tables,
        "table_bytes": step.table_bytes,
        "dense_bytes": step.dense_bytes,
        "workers": each.workers,
        "workers_with_input": each.workers_with_input,
        "pinned": each.is_pinned,
        "checked_seconds_ago": each.checked_seconds_ago,
        "latest": each.is_latest,
    }
