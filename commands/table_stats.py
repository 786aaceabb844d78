"""`monolith table stats`: what values tables hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from monolith_cli.commands import options, pair_options
from monolith_cli.commands.base import Command, Settings
from monolith_cli.commands.each_step import EachStep
from monolith_cli.commands.types import SizeType

if TYPE_CHECKING:
    from monolith_cli.care.conditions import Condition


@click.command(
    cls=Command,
    examples={
        "monolith table stats model": "The tables of the newest checkpoint:",
        "monolith table stats --by slot --top 10 model": "Its largest slots:",
        "monolith table stats --examples 5 --json model": "The five worst feature ids of each"
        " table, for a script:",
        "monolith table stats --fail-if 'nan gt 0' --fail-if 'norm_max gt 100' model": "Fail if"
        " there is any NaN, or an embedding that has grown too long:",
        "monolith table stats --duplicates --table '*_user' model": "Feature ids that a table has"
        " more than once:",
    },
    exit_codes={
        1: "a condition of --fail-if holds",
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
@options.option(
    "--duplicates",
    is_flag=True,
    help="Find feature ids that a table has more than once, in a second pass.",
)
@options.option(
    "--memory",
    type=SizeType(maximum=1 << 44),
    metavar="SIZE",
    default="256MiB",
    show_default=True,
    help="With --duplicates: memory to sort in, 32 bytes per entry; the rest waits in --tmp.",
)
@pair_options.tmp
@options.merge_servers
@options.fail_if
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
    duplicates: bool,
    memory: int,
    tmp: str | None,
    merge_servers: bool,
    fail_if: tuple[Condition, ...],
    fid_version: str,
    on_corrupt: str,
    no_verify: bool,
    max_record_bytes: int,
    jobs: int | None,
    json_number_ids: bool,
    json: bool,
) -> None:
    """Show what values tables hold: NaN, norms, means, ages.

    One row for each table: entries, NaN and infinite values, embeddings that are all zero, norms of
    embeddings (the median, the 99th percentile, the largest), and the median of ages, counted back
    from the newest entry. Of up to three tables, and with --verbose of all, also what is in each
    field, of finite values in double precision, and how norms and ages are distributed.

    Conditions are about the whole, or about table[GLOB], slot[N] or opt[GLOB], such as
    'opt[*.adagrad.norm].max_abs gt 1e6'. mean, std, max_abs and zero_rows are of embeddings there;
    nan, inf and huge of every field. Ages are in days.

    All that is chosen is read and verified. The results do not depend on --jobs.
    """
    from monolith_cli.care.conditions import check_all, errors_of
    from monolith_cli.care.stats import StatsMeasured
    from monolith_cli.checkpoint.model_dir import open_model_dir
    from monolith_cli.reports.counts import damage_lines
    from monolith_cli.reports.stats import StatsReport
    from monolith_cli.reports.terminal import Messages, Progress
    from monolith_cli.reports.text import count_text
    from monolith_cli.tables.duplicates import find_duplicates
    from monolith_cli.tables.found import find_tables
    from monolith_cli.tables.outcome import read_outcome
    from monolith_cli.tables.servers import merge_servers as merged
    from monolith_cli.tables.stats import StatsOptions, table_stats
    from monolith_cli.tables.stream import EntryFilter, ReadOptions

    messages = Messages(quiet=settings.quiet, verbose=settings.verbose)
    reading = ReadOptions(not no_verify, on_corrupt == "skip", max_record_bytes)
    wanted = StatsOptions(
        by=by,
        with_slots=any(condition.scope == "slot" for condition in fail_if),
        examples=examples,
        chosen=EntryFilter(slot, fid, fid_version),
        unattributed=not table,
        jobs=jobs,
    )
    steps = EachStep(open_model_dir(model_dir), step, messages, json=json)
    for checkpoint in steps:
        with steps.attempt(checkpoint):
            found = find_tables(checkpoint, table, reading)
            names = merged(each.name for each in found.tables) if merge_servers else {}
            with found.naming_copies(), Progress("reading", quiet=settings.quiet) as progress:
                made = table_stats(found.tables, reading, wanted._replace(names=names), progress)
            again = None
            if duplicates:
                with found.naming_copies(), Progress("sorting", quiet=settings.quiet) as progress:
                    again = find_duplicates(
                        found.tables,
                        reading,
                        chosen=wanted.chosen,
                        names=names,
                        memory_bytes=memory,
                        tmp=tmp,
                        jobs=jobs,
                        progress=progress,
                    )
            checkpoint.require()
            checked = check_all(fail_if, StatsMeasured(made))
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
                    checked=checked,
                    duplicates=again,
                    several=steps.several,
                )
            )
            messages.took(f"{count_text(made.entries, 'entry', 'entries')} read")
            read = read_outcome(checkpoint, found, made.skipped)
            messages.warnings(*read.missing, *read.odd)
            messages.warnings(*damage_lines(read.skipped), *read.copies)
            steps.failed(*read.errors, *errors_of(checked))
    steps.end()
