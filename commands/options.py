"""The options that commands share, as named decorators, and the types of their values.

A name means the same everywhere. Every option can be given as an environment variable,
`MONOLITH_<COMMAND>_<OPTION>`, which its help shows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from monolith_cli.commands.base import Settings

if TYPE_CHECKING:
    from monolith_cli.checkpoint.model_dir import Checkpoint, ModelDir

    ParamType = click.ParamType[Any]
else:  # generic in newer versions of click only
    ParamType = click.ParamType

F = TypeVar("F", bound=Callable[..., Any])

COLUMNS = ("fid", "slot", "table", "embedding", "opt", "last_update_ts_sec")
"""The keys of an entry in JSON, in the order of output."""

MAX_SLOT = 32767
"""The largest slot of a v2 fid, which has 15 bits for it."""


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


class SizeType(ParamType):
    """A number of bytes: `1048576`, `64MiB` (or `64M`), `64MB` for millions."""

    name = "size"

    def __init__(self, maximum: int) -> None:
        self.maximum = maximum

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"([0-9]{1,18}) ?([kmg]?)(i?b)?", value.strip().lower())
        if match is None or (match[3] == "ib" and not match[2]):
            self.fail(f"{value!r} is not a size such as 1048576 or 64MiB", param, ctx)
        base = 1000 if match[3] == "b" else 1024
        size: int = int(match[1]) * base ** ("", "k", "m", "g").index(match[2])
        if not 1 <= size <= self.maximum:
            self.fail(f"{value!r} is not between 1 and {self.maximum} bytes", param, ctx)
        return size


class ColumnsType(ParamType):
    """Keys of an entry with commas between; the value has each once, in the order of output."""

    name = "columns"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        wanted = {name.strip() for name in value.split(",")}
        for name in sorted(wanted.difference(COLUMNS)):
            self.fail(f"{name!r} is none of {', '.join(COLUMNS)}", param, ctx)
        return tuple(name for name in COLUMNS if name in wanted)


def option(*names: str, **kwargs: Any) -> Callable[[F], F]:
    """`click.option` with the environment variable in the help: use it for every option."""
    kwargs.setdefault("show_envvar", True)
    return click.option(*names, **kwargs)


def _set(name: str) -> Callable[[click.Context, click.Parameter, bool], bool]:
    def callback(ctx: click.Context, param: click.Parameter, value: bool) -> bool:
        if value:
            setattr(ctx.ensure_object(Settings), name, True)
        return value

    return callback


def _merge(
    ctx: click.Context, param: click.Parameter, value: Iterable[list[tuple[int, int]]]
) -> list[tuple[int, int]]:
    """All ranges of all occurrences: ascending, disjoint, not adjacent."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(pair for ranges in value for pair in ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged


def common(function: F) -> F:
    """`--quiet`, `--verbose`, `--debug`: kept in `Settings`, not handed to the command."""
    for name, text in (
        ("debug", "Show the traceback of an error."),
        ("verbose", "Say more on stderr, such as how long it took."),
        ("quiet", "No progress bar, notes or warnings; errors only."),
    ):
        function = option(
            f"--{name}",
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_set(name),
            help=text,
        )(function)
    return function


def model_dir(function: F) -> F:
    """MODEL_DIR; whether it exists is for the library to say."""
    return click.argument("model_dir", type=click.Path(readable=False))(function)


def json(function: F) -> F:
    """`--json`; errors are then JSON too. Eager, so that it holds for errors of other options."""
    return option(
        "--json",
        is_flag=True,
        is_eager=True,
        callback=_set("json"),
        help="Print one JSON document, and errors as JSON; its keys are in the man page.",
    )(function)


def json_lines(function: F) -> F:
    """`--json` of commands that print an object a line."""
    return option(
        "--json",
        is_flag=True,
        is_eager=True,
        callback=_set("json"),
        help="Print an object a line, and errors as JSON; its keys are in the man page.",
    )(function)


def json_number_ids(function: F) -> F:
    """`--json-number-ids`."""
    return option(
        "--json-number-ids",
        is_flag=True,
        help="64-bit ids as JSON numbers. Default: strings, as many readers of JSON lose digits"
        " above 2^53.",
    )(function)


def step(*, several: bool = True) -> Callable[[F], F]:
    """`--step`; without `several` for commands that work on one checkpoint only."""

    def callback(ctx: click.Context, param: click.Parameter, value: int | str) -> int | str:
        if value == "all" and not several:
            raise click.BadParameter("'all' makes no sense here, name one step", ctx, param)
        return value

    return option(
        "--step",
        type=StepType(),
        metavar="N|latest|all" if several else "N|latest",
        default="latest",
        show_default=True,
        callback=callback,
        help="The checkpoint to read.",
    )


def chosen_checkpoints(directory: ModelDir, step: int | str) -> list[Checkpoint]:
    """The checkpoints that a value of `--step` means.

    Raises
    ------
    MonolithError
        As `ModelDir.checkpoint` and `ModelDir.checkpoints`.
    """
    if step == "all":
        return directory.checkpoints()
    return [directory.checkpoint(None if step == "latest" else int(step))]


def table(function: F) -> F:
    """`--table`, repeatable."""
    return option(
        "--table",
        multiple=True,
        metavar="GLOB",
        help="Only tables whose name matches, e.g. 'user_*'. Repeatable.",
    )(function)


def slot(function: F) -> F:
    """`--slot`, repeatable; the value is a list of disjoint inclusive ranges."""
    return option(
        "--slot",
        type=SlotRangesType(),
        multiple=True,
        metavar="N[,N|A-B]",
        callback=_merge,
        help="Only entries of these slots, e.g. 3,5-9. Repeatable.",
    )(function)


def fid(function: F) -> F:
    """`--fid`, repeatable; stored (signed) values."""
    return option(
        "--fid",
        type=FidType(),
        multiple=True,
        metavar="N",
        help="Only the entry of this feature id, decimal or 0x. Repeatable.",
    )(function)


def columns(function: F) -> F:
    """`--columns`; all by default."""
    return option(
        "--columns",
        type=ColumnsType(),
        metavar="NAME[,NAME]",
        default=",".join(COLUMNS),
        show_default="all",
        help=f"Keys of the objects, of {', '.join(COLUMNS)}.",
    )(function)


def fid_version(function: F) -> F:
    """`--fid-version`."""
    return option(
        "--fid-version",
        type=click.Choice(["v1", "v2"]),
        default="v2",
        show_default=True,
        help="Where a feature id has its slot: v2 in bits 48 to 62, v1 in bits 54 to 63.",
    )(function)


def no_verify(function: F) -> F:
    """`--no-verify`."""
    return option("--no-verify", is_flag=True, help="Do not check the checksums of what is read.")(
        function
    )


def jobs(function: F) -> F:
    """`--jobs`; None means all cores."""
    return option(
        "--jobs",
        type=click.IntRange(min=1, max=1024),
        metavar="N",
        show_default="all cores",
        help="Threads to read with.",
    )(function)


def on_corrupt(function: F) -> F:
    """`--on-corrupt`."""
    return option(
        "--on-corrupt",
        type=click.Choice(["fail", "skip"]),
        default="fail",
        show_default=True,
        help="At damaged data: fail, or skip it, list what was left out and end with 4.",
    )(function)


def max_record_bytes(function: F) -> F:
    """`--max-record-bytes`."""
    return option(
        "--max-record-bytes",
        type=SizeType(maximum=2**31 - 1),
        metavar="SIZE",
        default="64MiB",
        show_default=True,
        help="Take longer records for damage.",
    )(function)


def force(*, help: str) -> Callable[[F], F]:
    """`--force`; the help says what it overrides."""
    return option("--force", is_flag=True, help=help)
