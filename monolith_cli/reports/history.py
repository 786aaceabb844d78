"""How entries have grown, by slot and by table: what `ckpt history` shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from monolith_cli.checkpoint.names import natural_key
from monolith_cli.reports.conditions import condition_blocks, condition_documents
from monolith_cli.reports.model import (
    CHANGE,
    COUNT,
    KEY,
    TREND,
    Block,
    Column,
    Omitted,
    Report,
    Section,
    Table,
    Text,
    Title,
)
from monolith_cli.reports.text import count_text

if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from monolith_cli.care.conditions import Checked
    from monolith_cli.care.history import Counted, History

    _Counts: TypeAlias = Callable[[Counted], Mapping[Any, int]]

__all__ = ["HistoryReport"]

_POINTS = 30
"""So many bars fit into a line of 80, beside the numbers."""


class HistoryReport(Report):
    """A table of slots, one of tables, largest first; then what conditions hold.

    Parameters
    ----------
    top
        How many rows a table has at most; all by default.
    checked
        What came of conditions.
    """

    def __init__(
        self,
        history: History,
        *,
        model_dir: str,
        top: int | None = None,
        checked: Sequence[Checked] = (),
    ) -> None:
        self.history = history
        self.model_dir = model_dir
        self.top = top
        self.checked = checked

    def sections(self) -> Iterator[Section]:
        counted = self.history.counted
        yield [Title(self.model_dir), Text(_span(self.history, counted)), *self._remarks(counted)]
        if counted:
            points = _evenly(counted, _POINTS)
            yield [_table("", {"all": [step.entries or 0 for step in points]}, counted, _total)]
            yield from self._counts("slot", _slots, counted, points)
            yield from self._counts("table", _features, counted, points)
        if self.checked:
            yield [*_judged(counted), *condition_blocks(self.checked)]

    def _remarks(self, counted: Sequence[Counted]) -> Iterator[Block]:
        """Where what is shown is not of the newest file, or not of the latest step."""
        latest, later = self.history.latest, self.history.later
        if later:
            which = count_text(len(later), "count") + f" of {_steps_text(later)}"
            yield Text(
                f"not shown: {which}, which 'checkpoint' has behind step {latest} or not at all"
            )
        if latest is not None and counted and counted[-1].step != latest:
            yield Text(
                f"step {latest}, the latest, was not counted: the last is {counted[-1].step}"
            )

    def _counts(
        self,
        what: str,
        counts_of: _Counts,
        counted: Sequence[Counted],
        points: Sequence[Counted],
    ) -> Iterator[Section]:
        now = counts_of(counted[-1])
        there = {**now, **counts_of(counted[max(len(counted) - 2, 0)]), **counts_of(counted[0])}
        if not there:
            return
        keys = sorted(there, key=lambda key: (-now.get(key, 0), natural_key(str(key))))
        counts = [counts_of(step) for step in points]
        trends = {key: [each.get(key, 0) for each in counts] for key in keys[: self.top]}
        blocks: list[Block] = [_table(what, trends, counted, counts_of)]
        if self.top is not None and len(keys) > self.top:
            blocks.append(Omitted(count_text(len(keys) - self.top, f"more {what}")))
        yield blocks

    def document(self) -> dict[str, object]:
        return {
            "model_dir": self.model_dir,
            "steps": [
                {
                    "step": step.step,
                    "time": step.time,
                    "entries": step.entries,
                    "slot_counts": {str(slot): count for slot, count in step.slot_counts.items()},
                    "feature_counts": dict(step.feature_counts),
                }
                for step in self.history.steps
            ],
            "latest": self.history.latest,
            "conditions": condition_documents(self.checked),
        }


def _span(history: History, counted: Sequence[Counted]) -> str:
    if not counted:
        return "no step was counted"
    first, last = counted[0].step, counted[-1].step
    which = _steps_text([first, last])
    text = f"{count_text(len(counted), 'count')}, of {which}"
    empty = sum(not step.is_counted for step in history.steps)
    return f"{text}; {count_text(empty, 'step was', 'steps were')} not counted" if empty else text


def _steps_text(steps: Sequence[int]) -> str:
    first, last = steps[0], steps[-1]
    return f"step {last}" if first == last else f"steps {first} to {last}"


def _judged(counted: Sequence[Counted]) -> Iterator[Block]:
    """Which steps conditions are about."""
    if counted:
        changes = f", and what changed since step {counted[-2].step}" if len(counted) > 1 else ""
        yield Text(f"of step {counted[-1].step}{changes}:")


def _table(
    what: str, trends: Mapping[Any, Sequence[int]], counted: Sequence[Counted], counts_of: _Counts
) -> Table:
    """Rows with the count now, its change since the step before and since the first, and bars."""
    now, first = counts_of(counted[-1]), counts_of(counted[0])
    before = counts_of(counted[-2]) if len(counted) > 1 else None
    columns = (
        Column(what, KEY),
        Column("entries", COUNT),
        Column("last change", CHANGE, ""),
        Column("since the first", CHANGE, ""),
        Column("", TREND),
    )
    rows = [
        (
            key,
            now.get(key, 0),
            None if before is None else (before.get(key, 0), now.get(key, 0)),
            None if before is None else (first.get(key, 0), now.get(key, 0)),
            trend,
        )
        for key, trend in trends.items()
    ]
    return Table(columns, rows)


def _total(step: Counted) -> Mapping[Any, int]:
    return {"all": step.entries or 0}


def _slots(step: Counted) -> Mapping[Any, int]:
    return step.slot_counts


def _features(step: Counted) -> Mapping[Any, int]:
    return step.feature_counts


def _evenly(steps: Sequence[Counted], most: int) -> Sequence[Counted]:
    """At most so many of them, evenly spread, with the first and the last."""
    if len(steps) <= most:
        return steps
    return [steps[i * (len(steps) - 1) // (most - 1)] for i in range(most)]
