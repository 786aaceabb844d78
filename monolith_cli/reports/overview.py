"""A model directory as a whole: what `ckpt report` shows, made of the reports of other commands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from monolith_cli.reports.history import HistoryReport
from monolith_cli.reports.listing import ListingReport
from monolith_cli.reports.model import (
    CHANGE,
    COUNT,
    NAME,
    NUMBER,
    Block,
    Column,
    Facts,
    Report,
    Section,
    Table,
    Text,
    Title,
    Verdict,
)
from monolith_cli.reports.stats import StatsReport
from monolith_cli.reports.steps import StepsReport
from monolith_cli.reports.text import age_text, bytes_text, count_text
from monolith_cli.reports.workers import WorkersReport

if TYPE_CHECKING:
    from monolith_cli.care.fsck.judgement import Judgement
    from monolith_cli.care.history import History
    from monolith_cli.care.overview import Overview
    from monolith_cli.tables.stats import TablesStats

__all__ = ["OverviewReport", "date_text"]

_ROWS = 50
"""Of slots and of tables whose growth is shown, each."""

_DETAILS = 20
"""Of so many tables every field is shown."""

_STEPS = 200
"""The latest so many, whose entries are shown."""


class OverviewReport(Report):
    """Where to start from; then findings, steps, growth, tables, inputs, each under a title."""

    def __init__(self, found: Overview) -> None:
        self.found = found

    def sections(self) -> Iterator[Section]:
        found = self.found
        yield [Title("Where to start from"), *self._start()]
        if found.judgement is not None:
            yield [Title("Findings"), *_findings(found.judgement)]
        steps = StepsReport(
            found.steps, found.survey.leftovers, model_dir=found.model_dir, form="wide"
        )
        yield [Title("Steps"), *self._blocks(steps)]
        if found.history is not None:
            growth = HistoryReport(found.history, model_dir=found.model_dir, top=_ROWS)
            yield [Title("Growth"), *_growth(found.history), *self._blocks(growth)]
        if found.shown is not None and found.listing is not None:
            step = found.shown.step
            made_of = ListingReport(found.listing, model_dir=found.model_dir, step=step)
            yield [Title("Tables and variables" + _of(step)), *self._blocks(made_of)]
        if found.shown is not None and found.stats is not None:
            yield [Title("What is in the tables"), *self._values(found.stats, found.shown.step)]
        if found.survey.kind == "training":
            yield [Title("Inputs"), *self._inputs()]
        if found.problems:
            texts = [Text(str(problem)) for problem in found.problems]
            yield [Title("What is damaged, or could not be looked at"), *texts]

    def document(self) -> dict[str, object]:
        found = self.found
        return {
            "model_dir": found.model_dir,
            "time": found.time,
            "start": found.start.step if found.start else None,
            "problems": [str(problem) for problem in found.problems],
        }

    def _start(self) -> Iterator[Block]:
        found = self.found
        if found.start is None:
            damaged = found.survey.problem is not None
            what = "the file checkpoint is damaged" if damaged else "no step is complete"
            yield Verdict(what, good=False)
            whole = [each.step for each in found.survey.steps if each.state == "unlisted"]
            if whole and damaged:
                yield Text(f"step {whole[-1]} is whole; nobody knows whether it was committed")
            elif whole:
                yield Text(f"step {whole[-1]} is whole, but the file checkpoint does not list it")
        else:
            start = found.start
            step = "the only step" if start.step is None else f"step {start.step}"
            which = "complete" if start.is_latest else "the newest that is complete"
            yield Verdict(f"{step} is {which}", good=True)
            if start.proof == "formats":
                yield Text("as far as can be seen: it has no manifest")
        if found.stats is not None and found.stats.skipped:
            places = count_text(len(found.stats.skipped), "place")
            yield Verdict(f"its tables are damaged, in {places}", good=False)
        latest = None if found.survey.problem else found.survey.latest
        facts = [("looked at", date_text(found.time))]
        if latest is not None:
            facts.append(("latest step", f"{latest.step or 'without a number'}, {latest.state}"))
            if latest.time is not None:
                age = age_text(max(0.0, found.time - latest.time))
                facts.append(("committed", f"{date_text(latest.time)}, {age} before"))
        row = next((each for each in found.steps.steps if each.survey is found.shown), None)
        if row is not None and row.entries is not None:
            facts.append(("entries", f"{row.entries:,}" + _of(row.survey.step)))
        if row is not None:
            facts.append(("size of tables", bytes_text(row.survey.table_bytes)))
            facts.append(("of dense variables", bytes_text(row.survey.dense_bytes)))
        facts.append(("steps", count_text(len(found.survey.steps), "step")))
        yield Facts(facts)

    def _values(self, stats: TablesStats, step: int | None) -> Iterator[Block]:
        yield Text("Of the embeddings, and of every field of the optimizers' state.")
        details = len(stats.groups) <= _DETAILS
        model_dir = self.found.model_dir
        yield from self._blocks(StatsReport(stats, model_dir=model_dir, step=step, details=details))

    def _inputs(self) -> Iterator[Block]:
        if not self.found.workers:
            yield Text("no worker has saved its input here")
        else:
            yield from self._blocks(WorkersReport(self.found.workers))

    def _blocks(self, report: Report) -> Iterator[Block]:
        """The blocks of another report, without titles that only say which directory it is."""
        blocks: Iterable[Block] = (block for section in report.sections() for block in section)
        for block in blocks:
            if not (isinstance(block, Title) and block.text.startswith(self.found.model_dir)):
                yield block


def _findings(judgement: Judgement) -> Iterator[Block]:
    """A row for each finding, worst first; the verdict before them."""
    yield Verdict(
        f"{judgement.verdict}, as far as a quick check sees", good=judgement.verdict == "sound"
    )
    yield Text(
        "Names, sizes, indexes and small files were looked at, of all steps; the data was not read."
    )
    if not judgement.findings:
        return
    columns = (
        Column("severity", NAME),
        Column("finding", NAME),
        Column("step", NUMBER, ""),
        Column("file", NAME, ""),
        Column("what it is", NAME),
        Column("what to do", NAME, ""),
    )
    start = f"{judgement.model_dir.rstrip('/')}/"
    rows = [
        (
            each.severity,
            each.id,
            each.step,
            each.file and each.file.removeprefix(start),
            each.message,
            each.suggest,
        )
        for each in judgement.findings
    ]
    yield Table(columns, rows)


def date_text(seconds: float) -> str:
    """`2025-06-15 15:06:40 UTC`."""
    from datetime import datetime, timezone

    try:
        date = datetime.fromtimestamp(seconds, timezone.utc)
    except (ValueError, OverflowError, OSError):  # a file may say anything
        return f"{seconds:.0f} seconds after 1970"
    return f"{date:%Y-%m-%d %H:%M:%S} UTC"


def _of(step: int | None) -> str:
    return "" if step is None else f", step {step}"


def _growth(history: History) -> Iterator[Block]:
    """The entries of every step that was counted, with bars."""
    counted = history.counted[-_STEPS:]
    if not counted:
        return
    columns = (
        Column("step", NUMBER),
        Column("counted", NAME),
        Column("entries", COUNT),
        Column("change", CHANGE, ""),
    )
    rows: list[tuple[object, ...]] = []
    before: int | None = None
    for step in counted:
        date = None if step.time is None else date_text(step.time)
        change = None if before is None else (before, step.entries or 0)
        rows.append((step.step, date, step.entries, change))
        before = step.entries or 0
    yield Table(columns, rows, bars=2)
    yield Title("By slot and table")
