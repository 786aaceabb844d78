"""What a user of the command line can do about an error, by its kind.

The library says what is wrong, and what to do in general words; it knows of no command and no
option. Here are the words of the command line. An option is advised only where the command at hand
has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from monolith_cli.commands.job_hints import JOB_HINTS
from monolith_cli.kinds import RECORD_DAMAGE

if TYPE_CHECKING:
    import click

    from monolith_cli.errors import MonolithError

__all__ = ["REPLACES", "Hint", "add", "advise", "advise_here", "name_variables", "telling"]

REPLACES = "--force replaces it"


class Hint(NamedTuple):
    """Some advice.

    Attributes
    ----------
    text
        An imperative phrase. One that begins with "or " or "; " follows what the library says; any
        other stands in its place.
    option
        The parameter of the command that it needs; None for advice that holds everywhere.
    unless
        The value of that parameter with which it is no advice any more.
    after
        What the library must have advised in its own words.
    """

    text: str
    option: str | None = None
    unless: object = None
    after: str = ""


_OF_THEIR_OWN = "bring the steps into a directory of their own with --to DIR"
_AROUND = Hint("or read around the damage with --on-corrupt skip", "on_corrupt", "skip")

HINTS: dict[str, tuple[Hint, ...]] = {
    **dict.fromkeys(
        [*RECORD_DAMAGE, "too_few_records"],
        (_AROUND,),
    ),
    "record_too_long": (
        Hint(
            "raise --max-record-bytes if records are meant to be so long",
            "max_record_bytes",
            after="allow longer",
        ),
        _AROUND,
    ),
    "no_such_step": tuple(
        Hint("or take the newest complete step with --complete", "complete", after=after)
        for after in ("restore the files", "the steps are")
    ),
    "no_such_table": (Hint("'monolith table ls' shows their names"),),
    "different": (
        Hint("monolith ckpt-info --force writes it again", "check", after="count again"),
    ),
    "bad_state_file": (
        Hint("write it again with 'monolith ckpt-info --force'", "check", after="write it again"),
    ),
    "not_linked": (Hint("leave out --link, and they are copied", "link"),),
    "job_runs": (
        Hint(
            "stop it first, with 'monolith job stop'; or do it all the same with --force", "force"
        ),
    ),
    "not_measured": (
        Hint("'monolith ckpt-info --force' counts it", after="count it again"),
        Hint("'monolith ckpt-info' counts it", after="count it"),
    ),
    "override_stale": (Hint("or see 'monolith iterator rollback'", after="once more"),),
    "just_saved": (Hint("or say with --quiet-for 0 that it has ended", "quiet_for"),),
    "exports_would_go": (Hint("or let them go with --exports-may-go", "exports_may_go"),),
    "committed_since": (Hint(_OF_THEIR_OWN, "to"),),
    "exists": (
        Hint(_OF_THEIR_OWN, "to", after="of their own"),
        Hint("or --force writes into it", "force", True, after="another directory"),
        Hint(f"or {REPLACES}", "force", True),
    ),
    "old_filters": (Hint("make empty ones in their place with --reset-filters", "reset_filters"),),
    "no_server_rule": (
        Hint("say which rule the job has with --server-rule", "server_rule", after="say which"),
    ),
    **{
        kind: tuple(Hint(f"; {text}", option) for option, text in hints)
        for kind, hints in JOB_HINTS.items()
    },
}
"""By kind; the first that fits the command counts."""


ABOUT = {
    "no_such_step": "step",
    "no_such_table": "table",
    "no_such_worker": "worker",
    "bad_cursor": "offset",
    "no_dataset": "dataset",
}
"""The parameter that an error of a kind is about."""


def advise(error: MonolithError, context: click.Context | None) -> None:
    """Add to the error's hint what the command of that context can do about it."""
    for hint in HINTS.get(error.kind, ()):
        if _fits(hint, context) and hint.after in (error.hint or ""):
            add(error, hint.text)
            break
    if context is not None:
        for text in name_variables(context, error.what, ABOUT.get(error.kind), error.path):
            error.hint = f"{error.hint}; {text}" if error.hint else text


def name_variables(
    context: click.Context, message: str, about: str | None = None, path: str | None = None
) -> list[str]:
    """What to say of options that an error is about, and that the environment has set unseen.

    Those whose name is in the message, the parameter `about`, and those whose value is the path.
    """
    from monolith_cli.commands.options import Option

    texts = []
    for each in context.command.params:
        variable = each.variable_used(context) if isinstance(each, Option) else None
        if variable is None:
            continue
        name = max(each.opts, key=len)
        is_path = path is not None and context.params.get(each.name or "") == path
        if name in message.replace(",", " ").split() or each.name == about or is_path:
            texts.append(f"{name} is from {variable}")
    return texts


def advise_here(error: MonolithError) -> MonolithError:
    """The error, with advice for the command that is running."""
    import click

    advise(error, click.get_current_context(silent=True))
    return error


@contextmanager
def telling(what: Callable[[], str], *, of_errors: bool = True) -> Iterator[None]:
    """Say with whatever ends the block what has been done by then; an interruption, too."""
    from monolith_cli.errors import MonolithError
    from monolith_cli.failures import CodedError, Terminated, describe

    try:
        yield
    except MonolithError as error:
        if of_errors:
            advise_here(error)
            error.hint = "; ".join(filter(None, [error.hint, what()]))
        raise
    except (KeyboardInterrupt, Terminated) as error:
        failure = describe(error)
        told = MonolithError(failure.message, hint=what(), kind=failure.kind)
        raise CodedError(told, failure.code) from error


def add(error: MonolithError, text: str) -> None:
    """Add a piece of advice to an error's hint; twice is once."""
    bare = text.removeprefix("or ").removeprefix("; ")
    if error.hint and bare in error.hint:
        return
    joint = "" if text.startswith("; ") else ", "
    error.hint = f"{error.hint}{joint}{text}" if error.hint and bare != text else bare


def _fits(hint: Hint, context: click.Context | None) -> bool:
    if hint.option is None:
        return True
    if context is None or all(hint.option != each.name for each in context.command.params):
        return False
    return hint.unless is None or context.params.get(hint.option) != hint.unless
