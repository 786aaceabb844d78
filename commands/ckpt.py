"""`monolith ckpt`: what a checkpoint is made of."""

from __future__ import annotations

import click

from monolith_cli.commands import options
from monolith_cli.commands.base import Command, Settings
from monolith_cli.commands.each_step import EachStep


@click.command(
    cls=Command,
    examples={
        "monolith ckpt show model": "The newest checkpoint:",
        "monolith ckpt show --json model | jq '.variables | max_by(.bytes)'": "The largest dense"
        " variable:",
        "monolith ckpt show --step 1000 model": "Another step:",
    },
    exit_codes={
        3: "no such directory or step, or it cannot be read",
        4: "something is damaged or missing; the rest is shown",
    },
)
@options.model_dir
@options.step()
@options.json
@options.common
@click.pass_obj
def show(settings: Settings, /, model_dir: str, step: int | str, json: bool) -> None:
    """Show what a checkpoint is made of: tables, dense variables, files.

    Names, dtypes, shapes and sizes come from the index of the dense variables, which is verified.
    Their values and the tables' entries are not read; of the files it is seen whether they are
    there and long enough. 'monolith table ls' counts the entries of single tables.
    """
    from monolith_cli.checkpoint.model_dir import open_model_dir
    from monolith_cli.reports.listing import ListingReport
    from monolith_cli.reports.terminal import Messages
    from monolith_cli.tables.listing import list_checkpoint

    messages = Messages(quiet=settings.quiet, verbose=settings.verbose)
    steps = EachStep(open_model_dir(model_dir), step, messages, json=json)
    for checkpoint in steps:
        with steps.attempt(checkpoint):
            listing = list_checkpoint(checkpoint)
            steps.show(ListingReport(listing, model_dir=model_dir, step=checkpoint.step))
            messages.warnings(*listing.warnings)
            steps.failed(*listing.problems)
            checkpoint.warnings.clear()  # the problems say the same
    steps.end()
