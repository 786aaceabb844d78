"""`--fail-if` as an option: what it takes, from the line and from a variable."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from monolith_cli.care.conditions import Condition
from monolith_cli.commands import options
from monolith_cli.commands.base import Command


@click.command(cls=Command, context_settings={"auto_envvar_prefix": "MONOLITH_LOOK"})
@options.fail_if
def look(fail_if: tuple[Condition, ...]) -> None:
    for condition in fail_if:
        click.echo(f"{condition.name} {condition.op} {condition.number:g}")


def test_conditions_from_the_line() -> None:
    done = CliRunner().invoke(look, ["--fail-if", "nan gt 0", "--fail-if", "entries<5"])
    assert done.output == "nan gt 0\nentries lt 5\n"


def test_conditions_from_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONOLITH_LOOK_FAIL_IF", "nan gt 0;change(table[a;b].entries) lt 5")
    assert CliRunner().invoke(look, []).exit_code == 2
    monkeypatch.setenv("MONOLITH_LOOK_FAIL_IF", "nan gt 0; entries lt 5")
    assert CliRunner().invoke(look, []).output == "nan gt 0\nentries lt 5\n"


def test_an_unknown_metric_is_wrong_usage() -> None:
    done = CliRunner().invoke(look, ["--fail-if", "nans gt 0"])
    assert done.exit_code == 2
    assert "no metric 'nans'; there are entries, bytes, zero_rows, nan, inf" in done.output
