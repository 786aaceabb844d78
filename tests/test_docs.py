"""Help, man pages and README say everything, and say it of what is there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import which

import click
import pytest

from monolith_cli.cli import COMMANDS, cli
from monolith_cli.commands.base import Command
from monolith_cli.failures import EXIT_CODES

ROOT = Path(__file__).parents[1]


def contexts() -> Iterator[click.Context]:
    def walk(context: click.Context) -> Iterator[click.Context]:
        yield context
        if isinstance(context.command, click.Group):
            for name in context.command.list_commands(context):
                command = context.command.get_command(context, name)
                assert command is not None
                yield from walk(click.Context(command, info_name=name, parent=context))

    yield from walk(click.Context(cli, info_name="monolith", auto_envvar_prefix="MONOLITH"))


ALL = list(contexts())
IDS = [context.command_path for context in ALL]


@pytest.mark.parametrize("context", ALL, ids=IDS)
def test_every_option_has_help_and_a_variable(context: click.Context) -> None:
    assert context.command.help
    for parameter in context.command.get_params(context):
        if isinstance(parameter, click.Option) and not {"--help", "--version"} & {*parameter.opts}:
            assert parameter.help, parameter.name
            assert parameter.help.endswith("."), parameter.name
            name = max(parameter.opts, key=len).lstrip("-").replace("-", "_").upper()
            record = parameter.get_help_record(context)
            assert record is not None
            assert f"env var: {context.auto_envvar_prefix}_{name}" in record[1]


@pytest.mark.parametrize("context", ALL, ids=IDS)
def test_help_fits_80_columns(context: click.Context) -> None:
    with click.Context(context.command, info_name=context.info_name, parent=context.parent) as here:
        here.terminal_width = 80
        lines = context.command.get_help(here).splitlines()
    assert [line for line in lines if len(line) > 80] == []


@pytest.mark.parametrize("context", ALL, ids=IDS)
def test_json_is_documented(context: click.Context) -> None:
    command = context.command
    if any(parameter.name == "json" for parameter in command.params):
        assert isinstance(command, Command)
        assert command.json_keys
    if isinstance(command, Command):
        assert set(command.exit_codes) <= set(EXIT_CODES)
        for line in command.examples:
            assert line.startswith("monolith ")


def test_man_pages_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "man" / "generate.py", "--check"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_every_command_has_a_man_page() -> None:
    pages = {path.name for path in (ROOT / "man").glob("*.1")}
    expected = {f"monolith-{name.replace(' ', '-')}.1" for name in COMMANDS} | {"monolith.1"}
    assert pages == expected


@pytest.mark.skipif(which("groff") is None, reason="there is no groff here")
@pytest.mark.parametrize("page", sorted((ROOT / "man").glob("*.1")), ids=lambda page: page.name)
def test_man_pages_render_without_warnings(page: Path) -> None:
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-rLL=78n", page],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"LC_ALL": "C.UTF-8", "GROFF_NO_SGR": "1"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    plain = re.sub(r".\x08", "", done.stdout)
    for title in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "ENVIRONMENT"):
        assert re.search(rf"^{title}$", plain, re.MULTILINE)


def test_readme_names_every_command_and_exit_code() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name, entry in COMMANDS.items():
        if entry.target is not None:
            assert f"`monolith {name}`" in readme, name
    for code in EXIT_CODES:
        assert re.search(rf"^\| {code} \|", readme, re.MULTILINE), code
