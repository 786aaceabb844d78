"""Policies: which steps stay."""

from __future__ import annotations

import os
import random

import pytest

from monolith_cli.care.keeping import Candidate, Policy, duration_text, kept_by, size_text

DAY = 86_400.0
NOON = 20_000 * DAY + DAY / 2
"""Of some day, and it is now."""


def steps(*steps: int, hours: float = 1.0, bytes: int = 10) -> list[Candidate]:
    """Committed so many hours apart, the last one now."""
    first = NOON - (len(steps) - 1) * hours * 3600
    return [Candidate(step, first + i * hours * 3600, bytes) for i, step in enumerate(steps)]


def kept(candidates: list[Candidate], now: float = NOON, **policy: object) -> list[int]:
    reasons = kept_by(Policy(**policy), candidates, now)  # type: ignore[arg-type]
    assert list(reasons) == [each.step for each in candidates]
    return [step for step, why in reasons.items() if why]


def test_nothing_is_kept_by_no_policy() -> None:
    assert Policy().is_empty
    assert not Policy(steps=(1,)).is_empty
    assert kept(steps(1, 2, 3)) == []
    assert kept([], last=3, within_seconds=5.0, daily=3, every=1, steps=(3,), size_bytes=5) == []


def test_the_last_in_the_order_of_steps() -> None:
    assert kept(steps(1, 2, 3), last=2) == [2, 3]
    assert kept(steps(100, 200, 7, 8), last=3) == [200, 7, 8]
    assert kept(steps(1, 2), last=9) == [1, 2]


def test_within_a_time_of_the_newest() -> None:
    assert kept(steps(1, 2, 3, 4), within_seconds=7200.0) == [2, 3, 4]
    assert kept(steps(1, 2, 3, 4), within_seconds=7199.0) == [3, 4]
    # A job that has stood still for a year has lost nothing by that.
    assert kept(steps(1, 2, 3, 4), now=NOON + 365 * DAY, within_seconds=7200.0) == [2, 3, 4]


def test_the_newest_of_each_day() -> None:
    eight_hours = steps(1, 2, 3, 4, 5, 6, 7, hours=8)  # 12, 20 | 4, 12, 20 | 4, 12 o'clock
    assert kept(eight_hours, daily=2) == [5, 7]
    assert kept(eight_hours, daily=3) == [2, 5, 7]
    assert kept(eight_hours, daily=9) == [2, 5, 7]
    assert kept(steps(1, 2, 3, hours=24 * 30), daily=2) == [2, 3]  # days that have a step


def test_the_day_is_named() -> None:
    reasons = kept_by(Policy(daily=1), [Candidate(5, DAY * 1.5, 1)], NOON)
    assert [reason.text for reason in reasons[5]] == ["newest of 1970-01-02"]


def test_multiples() -> None:
    assert kept(steps(500, 1000, 1500, 2001, 3000), every=1000) == [1000, 3000]
    assert kept(steps(0, 1), every=1000) == [0]


def test_those_that_are_asked_for() -> None:
    assert kept(steps(1, 2, 3), steps=(1, 3, 9)) == [1, 3]


def test_as_many_as_have_a_size() -> None:
    sizes = [Candidate(step, NOON, size) for step, size in [(1, 1), (2, 30), (3, 10), (4, 10)]]
    assert kept(sizes, size_bytes=20) == [3, 4]
    assert kept(sizes, size_bytes=49) == [3, 4]  # what is behind a gap does not fill it
    assert kept(sizes, size_bytes=50) == [2, 3, 4]
    assert kept(sizes, size_bytes=9) == []


def test_policies_are_joined_by_or() -> None:
    reasons = kept_by(Policy(last=2, every=2), steps(1, 2, 3, 4), NOON)
    assert {step: [each.id for each in why] for step, why in reasons.items()} == {
        1: [],
        2: ["every"],
        3: ["last"],
        4: ["last", "every"],
    }


# --- clocks -------------------------------------------------------------------------------------


def test_a_newest_step_of_the_future_is_of_now() -> None:
    candidates = steps(1, 2, 3, 4)
    candidates[-1] = candidates[-1]._replace(time=NOON + 365 * DAY)
    assert kept(candidates, within_seconds=7200.0) == [2, 3, 4]
    assert kept(candidates, daily=1) == [4]
    assert kept(candidates, daily=2) == [4]  # all of one day


def test_an_older_step_of_the_future_stays() -> None:
    candidates = steps(1, 2, 3, 4)
    candidates[0] = candidates[0]._replace(time=NOON + 365 * DAY)
    assert kept(candidates, within_seconds=3600.0) == [1, 3, 4]


def test_a_newest_step_of_long_ago_makes_nothing_old() -> None:
    candidates = steps(1, 2, 3)
    candidates[-1] = candidates[-1]._replace(time=0.0)
    assert kept(candidates, within_seconds=60.0) == [1, 2, 3]
    assert kept(candidates, daily=2) == [2, 3]


def test_a_time_that_is_not_known() -> None:
    candidates = steps(1, 2, 3, hours=48)
    candidates[0] = candidates[0]._replace(time=None)
    assert kept(candidates, within_seconds=60.0) == [1, 3]
    assert kept(candidates, daily=1) == [1, 3]
    candidates[-1] = candidates[-1]._replace(time=None)
    assert kept(candidates, within_seconds=60.0) == [1, 2, 3]


def test_more_is_never_less() -> None:
    """Of random steps: a larger policy keeps what a smaller one does, and two what each does."""
    seed = int(os.environ.get("KEEPING_SEED", "1"))
    chance = random.Random(seed)
    for _ in range(int(os.environ.get("KEEPING_RUNS", "200"))):
        numbers = chance.sample(range(50), chance.randint(1, 12))
        candidates = [
            Candidate(
                n, chance.choice([None, NOON - chance.random() * 9 * DAY]), chance.randint(0, 9)
            )
            for n in numbers
        ]
        small = {
            "last": chance.randint(1, 5),
            "within_seconds": chance.random() * 5 * DAY,
            "daily": chance.randint(1, 5),
            "size_bytes": chance.randint(0, 40),
        }
        large = {name: value * 2 for name, value in small.items()}
        for name in small:
            less = set(kept(candidates, **{name: small[name]}))
            assert less <= set(kept(candidates, **{name: large[name]}))
            other = chance.choice(sorted(small))
            both = set(kept(candidates, **{name: small[name], other: small[other]}))
            assert both == less | set(kept(candidates, **{other: small[other]}))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(172800, "2d"), (5400, "90m"), (45, "45s"), (0.5, "0.5s"), (3601, "3601s")],
)
def test_times_for_people(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_sizes_for_people() -> None:
    assert size_text(500 << 30) == "500GiB"
    assert size_text(3 << 40) == "3TiB"
    assert size_text(1000) == "1000 bytes"
