"""Commands that end in every way a command can; `run_fake` runs one in a process of its own.

Run as a script this is `monolith` with these commands added.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click

from monolith_cli.__main__ import main
from monolith_cli.cli import COMMANDS
from monolith_cli.commands import options
from monolith_cli.commands.base import Command, Entry
from monolith_cli.errors import CorruptionError
from monolith_cli.storage.atomic import atomic_write


@click.command(cls=Command)
@options.json
@options.common
def corrupt(json: bool) -> None:
    """Print a row, then fail."""
    click.echo("a row")
    raise CorruptionError("bad checksum", path="t-00000-of-00001", offset=12, hint="restore it")


@click.command(cls=Command)
@options.common
def bug() -> None:
    """Have a bug."""
    raise ZeroDivisionError("division by zero")


@click.command(cls=Command)
@options.common
def rows() -> None:
    """Print rows without end."""
    while True:
        click.echo("x" * 100)


@click.command(cls=Command)
@options.common
def one_row() -> None:
    """Print a row that stays in the buffer until the end."""
    sys.stdout.write("a row\n")


@click.command(cls=Command)
@click.argument("directory")
@options.json
@options.common
def hang(directory: str, json: bool) -> None:
    """Leave a temporary file lying about, unless interrupted in an orderly way."""
    temporary = Path(directory) / ".busy.tmp"
    temporary.touch()
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        temporary.unlink()


@click.command(cls=Command)
@click.argument("path")
def write(path: str) -> None:
    """Write a megabyte."""
    atomic_write(path, bytes(1 << 20))


def add() -> None:
    """Put the commands into the table."""
    for name, value in list(globals().items()):
        if isinstance(value, click.Command):
            text = (value.help or "").strip()
            COMMANDS[name.replace("_", "-")] = Entry(f"{__name__}:{name}", text)


def argv(*args: str) -> list[str]:
    return [sys.executable, "-P" if sys.version_info >= (3, 11) else "-B", __file__, *args]


def run_fake(*args: str, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("MONOLITH_")}
    settings: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 30, "env": env}
    done: subprocess.CompletedProcess[str] = subprocess.run(
        argv(*args), check=False, **settings | kwargs
    )
    return done


if __name__ == "__main__":
    add()
    main()
