"""`monolith table stats`: what values tables hold."""

from __future__ import annotations

import click

from monolith_cli.commands import options
from monolith_cli.commands.base import Command, Settings
from monolith_cli.commands.each_step import EachStep


@click.command(
    cls=Command,
    examples={
        "monolith table stats model": "The tables of the newest checkpoint:",
        "monolith table stats --by slot --top 10 model": "Its largest slots:",
        "monolith table stats --examples 5 --json model": "The five worst feature ids of each"
        " table, for a script:",
    },
    exit_codes={
        3: "no such directory, step or table, or it cannot be read",
        4: "damaged data, a missing shard of any table; tables that are whole are shown",
    },
)
@options.model_dir
@options.step()
@options.table
@options.slot
@options.fid
@options.option(
    "--by",
    type=click.Choice(["table", "slot"]),
    default="table",
    show_default=True,
    help="A row for each table, or for each slot of each table.",
)
@options.option(
    "--top",
    type=click.IntRange(min=1),
    metavar="K",
    help="Show the K largest tables or slots only. JSON has all of them.",
)
@options.option(
    "--examples",
    type=click.IntRange(min=0, max=100_000),
    metavar="N",
    default=0,
    help="Name the N worst entries of each table: with NaN, with Inf, with sizes above 1e30, and"
    " after those the longest embeddings.",
)
@options.fid_version
@options.on_corrupt
@options.no_verify
@options.max_record_bytes
@options.jobs
@options.json_number_ids
@options.json
@options.common
@click.pass_obj
def stats(
    settings: Settings,
    /,
    model_dir: str,
    step: int | str,
    table: tuple[str, ...],
    slot: list[tuple[int, int]],
    fid: tuple[int, ...],
    by: str,
    top: int | None,
    examples: int,
    fid_version: str,
    on_corrupt: str,
    no_verify: bool,
    max_record_bytes: int,
    jobs: int | None,
    json_number_ids: bool,
    json: bool,
) -> None:
    """Show what values tables hold: NaN, norms, means, ages.

    One row for each table: its entries; how many of their values are NaN or infinite; how many
    embeddings are all zero; the norms of embeddings (the median, the 99th percentile, the largest);
    the median of ages, from the newest entry of the table on. Of up to three tables, and with
    --verbose of all, also the minimum, maximum, mean and standard deviation of each field, of
    finite values in double precision, and how norms and ages are distributed.

    All that is chosen is read and verified. The results do not depend on --jobs.
    """
    from monolith_cli.checkpoint.model_dir import open_model_dir
    from monolith_cli.reports.counts import damage_lines
    from monolith_cli.reports.stats import StatsReport
    from monolith_cli.reports.terminal import Messages, Progress
    from monolith_cli.reports.text import count_text
    from monolith_cli.tables.found import find_tables
    from monolith_cli.tables.outcome import read_outcome
    from monolith_cli.tables.stats import StatsOptions, table_stats
    from monolith_cli.tables.stream import EntryFilter, ReadOptions

    messages = Messages(quiet=settings.quiet, verbose=settings.verbose)
    reading = ReadOptions(not no_verify, on_corrupt == "skip", max_record_bytes)
    wanted = StatsOptions(
        by=by,
        examples=examples,
        chosen=EntryFilter(slot, fid, fid_version),
        unattributed=not table,
        jobs=jobs,
    )
    steps = EachStep(open_model_dir(model_dir), step, messages, json=json)
    for checkpoint in steps:
        with steps.attempt(checkpoint):
            found = find_tables(checkpoint, table, reading)
            with found.naming_copies(), Progress("reading", quiet=settings.quiet) as progress:
                made = table_stats(found.tables, reading, wanted, progress)
            checkpoint.require()
            steps.show(
                StatsReport(
                    made,
                    model_dir=model_dir,
                    step=checkpoint.step,
                    by=by,
                    fid_version=fid_version,
                    number_ids=json_number_ids,
                    top=top,
                    details=settings.verbose,
                    wants_examples=examples > 0,
                    several=steps.several,
                )
            )
            messages.took(f"{count_text(made.entries, 'entry', 'entries')} read")
            read = read_outcome(checkpoint, found, made.skipped)
            messages.warnings(*read.missing, *read.odd)
            messages.warnings(*damage_lines(read.skipped), *read.copies)
            steps.failed(*read.errors)
    steps.end()
