"""`monolith ckpt repair`: what is undamaged of a step, in a new directory."""

from __future__ import annotations

import click

from monolith_cli.commands import options
from monolith_cli.commands.base import Command, Settings
from monolith_cli.commands.types import PlaceType


@click.command(
    cls=Command,
    examples={
        "monolith ckpt repair model --to repaired": "The newest checkpoint:",
        "monolith ckpt repair --step 1000 model --to step-1000": "Another step:",
    },
    exit_codes={
        1: "something was left out of the new directory; or there is something at DIR",
        3: "no such directory or step, or it cannot be read or written",
        4: "a dense variable is damaged, or what else cannot be left out; nothing is made",
    },
    files={
        "ckpt.repaired-<step>": "in the new directory, JSON: the bits that were put back, with old"
        " and new values, and what was left out",
    },
)
@options.local_model_dir
@options.option(
    "--to",
    type=PlaceType(local=True),
    metavar="DIR",
    required=True,
    help="The directory to make. It must not exist, nor lie in MODEL_DIR.",
)
@options.step(several=False)
@options.max_record_bytes
@options.jobs
@options.json
@options.common
@click.pass_obj
def repair(
    settings: Settings,
    /,
    model_dir: str,
    to: str,
    step: int | str,
    max_record_bytes: int,
    jobs: int | None,
    json: bool,
) -> None:
    """Write what is undamaged of a checkpoint into a new directory.

    Where one flipped bit explains the damage to a record of an uncompressed file, it is put back;
    what else is damaged of tables is left out, and so are damaged states of inputs. Contents files
    and ckpt.info are made to fit, so that a job can start from the new directory. It holds one
    step, and appears whole or not at all. Nothing is written in MODEL_DIR.

    Dense variables are verified, and must be undamaged: nothing can be left out of them.
    """
    from monolith_cli.care.repair.step import repair_step
    from monolith_cli.commands.each_step import number_of
    from monolith_cli.errors import DifferentError
    from monolith_cli.reports.repair import RepairReport
    from monolith_cli.reports.terminal import Messages, Progress, show_json, show_report

    messages = Messages(quiet=settings.quiet, verbose=settings.verbose)
    with Progress("copying", quiet=settings.quiet) as progress:
        done = repair_step(
            model_dir,
            to,
            number_of(step),
            max_record_bytes=max_record_bytes,
            jobs=jobs,
            progress=progress,
        )
    report = RepairReport(done, model_dir=model_dir)
    if json:
        show_json(report.document())
    else:
        show_report(report)
    messages.took("repaired")
    if not done.is_whole:
        raise DifferentError(
            f"step {done.step} is not whole: {report.losses()}", path=to, kind="left_out"
        )
