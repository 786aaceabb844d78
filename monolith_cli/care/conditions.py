"""Conditions on what was measured, such as `change(slot[*].entries) gt 20%`: for `--fail-if`.

    cond   = metric op number ["%"]         op = lt | le | gt | ge | eq | ne, or < <= > >= = !=
    metric = ["change("] [scope "."] name [")"]
    scope  = table[GLOB] | slot[N|A-B|*] | dense[GLOB] | opt[FIELD]

Without a scope the whole is meant. `change` is against what was before, with `%` relative to that.

What is absent: a slot that is named, alone or in a range, and is not there has 0 entries;
`slot[*]` are those that are there, now or before. A table that is there on one side alone has 0
entries on the other; one that is on neither is not known, which is no pass. What is no count, such
as a mean, is never 0 for being absent: it is left out.

Who measures has a class with two methods, see `Measured`, and knows nothing of the grammar.
"""

from __future__ import annotations

import math
import operator
import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple, Protocol

from monolith_cli.errors import (
    DifferentError,
    MonolithError,
    NotMeasuredError,
    TableNotFoundError,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, TypeAlias

    Key: TypeAlias = str | int
    Values: TypeAlias = Mapping[Any, float | None]

__all__ = [
    "NAMES",
    "Checked",
    "Condition",
    "Held",
    "Measured",
    "check_all",
    "errors_of",
    "parse_condition",
]

COUNTS = (
    *("entries", "bytes", "zero_rows", "nan", "inf", "huge"),
    *("added", "removed", "changed"),
)
"""Numbers of something: what is not there has none of it."""

NAMES = (
    *("entries", "bytes", "zero_rows", "nan", "inf", "huge", "max_abs", "mean", "std"),
    *("norm_p50", "norm_p99", "norm_max", "age_p50", "added", "removed", "changed"),
)
"""What a condition can be about. Not every command measures all of them."""

_LAST_SLOT = 32767
"""There are none beyond it, whichever version feature ids have."""

SCOPES = ("table", "slot", "dense", "opt")

_SIGNS: dict[str, Callable[[float, float], bool]] = {
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
    "eq": operator.eq,
    "ne": operator.ne,
}
_WORDS = {"<": "lt", "<=": "le", ">": "gt", ">=": "ge", "=": "eq", "==": "eq", "!=": "ne"}
_CONDITION = re.compile(
    r"(.*[\w\])])(?:\s*(<=|>=|!=|==|=|<|>)|\s+(lt|le|gt|ge|eq|ne)\s)\s*"
    r"([-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?)\s*(%?)",
    re.DOTALL,
)
_CHANGE = re.compile(r"change\s*\((.*)\)", re.DOTALL)
_SCOPED = re.compile(r"(?:([a-z]+)\[(.*)\]\.)?([A-Za-z_][A-Za-z0-9_]*)", re.DOTALL)
_SLOTS = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")
_EXAMPLE = "'change(slot[*].entries) gt 20%', say"


class Measured(Protocol):
    """What was measured. Keys are names of tables, variables and fields, and numbers of slots.

    Of the whole (scope `""`) the only key is `""`. None for a value stands for one that cannot be:
    the mean of nothing. None in place of a mapping: that is not known here. To say why, raise a
    `NotMeasuredError`.
    """

    def measured(self, scope: str, name: str) -> Values | None:
        """All of a scope: `""`, `table`, `slot`, `dense` or `opt`."""

    def before(self, scope: str, name: str) -> Values | None:
        """The same of what it is compared with: the step before, or the other side."""


class Held(NamedTuple):
    """What a condition was found to hold for.

    Attributes
    ----------
    what
        Such as `slot[3].entries`.
    value
        As it was measured.
    before
        What was there before; None where no change was asked for.
    change
        None likewise. What came from nothing is infinitely more, in percent.
    in_percent
        Whether the change is relative to what was before.
    """

    what: str
    value: float
    before: float | None = None
    change: float | None = None
    in_percent: bool = False

    @property
    def text(self) -> str:
        """In words, such as `slot[3].entries: 125 after 100, +25%`."""
        if self.before is None or self.change is None:
            return f"{self.what}: {_number(self.value)}"
        change = "new" if math.isinf(self.change) else f"{self.change:+,.6g}"
        sign = "%" if self.in_percent and not math.isinf(self.change) else ""
        return f"{self.what}: {_number(self.value)} after {_number(self.before)}, {change}{sign}"


class Condition(NamedTuple):
    """A condition.

    Attributes
    ----------
    text
        As it was given.
    scope, pattern
        Of what: `table`, `slot`, `dense` or `opt` with a pattern; both empty for the whole.
    name
        One of `NAMES`.
    op
        `lt`, `le`, `gt`, `ge`, `eq` or `ne`.
    number
        What it is compared with.
    is_change
        Whether the change is meant, not the value.
    in_percent
        Whether the change is relative to what was before.
    """

    text: str
    scope: str
    pattern: str
    name: str
    op: str
    number: float
    is_change: bool = False
    in_percent: bool = False

    def check(self, measured: Measured) -> list[Held]:
        """What it holds for: nothing if it does not hold.

        Raises
        ------
        NotMeasuredError
            What it is about is not known here.
        TableNotFoundError
            No table is as its pattern.
        """
        values = self._known(measured.measured(self.scope, self.name))
        before = self._known(measured.before(self.scope, self.name)) if self.is_change else {}
        keys = self._matching([*values, *(key for key in before if key not in values)])
        held, seen = [], False
        for key in keys:
            value, base = self._value(values, key), self._value(before, key)
            if value is None or (self.is_change and base is None):
                continue
            seen = True
            found = Held(self._what(key), value)
            if base is not None and self.is_change:
                change = _percent(base, value) if self.in_percent else value - base
                found = found._replace(before=base, change=change, in_percent=self.in_percent)
            if _SIGNS[self.op](value if found.change is None else found.change, self.number):
                held.append(found)
        if keys and not seen:
            raise NotMeasuredError(f"{self.text}: there is nothing to measure it by")
        return held

    def _known(self, values: Values | None) -> Values:
        if values is None:
            raise NotMeasuredError(f"{self.text}: not known here")
        return values

    def _matching(self, keys: Iterable[Key]) -> list[Key]:
        if self.scope == "":
            return [""]
        if self.scope == "slot":
            there = {key for key in keys if isinstance(key, int)}
            if self.pattern.strip() == "*":
                return sorted(there)
            first, last = _slot_range(self.pattern) or (0, -1)
            named = range(first, max(min(last, _LAST_SLOT), first) + 1)
            return sorted({key for key in there if first <= key <= last}.union(named))
        keys = list(keys)
        # A name may look like a pattern, as `user[0]` does.
        if self.pattern in keys:
            return [self.pattern]
        found = [key for key in keys if fnmatchcase(str(key), self.pattern)]
        if not found and self.scope == "table":
            raise TableNotFoundError(f"{self.text}: no table is as {self.pattern!r}")
        if not found:
            raise NotMeasuredError(f"{self.text}: nothing is as {self.pattern!r}")
        return found

    def _value(self, values: Values, key: Key) -> float | None:
        value = values.get(key)
        if value is None and key not in values and self.name in COUNTS:
            return 0
        return None if value is None or math.isnan(value) else value

    def _what(self, key: Key) -> str:
        return f"{self.scope}[{key}].{self.name}" if self.scope else self.name


class Checked(NamedTuple):
    """A condition, and what came of it.

    Attributes
    ----------
    held
        What it holds for.
    problem
        Why it could not be checked.
    """

    condition: Condition
    held: list[Held]
    problem: MonolithError | None = None


def check_all(conditions: Iterable[Condition], measured: Measured) -> list[Checked]:
    """Check every condition, also behind one that cannot be checked."""
    found = []
    for condition in conditions:
        try:
            found.append(Checked(condition, condition.check(measured)))
        except (NotMeasuredError, TableNotFoundError) as error:
            found.append(Checked(condition, [], error))
    return found


def errors_of(checked: Iterable[Checked]) -> list[MonolithError]:
    """Why conditions could not be checked, and one error for each that holds.

    That is a `DifferentError`, kind `condition_holds`, which names what comes first.
    """
    errors: list[MonolithError] = []
    for condition, held, problem in checked:
        if problem is not None:
            errors.append(problem)
        if held:
            more = f", and of {len(held) - 1} more" if len(held) > 1 else ""
            what = f"{condition.text} holds of {held[0].text}{more}"
            errors.append(DifferentError(what, kind="condition_holds"))
    return errors


def parse_condition(text: str) -> Condition:
    """The condition that a text stands for.

    Raises
    ------
    UsageError
        It is none; or is about something that is not in `NAMES`, which are listed then.
    """
    match = _CONDITION.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{text!r} is no condition: give METRIC gt NUMBER, {_EXAMPLE}")
    metric, sign, word, number, percent = match.groups()
    change = _CHANGE.fullmatch(metric.strip())
    scoped = _SCOPED.fullmatch((change[1] if change else metric).strip())
    if scoped is None:
        raise UsageError(f"{text!r} is no condition: {metric!r} is no metric such as {_EXAMPLE}")
    scope, pattern, name = scoped[1] or "", scoped[2] or "", scoped[3]
    if name not in NAMES:
        raise UsageError(f"{text!r}: no metric {name!r}; there are {', '.join(NAMES)}")
    if scope not in ("", *SCOPES):
        known = ", ".join(f"{each}[...]" for each in SCOPES)
        raise UsageError(f"{text!r}: no scope {scope!r}; there are {known}")
    if scope and not pattern:
        raise UsageError(f"{text!r}: {scope}[] names nothing; {scope}[*] are all")
    if scope == "slot" and _slot_range(pattern) is None:
        raise UsageError(f"{text!r}: {pattern!r} is no slot, no range such as 5-9, and not *")
    if percent and not change:
        raise UsageError(f"{text!r}: only a change can be in percent: change({metric.strip()})")
    return Condition(
        text=text.strip(),
        scope=scope,
        pattern=pattern,
        name=name,
        op=word or _WORDS[sign],
        number=float(number),
        is_change=change is not None,
        in_percent=bool(percent),
    )


def _slot_range(pattern: str) -> tuple[int, int] | None:
    if pattern.strip() == "*":
        return 0, (1 << 63) - 1
    match = _SLOTS.fullmatch(pattern.strip())
    if match is None:
        return None
    first, last = int(match[1]), int(match[2] or match[1])
    return (first, last) if first <= last else None


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.7g}"


def _percent(before: float, value: float) -> float:
    """How much more, in percent; what came from nothing is infinitely more."""
    if before == value:
        return 0.0
    if before == 0:
        return math.copysign(math.inf, value)
    return 100 * (value - before) / abs(before)
