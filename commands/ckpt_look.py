"""`monolith ckpt ls`, `latest`, `wait` and `history`: which steps there are, and what they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from monolith_cli.commands import options
from monolith_cli.commands.base import Command, Settings
from monolith_cli.commands.each_step import end_with
from monolith_cli.commands.types import DurationType

if TYPE_CHECKING:
    from monolith_cli.care.conditions import Condition

STATES = ("complete", "incomplete", "unlisted", "uncommitted")
NOT_THERE = "no such directory, or no checkpoint in it, or it cannot be read"


@click.command(
    cls=Command,
    examples={
        "monolith ckpt ls model": "All steps, the newest last:",
        "monolith ckpt ls --state complete -o name model | tail -n 1": "The number of the newest"
        " complete step:",
        "monolith ckpt ls --json model | jq -c '.steps[] | [.step, .missing]'": "What is missing"
        " of each:",
    },
    exit_codes={
        3: NOT_THERE,
        4: "the state file 'checkpoint' is damaged; steps are listed by the names of files",
    },
)
@options.model_dir
@options.option(
    "--state",
    "states",
    type=click.Choice(STATES),
    multiple=True,
    help="Only steps in this state. Repeatable.",
)
@options.option(
    "-o",
    "--output",
    type=click.Choice(["wide", "name"]),
    help="All columns, or the numbers of the steps alone.",
)
@options.option(
    "--entries",
    is_flag=True,
    help="Count the entries of multi tables by their contents files, where no manifest and no"
    " ckpt.info tells.",
)
@options.json
@options.common
@click.pass_obj
def ls(
    settings: Settings,
    /,
    model_dir: str,
    states: tuple[str, ...],
    output: str | None,
    entries: bool,
    json: bool,
) -> None:
    """List the steps of a model directory, and whether each is whole.

    A row for each step, oldest first: its age and state, how many entries its tables have and how
    many more than in the row above, its size, how many workers have the state of their input,
    whether it is pinned, and whether a full check has found no error in it.

    A step is 'complete' if 'checkpoint' lists it and all of its files are there and long enough,
    else 'incomplete': then it says what is missing. One that is whole and not listed is 'unlisted',
    anything else 'uncommitted', such as the save that is running now.

    Directories are listed, and no data is read. Where a step has no manifest, nobody can tell
    whether a whole table is missing.
    """
    from monolith_cli.care.listing import list_steps
    from monolith_cli.care.survey import survey
    from monolith_cli.reports.steps import StepsReport
    from monolith_cli.reports.terminal import Messages, show_report

    messages = Messages(quiet=settings.quiet, verbose=settings.verbose)
    found = survey(model_dir, without_state=True)
    listing = list_steps(found, contents=entries)
    report = StepsReport(listing, found.leftovers, model_dir=model_dir, states=states, form=output)
    show_report(report, json=json)
    messages.warnings(*map(str, listing.problems))
    end_with(found.problems, messages)


@click.command(
    cls=Command,
    examples={
        "monolith ckpt latest model": "The newest step that is committed:",
        "monolith ckpt latest --complete model": "The newest of which nothing is missing:",
        "monolith ckpt latest --verified --max-age 7d model": "The newest that is right to the last"
        " byte, read in the last week:",
    },
    exit_codes={
        3: f"{NOT_THERE}; or there is no such step",
        4: "the state file 'checkpoint' is damaged; --verified prints the newest step that is right"
        " to the last byte, which nobody may have committed",
    },
)
@options.model_dir
@options.option(
    "--complete",
    is_flag=True,
    help="The newest step of which all files are there and long enough.",
)
@options.option(
    "--verified",
    is_flag=True,
    help="The newest complete step in which a full check finds no error. It is read, unless"
    " 'monolith ckpt fsck --record' has, and its files are still the same.",
)
@options.option(
    "--max-age",
    type=DurationType(),
    metavar="TIME",
    help="With --verified: read a step again that was checked longer ago, such as 7d.",
)
@options.jobs
@options.json
@options.common
@click.pass_obj
def latest(
    settings: Settings,
    /,
    model_dir: str,
    complete: bool,
    verified: bool,
    max_age: float | None,
    jobs: int | None,
    json: bool,
) -> None:
    """Print the number of the latest step: the one that 'checkpoint' names.

    Nothing else is on standard output. The newest is the one that was committed last, whatever its
    number.
    """
    from monolith_cli.care.newest import latest_step, newest_complete
    from monolith_cli.errors import StepNotFoundError
    from monolith_cli.reports.terminal import Messages

    if complete and verified:
        raise click.UsageError("--complete and --verified exclude each other")
    if max_age is not None and not verified:
        raise click.UsageError("--max-age says nothing without --verified")
    if verified:
        from monolith_cli.care.fsck import newest_verified
        from monolith_cli.care.survey import survey

        found = survey(model_dir, without_state=True)
        step = newest_verified(model_dir, found=found, max_age_seconds=max_age, jobs=jobs)
        if step is None:
            hint = "'monolith ckpt fsck' says what is wrong"
            what = "no complete step without an error"
            raise found.problem or StepNotFoundError(what, path=model_dir, hint=hint)
        _show_step(model_dir, step, json=json)
        messages = Messages(quiet=settings.quiet, verbose=settings.verbose)
        end_with([found.problem], messages)
        return
    step = newest_complete(model_dir) if complete else latest_step(model_dir)
    _show_step(model_dir, step, json=json)


@click.command(
    cls=Command,
    examples={
        "monolith ckpt wait --step 2000 --timeout 10m model": "Until step 2000 is committed:",
        "monolith ckpt wait --newer-than 2000 --complete model": "Until a step after it is"
        " committed, and all of its files are there:",
    },
    exit_codes={3: NOT_THERE, 4: "the state file 'checkpoint' is damaged", 6: "time ran out"},
)
@options.model_dir
@options.option("--step", type=click.IntRange(min=0), metavar="N", help="Wait for this step.")
@options.option(
    "--newer-than",
    type=click.IntRange(min=0),
    metavar="N",
    help="Wait for any step that is committed after this one.",
)
@options.option("--complete", is_flag=True, help="Wait until all of its files are there, too.")
@options.option(
    "--timeout",
    type=DurationType(zero=True),
    metavar="TIME",
    default="1h",
    show_default=True,
    help="Give up after this time, with exit code 6.",
)
@options.json
@options.common
@click.pass_obj
def wait(
    settings: Settings,
    /,
    model_dir: str,
    step: int | None,
    newer_than: int | None,
    complete: bool,
    timeout: float,
    json: bool,
) -> None:
    """Wait until a step is committed, and print its number.

    One of --step and --newer-than says which. A directory in which nothing is committed yet is
    waited for as well.
    """
    from monolith_cli.care.newest import wait_for_step

    if (step is None) == (newer_than is None):
        raise click.UsageError("give one of --step and --newer-than")
    found = wait_for_step(
        model_dir,
        step=step,
        newer_than=newer_than,
        complete=complete,
        timeout_seconds=timeout,
    )
    _show_step(model_dir, found, json=json)


@click.command(
    cls=Command,
    examples={
        "monolith ckpt history --top 10 model": "The ten largest slots, and how they have grown:",
        "monolith ckpt history --fail-if 'change(slot[*].entries) ge 100%' model": "Fail if a slot"
        " has doubled since the step before:",
    },
    exit_codes={
        1: "a condition of --fail-if holds",
        3: f"{NOT_THERE}; or a condition is about something that is not known",
        4: "a ckpt.info or the state file 'checkpoint' is damaged",
    },
)
@options.model_dir
@options.table
@options.slot
@options.option(
    "--top", type=click.IntRange(min=1), metavar="K", help="Only the K largest slots and tables."
)
@options.merge_servers
@options.fail_if
@options.json
@options.common
@click.pass_obj
def history(
    settings: Settings,
    /,
    model_dir: str,
    table: tuple[str, ...],
    slot: list[tuple[int, int]],
    top: int | None,
    merge_servers: bool,
    fail_if: tuple[Condition, ...],
    json: bool,
) -> None:
    """Show how the numbers of entries have grown, by slot and by table.

    Every ckpt.info in the directory counts; these files outlive their steps. A row for each slot
    and table, the largest first: its entries at the last step, how they have changed since the step
    before and since the first, and a small bar for each step. No table is opened, and steps that
    nobody has counted are left out: 'monolith ckpt-info' counts one.

    A condition is METRIC OP NUMBER. OP is lt, le, gt, ge, eq or ne (also <, <=, >, >=, =, !=, which
    a shell wants quoted). METRIC is 'entries', which stands for all of them; 'slot[N].entries',
    'slot[A-B].entries' or 'slot[*].entries'; or 'table[GLOB].entries'. 'change(METRIC)' is how many
    more that is than at the step before, or with 'NUMBER%' how many percent more: what came from
    nothing is infinitely more. Of several slots or tables one is enough. A slot that is named,
    alone or in a range, and is not there has 0 entries; 'slot[*]' are those that are there. A table
    that is not there is an error. Conditions are about the latest step that 'checkpoint' names, as
    are the numbers that are shown, and see also what --slot and --table do not show.
    """
    from monolith_cli.care.conditions import check_all, errors_of
    from monolith_cli.care.history import read_history
    from monolith_cli.reports.history import HistoryReport
    from monolith_cli.reports.terminal import Messages, show_report

    messages = Messages(quiet=settings.quiet, verbose=settings.verbose)
    found = read_history(model_dir, merge_servers=merge_servers)
    picked = found.pick(slots=slot, patterns=table)
    checked = check_all(fail_if, found)
    report = HistoryReport(picked, model_dir=model_dir, top=top, checked=checked)
    show_report(report, json=json)
    end_with([*found.problems, *errors_of(checked)], messages)


def _show_step(model_dir: str, step: int, *, json: bool) -> None:
    from monolith_cli.reports.terminal import show, show_json

    if json:
        show_json({"model_dir": model_dir, "step": step})
    else:
        show([str(step)])
