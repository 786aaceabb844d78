"""When to save, by a clock that the tests set."""

from __future__ import annotations

import datetime
import types
from typing import Any

import pytest
from tf_support import tensorflow


@pytest.fixture(scope="module")
def module() -> Any:
    tensorflow()
    from monolith_cli.training.saves import tide_timer

    return tide_timer


class Clock:
    """The time of day as `datetime` tells it, and the time that timers measure."""

    def __init__(self, module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = datetime.datetime(2024, 2, 28, tzinfo=datetime.timezone.utc)
        fake = types.SimpleNamespace(now=self._now)
        patched = types.SimpleNamespace(datetime=fake, timezone=datetime.timezone)
        monkeypatch.setattr(module, "datetime", patched)
        monkeypatch.setattr("time.time", lambda: self.now.timestamp())

    def _now(self, zone: datetime.timezone) -> datetime.datetime:
        return self.now.astimezone(zone)

    def set(self, hour: int, minute: int = 0, second: int = 0) -> None:
        self.now = self.now.replace(hour=hour, minute=minute, second=second)

    def add(self, seconds: float) -> None:
        self.now += datetime.timedelta(seconds=seconds)


@pytest.fixture
def clock(module: Any, monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(module, monkeypatch)


def test_without_a_tide_it_is_the_stock_timer(module: Any, clock: Clock) -> None:
    timer = module.TideTimer(60, None)
    assert timer.should_trigger_for_step(1)  # the first time
    assert timer.update_last_triggered_step(1) == (None, None)
    assert not timer.should_trigger_for_step(2)
    clock.add(60)
    assert timer.should_trigger_for_step(2)
    assert not timer.should_trigger_for_step(1)
    assert timer.update_last_triggered_step(2) == (60.0, 1)
    assert timer.last_triggered_step() == 2
    assert isinstance(timer, tensorflow().compat.v1.train.SecondOrStepTimer)


@pytest.mark.parametrize(
    ("start", "end", "inside", "outside"),
    [
        ((9, 30), (17, 0), [(9, 30), (12, 0), (16, 59)], [(9, 29), (17, 0), (0, 0), (23, 59)]),
        ((22, 0), (2, 15), [(22, 0), (23, 59), (0, 0), (2, 14)], [(21, 59), (2, 15), (12, 0)]),
        ((0, 0), (24, 0), [(0, 0), (12, 0), (23, 59)], []),
        ((0, 0), (23, 59), [(0, 0), (12, 0), (23, 58)], [(23, 59)]),
        ((0, 0), (0, 1), [(0, 0)], [(0, 1), (23, 59)]),
        ((18, 0), (24, 0), [(18, 0), (23, 59)], [(0, 0), (17, 59)]),
        ((8, 0), (8, 0), [(8, 0), (7, 59), (20, 0)], []),
    ],
)
def test_when_the_tide_is(
    module: Any,
    clock: Clock,
    start: tuple[int, int],
    end: tuple[int, int],
    inside: list[tuple[int, int]],
    outside: list[tuple[int, int]],
) -> None:
    for time, seconds in [(time, 100) for time in inside] + [(time, 10) for time in outside]:
        clock.set(*time)
        timer = module.TideTimer(100, None, *start, *end, 10)
        timer.update_last_triggered_step(1)
        clock.set(*time, second=9)
        assert not timer.should_trigger_for_step(2), time
        clock.set(*time, second=10)
        assert timer.should_trigger_for_step(2) is (seconds == 10), time


def test_the_clock_of_a_tide_is_utc(module: Any, clock: Clock) -> None:
    clock.now = datetime.datetime(
        2024, 2, 28, 3, tzinfo=datetime.timezone(datetime.timedelta(hours=8))
    )  # 19:00 the day before
    timer = module.TideTimer(1000, None, 20, 0, 19, 0, 10)
    timer.update_last_triggered_step(1)
    clock.add(10)
    assert timer.should_trigger_for_step(2)


def test_outside_of_a_tide_seconds_count_even_for_who_counts_steps(
    module: Any, clock: Clock
) -> None:
    timer = module.TideTimer(None, 5, 1, 0, 23, 0, 10)
    clock.set(22, 59, 50)
    timer.update_last_triggered_step(1)
    assert not timer.should_trigger_for_step(5)
    assert timer.should_trigger_for_step(6)
    clock.add(11)  # 23:00:01, and more than the ten seconds
    assert timer.should_trigger_for_step(2)
    timer.update_last_triggered_step(2)
    assert not timer.should_trigger_for_step(1000)
    clock.add(2 * 3600)
    timer.update_last_triggered_step(1000)
    clock.add(50)
    assert not timer.should_trigger_for_step(1004)
    assert timer.should_trigger_for_step(1005)


def test_midnight_as_a_time_is_no_missing_time(module: Any, clock: Clock) -> None:
    timer = module.TideTimer(1000, None, 6, 0, 0, 0, 10)  # zeros are values
    clock.set(0, 0, 5)
    timer.update_last_triggered_step(1)
    clock.add(10)
    assert timer.should_trigger_for_step(2)


@pytest.mark.parametrize(
    "tide",
    [
        (None, None, None, None, 60),
        (1, None, None, None, 60),
        (1, 0, None, 0, 60),
        (None, 0, 2, 0, 60),
    ],
)
def test_a_part_of_a_tide_is_refused(module: Any, tide: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="a tide needs the hour and minute of its start and end"):
        module.TideTimer(60, None, *tide)


@pytest.mark.parametrize("tide", [(1, None, None, None, None), (1, 0, 2, 0, None)])
def test_times_alone_are_no_tide(module: Any, clock: Clock, tide: tuple[Any, ...]) -> None:
    timer = module.TideTimer(60, None, *tide)
    for hour in (0, 1, 12):
        clock.set(hour)
        timer.update_last_triggered_step(hour + 1)
        clock.add(59)
        assert not timer.should_trigger_for_step(100)
        clock.add(1)
        assert timer.should_trigger_for_step(100)


def test_disabled_it_never_triggers(module: Any, clock: Clock) -> None:
    timer = module.TideTimer(60, None)
    timer.disable()
    assert not timer.should_trigger_for_step(1)
    timer.enable()
    assert timer.should_trigger_for_step(1)
    timer.update_last_triggered_step(1)
    timer.disable()
    clock.add(1000)
    assert not timer.should_trigger_for_step(2)
    timer.enable()
    assert timer.should_trigger_for_step(2)


@pytest.mark.parametrize("time", [(24, 1), (25, 0), (-1, 0), (1, 60), (1, -1)])
def test_what_is_no_time_of_the_day(module: Any, time: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="is not a time of the day"):
        module.TideTimer(60, None, *time, 2, 0, 60)
    with pytest.raises(ValueError, match="is not a time of the day"):
        module.TideTimer(60, None, 2, 0, *time, 60)


def test_seconds_or_steps(module: Any) -> None:
    with pytest.raises(ValueError, match="every_secs"):
        module.TideTimer(None, None)
    with pytest.raises(ValueError, match="both"):
        module.TideTimer(60, 10)
