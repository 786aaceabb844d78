"""Write the man pages, one a command, from the commands themselves.

    python man/generate.py            write them, beside this file
    python man/generate.py --check    exit with 1 if one is stale, missing or left over

It documents the installed package. The pages are checked in; nobody edits them.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import click

from monolith_cli import __version__
from monolith_cli.cli import COMMANDS, cli
from monolith_cli.commands.base import Command
from monolith_cli.commands.options import Option
from monolith_cli.failures import EXIT_CODES
from monolith_cli.reports.keys import OUTPUTS, paths

HERE = Path(__file__).parent

ENVIRONMENT = {
    "MONOLITH_<COMMAND>_<OPTION>": "The value of an option that is not given: for example"
    " MONOLITH_CKPT_INFO_JOBS for ckpt-info --jobs. A flag is set by 1, true or yes; the values of"
    " a repeatable option are separated by blanks. An option on the command line wins. --force has"
    " none.",
    "NO_COLOR": "If set, no colours on a terminal.",
}

ERRORS = (
    "An error is one line on standard error: the file, what is wrong at which byte, what to do."
    " With --json the last line of standard error is an object with one key, error: an object"
    ' with "code" (the exit code), "kind" (a name for programs), "message", and "file" and'
    ' "offset", which may be null.'
)


def escape(text: str) -> str:
    """Text as roff shows it unchanged, in a line of its own or within one."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    text = text.replace("^", "\\(ha").replace("~", "\\(ti").replace("`", "\\(ga")
    return f"\\&{text}" if text.startswith(".") else text


def bold(text: str) -> str:
    return f"\\fB{escape(text)}\\fR"


def section(title: str) -> str:
    return f".SH {title.upper()}"


def items(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    """A list of terms, already escaped, with their explanations."""
    for term, text in pairs:
        yield from (".TP", term, escape(" ".join(text.split())))


def paragraphs(text: str) -> Iterator[str]:
    for number, paragraph in enumerate(re.split(r"\n\s*\n", inspect.cleandoc(text))):
        if number:
            yield ".PP"
        yield escape(" ".join(paragraph.split()))


def contexts() -> Iterator[click.Context]:
    """The context of the root, and of every command and group below it, by the lazy table."""

    def walk(context: click.Context) -> Iterator[click.Context]:
        yield context
        group = context.command
        if isinstance(group, click.Group):
            for name in group.list_commands(context):
                command = group.get_command(context, name)
                assert command is not None
                settings = command.context_settings
                below = click.Context(command, info_name=name, parent=context, **settings)
                yield from walk(below)

    yield from walk(click.Context(cli, info_name="monolith", **cli.context_settings))


def page_name(context: click.Context) -> str:
    return context.command_path.replace(" ", "-")


def options(context: click.Context) -> Iterator[tuple[str, str]]:
    for parameter in context.command.get_params(context):
        if isinstance(parameter, Option) and (variables := parameter.variables(context)):
            parameter.envvar, parameter.show_envvar = variables, True
        record = parameter.get_help_record(context)
        if isinstance(parameter, click.Option) and record is not None:
            names, text = record
            yield bold(names), re.sub(r"\s+\[", " [", text)


def synopsis(context: click.Context) -> str:
    pieces = context.command.collect_usage_pieces(context)
    return f"{bold(context.command_path)} {escape(' '.join(pieces))}"


def page(context: click.Context) -> str:
    """The man page of a command."""
    command = context.command
    name = page_name(context)
    help_text = command.help or ""
    summary, _, description = inspect.cleandoc(help_text).partition("\n\n")
    summary = " ".join(summary.split()).rstrip(".")
    lines = [
        '.\\" Made by man/generate.py from the command itself; do not edit.',
        f'.TH "{escape(name.upper())}" 1 "" "monolith {__version__}" "User commands"',
        # No date: the page is a function of the sources. No hyphens or blanks put into lines.
        ".nh",
        ".ad l",
        section("name"),
        f"{escape(name)} \\- {escape(summary[0].lower() + summary[1:])}",
        section("synopsis"),
        synopsis(context),
        section("description"),
        *paragraphs(description or help_text),
    ]
    if isinstance(command, click.Group):
        pairs = [
            (bold(f"{name}-{sub}") + "(1)", COMMANDS[_full_name(context, sub)].help)
            for sub in command.list_commands(context)
        ]
        lines += [section("commands"), *items(pairs)]
    lines += [section("options"), *items(options(context))]
    own: Mapping[int, str] = {}
    variables, files = ENVIRONMENT, {}
    if isinstance(command, Command):
        own = command.exit_codes
        variables, files = {**ENVIRONMENT, **command.environment}, command.files
        lines += json_section(name_of(context))
        if command.examples:
            lines.append(section("examples"))
            for line, text in command.examples.items():
                lines += [".PP", escape(text), ".PP", ".RS 4", ".EX", escape(line), ".EE", ".RE"]
    codes = {**EXIT_CODES, **own}
    lines += [section("exit status")]
    lines += items((bold(str(code)), text) for code, text in sorted(codes.items()))
    lines += [section("errors"), escape(ERRORS)]
    lines += [section("environment")]
    lines += items((bold(variable), text) for variable, text in variables.items())
    if files:
        lines.append(section("files"))
        lines += items((bold(file), text) for file, text in files.items())
    lines += [section("see also"), see_also(context)]
    return "\n".join(lines) + "\n"


def json_section(name: str) -> Iterator[str]:
    """What a command prints as JSON, with the paths of its keys as jq has them."""
    for number, output in enumerate(OUTPUTS.get(name, ())):
        yield ".PP" if number else section("json")
        yield escape(output.intro)
        yield from items(
            (f"{bold(path)} {escape(f'({key.type_text})')}", key.text)
            for path, key in paths(output.keys)
        )


def see_also(context: click.Context) -> str:
    """The page of `monolith`, and those of the command's group; in that of `monolith` all."""
    group = name_of(context).partition(" ")[0]
    beginning = f"monolith-{group}-" if group else "monolith-"
    near = [other for other in map(page_name, contexts()) if f"{other}-".startswith(beginning)]
    others = dict.fromkeys(["monolith", *near])
    return ", ".join(f"{bold(other)}(1)" for other in others if other != page_name(context))


def name_of(context: click.Context) -> str:
    """The full name of a command, as the table of commands has it."""
    return context.command_path.partition(" ")[2]


def _full_name(context: click.Context, sub: str) -> str:
    return f"{name_of(context)} {sub}".strip()


def pages() -> dict[str, str]:
    """Every page by its file name."""
    return {f"{page_name(context)}.1": page(context) for context in contexts()}


def main() -> int:
    wanted = pages()
    found = {path.name: path.read_text(encoding="utf-8") for path in HERE.glob("*.1")}
    stale = sorted(name for name in wanted | found if wanted.get(name) != found.get(name))
    if "--check" in sys.argv[1:]:
        for name in stale:
            print(f"man/{name} is stale: run make man", file=sys.stderr)
        return 1 if stale else 0
    for name in stale:
        if name in wanted:
            (HERE / name).write_text(wanted[name], encoding="utf-8")
        else:
            (HERE / name).unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
