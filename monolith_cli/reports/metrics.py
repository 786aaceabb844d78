"""What was measured, for Prometheus: its text format, version 0.0.4."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from monolith_cli.reports.text import name_json

if TYPE_CHECKING:
    from monolith_cli.care.measures import Measures

__all__ = ["METRICS", "Metric", "exposition"]

Samples: TypeAlias = Iterator[tuple[Mapping[str, str], float | None]]

_STATES = ("complete", "incomplete", "unlisted", "uncommitted")


class Metric(NamedTuple):
    """A metric of a model directory; all are gauges.

    Attributes
    ----------
    name, help
        As they are written.
    samples
        From what was measured, and the time now in seconds since 1970: labels besides the
        directory's, and the value, None for one that is not known.
    """

    name: str
    help: str
    samples: Callable[[Measures, float], Samples]


def exposition(found: Iterable[tuple[str, Measures | None]], now: float) -> Iterator[str]:
    """The lines.

    Parameters
    ----------
    found
        Model directories as they were given, with what was measured; None where none could be.
    now
        In seconds since 1970.
    """
    found = list(found)
    yield from _head("monolith_up", "Whether the model directory could be looked at.")
    for model_dir, measures in found:
        yield _line("monolith_up", {"model_dir": model_dir}, measures is not None)
    for metric in METRICS:
        lines = [
            _line(metric.name, {"model_dir": model_dir, **labels}, value)
            for model_dir, measures in found
            if measures is not None
            for labels, value in metric.samples(measures, now)
            if value is not None
        ]
        if lines:
            yield from _head(metric.name, metric.help)
            yield from lines


def _head(name: str, help: str) -> Iterator[str]:
    yield f"# HELP {name} {_escaped(help)}"
    yield f"# TYPE {name} gauge"


def _line(name: str, labels: Mapping[str, str], value: float) -> str:
    inside = ",".join(f'{key}="{_label(text)}"' for key, text in labels.items())
    return f"{name}{{{inside}}} {int(value) if value == int(value) else repr(value)}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _label(text: str) -> str:
    return _escaped(name_json(text)).replace('"', r"\"")


def _step(found: Measures, now: float) -> Samples:
    yield {}, found.latest.step if found.latest else None


def _complete_step(found: Measures, now: float) -> Samples:
    yield {}, found.complete.step if found.complete else None


def _time(found: Measures, now: float) -> Samples:
    yield {}, found.latest.time if found.latest else None


def _age(found: Measures, now: float) -> Samples:
    if found.latest and found.latest.time is not None:
        yield {}, round(max(0.0, now - found.latest.time), 3)


def _steps(found: Measures, now: float) -> Samples:
    for state in _STATES:
        yield {"state": state}, sum(step.state == state for step in found.survey.steps)


def _entries(found: Measures, now: float) -> Samples:
    yield {}, found.listing.entries if found.listing else None


def _table_entries(found: Measures, now: float) -> Samples:
    for table, entries in sorted(found.by_table.items()):
        yield {"table": table}, entries


def _bytes(found: Measures, now: float) -> Samples:
    if found.latest:
        yield {"part": "tables"}, found.latest.table_bytes
        yield {"part": "dense"}, found.latest.dense_bytes


def _workers(found: Measures, now: float) -> Samples:
    yield {}, found.listing.workers if found.listing else None


def _workers_with_input(found: Measures, now: float) -> Samples:
    yield {}, found.listing.workers_with_input if found.listing else None


def _findings(found: Measures, now: float) -> Samples:
    for severity, count in found.findings.items():
        yield {"severity": severity}, count


def _checked_step(found: Measures, now: float) -> Samples:
    yield {}, found.checked_step


def _checked_age(found: Measures, now: float) -> Samples:
    if found.checked_at is not None:
        yield {}, round(max(0.0, now - found.checked_at), 3)


def _leftovers(found: Measures, now: float) -> Samples:
    yield {}, found.survey.leftovers.bytes


METRICS = (
    Metric("monolith_checkpoint_step", "The latest step, as checkpoint names it.", _step),
    Metric(
        "monolith_checkpoint_complete_step",
        "The newest step that is complete, from which a job can start.",
        _complete_step,
    ),
    Metric(
        "monolith_checkpoint_commit_time_seconds",
        "When the latest step was committed, in seconds since 1970.",
        _time,
    ),
    Metric(
        "monolith_checkpoint_age_seconds",
        "Seconds since the latest step was committed.",
        _age,
    ),
    Metric("monolith_steps", "Steps in the model directory, by state.", _steps),
    Metric(
        "monolith_checkpoint_entries",
        "Entries of all tables of the latest step, as its manifest or its ckpt.info says.",
        _entries,
    ),
    Metric(
        "monolith_checkpoint_table_entries",
        "Entries of a table of the latest step.",
        _table_entries,
    ),
    Metric(
        "monolith_checkpoint_bytes",
        "Bytes of the latest step: of its tables, and of its dense variables.",
        _bytes,
    ),
    Metric("monolith_checkpoint_workers", "Workers that have iterator states here.", _workers),
    Metric(
        "monolith_checkpoint_workers_with_input",
        "Workers whose iterator state of the latest step is there.",
        _workers_with_input,
    ),
    Metric(
        "monolith_findings",
        "What a quick check of all steps finds, by severity: an error is damage or loss, a warning"
        " is not right, a note is worth knowing.",
        _findings,
    ),
    Metric(
        "monolith_full_check_step",
        "The newest step that was read in full and found right, as its check record says.",
        _checked_step,
    ),
    Metric(
        "monolith_full_check_age_seconds",
        "Seconds since that step was read in full.",
        _checked_age,
    ),
    Metric(
        "monolith_leftover_bytes",
        "Bytes of what belongs to no committed step: uncommitted saves, temporaries, what a"
        " rollback has moved away.",
        _leftovers,
    ),
)
"""In the order in which they are written."""
