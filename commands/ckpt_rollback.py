"""`monolith ckpt rollback`: going back with a whole job to an older step, and the way back."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from monolith_cli.commands import asking, options
from monolith_cli.commands.base import Command, Settings
from monolith_cli.commands.types import PlaceType, StepType

if TYPE_CHECKING:
    from monolith_cli.care.rollback.back import RolledBack
    from monolith_cli.errors import MonolithError


def _number(ctx: click.Context, param: click.Parameter, value: int | str | None) -> int | None:
    if isinstance(value, str):
        raise click.BadParameter("the number of the step is needed here", ctx, param)
    return value


@click.command(
    cls=Command,
    examples={
        "monolith ckpt rollback --step 2000 -n model": "What going back would move and write:",
        "monolith ckpt rollback --step 2000 model": "Model, tables and inputs start from step"
        " 2000:",
        "monolith ckpt rollback --undo --to newer -n model": "Whether the newer steps could get a"
        " directory of their own:",
        "monolith ckpt rollback --undo model": "Bring the newer steps back:",
    },
    exit_codes={
        1: "a newer step is pinned, or an export would be deleted; with --undo, a step was"
        " committed since, or a name is taken; or the answer was no: nothing is done",
        3: "no such directory or step, or nothing to undo; or it cannot be read or written",
        4: "the step is damaged or incomplete: nothing is done",
        5: "a job is alive, or another command was cut off here: nothing is done",
    },
    files={
        "MODEL_DIR/rolled-back/<time>/": "The newer steps, and rollback.json, by which --undo"
        " brings them back.",
        "MODEL_DIR/.monolith-journal.json": "What is being done. While it is there no job of ours"
        " starts; the same command finishes what was cut off.",
    },
)
@options.local_model_dir
@options.option(
    "--step",
    type=StepType(),
    metavar="N",
    callback=_number,
    shell_complete=options.completing("steps"),
    help="The step to go back to.",
)
@options.option(
    "--undo",
    is_flag=True,
    allow_from_autoenv=False,
    help="Undo the last rollback: newer steps come back, and files are as they were.",
)
@options.option(
    "--to",
    type=PlaceType(local=True),
    metavar="DIR",
    help="With --undo: bring them into a new directory outside MODEL_DIR instead, on the same file"
    " system.",
)
@options.option(
    "--exports",
    type=PlaceType(local=True),
    multiple=True,
    metavar="DIR",
    help="Look for exports of this model there, too; else below MODEL_DIR. Repeatable.",
)
@options.never_set(
    "--exports-may-go",
    is_flag=True,
    help="Go back though the next save will delete exports of steps that are moved away.",
)
@options.quiet_for
@options.dry_run
@options.never_set("-y", "--yes", is_flag=True, help="Do not ask, where somebody can be asked.")
@options.json
@options.common
@click.pass_obj
def rollback(
    settings: Settings,
    /,
    model_dir: str,
    step: int | None,
    undo: bool,
    to: str | None,
    dry_run: bool,
    exports: tuple[str, ...],
    exports_may_go: bool,
    quiet_for: float | None,
    yes: bool,
    json: bool,
) -> None:
    """Go back to an older step with model, tables and inputs; newer steps are moved away.

    Newer are the steps after it in the order of steps, whatever their numbers. All their files get
    another place, below rolled-back in MODEL_DIR, out of sight of every job and command; nothing is
    deleted. 'checkpoint' and the workers' state files then name the step. It must pass a quick
    check. Stop the job first.

    To go back with the inputs alone there is 'monolith iterator rollback'.
    """
    if undo == (step is not None):
        raise click.UsageError("give either --step or --undo")
    if to is not None and not undo:
        raise click.UsageError("--to makes sense with --undo only")
    from monolith_cli.reports.rollback import RolledBackReport
    from monolith_cli.reports.terminal import Messages, show_report

    def go(dry_run: bool) -> RolledBack:
        if step is None:
            return _undo(model_dir, to, dry_run, quiet_for)
        return _back(model_dir, step, dry_run, exports, exports_may_go, quiet_for)

    messages = Messages(quiet=settings.quiet, verbose=settings.verbose)
    is_asked = not dry_run and not yes and asking.can_ask()
    if is_asked:
        planned = go(True)
        if not json:
            show_report(RolledBackReport(planned))
        messages.warnings(*planned.warnings)
        if not asking.agreed("Go on?", yes):
            messages.notes("nothing was changed")
            raise click.exceptions.Exit(1)
    done = go(dry_run)
    show_report(RolledBackReport(done, is_known=is_asked), json=json)
    if not is_asked:
        messages.warnings(*done.warnings)
    if done.is_resumed:
        messages.notes("a command was cut off here, and this goes on with it")
    messages.notes(*done.notes, "a dry run: nothing was changed" if dry_run else None)
    messages.took("rolled back")


def _back(
    model_dir: str,
    step: int,
    dry_run: bool,
    exports: tuple[str, ...],
    exports_may_go: bool,
    quiet_for: float | None,
) -> RolledBack:
    from monolith_cli.care.rollback.back import roll_back
    from monolith_cli.errors import ProtectedError
    from monolith_cli.storage.location import absolute

    try:
        return roll_back(
            model_dir,
            step,
            command=["monolith", "ckpt", "rollback", "--step", str(step), absolute(model_dir)],
            dry_run=dry_run,
            exports=exports,
            exports_may_go=exports_may_go,
            quiet_for_seconds=quiet_for,
        )
    except ProtectedError as error:
        if error.kind == "pinned":
            _name_unpins(error, model_dir, step)
        raise


def _undo(model_dir: str, to: str | None, dry_run: bool, quiet_for: float | None) -> RolledBack:
    from monolith_cli.care.rollback.undo import undo_rollback, undo_rollback_to
    from monolith_cli.storage.location import absolute

    if to is not None:
        return undo_rollback_to(model_dir, to, dry_run=dry_run)
    return undo_rollback(
        model_dir,
        command=["monolith", "ckpt", "rollback", "--undo", absolute(model_dir)],
        dry_run=dry_run,
        quiet_for_seconds=quiet_for,
    )


def _name_unpins(error: MonolithError, model_dir: str, step: int) -> None:
    """Say what to run first."""
    from monolith_cli.care.rollback.back import newer_pins

    lines = [
        shlex.join(["monolith", "ckpt", "unpin", model_dir, str(each)])
        for each in newer_pins(model_dir, step)
    ]
    error.hint = f"run first: {'; '.join(lines)}"
