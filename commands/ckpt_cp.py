"""`monolith ckpt cp`: steps of a model directory, in another one."""

from __future__ import annotations

import click

from monolith_cli.commands import options
from monolith_cli.commands.base import Command, Settings
from monolith_cli.commands.types import DurationType, PlaceType


@click.command(
    cls=Command,
    examples={
        "monolith ckpt cp model backup": "The latest step, with all that a job needs:",
        "monolith ckpt cp model@2000 candidate": "Another step, in a directory of its own:",
        "monolith ckpt cp --all --link model snapshot": "All steps, without room for their data:",
        "monolith ckpt cp --verify-only --all model snapshot": "Whether they are still the same:",
    },
    exit_codes={
        1: "DST has another step of that number, which stays; or with --verify-only something"
        " differs or is missing",
        3: "no such directory or step, or it was deleted meanwhile; or DST cannot be written, or no"
        " links can be made there",
        4: "a step is not whole, or is not what its manifest says; it is left out",
        5: "a job runs in DST; or another command was cut off there, or a copy of something else",
    },
    files={
        ".monolith-journal.json": "in DST, while it works: the same command goes on with what it"
        " says; another one is refused while the directory to copy from is there",
        ".monolith-copied.json": "in DST: the indexes that were brought, and when, so that none of"
        " them is taken for what a job has just saved",
    },
)
@click.argument(
    "source",
    metavar="SRC[@STEP]",
    type=PlaceType(local=False),
    shell_complete=options.completing("directories"),
)
@click.argument(
    "target",
    metavar="DST",
    type=PlaceType(local=False),
    shell_complete=options.completing("directories"),
)
@options.option(
    "--all", is_flag=True, help="All steps that are listed, and older ones that are whole."
)
@options.option(
    "--link",
    is_flag=True,
    help="Give dumps and data files a second name instead of a copy, where both directories are on"
    " one file system. What may be written again in place is copied.",
)
@options.option(
    "--as-latest",
    is_flag=True,
    allow_from_autoenv=False,
    help="Make the step the latest in DST, even if DST has a newer one.",
)
@options.option(
    "--verify-only", is_flag=True, help="Compare what is in DST with SRC, and write nothing."
)
@options.option(
    "-n", "--dry-run", is_flag=True, help="Show what would be copied, and write nothing."
)
@options.option(
    "--quiet-for",
    type=DurationType(zero=True),
    metavar="DURATION",
    allow_from_autoenv=False,
    help="How long nothing must have been saved in DST, where no job tells whether it runs."
    " 0 overrules that.",
)
@options.jobs
@options.json
@options.common
@click.pass_obj
def cp(
    settings: Settings,
    /,
    source: str,
    target: str,
    all: bool,
    link: bool,
    as_latest: bool,
    verify_only: bool,
    dry_run: bool,
    quiet_for: float | None,
    jobs: int | None,
    json: bool,
) -> None:
    """Copy a step, or all, into another model directory.

    DST is new, empty, or the directory of a job that does not run. It gets tables, dense variables,
    states of inputs, counts and the manifest, so that a job can start there; item pools, pins and
    flags of what was done already come along, and so does dense_only. An address, a token, a log,
    a claim or an override does not. A job may run in SRC.

    What arrives is read back and compared by checksum, with the manifest too where that has some.
    What is there and the same is not sent again. DST shows a step when all of it is there, and goes
    on with its own latest step if that is newer. If it is cut off, run the same command again: it
    goes on from there. If SRC has been moved since, name its new place.
    """
    from monolith_cli.care.copy.steps import copy_steps, verify_copy
    from monolith_cli.checkpoint.pairs import split_place
    from monolith_cli.commands.each_step import end_with
    from monolith_cli.commands.hints import telling
    from monolith_cli.reports.copy import CopyReport
    from monolith_cli.reports.terminal import Messages, Progress, show_json, show_report

    place, step = split_place(source)
    for name, value in (("SRC", place), ("DST", target)):
        if not value:
            raise click.UsageError(f"{name} is empty: name a directory")
    if all and place != source:
        raise click.UsageError("--all and a step: name one of them")
    if verify_only and (link or as_latest or dry_run):
        raise click.UsageError("--verify-only writes nothing: leave out the other")
    messages = Messages(quiet=settings.quiet, verbose=settings.verbose)
    with Progress("comparing" if verify_only else "copying", quiet=settings.quiet) as progress:
        if verify_only:
            done = verify_copy(place, target, step, every=all, jobs=jobs, progress=progress)
        else:
            with telling(lambda: _to_go_on(target), of_errors=False):
                done = copy_steps(
                    place,
                    target,
                    step,
                    every=all,
                    link=link,
                    as_latest=as_latest,
                    dry_run=dry_run,
                    command=_words(source, target, every=all, link=link, as_latest=as_latest),
                    quiet_for_seconds=quiet_for,
                    jobs=jobs,
                    progress=progress,
                )
    report = CopyReport(done, dry_run=dry_run, verify_only=verify_only)
    messages.notes(*report.notes())
    if json:
        show_json(report.document())
    else:
        show_report(report)
    messages.took("compared" if verify_only else "copied")
    end_with(done.errors, messages)


def _to_go_on(target: str) -> str:
    """What to do about a copy that was interrupted."""
    from monolith_cli.checkpoint.names import JOURNAL
    from monolith_cli.storage.location import join
    from monolith_cli.storage.store import store_of

    is_begun = store_of(target).exists(join(target, JOURNAL))
    return "run it again, which goes on from here" if is_begun else "nothing was written"


def _words(source: str, target: str, *, every: bool, link: bool, as_latest: bool) -> list[str]:
    """The command to run again, wherever somebody then is."""
    from monolith_cli.storage.location import absolute

    flags = {"--all": every, "--link": link, "--as-latest": as_latest}
    given = [name for name, is_given in flags.items() if is_given]
    return ["monolith", "ckpt", "cp", *given, absolute(source), absolute(target)]
