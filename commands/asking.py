"""Asking before something is deleted or moved: on a terminal a person, elsewhere `--yes`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from monolith_cli.commands.options import option

__all__ = ["agreed", "can_ask", "require_yes", "yes"]

F = TypeVar("F", bound=Callable[..., Any])


def yes(function: F) -> F:
    """`-y`, `--yes`; it is never set by a variable."""
    return option(
        "-y",
        "--yes",
        is_flag=True,
        allow_from_autoenv=False,
        help="Do not ask. Needed where standard input is not a terminal.",
    )(function)


def can_ask() -> bool:
    """Whether somebody sits there who can answer."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


def require_yes(yes: bool) -> None:
    """Refuse to go on without a `--yes` where nobody can be asked."""
    if not yes and not can_ask():
        raise click.UsageError("nobody can be asked here: --yes says that it is meant")


def agreed(question: str, yes: bool) -> bool:
    """Ask on stderr, unless `--yes` has answered already."""
    if yes:
        return True
    require_yes(yes)
    sys.stdout.flush()  # what it is about comes first
    return click.confirm(question, default=False, err=True)
