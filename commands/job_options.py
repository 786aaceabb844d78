"""The options of commands on a running job: which job it is, who asks, why, and for how long."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from monolith_cli.commands.options import F, Option, completing, option
from monolith_cli.commands.types import DurationType, PlaceType, WordsType

if TYPE_CHECKING:
    from monolith_cli.control.client import JobClient

__all__ = [
    "EXIT_CODES",
    "JOB_FILES",
    "MAX_OWNER",
    "MAX_REASON",
    "REFUSED",
    "TOKEN_ENVIRONMENT",
    "TOKEN_FILES",
    "JobPlace",
    "default_owner",
    "job",
    "job_dir",
    "owner",
    "reason",
    "shell_text",
    "timeout",
    "user_at_host",
    "words",
]

MAX_OWNER, MAX_REASON = 100, 500
"""Characters; a job tells both to whom it refuses, in a header of 8 KiB, where some take 12."""

REFUSED = "the job cannot be reached, or refused"

EXIT_CODES = {
    3: "no such directory, or a file that cannot be read",
    5: REFUSED,
    6: "no answer in time",
}
"""What commands on a running job end with, for their man pages; each may say more of one."""

JOB_FILES = {
    "MODEL_DIR/controller_server_addr.txt": "Where the job listens; the job writes it.",
}
"""What commands on a running job find it by, for their man pages."""

TOKEN_FILES = JOB_FILES | {
    "MODEL_DIR/controller_token": "The token that the job asks for, readable only by the job's"
    " user; the job writes it.",
}
"""Those of commands that change something."""

TOKEN_ENVIRONMENT = {
    "MONOLITH_CONTROLLER_TOKEN": "The token that the job asks for, if MODEL_DIR is not given or"
    " has no controller_token that you can read.",
    "MONOLITH_CONTROLLER_TOKEN_FILE": "The name of a file with that token, if"
    " MONOLITH_CONTROLLER_TOKEN is not set.",
    "MONOLITH_OWNER": "Who you are, for all commands, if neither --owner nor its own variable says"
    " so.",
}


def job_dir(function: F) -> F:
    """MODEL_DIR of a running job; optional, as an address may stand for it."""
    return click.argument(
        "model_dir",
        type=PlaceType(local=True),
        required=False,
        shell_complete=completing("directories"),
    )(function)


class JobPlace(NamedTuple):
    """Which job is meant, and how to talk to it."""

    model_dir: str | None
    address: str | None
    tls_ca: str | None
    tls_cert: str | None
    tls_key: str | None

    def command_line(self, *command: str) -> list[str]:
        """The words of another command on the same job."""
        words = ["monolith", *command]
        if self.model_dir:
            words.append(self.model_dir)
        for name, value in self._asdict().items():
            if value and name != "model_dir":
                words += [f"--{name.replace('_', '-')}", value]
        return words

    def connect(self, timeout_seconds: float | None = None) -> JobClient:
        """A client of it, that waits for an answer no longer than `timeout_seconds`.

        Raises
        ------
        click.UsageError
            Neither MODEL_DIR nor `--address` is given, or half of a certificate.
        MonolithError
            As the library's `connect`.
        """
        if not self.model_dir and not self.address:
            raise click.UsageError("Missing argument 'MODEL_DIR': give it, or --address HOST:PORT")
        if bool(self.tls_cert) != bool(self.tls_key) or (self.tls_cert and not self.tls_ca):
            raise click.UsageError("--tls-cert, --tls-key and --tls-ca belong together")
        from monolith_cli.control.client import ANSWER_SECONDS, Tls, connect

        tls = Tls(self.tls_ca, self.tls_cert, self.tls_key) if self.tls_ca else None
        most = ANSWER_SECONDS if timeout_seconds is None else min(ANSWER_SECONDS, timeout_seconds)
        return connect(self.model_dir, self.address, tls=tls, timeout_seconds=most)


def job(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--address`, `--tls-ca`, `--tls-cert`, `--tls-key`; with MODEL_DIR they are the `place`."""

    @wraps(function)
    def command(*args: Any, **values: Any) -> Any:
        place = JobPlace(**{name: values.pop(name) for name in JobPlace._fields})
        return function(*args, place=place, **values)

    for name, metavar, text in (
        ("--tls-key", "FILE", "The key of --tls-cert."),
        ("--tls-cert", "FILE", "Show this certificate (PEM) to the job. Needs --tls-ca."),
        (
            "--tls-ca",
            "FILE",
            "Connect with TLS, to a job whose certificate this authority (PEM) has signed.",
        ),
        (
            "--address",
            "HOST:PORT",
            "Where the job listens, instead of the address in MODEL_DIR.",
        ),
    ):
        values: dict[str, Any] = {}
        if metavar == "FILE":
            values = {"type": PlaceType(local=True), "shell_complete": completing("files")}
        command = option(name, metavar=metavar, help=text, **values)(command)
    return command


class _OwnerOption(Option):
    """An option with two variables: the command's own, which wins, and MONOLITH_OWNER."""

    def variables(self, ctx: click.Context) -> list[str]:
        return [*super().variables(ctx), "MONOLITH_OWNER"]


def owner(function: F) -> F:
    """`--owner`; the environment's MONOLITH_OWNER, else user@host."""
    return option(
        "--owner",
        cls=_OwnerOption,
        type=WordsType(MAX_OWNER),
        metavar="NAME",
        default=user_at_host,
        show_default="user@host",
        help="Who you are. MONOLITH_OWNER sets it for all commands.",
    )(function)


def reason(function: F) -> F:
    """`--reason`."""
    return option(
        "--reason",
        type=WordsType(MAX_REASON, empty=True),
        metavar="TEXT",
        default="",
        help=f"Why, in up to {MAX_REASON} characters; shown by 'status', and kept in the log.",
    )(function)


def timeout(default: str, *, help: str) -> Callable[[F], F]:
    """`--timeout`, in seconds."""
    return option(
        "--timeout",
        type=DurationType(),
        metavar="TIME",
        default=default,
        show_default=True,
        help=help,
    )


def words(text: str, most: int = MAX_REASON) -> str:
    """Any text as `--reason` takes it, or with `MAX_OWNER` as `--owner` does."""
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return text if len(text) <= most else text[: most - 3] + "..."


def default_owner() -> str:
    """Who one is if one does not say so."""
    return os.environ.get("MONOLITH_OWNER") or user_at_host()


def user_at_host() -> str:
    """Who one is as far as the operating system knows."""
    from getpass import getuser
    from socket import gethostname

    try:
        user = getuser()
    except (OSError, KeyError):  # nobody has a name for this user
        user = str(os.getuid())
    return words(f"{user}@{gethostname()}", MAX_OWNER)


def shell_text(line: Iterable[str]) -> str:
    """A command line as a shell takes it."""
    from shlex import join

    return join(line)
