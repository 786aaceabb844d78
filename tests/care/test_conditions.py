"""Conditions: what they mean, and what they hold for."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monolith_cli.care.conditions import (
    NAMES,
    Condition,
    Held,
    check_all,
    errors_of,
    parse_condition,
)
from monolith_cli.errors import NotMeasuredError, TableNotFoundError, UsageError


class Fake:
    """What was measured: by scope and name, now and before."""

    def __init__(self, now: dict[tuple[str, str], Any], before: dict[tuple[str, str], Any]) -> None:
        self.now, self.was = now, before

    def measured(self, scope: str, name: str) -> Any:
        return self.now.get((scope, name))

    def before(self, scope: str, name: str) -> Any:
        return self.was.get((scope, name))


FAKE = Fake(
    {
        ("", "entries"): {"": 300},
        ("table", "entries"): {"user": 100, "item": 200, "new": 5, "age_[1]": 1},
        ("slot", "entries"): {1: 125, 2: 50, 7: 5, 9: 3},
        ("table", "mean"): {"user": 0.5, "item": math.nan, "empty": None},
        ("opt", "max_abs"): {"norm": 2.0},
    },
    {
        ("", "entries"): {"": 100},
        ("table", "entries"): {"user": 100, "item": 100, "gone": 5},
        ("slot", "entries"): {1: 100, 2: 100, 8: 4, 9: 3},
        ("table", "mean"): {"user": 0.25, "item": 0.5},
    },
)


def held(text: str) -> list[str]:
    return [each.what for each in parse_condition(text).check(FAKE)]


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("entries lt 100", Condition("", "", "", "entries", "lt", 100)),
        ("nan>0", Condition("", "", "", "nan", "gt", 0)),
        ("slot[3].entries >= 1e3", Condition("", "slot", "3", "entries", "ge", 1000)),
        ("slot[5-9].bytes = 2", Condition("", "slot", "5-9", "bytes", "eq", 2)),
        ("table[u[0-9].x*].mean != -.5", Condition("", "table", "u[0-9].x*", "mean", "ne", -0.5)),
        ("opt[norm].max_abs le 1.", Condition("", "opt", "norm", "max_abs", "le", 1)),
        ("dense[a <b].nan gt 0", Condition("", "dense", "a <b", "nan", "gt", 0)),
        (
            "change(slot[*].entries) gt 20%",
            Condition("", "slot", "*", "entries", "gt", 20, True, True),
        ),
        (
            " change ( table[gt 5].entries )  <= -5 % ",
            Condition("", "table", "gt 5", "entries", "le", -5, True, True),
        ),
        ("change(added)==7", Condition("", "", "", "added", "eq", 7, True, False)),
    ],
)
def test_what_a_text_stands_for(text: str, condition: Condition) -> None:
    assert parse_condition(text) == condition._replace(text=text.strip())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is no condition"),
        ("entries", "is no condition: give METRIC gt NUMBER, 'change(slot[*].entries) gt 20%'"),
        ("entries gt", "is no condition"),
        ("entries gt five", "is no condition"),
        ("entries gt nan", "is no condition"),
        ("entriesgt5", "is no condition"),
        ("entries gt 5 6", "is no condition"),
        ("entries ~ 5", "is no condition"),
        ("slot[3]entries gt 5", "is no metric"),
        ("change(change(entries)) gt 5", "is no metric"),
        ("entris gt 5", f"no metric 'entris'; there are {', '.join(NAMES)}"),
        ("row[3].entries gt 5", "no scope 'row'; there are table[...], slot[...]"),
        ("table[].entries gt 5", "names nothing; table[*] are all"),
        ("slot[a].entries gt 5", "'a' is no slot, no range such as 5-9, and not *"),
        ("slot[9-5].entries gt 5", "'9-5' is no slot"),
        ("nan gt 5%", "only a change can be in percent: change(nan)"),
    ],
)
def test_what_is_no_condition(text: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_condition(text)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("entries gt 299", ["entries"]),
        ("entries gt 300", []),
        ("entries ge 300", ["entries"]),
        ("entries ne 300", []),
        ("table[*].entries lt 100", ["table[new].entries", "table[age_[1]].entries"]),
        ("table[age_[[]1]].entries eq 1", ["table[age_[1]].entries"]),
        ("table[age_[1]].entries eq 1", ["table[age_[1]].entries"]),
        ("slot[1].entries gt 100", ["slot[1].entries"]),
        ("slot[7-7].entries lt 10", ["slot[7].entries"]),
        ("slot[6-9].entries lt 5", ["slot[6].entries", "slot[8].entries", "slot[9].entries"]),
        ("slot[*].entries lt 5", ["slot[9].entries"]),  # of those that are there
        ("slot[2-2].entries lt 10", []),
        ("slot[99999-100000].entries lt 5", ["slot[99999].entries"]),  # beyond all slots
        ("change(slot[6-9].entries) lt 0", ["slot[8].entries"]),
        ("slot[4].entries lt 1", ["slot[4].entries"]),  # a slot without entries has none
        ("change(slot[*].entries) gt 20%", ["slot[1].entries", "slot[7].entries"]),
        ("change(slot[*].entries) lt -20%", ["slot[2].entries", "slot[8].entries"]),
        ("change(slot[*].entries) eq 0", ["slot[9].entries"]),
        ("change(entries) ge 200", ["entries"]),
        ("change(entries) ge 200%", ["entries"]),
        ("change(table[*].entries) eq -5", ["table[gone].entries"]),
        ("change(table[n*].entries) gt 1e300%", ["table[new].entries"]),
        ("table[*].mean gt 0", ["table[user].mean"]),
        ("change(table[*].mean) eq 100%", ["table[user].mean"]),
    ],
)
def test_what_holds(text: str, what: list[str]) -> None:
    assert held(text) == what


def test_a_slot_alone_and_in_ranges_is_read_alike() -> None:
    """What holds of single slots holds of a range of them, there or not."""
    for metric in ("{}.entries", "change({}.entries)"):
        for test in ("lt 5", "lt 0", "eq 0", "ge 4", "gt 100", "ne 0"):
            alone = [
                each for n in range(11) for each in held(metric.format(f"slot[{n}]") + f" {test}")
            ]
            assert held(metric.format("slot[0-10]") + f" {test}") == alone


def test_what_held_is_told() -> None:
    (found,) = parse_condition("change(slot[1-2].entries) gt 20%").check(FAKE)
    assert found == Held("slot[1].entries", 125, 100, 25, True)
    assert found.text == "slot[1].entries: 125 after 100, +25%"
    (found,) = parse_condition("change(slot[7].entries) gt 20%").check(FAKE)
    assert found.text == "slot[7].entries: 5 after 0, new"
    (found,) = parse_condition("table[user].mean gt 0").check(FAKE)
    assert found.text == "table[user].mean: 0.5"


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("bytes gt 0", NotMeasuredError, "bytes gt 0: not known here"),
        ("change(opt[*].max_abs) gt 0", NotMeasuredError, "not known here"),
        ("table[x*].entries gt 0", TableNotFoundError, "no table is as 'x*'"),
        ("opt[m].max_abs gt 0", NotMeasuredError, "nothing is as 'm'"),
        ("table[i*].mean gt 0", NotMeasuredError, "there is nothing to measure it by"),
        ("change(table[empty].mean) gt 0", NotMeasuredError, "there is nothing to measure it by"),
    ],
)
def test_what_is_not_known_is_never_a_pass(text: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error) as caught:
        parse_condition(text).check(FAKE)
    assert says in str(caught.value)


def test_all_are_checked_behind_one_that_cannot_be() -> None:
    texts = ["bytes gt 0", "slot[*].entries lt 10", "entries lt 5"]
    checked = check_all(map(parse_condition, texts), FAKE)
    assert [len(each.held) for each in checked] == [0, 2, 0]
    errors = errors_of(checked)
    assert [error.kind for error in errors] == ["not_measured", "condition_holds"]
    assert str(errors[1]) == "slot[*].entries lt 10 holds of slot[7].entries: 5, and of 1 more"


@given(st.text(alphabet="abc[]().*-<>=!%0123456789 entriesslotchange", max_size=40))
def test_any_text_is_a_condition_or_refused(text: str) -> None:
    try:
        parsed = parse_condition(text)
    except UsageError:
        return
    assert parse_condition(parsed.text) == parsed


NUMBERS = st.integers(-(10**6), 10**6)


@given(NUMBERS, NUMBERS, NUMBERS, st.sampled_from(["lt", "le", "gt", "ge", "eq", "ne"]))
def test_changes_against_arithmetic(now: int, before: int, number: int, op: str) -> None:
    fake = Fake({("", "added"): {"": now}}, {("", "added"): {"": before}})
    difference = now - before
    expected = {
        "lt": difference < number,
        "le": difference <= number,
        "gt": difference > number,
        "ge": difference >= number,
        "eq": difference == number,
        "ne": difference != number,
    }[op]
    assert bool(parse_condition(f"change(added) {op} {number}").check(fake)) == expected
    if before:
        expected = difference * 100 > number * abs(before)
        assert bool(parse_condition(f"change(added) gt {number}%").check(fake)) == expected
