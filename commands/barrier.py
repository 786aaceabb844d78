"""`monolith barrier`: pause the workers of a running job, and let them go again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from monolith_cli.commands import job_options, options
from monolith_cli.commands.base import Command, Settings
from monolith_cli.commands.types import DurationType
from monolith_cli.errors import MonolithError
from monolith_cli.failures import CodedError

if TYPE_CHECKING:
    from monolith_cli.control.client import JobClient, JobInfo

OWN_FAILURE = 125
BEHIND = "monolith_cli.commands.barrier.behind"


def removal(place: job_options.JobPlace, owner: str) -> str:
    """The command line that removes the owner's barrier."""
    words = place.command_line("barrier", "remove")
    if owner != job_options.default_owner():
        words += ["--owner", owner]
    return job_options.shell_text(words)


@click.command(
    cls=Command,
    examples={
        "monolith barrier place model --reason 'look at slot 7' --wait": "Pause, for ten minutes:",
        "monolith barrier place model --ttl 1h": "Pause for an hour:",
    },
    exit_codes={
        **job_options.EXIT_CODES,
        5: f"{job_options.REFUSED}; the barrier is placed already",
        6: "with --wait: not all workers are blocked in time; the barrier stays placed",
    },
    environment=job_options.TOKEN_ENVIRONMENT,
    files=job_options.TOKEN_FILES,
)
@job_options.job_dir
@job_options.reason
@options.option(
    "--ttl",
    type=DurationType(zero=True),
    metavar="TIME",
    default="10m",
    show_default=True,
    help="When it ends by itself, such as 90s, 10m or 1h; 0: never.",
)
@job_options.owner
@options.option("--wait", is_flag=True, help="Return once all workers are blocked.")
@job_options.timeout("60s", help="How long --wait waits.")
@job_options.job
@options.json
@options.common
@click.pass_context
def place(
    ctx: click.Context,
    /,
    place: job_options.JobPlace,
    reason: str,
    ttl: float,
    owner: str,
    wait: bool,
    timeout: float,
    json: bool,
) -> None:
    """Place the barrier: workers stop after their step.

    The chief does not stop. The barrier ends when it is removed, when its time is over, or when
    the chief dies.
    """
    from time import monotonic

    from monolith_cli.commands.hints import telling
    from monolith_cli.control.texts import unblocked_text
    from monolith_cli.control.wait import wait_until
    from monolith_cli.errors import RefusedError
    from monolith_cli.reports.control import BarrierReport, end_text
    from monolith_cli.reports.terminal import Messages, show_report

    settings: Settings = ctx.obj
    messages = Messages(quiet=settings.quiet, verbose=settings.verbose)
    start = monotonic()

    def how_it_ends() -> str:
        left = start + ttl - monotonic() if ttl and not job.is_original else None
        return f"the barrier was placed, and {end_text(left, removal(place, owner))}"

    def how_to_see() -> str:
        status = job_options.shell_text(place.command_line("barrier", "status"))
        return f"the barrier may be placed: see '{status}'"

    with place.connect() as job:
        check_ttl(ctx, job)
        with telling(how_to_see, of_errors=False):
            job.place(reason=reason, owner=owner, ttl_seconds=ttl or None)
        if job.is_original:
            messages.warnings(
                "an original job: nobody will see who placed the barrier and why, and it stays"
                " until it is removed"
            )
        with telling(how_it_ends):
            info = (
                wait_until(
                    job,
                    lambda info: not info.placed or not info.unblocked,
                    timeout,
                    unblocked_text,
                )
                if wait
                else job.info()
            )
        if wait and not info.placed:
            what = "the barrier was removed meanwhile, or its time was over"
            raise RefusedError(what, path=str(job.address))
        show_report(BarrierReport(info, str(job.address)), json=json)


@click.command(
    cls=Command,
    examples={
        "monolith barrier remove model": "Let the workers go that you have paused:",
        "monolith barrier remove --force model --reason 'paused by mistake'": "By force:",
    },
    exit_codes={
        **job_options.EXIT_CODES,
        5: f"{job_options.REFUSED}; the barrier is somebody else's",
        6: "no answer in time; the barrier may still be removed",
    },
    environment=job_options.TOKEN_ENVIRONMENT,
    files=job_options.TOKEN_FILES,
)
@job_options.job_dir
@options.force(help="Remove it whoever has placed it.")
@job_options.reason
@job_options.owner
@job_options.job
@options.json
@options.common
@click.pass_obj
def remove(
    settings: Settings,
    /,
    place: job_options.JobPlace,
    force: bool,
    reason: str,
    owner: str,
    json: bool,
) -> None:
    """Remove the barrier: workers go on.

    Without --force only a barrier of the same owner is removed. If none is placed, a note says so,
    and the exit code is 0. A barrier that is removed during a save goes when the save has ended.
    """
    from monolith_cli.control.client import NotYoursError
    from monolith_cli.reports.control import BarrierReport
    from monolith_cli.reports.terminal import Messages, show_report

    messages = Messages(quiet=settings.quiet, verbose=settings.verbose)
    with place.connect() as job:
        info = job.first_info
        if info.placed:
            try:
                job.remove(owner=owner, force=force, reason=reason)
            except NotYoursError as error:
                error.hint = "--force removes it"
                raise
            if json:
                from monolith_cli.commands.hints import telling

                with telling(lambda: "the barrier is removed"):
                    info = job.info()
        else:
            messages.notes("no barrier is placed")
        if json:
            show_report(BarrierReport(info, str(job.address)), json=True)


@click.command(
    cls=Command,
    examples={
        "monolith barrier status model": "Who has paused the job, and who stands still:",
        "monolith barrier status --json model | jq .unblocked": "In a script:",
    },
    exit_codes=job_options.EXIT_CODES,
    files=job_options.JOB_FILES,
)
@job_options.job_dir
@job_options.job
@options.json
@options.common
@click.pass_obj
def status(
    settings: Settings,
    /,
    place: job_options.JobPlace,
    json: bool,
) -> None:
    """Show whether the barrier is placed, by whom, and who stands at it."""
    from monolith_cli.reports.control import BarrierReport
    from monolith_cli.reports.terminal import show_report

    with place.connect() as job:
        info = job.first_info
    show_report(BarrierReport(info, str(job.address)), json=json)


@click.command(
    cls=Command,
    examples={
        "monolith barrier wait --blocked model": "Until all workers stand still:",
        "monolith barrier wait --removed --timeout 1h model": "Until the job goes on:",
    },
    exit_codes={**job_options.EXIT_CODES, 6: "time ran out first, or no answer in time"},
    files=job_options.JOB_FILES,
)
@job_options.job_dir
@options.option("--blocked", is_flag=True, help="Until all workers are blocked.")
@options.option("--removed", is_flag=True, help="Until the barrier is gone.")
@job_options.timeout("60s", help="How long to wait.")
@job_options.job
@options.json
@options.common
@click.pass_context
def wait(
    ctx: click.Context,
    /,
    place: job_options.JobPlace,
    blocked: bool,
    removed: bool,
    timeout: float,
    json: bool,
) -> None:
    """Wait until all workers are blocked, or until the barrier is removed.

    Prints nothing, except with --json, or if it fails.
    """
    from monolith_cli.control.texts import unblocked_text
    from monolith_cli.control.wait import wait_until
    from monolith_cli.reports.control import BarrierReport, held_text
    from monolith_cli.reports.terminal import show_report

    if blocked and removed:  # one of them by a variable, perhaps: the command line wins
        blocked, removed = (
            ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
            for name in ("blocked", "removed")
        )
    if blocked == removed:
        raise click.UsageError("Nothing to wait for: give --blocked or --removed")
    is_there: Callable[[JobInfo], bool]
    if blocked:
        is_there, missing = (lambda info: info.placed and not info.unblocked), unblocked_text
    else:
        is_there, missing = (lambda info: not info.placed), held_text
    with place.connect(timeout) as job:
        info = wait_until(job, is_there, timeout, missing)
    if json:
        show_report(BarrierReport(info, str(job.address)), json=True)


class HoldCommand(Command):
    """What is behind the first `--` is the command, with or without a MODEL_DIR before it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" in args and not ctx.resilient_parsing:
            split = args.index("--")
            args, ctx.meta[BEHIND] = args[:split], tuple(args[split + 1 :])
        return super().parse_args(ctx, args)


@click.command(
    cls=HoldCommand,
    examples={
        "monolith barrier hold model -- rsync -a model/ backup/": "Copy while workers stand still:",
    },
    exit_codes={
        125: "'hold' itself failed: the barrier could not be placed, was lost meanwhile, or"
        " could not be removed",
        126: "the command cannot be executed",
        127: "the command was not found",
        131: "quit (SIGQUIT) before the command was run",
    },
    environment=job_options.TOKEN_ENVIRONMENT,
    files=job_options.TOKEN_FILES,
)
@job_options.job_dir
@click.argument(
    "command",
    nargs=-1,
    type=click.UNPROCESSED,
    metavar="-- COMMAND...",
    shell_complete=options.completing("files"),
)
@options.option(
    "--ttl",
    type=DurationType(),
    metavar="TIME",
    default="60s",
    show_default=True,
    help="When the barrier ends if this command dies; renewed while it lives.",
)
@job_options.timeout("60s", help="How long to wait until all workers are blocked.")
@job_options.reason
@job_options.owner
@job_options.job
@options.json_errors
@options.common
@click.pass_context
def hold(
    ctx: click.Context,
    /,
    place: job_options.JobPlace,
    command: tuple[str, ...],
    ttl: float,
    timeout: float,
    reason: str,
    owner: str,
) -> None:
    """Place the barrier, run a command while all workers stand still, and remove it.

    It first checks that the command can be executed. The exit code is the command's. The barrier
    is removed whatever happens to the command. Ctrl-C, SIGTERM, SIGHUP and SIGQUIT are passed on
    to the command, and 'hold' waits for its end. A command that ignores them goes on, and so does
    the pause, until it ends or is killed.

    If the barrier cannot be removed at once, 'hold' tries for ten seconds, or until Ctrl-C. If
    'hold' itself is killed, the barrier ends within --ttl.
    """
    from monolith_cli.control.hold import code_of
    from monolith_cli.control.hold import hold as hold_barrier
    from monolith_cli.control.lost import lost_error
    from monolith_cli.control.program import find_program
    from monolith_cli.reports.control import end_text
    from monolith_cli.reports.terminal import Messages

    settings: Settings = ctx.obj
    messages = Messages(quiet=settings.quiet, verbose=settings.verbose)
    behind: tuple[str, ...] | None = ctx.meta.get(BEHIND)
    if behind is not None and command:
        raise click.UsageError(f"Got unexpected extra argument ({command[0]}) before --")
    command = command if behind is None else behind
    if not command or (place.address and behind is None):
        raise click.UsageError("No command: give it after --")
    try:
        program = find_program(command)  # whether there is a job or not
    except MonolithError as error:
        raise CodedError(error, code_of(error)) from error
    try:
        with place.connect() as job:
            check_ttl(ctx, job)
            if job.is_original:
                messages.warnings("an original job: if this command is killed, the barrier stays")
            held = hold_barrier(
                job,
                program,
                reason=reason or job_options.words(" ".join(command)),
                owner=owner,
                ttl_seconds=ttl,
                timeout_seconds=timeout,
            )
    except MonolithError as error:
        raise CodedError(error, OWN_FAILURE) from error
    lost = lost_error(
        held,
        str(job.address),
        end=end_text(held.ends_in_seconds, removal(place, owner)),
        log=job_options.shell_text(["monolith", "job", "log", place.model_dir])
        if place.model_dir
        else "",
    )
    failures = [(held.problem, held.code), (lost, OWN_FAILURE)]
    told = [CodedError(error, code) for error, code in failures if error is not None]
    if not told:
        ctx.exit(held.code)
    messages.errors(*(str(failure.error) for failure in told[:-1]))
    raise told[-1]


def check_ttl(ctx: click.Context, job: JobClient) -> None:
    """Refuse a time-to-live that was asked for where nothing would end the barrier."""
    from monolith_cli.errors import RefusedError

    is_given = ctx.get_parameter_source("ttl") is not click.core.ParameterSource.DEFAULT
    if job.is_original and is_given:
        raise RefusedError(
            "an original job cannot end a barrier by itself",
            path=str(job.address),
            hint="leave out --ttl, and make sure that the barrier is removed",
        )
