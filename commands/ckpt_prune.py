"""`monolith ckpt prune`: old steps go, by policies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from monolith_cli.commands import asking, options
from monolith_cli.commands.base import Command, Settings
from monolith_cli.commands.types import DurationType, PlaceType, SizeType

if TYPE_CHECKING:
    from monolith_cli.care.prune.plan import PrunePlan
    from monolith_cli.reports.terminal import Messages


@click.command(
    cls=Command,
    examples={
        "monolith ckpt prune --keep-last 3 --keep-daily 7 -n model": "What would stay, and why:",
        "monolith ckpt prune --keep-last 3 --keep-daily 7 --yes --quiet-for 0 model": "Do it"
        " without being asked, of a job that has just ended:",
        "monolith ckpt prune --unlisted --yes model": "Beside a running job: its daily steps:",
    },
    exit_codes={
        1: "exports would be deleted at the next save; or the answer was no",
        3: "no such directory or step, or something cannot be read or removed",
        4: "a step that is to stay is damaged, or not whole: nothing is removed",
        5: "a job lives, or has begun to save; or another command was cut off here",
    },
    files={
        "MODEL_DIR/.monolith-journal.json": "What is being removed; of --unlisted"
        " .monolith-unlisted.json. While it is there the command is to be run again.",
    },
)
@options.local_model_dir
@options.never_set(
    "--keep-last", type=click.IntRange(min=1), metavar="N", help="Keep the N newest steps."
)
@options.never_set(
    "--keep-within",
    type=DurationType(),
    metavar="TIME",
    help="Keep what was committed up to TIME before the newest step, such as 2d.",
)
@options.never_set(
    "--keep-daily",
    type=click.IntRange(min=1),
    metavar="N",
    help="Keep the newest step of each day (UTC), for the last N days that have one.",
)
@options.never_set(
    "--keep-every",
    type=click.IntRange(min=1),
    metavar="STEPS",
    help="Keep steps whose number is a multiple of STEPS.",
)
@options.never_set(
    "--keep-step",
    type=click.IntRange(min=0),
    multiple=True,
    metavar="N",
    shell_complete=options.completing("steps"),
    help="Keep this step. Repeatable.",
)
@options.never_set(
    "--keep-size",
    type=SizeType(maximum=1 << 60),
    metavar="SIZE",
    help="Keep the newest steps, as many as have this size together, such as 500GiB.",
)
@options.never_set(
    "--unlisted",
    is_flag=True,
    help="Only steps that 'checkpoint' does not list, and older than the latest. A job may run.",
)
@options.never_set(
    "--leftovers",
    is_flag=True,
    help="Remove saves that were given up, and unfinished files, too: older than 72 hours.",
)
@options.never_set(
    "--rolled-back", is_flag=True, help="Remove what rollbacks have moved away, too."
)
@options.never_set(
    "--older",
    type=DurationType(zero=True),
    metavar="TIME",
    help="With --rolled-back: only what was moved away so long ago, such as 7d.",
)
@options.option(
    "--exports",
    type=PlaceType(local=True),
    multiple=True,
    metavar="DIR",
    shell_complete=options.completing("directories"),
    help="Look for exports of this model there, too; else below MODEL_DIR. Repeatable.",
)
@options.never_set(
    "--exports-may-go",
    is_flag=True,
    help="Go on though the next save will delete exports of steps that go.",
)
@options.never_set(
    "--quick-check", is_flag=True, help="Check the steps that must be right without reading data."
)
@options.quiet_for
@options.dry_run
@asking.yes
@options.jobs
@options.json
@options.common
@click.pass_obj
def prune(
    settings: Settings,
    /,
    model_dir: str,
    keep_last: int | None,
    keep_within: float | None,
    keep_daily: int | None,
    keep_every: int | None,
    keep_step: tuple[int, ...],
    keep_size: int | None,
    unlisted: bool,
    leftovers: bool,
    rolled_back: bool,
    older: float | None,
    exports: tuple[str, ...],
    exports_may_go: bool,
    quick_check: bool,
    quiet_for: float | None,
    dry_run: bool,
    yes: bool,
    jobs: int | None,
    json: bool,
) -> None:
    """Remove old steps, by policies that say what stays.

    A step stays if one policy keeps it. The latest, the newest complete one and pinned ones never
    go, nor those that a rollback of inputs names, or whose tables an export reads. Steps that are
    not whole go. Counts (ckpt.info) stay, and so do input states and item pools that a step which
    stays would start from.

    First the latest step and the newest that stays must pass a full check; a check of the last 7
    days that 'monolith ckpt fsck --record' has noted counts. No job may run, but for --unlisted.

    If it is cut off, run it again: it finishes what was begun.
    """
    from monolith_cli.care.keeping import Policy
    from monolith_cli.care.prune.plan import PruneOptions, plan_prune
    from monolith_cli.reports.prune import PruneReport
    from monolith_cli.reports.terminal import Messages, show_report

    if older is not None and not rolled_back:
        raise click.UsageError("--older says nothing without --rolled-back")
    if unlisted and (leftovers or rolled_back):
        raise click.UsageError("--unlisted excludes --leftovers and --rolled-back")
    policy = Policy(keep_last, keep_within, keep_daily, keep_every, keep_step, keep_size)
    wanted = PruneOptions(policy, unlisted, leftovers, rolled_back, older, exports, exports_may_go)
    messages = Messages(quiet=settings.quiet, verbose=settings.verbose)
    is_asked = unlisted or leftovers or rolled_back or not policy.is_empty
    if not is_asked and not _has_begun(model_dir):
        raise click.UsageError("no policy: say what stays, such as --keep-last 5")
    if dry_run:
        if _would_go_on(model_dir, messages, unlisted=unlisted, json=json):
            return
    else:
        asking.require_yes(yes)
        if _went_on(
            model_dir, messages, settings, quiet_for=quiet_for, unlisted=unlisted, json=json
        ):
            return
    plan = plan_prune(model_dir, wanted)
    if dry_run or plan.is_empty:
        _show_plan(plan, messages, quick=quick_check, dry_run=dry_run, json=json)
        return
    if not json:
        show_report(PruneReport(plan, []))
    _carry_out(
        plan,
        messages,
        settings,
        quick=quick_check,
        quiet_for=quiet_for,
        yes=yes,
        jobs=jobs,
        json=json,
    )


def _show_plan(
    plan: PrunePlan, messages: Messages, *, quick: bool, dry_run: bool, json: bool
) -> None:
    from monolith_cli.care.prune.proof import proofs_of
    from monolith_cli.reports.prune import (
        PruneReport,
        checks_text,
        exports_text,
        not_whole_texts,
    )
    from monolith_cli.reports.terminal import show_report

    proofs = proofs_of(plan)
    show_report(PruneReport(plan, proofs, dry_run=dry_run), json=json)
    _warn(plan, messages)
    messages.warnings(exports_text(plan.exports), _cut_off(plan.directory))
    messages.notes(checks_text(proofs, quick=quick))
    messages.warnings(*not_whole_texts(plan, proofs))


def _warn(plan: PrunePlan, messages: Messages) -> None:
    from monolith_cli.care.exports import EXPORT_STATE

    for step in plan.pinned_unlisted:
        messages.warnings(
            f"step {step} is pinned and not listed: the training system will not start here"
        )
    for name in plan.strays:
        messages.warnings(f"{name}: stays, as no rollback has put it there")
    for directory in plan.without_exports:
        messages.warnings(
            f"{directory}: no {EXPORT_STATE} notes an export there, so none keeps a step"
        )
    if plan.is_empty:
        return
    for directory in plan.unnoted:
        messages.warnings(
            f"{directory}: an export without tables, and no {EXPORT_STATE} says of which step: if"
            " it reads the tables of a step here, keep that with --keep-step"
        )


def _cut_off(directory: str) -> str | None:
    """That a command was cut off there, and which; None if none was."""
    from monolith_cli.checkpoint.claim import check_journal
    from monolith_cli.errors import DirectoryInUseError

    try:
        check_journal(directory)
    except DirectoryInUseError as error:
        return str(error)
    return None


def _has_begun(directory: str) -> bool:
    """Whether there is a journal of something that was not finished."""
    from monolith_cli.care.journal import read_journal

    found = read_journal(directory) or read_journal(directory, beside_job=True)
    return found is not None


def _how_to_go_on(directory: str) -> str:
    """What to do if it is interrupted; empty if nothing has begun."""
    return "run it again, which finishes it" if _has_begun(directory) else ""


def _would_go_on(model_dir: str, messages: Messages, *, unlisted: bool, json: bool) -> bool:
    """Show what would be finished of a prune that was cut off; False if there is none."""
    from monolith_cli.care.prune.run import look
    from monolith_cli.reports.prune import ResumedReport, left_text
    from monolith_cli.reports.terminal import show_report

    found = look(model_dir, unlisted=unlisted)
    if found is None:
        return False
    show_report(ResumedReport(found, model_dir=model_dir, dry_run=True), json=json)
    messages.warnings(_cut_off(model_dir))
    messages.notes(*left_text(found))
    messages.notes("what is asked for now is not looked at before that")
    return True


def _went_on(
    model_dir: str,
    messages: Messages,
    settings: Settings,
    *,
    quiet_for: float | None,
    unlisted: bool,
    json: bool,
) -> bool:
    """Finish a prune that was cut off; False if there is none."""
    from monolith_cli.care.prune.run import go_on
    from monolith_cli.commands.hints import telling
    from monolith_cli.reports.prune import ResumedReport, left_text
    from monolith_cli.reports.terminal import Progress, show_report

    with (
        telling(lambda: _how_to_go_on(model_dir), of_errors=False),
        Progress("removing", quiet=settings.quiet, unit="files") as progress,
    ):
        done = go_on(model_dir, quiet_for_seconds=quiet_for, unlisted=unlisted, progress=progress)
    if done is None:
        return False
    show_report(ResumedReport(done, model_dir=model_dir), json=json)
    messages.notes(*left_text(done))
    messages.notes("what is asked for now was not looked at: run it again")
    return True


def _carry_out(
    plan: PrunePlan,
    messages: Messages,
    settings: Settings,
    *,
    quick: bool,
    quiet_for: float | None,
    yes: bool,
    jobs: int | None,
    json: bool,
) -> None:
    from monolith_cli.care.alive import check_quiet
    from monolith_cli.care.exports import check_exports
    from monolith_cli.care.prune.proof import prove
    from monolith_cli.care.prune.run import carry_out
    from monolith_cli.commands.hints import telling
    from monolith_cli.reports.prune import (
        PruneReport,
        checks_text,
        exports_text,
        left_text,
        removed_text,
    )
    from monolith_cli.reports.terminal import Progress, show_report

    _warn(plan, messages)
    if not plan.options.exports_may_go:
        check_exports(plan.directory, plan.exports)
    messages.warnings(exports_text(plan.exports))
    if not plan.options.unlisted:
        check_quiet(plan.directory, quiet_for)
    with Progress("checking", quiet=settings.quiet) as progress:
        proofs = prove(plan, quick=quick, jobs=jobs, progress=progress)
    messages.notes(checks_text(proofs, quick=quick))
    question = "Remove it"
    if quick:
        question = "No data was read to see whether what stays is right. Remove it all the same"
    if not asking.agreed(f"{question}?", yes):
        messages.notes("nothing was removed")
        raise click.exceptions.Exit(1)
    with (
        telling(lambda: _how_to_go_on(plan.directory), of_errors=False),
        Progress("removing", quiet=settings.quiet, unit="files") as progress,
    ):
        done = carry_out(plan, quiet_for_seconds=quiet_for, progress=progress)
    if json:
        show_report(PruneReport(plan, proofs, done=done), json=True)
    messages.notes(*left_text(done), removed_text(done))
    messages.took("removed")
