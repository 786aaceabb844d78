"""`monolith ckpt fsck`: whether a model directory is whole, and what is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from monolith_cli.commands import options
from monolith_cli.commands.base import Command, Settings
from monolith_cli.commands.types import DurationType, RateType

if TYPE_CHECKING:
    from monolith_cli.care.fsck import Judgement
    from monolith_cli.reports.terminal import Messages


@click.command(
    cls=Command,
    examples={
        "monolith ckpt fsck model": "Read every byte of the newest checkpoint:",
        "monolith ckpt fsck --quick --step all model": "Look at all steps without reading data:",
        "monolith ckpt fsck --record --limit-rate 200MiB/s model": "Check gently beside a job, and"
        " note that it was done:",
        "monolith ckpt fsck --step all --max-age 7d --record model": "Read only what has not been"
        " checked for a week:",
        "monolith ckpt fsck --json model | jq -r .verdict": "For a script:",
    },
    exit_codes={
        0: "nothing but notes",
        1: "warnings; with --strict notes, too",
        3: "no such directory or step, or something cannot be read; a step that was deleted",
        4: "something is damaged, or lost",
    },
    files={
        "ckpt.manifest-<step>": "The files of a step, with checksums; --record writes it.",
        "ckpt.checked-<step>": "That a step was read in full, and when; --record writes it.",
    },
)
@options.model_dir
@options.step()
@options.option("--quick", is_flag=True, help="Names, sizes, indexes, small files; no data.")
@options.option(
    "--max-age",
    type=DurationType(),
    metavar="TIME",
    help="Do not read the data of steps that --record has found right since, e.g. 7d.",
)
@options.option(
    "--duplicates",
    is_flag=True,
    help="Look for feature ids that a table has more than once, too: reads the tables once more.",
)
@options.option("--strict", is_flag=True, help="End with 1 where there are notes.")
@options.option(
    "--ignore",
    multiple=True,
    metavar="ID[:GLOB]",
    help="Leave out findings of an id, or of files or tables that match, too. Repeatable.",
)
@options.option(
    "--record", is_flag=True, help="Note of steps without an error that they were checked."
)
@options.option(
    "--re-record",
    is_flag=True,
    allow_from_autoenv=False,
    help="The same, against what an earlier manifest says; what that was is told.",
)
@options.option(
    "--limit-rate",
    type=RateType(),
    metavar="SIZE/s",
    help="Read no more in a second, e.g. 200MiB/s; at least 64KiB/s.",
)
@options.jobs
@options.json
@options.common
@click.pass_obj
def fsck(
    settings: Settings,
    /,
    model_dir: str,
    step: int | str,
    quick: bool,
    max_age: float | None,
    duplicates: bool,
    strict: bool,
    ignore: tuple[str, ...],
    record: bool,
    re_record: bool,
    limit_rate: int | None,
    jobs: int | None,
    json: bool,
) -> None:
    """Judge a model directory: whether it is whole, and all that is wrong.

    Every byte of tables, dense variables and iterator states is read and checked, and what they
    hold is compared with contents files, counts and manifest. docs/ci.md explains the ids.
    """
    from monolith_cli.care.fsck import CheckOptions, check
    from monolith_cli.reports.fsck import FsckReport
    from monolith_cli.reports.terminal import Messages, Progress, show_report

    messages = Messages(quiet=settings.quiet, verbose=settings.verbose)
    how = CheckOptions(
        quick, max_age, ignore, strict, record, re_record, limit_rate, jobs, duplicates
    )
    with Progress("checking", quiet=settings.quiet) as progress:
        judgement = check(model_dir, step, how, progress=progress)
    show_report(FsckReport(judgement), json=json)
    for left_out in judgement.left_out:
        messages.notes(f"step {left_out} was deleted while it was checked, and is left out")
    for recorded in judgement.recorded:
        messages.notes(f"step {recorded.step}: recorded that it was checked")
        messages.warnings(*(f"step {recorded.step}: forgotten: {f}" for f in recorded.forgotten))
    messages.took("checked")
    _end(judgement, messages)


def _end(judgement: Judgement, messages: Messages) -> None:
    """End with the worst of what was found, or could not be read."""
    from monolith_cli.commands.each_step import end_with

    end_with([*judgement.unread, *judgement.unrecorded, judgement.error()], messages)
