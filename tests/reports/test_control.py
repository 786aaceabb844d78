"""A job in words."""

from __future__ import annotations

from typing import Any

import pytest

from monolith_cli.control.client import JobInfo, Saved
from monolith_cli.control.texts import unblocked_text, workers_text
from monolith_cli.reports.control import (
    BarrierReport,
    JobReport,
    LogReport,
    SavedReport,
    duration_text,
    held_text,
)
from monolith_cli.reports.lines import report_lines
from monolith_cli.reports.model import Report


def lines(report: Report) -> list[str]:
    return [*report_lines(report.sections())]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (185, "3 min 5 s"),
        (3599.6, "1 h"),
        (7800, "2 h 10 min"),
        (86399.9, "1 d"),
        (273600, "3 d 4 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_workers() -> None:
    assert workers_text([]) == "none"
    assert workers_text([1, 2, 5]) == "1, 2, 5"
    assert workers_text(range(1, 101)).endswith("15, 16, ... (100 in all)")


def test_what_is_waited_for() -> None:
    info = JobInfo(True, [1], [2], 10)
    assert unblocked_text(info) == "worker 2 is not blocked"
    assert unblocked_text(info._replace(unblocked=[2, 3])) == "workers 2, 3 are not blocked"
    assert unblocked_text(info._replace(placed=False)) == "no barrier is placed"
    assert held_text(info) == "the barrier is still there"
    by_job = info._replace(action="Save")
    assert held_text(by_job) == "the barrier that the job placed for a save is still there"
    info = info._replace(owner="ann@box", placed_seconds_ago=65.0)
    assert held_text(info) == "the barrier that ann@box placed 1 min 5 s ago is still there"
    info = info._replace(owner="", reason="a look")
    assert held_text(info) == (
        "the barrier that was placed 1 min 5 s ago (reason: a look) is still there"
    )


def test_a_barrier() -> None:
    info = JobInfo(
        True, [1], [2, 3], 12345, "Save", "a look", "ann@box", 65.0, 535.0, 12000, True, "run"
    )
    assert lines(BarrierReport(info, "box:80")) == [
        "barrier      placed, action Save",
        "by           ann@box",
        "reason       a look",
        "since        1 min 5 s ago",
        "ends in      8 min 55 s",
        "blocked      1",
        "not blocked  2, 3",
        "global step  12345",
    ]
    info = info._replace(owner="", action="", placed_seconds_ago=None, expires_in_seconds=None)
    assert lines(BarrierReport(info, "box:80"))[1] == "by           nobody known"
    assert lines(BarrierReport(info, "box:80"))[3] == "ends in      -, it stays until it is removed"


def test_a_barrier_of_an_original_job() -> None:
    assert lines(BarrierReport(JobInfo(True, [1], [], 7), "box:80")) == [
        "barrier      placed",
        "blocked      1",
        "not blocked  none",
        "global step  7",
    ]


def test_a_job() -> None:
    info = JobInfo(False, [], [1, 2], 7, last_saved_step=None, saving=True, run_id="abc")
    assert lines(JobReport(info, "box:80")) == [
        "job          box:80",
        "run          abc",
        "global step  7",
        "last saved   none, saving now",
        "workers      2",
        "barrier      not placed",
    ]
    info = info._replace(last_saved_step=0, saving=False)
    assert lines(JobReport(info, "box:80"))[3] == "last saved   0"


def test_a_saved_step() -> None:
    assert lines(SavedReport(Saved(7, "m/model.ckpt-7", None, None))) == ["7\tm/model.ckpt-7"]
    assert lines(SavedReport(Saved(7, None, None, None))) == ["7\t"]
    assert lines(SavedReport(Saved(None, None, None, None))) == []


def test_a_log_that_says_little() -> None:
    assert lines(LogReport([{}])) == ["?  ?  (?)"]


def test_a_log() -> None:
    entries: list[dict[str, Any]] = [
        {"time": "T1", "method": "StopJob", "owner": "ann", "peer": "p", "reason": "why"},
        {"time": "T2", "method": "PlaceBarrier", "owner": None, "peer": "p", "result": "no token"},
        {"time": "T3", "method": None, "peer": "h1, h2", "result": "7 more"},
    ]
    assert lines(LogReport(entries)) == [
        "T1  ann, p  StopJob: why  (?)",
        "T2  p  PlaceBarrier  (no token)",
        "T3  h1, h2  (7 more)",
    ]
