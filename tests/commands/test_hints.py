"""Advice for the user of a command: options only where the command has them."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
from cli_support import call
from dump_support import write_model_dir

from monolith_cli.cli import COMMANDS, cli
from monolith_cli.commands.hints import HINTS, Hint, add, advise
from monolith_cli.errors import CorruptionError, MonolithError
from monolith_cli.kinds import KINDS

ROOT = Path(__file__).parents[2]


def context_of(*path: str) -> click.Context:
    context = click.Context(cli)
    for name in path:
        assert isinstance(context.command, click.Group)
        command = context.command.get_command(context, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=context)
    return context


def test_damage_is_skipped_where_one_can() -> None:
    error = CorruptionError("bad", path="f", hint="restore the file", kind="bad_data_crc")
    advise(error, context_of("ckpt-info"))
    assert error.hint == "restore the file, or read around the damage with --on-corrupt skip"
    advise(error, context_of("ckpt-info"))
    assert error.hint == "restore the file, or read around the damage with --on-corrupt skip"
    error = CorruptionError("bad", path="f", hint="restore the file", kind="bad_data_crc")
    advise(error, context_of("ckpt", "show"))
    assert error.hint == "restore the file"


def test_nobody_is_advised_what_he_has_done() -> None:
    context = context_of("table", "dump")
    context.params["on_corrupt"] = "skip"
    error = CorruptionError("bad", hint="skipped", kind="bad_data_crc")
    advise(error, context)
    assert error.hint == "skipped"


def test_advice_in_place_of_the_librarys() -> None:
    error = MonolithError("no table matches", kind="no_such_table")
    advise(error, None)
    assert error.hint == "'monolith table ls' shows their names"
    error = MonolithError("x")
    add(error, "or do this")
    assert error.hint == "do this"


def test_every_hint_is_about_a_kind_and_an_option() -> None:
    commands = [context_of(*name.split()).command for name, at in COMMANDS.items() if at.target]
    known = {each.name for command in commands for each in command.params}
    for kind, hints in HINTS.items():
        assert kind in KINDS
        for hint in hints:
            assert isinstance(hint, Hint)
            assert hint.option is None or hint.option in known
            for name in re.findall("--([a-z-]+)", hint.text):
                assert name.replace("-", "_") in known


@pytest.mark.parametrize("folder", ["checkpoint", "tables", "iterators", "formats", "control"])
def test_the_library_knows_of_no_option(folder: str) -> None:
    for path in (ROOT / "monolith_cli" / folder).rglob("*.py"):
        for line in path.read_text(encoding="utf-8").splitlines():
            assert not re.search(r"[\"' ]--[a-z]{2}", line), f"{path}: {line}"
            assert "'monolith " not in line, f"{path}: {line}"


def test_through_a_command(tmp_path: Path) -> None:
    write_model_dir(tmp_path / "model")
    done = call("table", "ls", "--table", "nope", tmp_path / "model")
    assert done.code == 3
    assert done.err.endswith("no table matches 'nope'; 'monolith table ls' shows their names\n")
