"""`monolith job`: a running job as a whole."""

from __future__ import annotations

import click

from monolith_cli.commands import job_options, options
from monolith_cli.commands.base import Command, Settings

ACTION_FILES = {
    "MODEL_DIR/monolith_action": "With --via file: what the job is asked for.",
    "MODEL_DIR/monolith_action_response": "With --via file: its answer.",
}

VIA = options.option(
    "--via",
    type=click.Choice(["port", "file"]),
    default="port",
    show_default=True,
    help="How to ask: at the job's port, or by the file monolith_action in MODEL_DIR, for jobs"
    " without a port.",
)


def by_file(place: job_options.JobPlace, via: str) -> str | None:
    """MODEL_DIR if the job is to be asked by a file, else None."""
    if via == "port":
        return None
    if place.address or not place.model_dir:
        raise click.UsageError("--via file needs MODEL_DIR, and no --address")
    return place.model_dir


@click.command(
    cls=Command,
    examples={"monolith job status model": "Where a job is:"},
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
    """Show a running job's global step, and its last save."""
    from monolith_cli.reports.control import JobReport
    from monolith_cli.reports.terminal import show_report

    with place.connect() as job:
        info = job.first_info
    show_report(JobReport(info, str(job.address)), json=json)


@click.command(
    cls=Command,
    examples={
        "monolith job save model": "Save now:",
        "monolith job save model | cut -f1": "The step alone, for a script:",
    },
    exit_codes={
        **job_options.EXIT_CODES,
        5: f"{job_options.REFUSED}; with --require-all: a worker's input was not saved, and"
        " nothing is committed",
        6: "time ran out; the checkpoint may still come",
    },
    environment=job_options.TOKEN_ENVIRONMENT,
    files=job_options.TOKEN_FILES | ACTION_FILES,
)
@job_options.job_dir
@options.option(
    "--require-all", is_flag=True, help="Commit only if every worker's input is saved with it."
)
@job_options.timeout("10m", help="How long to wait for the checkpoint.")
@job_options.reason
@job_options.owner
@VIA
@job_options.job
@options.json
@options.common
@click.pass_obj
def save(
    settings: Settings,
    /,
    place: job_options.JobPlace,
    require_all: bool,
    timeout: float,
    reason: str,
    owner: str,
    via: str,
    json: bool,
) -> None:
    """Save a checkpoint now; print its step and path once it is committed.

    Workers' inputs are saved with it, also while the barrier is placed. Output: the step, a tab,
    the path. An original job does not report the step; it is read from MODEL_DIR/checkpoint once
    that is written.
    """
    from monolith_cli.control.client import Saved
    from monolith_cli.control.texts import workers_text
    from monolith_cli.errors import RefusedError
    from monolith_cli.reports.control import SavedReport
    from monolith_cli.reports.terminal import Messages, show_report

    messages = Messages(quiet=settings.quiet, verbose=settings.verbose)
    directory = by_file(place, via)
    if directory is not None:
        if require_all:
            raise click.UsageError("--via file cannot ask for --require-all")
        from monolith_cli.control.action_file import save_by_file

        saved = Saved(*save_by_file(directory, timeout), None, None)
    else:
        with place.connect(timeout) as job:
            if job.is_original and require_all:
                raise RefusedError(
                    "an original job cannot be asked for --require-all", path=str(job.address)
                )
            saved = job.save(
                require_all=require_all, reason=reason, owner=owner, timeout_seconds=timeout
            )
    if saved.unfinished_workers:
        late = workers_text(saved.unfinished_workers)
        messages.warnings(f"the inputs of workers {late} were not saved with it: it has older ones")
    if saved.step is None:
        messages.notes("saved; the job does not say which step")
    show_report(SavedReport(saved), json=json)


@click.command(
    cls=Command,
    examples={"monolith job stop model --reason 'new hardware'": "Make a job save and end:"},
    exit_codes={
        **job_options.EXIT_CODES,
        5: f"{job_options.REFUSED}; an original job can only be asked with --via file",
        6: "no answer in time; the job may still stop, but with --via file the request is taken"
        " back",
    },
    environment=job_options.TOKEN_ENVIRONMENT,
    files=job_options.TOKEN_FILES | ACTION_FILES,
)
@job_options.job_dir
@job_options.timeout("3m", help="With --via file: how long to wait for the job's answer.")
@job_options.reason
@job_options.owner
@VIA
@job_options.job
@options.json
@options.common
@click.pass_obj
def stop(
    settings: Settings,
    /,
    place: job_options.JobPlace,
    timeout: float,
    reason: str,
    owner: str,
    via: str,
    json: bool,
) -> None:
    """Ask a job for a clean stop: it saves once more, and ends.

    Returns when the job has accepted it, not when it has ended.
    """
    from monolith_cli.reports.control import StoppedReport
    from monolith_cli.reports.terminal import show_report

    directory = by_file(place, via)
    info, address = None, None
    if directory is not None:
        from monolith_cli.control.action_file import ask_by_file

        ask_by_file(directory, "STOP", timeout)
    else:
        with place.connect() as job:
            info, address = job.info(), str(job.address)
            job.stop(reason=reason, owner=owner)
    show_report(StoppedReport(via, info, address), json=json)


@click.command(
    cls=Command,
    examples={"monolith job log model": "Who has done what to a job:"},
    exit_codes={3: "no such directory, or no log in it"},
    files={"MODEL_DIR/control.log": "The log; the job writes it."},
)
@options.local_model_dir
@options.option(
    "-n",
    "--lines",
    type=click.IntRange(min=0),
    metavar="N",
    default=20,
    show_default=True,
    help="Only the last N, and the last N refused because of their token; 0: all.",
)
@options.json_lines
@options.common
@click.pass_obj
def log(settings: Settings, /, model_dir: str, lines: int, json: bool) -> None:
    """Show who has placed, removed, saved and stopped, when and why."""
    from monolith_cli.control.log import read_log
    from monolith_cli.reports.control import LogReport
    from monolith_cli.reports.terminal import show_report

    show_report(LogReport(read_log(model_dir, lines or None)), json=json, rows=True)
