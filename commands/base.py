"""What all commands are made of: the run's settings, the help's layout, groups that import late."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_NAMED = 3
"""So many options without a variable are named in the help."""

CONTEXT_SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"]}


class Settings:
    """What holds for the whole run, wherever on the line it was said."""

    def __init__(self) -> None:
        self.debug = False
        self.quiet = False
        self.verbose = False
        self.json = False
        self.error_keys: dict[str, object] = {}
        """What a command adds to the error under --json."""


class Command(click.Command):
    """A command whose help and man page come from one place.

    Parameters
    ----------
    examples
        Command lines with what each does, shown in `--help` and in the man page.
    exit_codes
        What this command means by an exit code, where that is more than the general meaning.
    environment
        Variables besides those of the options, with their meaning, for the man page.
    files
        Files that it reads or writes by names of their own, likewise.
    """

    def __init__(
        self,
        *args: Any,
        examples: Mapping[str, str] | None = None,
        exit_codes: Mapping[int, str] | None = None,
        environment: Mapping[str, str] | None = None,
        files: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs["context_settings"] = CONTEXT_SETTINGS | (kwargs.get("context_settings") or {})
        super().__init__(*args, **kwargs)
        self.examples = dict(examples or {})
        self.exit_codes = dict(exit_codes or {})
        self.environment = dict(environment or {})
        self.files = dict(files or {})

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error of the library leaves it with advice for its user."""
        from monolith_cli.errors import MonolithError
        from monolith_cli.execution.waits import heard_by
        from monolith_cli.failures import CodedError

        def tell(what: str) -> None:
            from monolith_cli.reports.terminal import Messages

            settings = ctx.find_object(Settings)
            Messages(quiet=settings is not None and settings.quiet).notes(what)

        try:
            with heard_by(tell):
                return super().invoke(ctx)
        except click.UsageError as error:
            from monolith_cli.commands.hints import name_variables

            message = error.format_message()
            texts = name_variables(ctx, message)
            if not texts:
                raise
            raise click.UsageError("; ".join([message, *texts]), ctx) from error
        except (MonolithError, CodedError) as error:
            from monolith_cli.commands.hints import advise

            advise(error.error if isinstance(error, CodedError) else error, ctx)
            raise

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(ctx, formatter)
        if ctx.auto_envvar_prefix is not None:
            formatter.write_paragraph()
            variable = f"{ctx.auto_envvar_prefix}_<OPTION>"
            never = [
                each.opts[0]
                for each in self.params
                if isinstance(each, click.Option) and not each.allow_from_autoenv
            ]
            what = f"any option but {' and '.join(never)}" if never else "an option"
            if len(never) > _NAMED:
                what = "an option, but none that deletes something or overrules a guard"
            formatter.write_text(f"{variable} in the environment sets {what}.")

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.exit_codes:
            with formatter.section("Exit codes"):
                formatter.write_dl([(str(code), text) for code, text in self.exit_codes.items()])
        if self.examples:
            with formatter.section("Examples"):
                for line, text in self.examples.items():
                    formatter.write_text(text)
                    formatter.write(f"{'':>{formatter.current_indent + 2}}{line}\n")
        super().format_epilog(ctx, formatter)


class Entry(NamedTuple):
    """A line of the command table: where the command is, and its help in a line.

    A group has no `target`: its commands are the entries whose name begins with its own.
    """

    target: str | None
    help: str


class LazyGroup(click.Group):
    """A group that knows its commands from a table and imports one only to run it.

    Parameters
    ----------
    table
        All commands by their full name: `ckpt-info`, `table`, `table ls`.
    path
        The full name of this group, empty for the root.
    """

    def __init__(
        self, *args: Any, table: Mapping[str, Entry], path: str = "", **kwargs: Any
    ) -> None:
        kwargs["context_settings"] = CONTEXT_SETTINGS | (kwargs.get("context_settings") or {})
        super().__init__(*args, **kwargs)
        self.table = table
        self.path = path

    def entries(self) -> dict[str, Entry]:
        """The commands directly in this group, by their last word, in the table's order."""
        return {
            name.rpartition(" ")[2]: entry
            for name, entry in self.table.items()
            if name.rpartition(" ")[0] == self.path
        }

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.entries())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = self.entries().get(cmd_name)
        if entry is None:
            return None
        if entry.target is None:
            path = f"{self.path} {cmd_name}".strip()
            return LazyGroup(cmd_name, table=self.table, path=path, help=entry.help)
        from importlib import import_module

        module, _, attribute = entry.target.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            click.echo(self.get_help(ctx), err=True)
            ctx.exit(2)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        names = self.list_commands(ctx)
        if args[0] not in names and not args[0].startswith("-") and not ctx.resilient_parsing:
            from difflib import get_close_matches

            message = f"No such command {args[0]!r}"
            close = get_close_matches(args[0], names, n=1)
            ctx.fail(f"{message} (did you mean {close[0]!r}?)" if close else message)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in self.entries().items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        names = [
            CompletionItem(name, help=entry.help)
            for name, entry in self.entries().items()
            if name.startswith(incomplete)
        ]
        return names + click.Command.shell_complete(self, ctx, incomplete)
