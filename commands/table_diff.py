"""`monolith table diff`: two checkpoints' tables held against each other, entry by entry."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from monolith_cli.commands import options, pair_options
from monolith_cli.commands.base import Command, Settings
from monolith_cli.commands.each_step import end_with
from monolith_cli.commands.types import ToleranceType

if TYPE_CHECKING:
    from monolith_cli.care.conditions import Condition


@click.command(
    cls=Command,
    examples={
        "monolith table diff model": "The latest step against the one before it:",
        "monolith table diff model 1000 2000 --table '*_user' --values": "Two steps, and how far"
        " embeddings have moved:",
        "monolith table diff model 2000 --with model@2000 --exit-code": "Whether a step, here or"
        " elsewhere, holds the same:",
        'monolith table diff model --format jsonl | grep \'"change":"added"\'': "What is new:",
        "monolith table diff model --delta changes.delta": "What makes one step the other:",
    },
    exit_codes={
        1: "something differs, with --exit-code; or a --fail-if holds",
        3: "no such directory, step or table, or it cannot be read",
        4: "damaged data, a missing shard of any table; tables that are whole are compared",
    },
)
@options.model_dir
@pair_options.steps
@pair_options.with_other
@options.table
@options.slot
@options.merge_servers
@options.option(
    "--values",
    is_flag=True,
    help="Read entries that differ once more, for how far their embeddings have moved.",
)
@options.option(
    "--atol",
    type=ToleranceType(),
    metavar="X",
    help="Take entries for the same whose values all differ by X at most, and their time anyhow:"
    " in all numbers, rows and conditions. Implies --values.",
)
@options.option(
    "--rtol",
    type=ToleranceType(),
    metavar="Y",
    help="The same, by Y times the older value at most; with --atol by the sum of both.",
)
@options.option(
    "--top",
    type=click.IntRange(min=0, max=100_000),
    metavar="K",
    default=10,
    show_default=True,
    help="With --values: so many of the entries that have moved farthest.",
)
@options.option(
    "--format",
    type=click.Choice(["jsonl", "parquet"]),
    help="Print a row for each entry that is not the same; the summary goes to stderr. parquet"
    " needs pyarrow.",
)
@options.option(
    "--delta",
    type=click.Path(),
    metavar="FILE",
    help="Write all that makes the first side the second, entries as they are stored.",
)
@options.force(help="Replace the file of --delta if it is there.")
@pair_options.exit_code
@options.fail_if
@pair_options.memory
@pair_options.tmp
@options.fid_version
@options.no_verify
@options.max_record_bytes
@options.jobs
@options.json_number_ids
@options.json
@options.common
@click.pass_obj
def diff(
    settings: Settings,
    /,
    model_dir: str,
    a: int | str | None,
    b: int | str | None,
    other: str | None,
    table: tuple[str, ...],
    slot: list[tuple[int, int]],
    merge_servers: bool,
    values: bool,
    atol: float | None,
    rtol: float | None,
    top: int,
    format: str | None,
    delta: str | None,
    force: bool,
    exit_code: bool,
    fail_if: tuple[Condition, ...],
    memory: int,
    tmp: str | None,
    fid_version: str,
    no_verify: bool,
    max_record_bytes: int,
    jobs: int | None,
    json_number_ids: bool,
    json: bool,
) -> None:
    """Compare the tables of two steps, entry by entry.

    By feature id: which entries were added, removed or changed, their embeddings and their
    optimizer state told apart; touched are those whose time alone differs. The order of entries,
    files and servers makes no difference. A feature id that is there several times is compared as
    a multiset.

    Without steps the latest is compared with the one before it, with A the latest with A.
    """
    pair_options.check_pair(a, b, other)
    if format == "parquet" and json:
        raise click.UsageError("--json goes with --format jsonl only")
    if format == "parquet" and sys.stdout.isatty():
        raise click.UsageError("parquet is not for a terminal: redirect it to a file or a pipe")
    if delta and (slot or merge_servers):
        which = "--slot" if slot else "--merge-servers"
        raise click.UsageError(f"{which} with --delta: a delta is of whole tables as they are")

    from monolith_cli.care.conditions import check_all, errors_of
    from monolith_cli.care.diff import TablesMeasured, difference_error
    from monolith_cli.reports.diff import TablesDiffReport
    from monolith_cli.reports.diff_rows import row_writer
    from monolith_cli.reports.terminal import Messages, Progress, show_report
    from monolith_cli.reports.text import count_text
    from monolith_cli.tables.diff.compare import DiffOptions, diff_tables
    from monolith_cli.tables.diff.delta import DeltaWriter
    from monolith_cli.tables.diff.values import ValueOptions

    messages = Messages(quiet=settings.quiet, verbose=settings.verbose)
    pair = pair_options.open_pair(model_dir, a, b, other, messages)
    tolerant = atol is not None or rtol is not None
    asked = None
    if values or tolerant:
        asked = ValueOptions(atol or 0.0, rtol or 0.0, tolerant, top)
    comparing = DiffOptions(
        patterns=table,
        slots=slot,
        fid_version=fid_version,
        merge_servers=merge_servers,
        values=asked,
        memory_bytes=memory,
        tmp=tmp,
        verify=not no_verify,
        max_record_bytes=max_record_bytes,
        jobs=jobs,
    )
    writer = DeltaWriter(delta, pair.a.step, pair.b.step, overwrite=force) if delta else None
    with ExitStack() as stack:
        on_changes = None
        if format:
            rows = row_writer(
                format, sys.stdout.buffer, number_ids=json_number_ids, fid_version=fid_version
            )
            on_changes = stack.enter_context(rows).write
        progress = stack.enter_context(
            Progress("comparing", quiet=settings.quiet, rows=bool(format))
        )
        found = diff_tables(
            pair.a, pair.b, comparing, on_changes=on_changes, delta=writer, progress=progress
        )
    checked = check_all(fail_if, TablesMeasured(found))
    report = TablesDiffReport(found, pair, checked, number_ids=json_number_ids)
    if format:
        messages.notes(report.summary())
    else:
        show_report(report, json=json)
    if delta and writer:
        messages.notes(f"{delta}: {count_text(writer.changes, 'change')} written")
    fates = found.fates
    messages.took(f"{count_text(fates.entries_a + fates.entries_b, 'entry', 'entries')} compared")
    different = [difference_error(found)] if exit_code and found.differs else []
    end_with([*found.errors, *errors_of(checked), *different], messages)
