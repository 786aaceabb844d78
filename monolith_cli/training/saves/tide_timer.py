"""When to save: after seconds or steps, and at other intervals at certain hours of the day."""

from __future__ import annotations

import datetime

import tensorflow as tf

__all__ = ["TideTimer"]

_MINUTES_A_DAY = 24 * 60


class TideTimer(tf.compat.v1.train.SecondOrStepTimer):
    """Triggers after seconds or steps, but outside of two times of the day after other seconds.

    The tide, from start to end, is the time when a job has the machines that it usually has.
    Outside of it they may be taken away, so the job saves at other intervals.

    Parameters
    ----------
    every_secs, every_steps
        Exactly one of them.
    start_hour, start_minute, end_hour, end_minute
        UTC; with `tide_secs` all of them. The end itself is not in the tide, and is on the next day
        if it comes before the start. If both are the same, the tide lasts the whole day. 24:00 is
        the end of a day.
    tide_secs
        The seconds that count outside of the tide, instead of `every_secs` or `every_steps`.
        Without it there is no tide, whatever the times are.

    Raises
    ------
    ValueError
        Both or neither of `every_secs` and `every_steps`; `tide_secs` without all of the times; or
        invalid times.
    """

    def __init__(
        self,
        every_secs: float | None,
        every_steps: int | None,
        start_hour: int | None = None,
        start_minute: int | None = None,
        end_hour: int | None = None,
        end_minute: int | None = None,
        tide_secs: float | None = None,
    ) -> None:
        super().__init__(every_secs=every_secs, every_steps=every_steps)
        self._usual = (every_secs, every_steps)
        self._tide_secs = tide_secs
        self._tide = (0, 0)
        self._is_enabled = True
        if tide_secs is None:
            return
        if None in (start_hour, start_minute, end_hour, end_minute):
            raise ValueError("a tide needs the hour and minute of its start and end")
        self._tide = (_minutes(start_hour, start_minute), _minutes(end_hour, end_minute))

    def enable(self) -> None:
        """Trigger again, as from the start."""
        self._is_enabled = True

    def disable(self) -> None:
        """Do not trigger until `enable` is called."""
        self._is_enabled = False

    def should_trigger_for_step(self, step: int) -> bool:
        """As the base class, but by the time of day; never while it is disabled."""
        if not self._is_enabled:
            return False
        every = self._usual if self._is_tide() else (self._tide_secs, None)
        self._every_secs, self._every_steps = every
        return bool(super().should_trigger_for_step(step))

    def _is_tide(self) -> bool:
        if self._tide_secs is None:
            return True
        start, end = self._tide
        length = end - start if end > start else end - start + _MINUTES_A_DAY
        return (_utc_minutes() - start) % _MINUTES_A_DAY < length


def _minutes(hour: int | None, minute: int | None) -> int:
    if hour is not None and minute is not None and hour >= 0 and 0 <= minute < 60:
        minutes = hour * 60 + minute
        if minutes <= _MINUTES_A_DAY:
            return minutes
    raise ValueError(f"{hour}:{minute} is not a time of the day")


def _utc_minutes() -> int:
    now = datetime.datetime.now(datetime.timezone.utc)
    return now.hour * 60 + now.minute
