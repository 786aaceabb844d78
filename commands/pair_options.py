"""Arguments and options of commands that compare two checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from monolith_cli.commands.each_step import number_of
from monolith_cli.commands.options import completing, one_step, option
from monolith_cli.commands.types import PlaceType, SizeType, StepType

if TYPE_CHECKING:
    from monolith_cli.checkpoint.pairs import Pair
    from monolith_cli.reports.terminal import Messages

F = TypeVar("F", bound=Callable[..., Any])


def steps(function: F) -> F:
    """Arguments A and B: steps, `latest`, or None where they are left out."""
    for name in ("b", "a"):
        function = click.argument(
            name,
            metavar=f"[{name.upper()}]",
            required=False,
            type=StepType(),
            callback=_one_step,
            shell_complete=completing("steps"),
        )(function)
    return function


def _one_step(ctx: click.Context, param: click.Parameter, value: int | str | None) -> object:
    return None if value is None else one_step(ctx, param, value)


def with_other(function: F) -> F:
    """`--with`: another directory, as `other`; no argument can be called with."""
    return option(
        "--with",
        expose_value=False,
        callback=_as_other,
        type=PlaceType(local=False),
        metavar="DIR[@STEP]",
        shell_complete=completing("directories"),
        help="Compare with what this directory holds: its latest step, or DIR@1000. Then A is the"
        " latest by default, and there is no B.",
    )(function)


def _as_other(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    ctx.params["other"] = value


def exit_code(function: F) -> F:
    """`--exit-code`."""
    return option("--exit-code", is_flag=True, help="End with 1 if anything differs.")(function)


def memory(function: F) -> F:
    """`--memory`: a number of bytes."""
    return option(
        "--memory",
        type=SizeType(maximum=1 << 44),
        metavar="SIZE",
        default="1GiB",
        show_default=True,
        help="How much memory to sort in: 32 bytes per entry of either side. What is more waits"
        " in a file in --tmp.",
    )(function)


def tmp(function: F) -> F:
    """`--tmp`."""
    return option(
        "--tmp",
        type=PlaceType(local=True),
        metavar="DIR",
        show_default="the system's",
        help="Where that file is. It is removed, however the command ends.",
    )(function)


def check_pair(a: object, b: object, other: str | None) -> None:
    """Refuse two steps and another directory at a time."""
    if b is not None and other is not None:
        raise click.UsageError("two steps and --with: name the other step as DIR@STEP")


def open_pair(
    model_dir: str, a: int | str | None, b: int | str | None, other: str | None, messages: Messages
) -> Pair:
    """The two checkpoints that are compared; what there is to remark on them is said."""
    from monolith_cli.checkpoint.pairs import find_pair

    first, second = (None if each is None else number_of(each) for each in (a, b))
    pair = find_pair(model_dir, first, second, other, latest=a == "latest")
    messages.notes(*pair.a.notes, *pair.b.notes)
    messages.warnings(*pair.a.warnings, *pair.b.warnings)
    return pair
