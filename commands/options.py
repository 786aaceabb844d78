"""The options that commands share, as named decorators, and the types of their values.

A name means the same everywhere. Every option but `--force` can be given as an environment
variable, `MONOLITH_<COMMAND>_<OPTION>`: the help says the rule, the man page each name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from monolith_cli.commands.base import Settings

if TYPE_CHECKING:
    from monolith_cli.control.client import JobClient

    ParamType = click.ParamType[Any]
else:  # generic in newer versions of click only
    ParamType = click.ParamType

F = TypeVar("F", bound=Callable[..., Any])

COLUMNS = ("fid", "slot", "table", "embedding", "opt", "last_update_ts_sec")
"""The keys of an entry in JSON, in the order of output."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

MAX_DAYS = 36500
"""The longest time that can be given; clocks and threads have limits not far beyond."""

MAX_OWNER, MAX_REASON = 100, 500
"""Characters; a job tells both to whom it refuses, in a header of 8 KiB, where some take 12."""

JOB_FILES = {
    "MODEL_DIR/controller_server_addr.txt": "Where the job listens; the job writes it.",
}
"""What commands on a running job find it by, for their man pages."""

TOKEN_FILES = JOB_FILES | {
    "MODEL_DIR/controller_token": "The token that the job wants to see, for its own user alone; the"
    " job writes it.",
}
"""Those of commands that change something."""

TOKEN_ENVIRONMENT = {
    "MONOLITH_CONTROLLER_TOKEN": "The token that the job wants to see, where MODEL_DIR is not given"
    " or has no controller_token that you can read.",
    "MONOLITH_CONTROLLER_TOKEN_FILE": "The name of a file with that token, if"
    " MONOLITH_CONTROLLER_TOKEN is not set.",
    "MONOLITH_OWNER": "Who you are, for all commands, if neither --owner nor its own variable says"
    " so.",
}

MAX_SLOT = 32767
"""The largest slot of a v2 fid, which has 15 bits for it."""


class StepType(ParamType):
    """A checkpoint step: its number, `latest` or `all`."""

    name = "step"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | str:
        if isinstance(value, int):
            return value
        text = str(value)
        if text in ("latest", "all"):
            return text
        if not re.fullmatch(r"[0-9]{1,19}", text):
            self.fail(f"{text!r} is not a step number, 'latest' or 'all'", param, ctx)
        return int(text)


class SlotRangesType(ParamType):
    """Slots: `N`, or `A-B` with both ends, or several of these with commas between."""

    name = "slots"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[tuple[int, int]]:
        if isinstance(value, list):
            return value
        ranges = []
        for part in value.split(","):
            match = re.fullmatch(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", part.strip())
            if match is None:
                self.fail(f"{part!r} is not a slot such as 3, or a range such as 5-9", param, ctx)
            first = int(match[1])
            last = int(match[2] or first)
            if last < first:
                self.fail(f"{part!r} runs backwards", param, ctx)
            if last > MAX_SLOT:
                self.fail(f"{part!r} is beyond the largest slot, {MAX_SLOT}", param, ctx)
            ranges.append((first, last))
        return ranges


class FidType(ParamType):
    """A feature id, decimal or 0x…, signed or unsigned; the value is the stored, signed one."""

    name = "fid"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        from monolith_cli.errors import UsageError
        from monolith_cli.fid import parse_fid

        try:
            return parse_fid(value)
        except UsageError as error:
            self.fail(str(error), param, ctx)


class SizeType(ParamType):
    """A number of bytes: `1048576`, `64MiB` (or `64M`), `64MB` for millions."""

    name = "size"

    def __init__(self, maximum: int) -> None:
        self.maximum = maximum

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"([0-9]{1,18}) ?([kmg]?)(i?b)?", value.strip().lower())
        if match is None or (match[3] == "ib" and not match[2]):
            self.fail(f"{value!r} is not a size such as 1048576 or 64MiB", param, ctx)
        base = 1000 if match[3] == "b" else 1024
        size: int = int(match[1]) * base ** ("", "k", "m", "g").index(match[2])
        if not 1 <= size <= self.maximum:
            self.fail(f"{value!r} is not between 1 and {self.maximum} bytes", param, ctx)
        return size


class DurationType(ParamType):
    """A time: `90` (seconds), `500ms`, `10m`, `1h30m`; the value is in seconds."""

    name = "duration"

    def __init__(self, *, zero: bool = False) -> None:
        self.zero = zero

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, (int, float)):
            return float(value)
        text = value.strip().lower()
        part = r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h|d)"
        if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
            seconds = float(text)
        elif re.fullmatch(f"(?:{part})+", text):
            seconds = sum(float(n) * _UNITS[unit] for n, unit in re.findall(part, text))
        else:
            self.fail(f"{value!r} is not a time such as 30s, 10m or 1h30m", param, ctx)
        if seconds <= 0 and not self.zero:
            self.fail(f"{value!r} is no time to wait", param, ctx)
        if 0 < seconds < 0.001:  # the service counts milliseconds, and 0 of them are for ever
            self.fail(f"{value!r} is less than a millisecond", param, ctx)
        if seconds > MAX_DAYS * 86400:
            self.fail(f"{value!r} is beyond {MAX_DAYS} days", param, ctx)
        return seconds


class WordsType(ParamType):
    """What a job is told: text of limited length, and perhaps none."""

    name = "words"

    def __init__(self, most: int, *, empty: bool = False) -> None:
        self.most = most
        self.empty = empty

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        try:
            text.encode()
        except UnicodeEncodeError:
            self.fail("it has bytes that are no UTF-8", param, ctx)
        if len(text) > self.most:
            self.fail(f"it has {len(text)} characters, and may have {self.most}", param, ctx)
        if not self.empty and not text.strip():
            self.fail("it is empty", param, ctx)
        return text


class ColumnsType(ParamType):
    """Keys of an entry with commas between; the value has each once, in the order of output."""

    name = "columns"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        wanted = {name.strip() for name in value.split(",")}
        for name in sorted(wanted.difference(COLUMNS)):
            self.fail(f"{name!r} is none of {', '.join(COLUMNS)}", param, ctx)
        return tuple(name for name in COLUMNS if name in wanted)


class Option(click.Option):
    """An option that knows the variables that set it, and names the one whose value is wrong."""

    def variables(self, ctx: click.Context) -> list[str]:
        """Their names; the first that is set counts."""
        if ctx.auto_envvar_prefix is None or self.name is None or not self.allow_from_autoenv:
            return []
        return [f"{ctx.auto_envvar_prefix}_{self.name.upper()}"]

    def variable_used(self, ctx: click.Context) -> str | None:
        """The variable that the value has come from; None if it has not."""
        source = ctx.get_parameter_source(self.name or "")
        if source is not click.core.ParameterSource.ENVIRONMENT:
            return None
        return next((name for name in self.variables(ctx) if os.environ.get(name)), None)

    def process_value(self, ctx: click.Context, value: Any) -> Any:
        try:
            return super().process_value(ctx, value)
        except click.BadParameter as error:
            variable = self.variable_used(ctx)
            if variable is not None:
                error.param_hint = f"{self.get_error_hint(ctx)} from {variable}"
            raise


def option(*names: str, **kwargs: Any) -> Callable[[F], F]:
    """`click.option` of our own class: use it for every option."""
    kwargs.setdefault("cls", Option)
    return click.option(*names, **kwargs)


def _set(name: str) -> Callable[[click.Context, click.Parameter, bool], bool]:
    def callback(ctx: click.Context, param: click.Parameter, value: bool) -> bool:
        if value:
            setattr(ctx.ensure_object(Settings), name, True)
        return value

    return callback


def _merge(
    ctx: click.Context, param: click.Parameter, value: Iterable[list[tuple[int, int]]]
) -> list[tuple[int, int]]:
    """All ranges of all occurrences: ascending, disjoint, not adjacent."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(pair for ranges in value for pair in ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged


def common(function: F) -> F:
    """`--quiet`, `--verbose`, `--debug`: kept in `Settings`, not handed to the command."""
    for name, text in (
        ("debug", "Show the traceback of an error."),
        ("verbose", "Say more on stderr, such as how long it took."),
        ("quiet", "No progress bar, notes or warnings; errors only."),
    ):
        function = option(
            f"--{name}",
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_set(name),
            help=text,
        )(function)
    return function


def model_dir(function: F) -> F:
    """MODEL_DIR; whether it exists is for the library to say."""
    return click.argument("model_dir", type=click.Path(readable=False))(function)


def json(function: F) -> F:
    """`--json`; errors are then JSON too. Eager, so that it holds for errors of other options."""
    return option(
        "--json",
        is_flag=True,
        is_eager=True,
        callback=_set("json"),
        help="Print one JSON document, and errors as JSON; its keys are in the man page.",
    )(function)


def json_errors(function: F) -> F:
    """`--json` of commands whose stdout belongs to others; the value stays in `Settings`."""
    return option(
        "--json",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_set("json"),
        help="Print errors as JSON; standard output is the command's.",
    )(function)


def json_lines(function: F) -> F:
    """`--json` of commands that print an object a line."""
    return option(
        "--json",
        is_flag=True,
        is_eager=True,
        callback=_set("json"),
        help="Print an object a line, and errors as JSON; its keys are in the man page.",
    )(function)


def json_number_ids(function: F) -> F:
    """`--json-number-ids`."""
    return option(
        "--json-number-ids",
        is_flag=True,
        help="64-bit ids as JSON numbers. Default: strings, as many readers of JSON lose digits"
        " above 2^53.",
    )(function)


def one_step(ctx: click.Context, param: click.Parameter, value: int | str) -> int | str:
    """Refuses `all`, where one step is meant."""
    if value == "all":
        raise click.BadParameter("'all' makes no sense here, name one step", ctx, param)
    return value


def step(*, several: bool = True) -> Callable[[F], F]:
    """`--step`; without `several` for commands that work on one checkpoint only."""

    return option(
        "--step",
        type=StepType(),
        metavar="N|latest|all" if several else "N|latest",
        default="latest",
        show_default=True,
        callback=None if several else one_step,
        help="The checkpoint to read.",
    )


def table(function: F) -> F:
    """`--table`, repeatable."""
    return option(
        "--table",
        multiple=True,
        metavar="GLOB",
        help="Only tables whose name matches, e.g. 'user_*'. Repeatable.",
    )(function)


def slot(function: F) -> F:
    """`--slot`, repeatable; the value is a list of disjoint inclusive ranges."""
    return option(
        "--slot",
        type=SlotRangesType(),
        multiple=True,
        metavar="N[,N|A-B]",
        callback=_merge,
        help="Only entries of these slots, e.g. 3,5-9. Repeatable.",
    )(function)


def fid(function: F) -> F:
    """`--fid`, repeatable; stored (signed) values."""
    return option(
        "--fid",
        type=FidType(),
        multiple=True,
        metavar="N",
        help="Only the entry of this feature id, decimal or 0x. Repeatable.",
    )(function)


def read_fids(name: str) -> tuple[int, ...]:
    """What a value of `--fids-from` lists, as stored (signed); `-` is standard input.

    Raises
    ------
    MonolithError
        It cannot be read, or a line is no feature id.
    """
    import sys

    from monolith_cli.errors import NotReadableError, PathNotFoundError
    from monolith_cli.fid import parse_fids

    path = "standard input" if name == "-" else name
    if name == "-" and sys.stdin is None:
        raise NotReadableError("not readable: it was closed", path=path)
    try:
        if name == "-":
            data = sys.stdin.buffer.read()
        else:
            with open(name, "rb") as file:
                data = file.read()
    except FileNotFoundError as error:
        raise PathNotFoundError("no such file", path=path) from error
    except OSError as error:
        raise NotReadableError(f"not readable: {error.strerror}", path=path) from error
    return tuple(parse_fids(data.decode("utf-8-sig", "replace"), path))


def columns(function: F) -> F:
    """`--columns`; all by default."""
    return option(
        "--columns",
        type=ColumnsType(),
        metavar="NAME[,NAME]",
        default=",".join(COLUMNS),
        show_default="all",
        help=f"Keys of the objects, of {', '.join(COLUMNS)}.",
    )(function)


def fid_version(function: F) -> F:
    """`--fid-version`."""
    return option(
        "--fid-version",
        type=click.Choice(["v1", "v2"]),
        default="v2",
        show_default=True,
        help="Where a feature id has its slot: v2 in bits 48 to 62, v1 in bits 54 to 63.",
    )(function)


def no_verify(function: F) -> F:
    """`--no-verify`."""
    return option("--no-verify", is_flag=True, help="Do not check the checksums of what is read.")(
        function
    )


def jobs(function: F) -> F:
    """`--jobs`; None means all cores."""
    return option(
        "--jobs",
        type=click.IntRange(min=1, max=1024),
        metavar="N",
        show_default="all cores",
        help="Threads to read with.",
    )(function)


def on_corrupt(function: F) -> F:
    """`--on-corrupt`."""
    return option(
        "--on-corrupt",
        type=click.Choice(["fail", "skip"]),
        default="fail",
        show_default=True,
        help="At damaged data: fail, or skip it, list what was left out and end with 4.",
    )(function)


def max_record_bytes(function: F) -> F:
    """`--max-record-bytes`."""
    return option(
        "--max-record-bytes",
        type=SizeType(maximum=2**31 - 1),
        metavar="SIZE",
        default="64MiB",
        show_default=True,
        help="Take longer records for damage.",
    )(function)


def force(*, help: str) -> Callable[[F], F]:
    """`--force`; the help says what it overrides. It is never set by a variable."""
    return option("--force", is_flag=True, allow_from_autoenv=False, help=help)


def job_dir(function: F) -> F:
    """MODEL_DIR of a running job; optional, as an address may stand for it."""
    return click.argument("model_dir", type=click.Path(readable=False), required=False)(function)


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
            "Connect with TLS, to a job whose certificate this one (PEM) vouches for.",
        ),
        (
            "--address",
            "HOST:PORT",
            "Where the job listens, in place of what it has left in MODEL_DIR.",
        ),
    ):
        command = option(name, metavar=metavar, help=text)(command)
    return command


class _OwnerOption(Option):
    """An option with two variables: the command's own, which wins, and MONOLITH_OWNER."""

    def variables(self, ctx: click.Context) -> list[str]:
        return [*super().variables(ctx), "MONOLITH_OWNER"]

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        self.envvar = self.variables(ctx)
        return super().resolve_envvar_value(ctx)


def owner(function: F) -> F:
    """`--owner`; the environment's MONOLITH_OWNER, else user@host."""
    return option(
        "--owner",
        cls=_OwnerOption,
        type=WordsType(MAX_OWNER),
        metavar="NAME",
        default=user_at_host,
        show_default="user@host",
        help="Who you are. MONOLITH_OWNER says so for every command.",
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


def shell_text(line: Iterable[str]) -> str:
    """A command line as a shell takes it."""
    from shlex import join

    return join(line)


def words(text: str, most: int = MAX_REASON) -> str:
    """Any text as `--reason` takes it, or with `MAX_OWNER` as `--owner` does."""
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return text if len(text) <= most else text[: most - 3] + "..."


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
