"""The options that commands share, as named decorators.

A name means the same everywhere. Every option but `--force` can be given as an environment
variable, `MONOLITH_<COMMAND>_<OPTION>`: the help says the rule, the man page each name. Those of
commands on a running job are in `job_options.py`, the types of values in `types.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from monolith_cli.commands.base import Settings
from monolith_cli.commands.types import (
    COLUMNS,
    ColumnsType,
    ConditionType,
    DurationType,
    FidType,
    PlaceType,
    SizeType,
    SlotRangesType,
    StepType,
)

F = TypeVar("F", bound=Callable[..., Any])


class Option(click.Option):
    """An option that knows the variables that set it, and names the one whose value is wrong."""

    def variables(self, ctx: click.Context) -> list[str]:
        """Their names; the first that is set counts."""
        if ctx.auto_envvar_prefix is None or not self.allow_from_autoenv:
            return []
        name = max(self.opts, key=len).lstrip("-").replace("-", "_")
        return [f"{ctx.auto_envvar_prefix}_{name.upper()}"]

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        # Click would go by the name of the parameter, which may be another than the option's.
        values = (os.environ.get(name) for name in self.variables(ctx))
        return next(filter(None, values), None)

    def variable_used(self, ctx: click.Context) -> str | None:
        """The variable that the value has come from; None if it has not."""
        source = ctx.get_parameter_source(self.name or "")
        if source is not click.core.ParameterSource.ENVIRONMENT:
            return None
        return next((name for name in self.variables(ctx) if os.environ.get(name)), None)

    def process_value(self, ctx: click.Context, value: Any) -> Any:
        try:
            return super().process_value(ctx, value)
        except click.BadParameter as error:
            variable = self.variable_used(ctx)
            if variable is not None:
                error.param_hint = f"{self.get_error_hint(ctx)} from {variable}"
            raise


def option(*names: str, **kwargs: Any) -> Callable[[F], F]:
    """`click.option` of our own class: use it for every option."""
    kwargs.setdefault("cls", Option)
    return click.option(*names, **kwargs)


def never_set(*names: str, **kwargs: Any) -> Callable[[F], F]:
    """An option that deletes or leaves out something, or overrules a guard.

    No variable sets it.
    """
    return option(*names, allow_from_autoenv=False, **kwargs)


def completing(name: str) -> Callable[[click.Context, click.Parameter, str], list[Any]]:
    """For `shell_complete=`: what the function of that name in `completion_values` finds."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        from monolith_cli.commands import completion_values
        from monolith_cli.errors import MonolithError

        try:
            found: list[Any] = getattr(completion_values, name)(ctx, incomplete)
        except MonolithError:  # the command itself will say what is wrong
            return []
        return found

    return complete


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
    return click.argument(
        "model_dir", type=click.Path(readable=False), shell_complete=completing("directories")
    )(function)


def local_model_dir(function: F) -> F:
    """MODEL_DIR of a command that writes or looks there by the operating system alone."""
    return click.argument(
        "model_dir", type=PlaceType(local=True), shell_complete=completing("directories")
    )(function)


def json(function: F) -> F:
    """`--json`; errors are then JSON too. Eager, so that it holds for errors of other options."""
    return option(
        "--json",
        is_flag=True,
        is_eager=True,
        callback=_set("json"),
        help="Print one JSON document, and errors as JSON; its keys are in the man page.",
    )(function)


def json_errors(function: F) -> F:
    """`--json` of commands whose stdout belongs to others; the value stays in `Settings`."""
    return option(
        "--json",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_set("json"),
        help="Print errors as JSON; standard output is the command's.",
    )(function)


def json_lines(function: F) -> F:
    """`--json` of commands that print one object per line."""
    return option(
        "--json",
        is_flag=True,
        is_eager=True,
        callback=_set("json"),
        help="Print one object per line, and errors as JSON; its keys are in the man page.",
    )(function)


def json_number_ids(function: F) -> F:
    """`--json-number-ids`."""
    return option(
        "--json-number-ids",
        is_flag=True,
        help="64-bit ids as JSON numbers. Default: strings, because many JSON readers lose"
        " digits above 2^53.",
    )(function)


def one_step(ctx: click.Context, param: click.Parameter, value: int | str) -> int | str:
    """Refuses `all`, where one step is meant."""
    if value == "all":
        raise click.BadParameter("'all' makes no sense here, name one step", ctx, param)
    return value


def step(*, several: bool = True, of: str = "steps") -> Callable[[F], F]:
    """`--step`; without `several` for commands that work on one checkpoint only.

    Completed are the model's steps, or those `of` something else: `input_steps`.
    """

    return option(
        "--step",
        type=StepType(),
        metavar="N|latest|all" if several else "N|latest",
        default="latest",
        show_default=True,
        callback=None if several else one_step,
        shell_complete=completing(of),
        help="The checkpoint to read.",
    )


def table(function: F) -> F:
    """`--table`, repeatable."""
    return option(
        "--table",
        multiple=True,
        metavar="GLOB",
        shell_complete=completing("tables"),
        help="Only tables whose name matches, e.g. 'user_*'. Repeatable.",
    )(function)


def slot_ranges(name: str, *, help: str, never_set: bool = False) -> Callable[[F], F]:
    """An option like `--slot` of another name; with `never_set` no variable sets it."""
    return option(
        name,
        allow_from_autoenv=not never_set,
        type=SlotRangesType(),
        multiple=True,
        metavar="N[,N|A-B]",
        callback=_merge,
        shell_complete=completing("slots"),
        help=help,
    )


def slot(function: F) -> F:
    """`--slot`, repeatable; the value is a list of disjoint inclusive ranges."""
    return slot_ranges("--slot", help="Only entries of these slots, e.g. 3,5-9. Repeatable.")(
        function
    )


def merge_servers(function: F) -> F:
    """`--merge-servers`."""
    return option(
        "--merge-servers",
        is_flag=True,
        help="Take tables that differ in the number of their server alone (user_0, user_1, ...)"
        " as one: user.",
    )(function)


def fail_if(function: F) -> F:
    """`--fail-if`, repeatable; the value is a tuple of `Condition`."""
    return option(
        "--fail-if",
        type=ConditionType(),
        multiple=True,
        metavar="COND",
        help="End with 1 if this holds, such as 'entries lt 1000' or"
        " 'change(slot[*].entries) gt 20%'; with 3 if that is not known here."
        " Repeatable; in the variable with ';' between.",
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


def read_fids(name: str) -> tuple[int, ...]:
    """What a value of `--fids-from` lists, as stored (signed); `-` is standard input.

    Raises
    ------
    MonolithError
        It cannot be read, or a line is no feature id.
    """
    import sys

    from monolith_cli.errors import NotReadableError, PathNotFoundError
    from monolith_cli.fid import parse_fids

    path = "standard input" if name == "-" else name
    if name == "-" and sys.stdin is None:
        raise NotReadableError("not readable: it was closed", path=path)
    try:
        if name == "-":
            data = sys.stdin.buffer.read()
        else:
            with open(name, "rb") as file:  # a pipe will do, which a store refuses
                data = file.read()
    except FileNotFoundError as error:
        raise PathNotFoundError("no such file", path=path) from error
    except OSError as error:
        raise NotReadableError.because(error, path) from error
    return tuple(parse_fids(data.decode("utf-8-sig", "replace"), path))


def columns(function: F) -> F:
    """`--columns`; all by default."""
    return option(
        "--columns",
        type=ColumnsType(),
        metavar="NAME[,NAME]",
        default=",".join(COLUMNS),
        show_default="all",
        shell_complete=completing("columns"),
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
        help="On damaged data: fail, or skip it, list what was left out and end with 4.",
    )(function)


def max_record_bytes(function: F) -> F:
    """`--max-record-bytes`."""
    return option(
        "--max-record-bytes",
        type=SizeType(maximum=2**31 - 1),
        metavar="SIZE",
        default="64MiB",
        show_default=True,
        help="Treat longer records as damage.",
    )(function)


def force(*, help: str) -> Callable[[F], F]:
    """`--force`; the help says what it overrides. It is never set by a variable."""
    return option("--force", is_flag=True, allow_from_autoenv=False, help=help)


def dry_run(function: F) -> F:
    """`-n`, `--dry-run`."""
    return option("-n", "--dry-run", is_flag=True, help="Only show what would be done.")(function)


def quiet_for(function: F) -> F:
    """`--quiet-for`; it is never set by a variable."""
    return never_set(
        "--quiet-for",
        type=DurationType(zero=True),
        metavar="TIME",
        help="How long ago the last save must have been, where nothing else tells whether a job"
        " lives, instead of 10m or twice the time between saves; 0 if it is known to have ended.",
    )(function)
