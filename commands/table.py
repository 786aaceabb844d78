"""`monolith table`: what tables a checkpoint has, and what is in them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from monolith_cli.commands import options
from monolith_cli.commands.base import Command, Settings
from monolith_cli.commands.each_step import EachStep, end_with, one_checkpoint
from monolith_cli.commands.types import FidType, PlaceType

if TYPE_CHECKING:
    from monolith_cli.errors import MonolithError
    from monolith_cli.reports.terminal import Messages
    from monolith_cli.tables.outcome import ReadOutcome


@click.command(
    cls=Command,
    examples={
        "monolith table ls model": "The tables of the newest checkpoint:",
        "monolith table ls --scan --table '*_user' --json model": "Some, multi tables read too:",
    },
    exit_codes={
        3: "no such directory, step or table, or it cannot be read",
        4: "damaged data, a missing shard of any table; tables that are whole are listed",
    },
)
@options.model_dir
@options.step()
@options.table
@options.option(
    "--scan",
    is_flag=True,
    help="Read multi tables too, for what is in their entries. Without it only their contents"
    " files are read.",
)
@options.merge_servers
@options.fid_version
@options.on_corrupt
@options.no_verify
@options.max_record_bytes
@options.jobs
@options.json
@options.common
@click.pass_obj
def ls(
    settings: Settings,
    /,
    model_dir: str,
    step: int | str,
    table: tuple[str, ...],
    scan: bool,
    merge_servers: bool,
    fid_version: str,
    on_corrupt: str,
    no_verify: bool,
    max_record_bytes: int,
    jobs: int | None,
    json: bool,
) -> None:
    """List the tables of a checkpoint.

    One row for each table: its entries, files and size, the dims of its embeddings, in how many
    slots its entries are, and which optimizers left their state. Single tables are read and
    verified for that.
    """
    from monolith_cli.checkpoint.model_dir import open_model_dir
    from monolith_cli.reports.counts import damage_lines
    from monolith_cli.reports.tables import TablesReport
    from monolith_cli.reports.terminal import Messages, Progress
    from monolith_cli.reports.text import count_text
    from monolith_cli.tables.counts import CountOptions, count_checkpoint
    from monolith_cli.tables.gone import gone_error
    from monolith_cli.tables.servers import merge_counts
    from monolith_cli.tables.skipped import skipped_error

    messages = Messages(quiet=settings.quiet, verbose=settings.verbose)
    counting = CountOptions(
        patterns=table,
        fid_version=fid_version,
        scan_multi=scan,
        by_table=scan,
        verify=not no_verify,
        skip_corrupt=on_corrupt == "skip",
        partial=True,
        max_record_bytes=max_record_bytes,
        jobs=jobs,
    )
    steps = EachStep(open_model_dir(model_dir), step, messages, json=json)
    for checkpoint in steps:
        with steps.attempt(checkpoint):
            with Progress("reading", quiet=settings.quiet) as progress:
                counts = count_checkpoint(checkpoint, counting, progress)
            tables = merge_counts(counts.tables) if merge_servers else counts.tables
            report = TablesReport(tables, step=checkpoint.step, several=steps.several)
            steps.show(report)
            messages.took(f"{count_text(counts.entries, 'entry', 'entries')} read")
            messages.warnings(*counts.warnings, *damage_lines(counts.skipped))
            steps.failed(skipped_error(counts.skipped), *counts.problems)
            steps.failed(gone_error(checkpoint.ckpt_info_path, counts.found))
    steps.end()


def end_reading(
    read: ReadOutcome, messages: Messages, non_finite: str | None, *others: MonolithError | None
) -> None:
    """Tell what is odd about tables that were read; end with the worst of what was wrong."""
    from monolith_cli.reports.counts import damage_lines

    messages.warnings(*read.missing, non_finite, *read.odd)
    messages.warnings(*damage_lines(read.skipped), *read.copies)
    end_with([*read.errors, *others], messages)


@click.command(
    cls=Command,
    examples={
        "monolith table dump model | head -3": "The first entries:",
        "monolith table dump --table '*_item' --slot 10-12 --columns fid,slot model": "Some of"
        " them:",
        "monolith table dump --step 1000 --shard 2 --nshards 8 model > part": "An eighth of all"
        " entries of a checkpoint:",
        "monolith table dump --format tfrecord model > records": "All of them, as they are stored:",
        "monolith table dump --limit 1000 --cursor model": "A page:",
        "monolith table dump --limit 1000 --cursor --step 1000 --offset 204350 model": "The next"
        " one, of the same checkpoint:",
    },
    exit_codes={
        2: "wrong usage; also a cursor that points at no entry",
        3: "no such directory, step or table, or it cannot be read",
        4: "damaged data, a missing shard of any table; entries printed before that are valid,"
        " and those of tables that are whole are printed",
    },
)
@options.model_dir
@options.step(several=False)
@options.table
@options.slot
@options.fid
@options.option(
    "--format",
    type=click.Choice(["jsonl", "tfrecord"]),
    default="jsonl",
    show_default=True,
    help="jsonl, one object per line; or tfrecord, the records as they are stored.",
)
@options.columns
@options.option(
    "--limit",
    type=click.IntRange(min=1, max=2**63 - 1),
    metavar="N",
    help="At most this many entries; then the cursor to go on from, on stderr.",
)
@options.option(
    "--offset",
    type=click.IntRange(min=0, max=2**63 - 1),
    metavar="CURSOR",
    default=0,
    help="Go on from here: a cursor that the same command with --limit ended with. Give the step"
    " as well, because a running job saves others.",
)
@options.option(
    "--cursor", is_flag=True, help="Print the cursor to go on from as the last line of jsonl, too."
)
@options.option(
    "--shard",
    type=click.IntRange(min=0),
    metavar="I",
    default=0,
    show_default=True,
    help="Only this one of --nshards partitions, counted from 0.",
)
@options.option(
    "--nshards",
    type=click.IntRange(min=1),
    metavar="N",
    default=1,
    show_default=True,
    help="Split all entries into this many partitions, whatever the number of files.",
)
@options.fid_version
@options.on_corrupt
@options.no_verify
@options.max_record_bytes
@options.jobs
@options.json_number_ids
@options.json_lines
@options.common
@click.pass_obj
def dump(
    settings: Settings,
    /,
    model_dir: str,
    step: int | str,
    table: tuple[str, ...],
    slot: list[tuple[int, int]],
    fid: tuple[int, ...],
    format: str,
    columns: tuple[str, ...],
    limit: int | None,
    offset: int,
    cursor: bool,
    shard: int,
    nshards: int,
    fid_version: str,
    on_corrupt: str,
    no_verify: bool,
    max_record_bytes: int,
    jobs: int | None,
    json_number_ids: bool,
    json: bool,
) -> None:
    """Stream the entries of tables.

    Entries come table by table, in the order of the files; with the same --table, --shard and
    --nshards the order and the cursors are always the same. All partitions together have every
    entry once, if they are of one step. A page (--limit, --offset) takes time in proportion to its
    size.

    Tables that are not whole are left out and named, and the command ends with 4. Then there is no
    cursor, because cursors count all tables.
    """
    if shard >= nshards:
        raise click.UsageError(f"--shard {shard} is not one of --nshards {nshards}, 0 is the first")
    if format == "tfrecord" and (json or cursor):
        raise click.UsageError(f"--{'json' if json else 'cursor'} goes with --format jsonl only")
    if format == "tfrecord" and sys.stdout.isatty():
        raise click.UsageError("tfrecord is not for a terminal: redirect it to a file or a pipe")

    from monolith_cli.checkpoint.model_dir import open_model_dir
    from monolith_cli.reports.entries import (
        cursor_line,
        cursor_note,
        no_cursor_warning,
        non_finite_warning,
        step_note,
    )
    from monolith_cli.reports.terminal import Messages, Progress
    from monolith_cli.reports.text import count_text
    from monolith_cli.tables.dump import Dump
    from monolith_cli.tables.found import find_tables
    from monolith_cli.tables.outcome import read_outcome
    from monolith_cli.tables.stream import EntryFilter, ReadOptions
    from monolith_cli.tables.table import entry_stream

    messages = Messages(quiet=settings.quiet, verbose=settings.verbose)
    checkpoint = one_checkpoint(open_model_dir(model_dir), step)
    reading = ReadOptions(not no_verify, on_corrupt == "skip", max_record_bytes)
    found = find_tables(checkpoint, table, reading)
    tables = found.tables
    messages.notes(*checkpoint.notes)
    messages.warnings(*checkpoint.warnings)
    if found.problems and offset:
        messages.warnings(no_cursor_warning(offset))
        end_with(found.problems, messages)
    out = sys.stdout.buffer
    with found.naming_copies(), Progress("dumping", quiet=settings.quiet, rows=True) as progress:
        dump = Dump(
            entry_stream(tables, unattributed=not table, jobs=jobs),
            reading,
            format=format,
            columns=columns,
            number_ids=json_number_ids,
            chosen=EntryFilter(slot, fid, fid_version),
            shard=shard,
            nshards=nshards,
            offset=offset,
            limit=limit,
            jobs=jobs,
            progress=progress,
        )
        if step == "latest" and (offset or nshards > 1):
            messages.notes(step_note(checkpoint.step))
        for data in dump:
            out.write(data)
    if cursor and not found.problems:
        out.write(cursor_line(dump.next_offset, checkpoint.step))
    messages.took(f"{count_text(dump.entries, 'entry', 'entries')} read")
    if found.problems and (cursor or limit is not None):
        messages.warnings(no_cursor_warning())
    elif limit is not None:
        messages.notes(cursor_note(dump.entries, dump.next_offset, checkpoint.step))
    read = read_outcome(checkpoint, found, dump.skipped)
    end_reading(read, messages, non_finite_warning(dump.non_finite))


@click.command(
    cls=Command,
    examples={
        "monolith table get model 173961102589772": "An entry, wherever it is:",
        "monolith table get --json --table '*_user' model 1 0x9e3779b97f4c": "Two of a table:",
        "monolith table get --json --columns fid --fids-from ids.txt model": "Which of these are"
        " there; the others are under absent in the error:",
    },
    exit_codes={
        1: "a feature id is in none of the tables",
        3: "no such directory, step or table, or it cannot be read",
        4: "damaged data, a missing shard of any table; entries of tables that are whole are shown",
    },
    context_settings={"ignore_unknown_options": True},  # -5 is a fid
)
@options.model_dir
@click.argument("fid", metavar="[FID]...", nargs=-1, type=FidType())
@options.option(
    "--fids-from",
    type=PlaceType(local=True, readable=True, allow_dash=True),
    metavar="FILE|-",
    help="More feature ids, one per line, from a file or standard input; blank lines and text"
    " after a # are ignored.",
)
@options.step(several=False)
@options.table
@options.columns
@options.fid_version
@options.on_corrupt
@options.no_verify
@options.max_record_bytes
@options.jobs
@options.json_number_ids
@options.json_lines
@options.common
@click.pass_obj
def get(
    settings: Settings,
    /,
    model_dir: str,
    fid: tuple[int, ...],
    fids_from: str | None,
    step: int | str,
    table: tuple[str, ...],
    columns: tuple[str, ...],
    fid_version: str,
    on_corrupt: str,
    no_verify: bool,
    max_record_bytes: int,
    jobs: int | None,
    json_number_ids: bool,
    json: bool,
) -> None:
    """Show the entries of feature ids.

    A FID is a decimal number, signed or not, or 0x and hexadecimal digits. The tables are read to
    the end once, whatever the number of FIDs, because a feature id may be in several tables.
    """
    if not fid and fids_from is None:
        raise click.UsageError("Missing argument 'FID...': give feature ids, or --fids-from FILE")
    from monolith_cli.checkpoint.model_dir import open_model_dir
    from monolith_cli.reports.entries import entries_lines, non_finite_warning
    from monolith_cli.reports.terminal import Messages, Progress, look_of, show
    from monolith_cli.reports.text import count_text
    from monolith_cli.tables.found import find_tables
    from monolith_cli.tables.lookup import absent_error, find_entries
    from monolith_cli.tables.outcome import read_outcome
    from monolith_cli.tables.stream import ReadOptions
    from monolith_cli.tables.table import entry_stream

    messages = Messages(quiet=settings.quiet, verbose=settings.verbose)
    if fids_from is not None:
        fid += options.read_fids(fids_from)
    checkpoint = one_checkpoint(open_model_dir(model_dir), step)
    reading = ReadOptions(not no_verify, on_corrupt == "skip", max_record_bytes)
    found = find_tables(checkpoint, table, reading)
    tables = found.tables
    messages.notes(*checkpoint.notes)
    messages.warnings(*checkpoint.warnings)
    if not fid:
        messages.notes(f"{fids_from}: no feature ids in it")
        end_with(read_outcome(checkpoint, found).errors, messages)
        return
    with found.naming_copies(), Progress("looking", quiet=settings.quiet) as progress:
        matches = find_entries(
            entry_stream(tables, unattributed=not table, jobs=jobs),
            reading,
            fid,
            columns=columns,
            fid_version=fid_version,
            number_ids=json_number_ids,
            name_non_finite=not json,
            jobs=jobs,
            progress=progress,
        )
    if json:
        show(entry.json.decode() for entry in matches.entries)
    else:
        show(entries_lines(matches.entries, look=look_of(sys.stdout)))
    messages.took(f"{count_text(len(matches.entries), 'entry', 'entries')} found")
    if matches.absent:
        ids = matches.absent if json_number_ids else [str(each) for each in matches.absent]
        settings.error_keys["absent"] = ids
    absent = absent_error(
        matches.absent,
        len(tables),
        model_dir,
        most=1 if json else None,
        partial=bool(found.problems),
    )
    read = read_outcome(checkpoint, found, matches.skipped)
    end_reading(read, messages, non_finite_warning(matches.non_finite, null=json), absent)
