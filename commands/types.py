"""The types of options' values: what is allowed, and what the value then is."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monolith_cli.care.conditions import Condition

    ParamType = click.ParamType[Any]
else:  # generic in newer versions of click only
    ParamType = click.ParamType

__all__ = [
    "COLUMNS",
    "EXPORT_COLUMNS",
    "MAX_DAYS",
    "MAX_SLOT",
    "ColumnsType",
    "ConditionType",
    "DurationType",
    "FidType",
    "PlaceType",
    "RateType",
    "SizeType",
    "SlotRangesType",
    "StepType",
    "ToleranceType",
    "WhereType",
    "WordsType",
]

COLUMNS = ("fid", "slot", "table", "embedding", "opt", "last_update_ts_sec")
"""The keys of an entry in JSON, in the order of output."""

EXPORT_COLUMNS = ("fid", "slot", "embedding", "opt", "last_update_ts_sec")
"""The columns of an export, in the order of its files; `opt` stands for several."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

MAX_DAYS = 36500
"""The longest time that can be given; clocks and threads have limits not far beyond."""

MAX_SLOT = 32767
"""The largest slot of a v2 fid, which has 15 bits for it."""


class PlaceType(click.Path):
    """A file or directory; a URL that nothing could be found at is refused before anything is done.

    Parameters
    ----------
    local
        Whether it must be a path. Otherwise it may be a URL whose store is known.
    readable
        Whether a path that is there must be readable.
    """

    def __init__(self, *, local: bool, readable: bool = False, allow_dash: bool = False) -> None:
        super().__init__(readable=readable, allow_dash=allow_dash)
        self._local = local

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from monolith_cli.storage.store import local_path, store_of

        (local_path if self._local else store_of)(value)
        return super().convert(value, param, ctx)


class StepType(ParamType):
    """A checkpoint step: its number, `latest` or `all`."""

    name = "step"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | str:
        if isinstance(value, int):
            return value
        text = str(value)
        if text in ("latest", "all"):
            return text
        if not re.fullmatch(r"[0-9]{1,19}", text):
            self.fail(f"{text!r} is not a step number, 'latest' or 'all'", param, ctx)
        return int(text)


class SlotRangesType(ParamType):
    """Slots: `N`, or `A-B` with both ends, or several of these with commas between."""

    name = "slots"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[tuple[int, int]]:
        if isinstance(value, list):
            return value
        ranges = []
        for part in value.split(","):
            match = re.fullmatch(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", part.strip())
            if match is None:
                self.fail(f"{part!r} is not a slot such as 3, or a range such as 5-9", param, ctx)
            first = int(match[1])
            last = int(match[2] or first)
            if last < first:
                self.fail(f"{part!r} runs backwards", param, ctx)
            if last > MAX_SLOT:
                self.fail(f"{part!r} is beyond the largest slot, {MAX_SLOT}", param, ctx)
            ranges.append((first, last))
        return ranges


class FidType(ParamType):
    """A feature id, decimal or 0x…, signed or unsigned; the value is the stored, signed one."""

    name = "fid"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        from monolith_cli.errors import UsageError
        from monolith_cli.fid import parse_fid

        try:
            return parse_fid(value)
        except UsageError as error:
            self.fail(str(error), param, ctx)


class ConditionType(ParamType):
    """A condition on what was measured, such as `entries lt 1000`.

    In a variable there may be several, with semicolons between: a condition has blanks.
    """

    name = "condition"
    envvar_list_splitter = ";"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Condition:
        from monolith_cli.care.conditions import Condition, parse_condition
        from monolith_cli.errors import UsageError

        if isinstance(value, Condition):
            return value
        try:
            return parse_condition(value)
        except UsageError as error:
            self.fail(str(error), param, ctx)


class SizeType(ParamType):
    """A number of bytes: `1048576`, `64MiB` (or `64M`), `64MB` for millions."""

    name = "size"

    def __init__(self, maximum: int) -> None:
        self.maximum = maximum

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"([0-9]{1,18}) ?([kmgt]?)(i?b)?", value.strip().lower())
        if match is None or (match[3] == "ib" and not match[2]):
            self.fail(f"{value!r} is not a size such as 1048576 or 64MiB", param, ctx)
        base = 1000 if match[3] == "b" else 1024
        size: int = int(match[1]) * base ** ("", "k", "m", "g", "t").index(match[2])
        if not 1 <= size <= self.maximum:
            self.fail(f"{value!r} is not between 1 and {self.maximum} bytes", param, ctx)
        return size


class RateType(SizeType):
    """A number of bytes in a second: `200MiB/s`, or `200MiB`; 64 KiB at least.

    What is less would take for ever, and is most likely a number without its unit.
    """

    name = "rate"
    minimum = 1 << 16

    def __init__(self) -> None:
        super().__init__(maximum=1 << 50)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, str):
            value = value.strip().removesuffix("/s")
        rate = super().convert(value, param, ctx)
        if rate < self.minimum:
            unit = "" if not str(value).strip().isdecimal() else f"; is {value}MiB/s meant?"
            self.fail(f"{value!r} is less than 64 KiB in a second{unit}", param, ctx)
        return rate


class ToleranceType(click.FloatRange):
    """A number that differences may reach: finite, and 0 or more."""

    def __init__(self) -> None:
        super().__init__(min=0)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is no finite number", param, ctx)
        return number


class WhereType(ParamType):
    """Which entries something is done about; the value is a name, and the number behind its `:`."""

    name = "condition"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, float]:
        if isinstance(value, tuple):
            return value
        name, _, number = str(value).partition(":")
        if name != "norm-above":
            if value not in ("nan", "nonfinite", "zero"):
                known = "'nan', 'nonfinite', 'zero' or 'norm-above:X'"
                self.fail(f"{value!r} is not {known}", param, ctx)
            return name, 0.0
        try:
            norm = float(number)
        except ValueError:
            norm = math.nan
        if not 0 <= norm < math.inf:
            self.fail(f"{value!r} has no number such as norm-above:100", param, ctx)
        return name, norm


class DurationType(ParamType):
    """A time: `90` (seconds), `500ms`, `10m`, `1h30m`; the value is in seconds."""

    name = "duration"

    def __init__(self, *, zero: bool = False) -> None:
        self.zero = zero

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, (int, float)):
            return float(value)
        text = value.strip().lower()
        part = r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h|d)"
        if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
            seconds = float(text)
        elif re.fullmatch(f"(?:{part})+", text):
            seconds = sum(float(n) * _UNITS[unit] for n, unit in re.findall(part, text))
        else:
            self.fail(f"{value!r} is not a time such as 30s, 10m or 1h30m", param, ctx)
        if seconds <= 0 and not self.zero:
            self.fail(f"{value!r} is no time: it must be more than 0", param, ctx)
        if 0 < seconds < 0.001:  # the service counts milliseconds, and 0 of them are for ever
            self.fail(f"{value!r} is less than a millisecond", param, ctx)
        if seconds > MAX_DAYS * 86400:
            self.fail(f"{value!r} is beyond {MAX_DAYS} days", param, ctx)
        return seconds


class WordsType(ParamType):
    """What a job is told: text of limited length, and perhaps none."""

    name = "words"

    def __init__(self, most: int, *, empty: bool = False) -> None:
        self.most = most
        self.empty = empty

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        try:
            text.encode()
        except UnicodeEncodeError:
            self.fail("it has bytes that are not UTF-8", param, ctx)
        if len(text) > self.most:
            self.fail(f"it has {len(text)} characters, and may have {self.most}", param, ctx)
        if not self.empty and not text.strip():
            self.fail("it is empty", param, ctx)
        return text


class ColumnsType(ParamType):
    """Names of columns with commas between; the value has each once, in the order of `known`."""

    name = "columns"

    def __init__(self, known: Sequence[str] = COLUMNS) -> None:
        self.known = known

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        wanted = {name.strip() for name in value.split(",")}
        for name in sorted(wanted.difference(self.known)):
            self.fail(f"{name!r} is not one of {', '.join(self.known)}", param, ctx)
        return tuple(name for name in self.known if name in wanted)
