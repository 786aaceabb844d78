"""`monolith ckpt report`: a model directory as a page."""

from __future__ import annotations

import click

from monolith_cli.commands import options
from monolith_cli.commands.base import Command, Settings


@click.command(
    cls=Command,
    examples={
        "monolith ckpt report model -o - | wc -c": "How large the page is:",
    },
    exit_codes={
        1: "FILE is there, and was left as it is (--force replaces it)",
        3: "no such directory, it cannot be read, or FILE cannot be written",
        4: "the file checkpoint is damaged; the page shows what else there is",
    },
)
@options.model_dir
@options.option(
    "-o",
    "--output",
    type=click.Path(),
    metavar="FILE",
    default="report.html",
    show_default=True,
    help="Where to write it; - is standard output.",
)
@options.option(
    "--no-stats",
    is_flag=True,
    help="Do not read the tables; leaves out norms, ages and optimizer state.",
)
@options.jobs
@options.force(help="Replace FILE.")
@options.json_errors
@options.common
@click.pass_obj
def report(
    settings: Settings,
    /,
    model_dir: str,
    output: str,
    no_stats: bool,
    jobs: int | None,
    force: bool,
) -> None:
    """Write an HTML page about a model directory.

    Which step a job can start from, all steps and their states, how entries have grown, tables and
    variables of the newest complete step, where the workers' inputs stand, and what 'ckpt fsck
    --quick' finds. One file, which needs no network and can be printed; its script sorts tables,
    and nothing is lost without it. The tables of the newest complete step are read once, for
    statistics of what is in them.
    """
    from monolith_cli.care.overview import overview
    from monolith_cli.commands.each_step import end_with
    from monolith_cli.reports.html import html_page
    from monolith_cli.reports.overview import OverviewReport, date_text
    from monolith_cli.reports.terminal import Messages, Progress, show

    messages = Messages(quiet=settings.quiet, verbose=settings.verbose)
    with Progress("reading", quiet=settings.quiet) as progress:
        found = overview(model_dir, stats=not no_stats, jobs=jobs, progress=progress)
    page = html_page(
        model_dir, f"written {date_text(found.time)}", OverviewReport(found).sections()
    )
    if output == "-":
        show(["".join(page).rstrip("\n")])
    else:
        from monolith_cli.storage.location import as_location
        from monolith_cli.storage.store import store_of

        path, data = as_location(output), "".join(page).encode()
        if force:
            store_of(path).put(path, data)
        else:
            store_of(path).put_if_absent(path, data)
        show([output])
    lost = {str(problem): problem for problem in found.survey.problems}
    messages.warnings(*(text for text in map(str, found.problems) if text not in lost))
    messages.took("looked")
    end_with(lost.values(), messages)
