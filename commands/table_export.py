"""`monolith table export`: tables as files that analysts read."""

from __future__ import annotations

import os

import click

from monolith_cli.commands import options
from monolith_cli.commands.base import Command, Settings
from monolith_cli.commands.types import EXPORT_COLUMNS, ColumnsType, PlaceType


@click.command(
    cls=Command,
    examples={
        "monolith table export model -o tables": "The newest checkpoint as Parquet:",
        "monolith table export --step 1000 --table '*_user' --slot 7 model -o user": "Some"
        " entries of another one:",
        "monolith table export --columns fid,embedding --format npy model -o arrays": "Arrays for"
        " NumPy:",
    },
    exit_codes={
        1: "there is something at DIR",
        3: "no such directory, step or table, it went away meanwhile, or it cannot be read or"
        " written; nothing is made",
        4: "damaged data, a missing shard: nothing is made. Also with --on-corrupt skip, or if"
        " what is damaged is none of the chosen tables: then DIR is made",
    },
    files={
        "DIR/<table>/part-00000-of-0000N.parquet": "entries, with the step and the name of the"
        " table in the metadata of the file; .arrow likewise",
        "DIR/<table>/<column>.npy, DIR/<table>/table.json": "with --format npy: a column each, and"
        " what they are",
    },
)
@options.model_dir
@options.option(
    "-o",
    "--output",
    type=PlaceType(local=True),
    metavar="DIR",
    required=True,
    help="The directory to make. It must not exist, nor lie in MODEL_DIR.",
)
@options.step(several=False)
@options.option(
    "--format",
    type=click.Choice(["parquet", "arrow", "npy"]),
    default="parquet",
    show_default=True,
    help="Parquet; Arrow's file format; or arrays of NumPy, a file for each column.",
)
@options.option(
    "--columns",
    type=ColumnsType(EXPORT_COLUMNS),
    metavar="NAME[,NAME]",
    default=",".join(EXPORT_COLUMNS),
    show_default="all",
    shell_complete=options.completing("columns"),
    help=f"Columns, of {', '.join(EXPORT_COLUMNS)}; opt stands for all state of optimizers.",
)
@options.table
@options.slot
@options.option(
    "--compression",
    type=click.Choice(["zstd", "none"]),
    show_default="zstd for Parquet, else none",
    help="What is not compressed can be mapped into memory.",
)
@options.option(
    "--files",
    type=click.IntRange(min=1, max=10_000),
    metavar="N",
    show_default="one for each 512 MiB",
    help="Files for each table; arrays of NumPy are always one.",
)
@options.fid_version
@options.on_corrupt
@options.no_verify
@options.max_record_bytes
@options.jobs
@options.json
@options.common
@click.pass_obj
def export(
    settings: Settings,
    /,
    model_dir: str,
    output: str,
    step: int | str,
    format: str,
    columns: tuple[str, ...],
    table: tuple[str, ...],
    slot: list[tuple[int, int]],
    compression: str | None,
    files: int | None,
    fid_version: str,
    on_corrupt: str,
    no_verify: bool,
    max_record_bytes: int,
    jobs: int | None,
    json: bool,
) -> None:
    """Write the entries of tables as files for analysts: Parquet, Arrow, NumPy.

    DIR has a folder for each table. Columns are fid (as it is stored, signed), slot, embedding, a
    column for each field of the optimizers' state, such as opt_0_adagrad_norm, and
    last_update_ts_sec. Vectors are lists of fixed size where all entries have the same number of
    values. Entries are in the order of the table's files, and the files do not depend on --jobs.

    Bytes of a table's name that a folder's cannot have, or that readers take for something else,
    are written as % and two hex digits. DIR appears whole or not at all. Parquet and Arrow need
    PyArrow: pip install 'monolith-cli[arrow]'.
    """
    from monolith_cli.care.export import export_tables
    from monolith_cli.commands.each_step import number_of
    from monolith_cli.commands.table import end_reading
    from monolith_cli.reports.export import ExportReport
    from monolith_cli.reports.terminal import Messages, Progress, show_json, show_report
    from monolith_cli.reports.text import count_text
    from monolith_cli.tables.export.export import ExportOptions
    from monolith_cli.tables.stream import EntryFilter, ReadOptions

    # Of PyArrow: its own pool keeps tens of megabytes for each thread.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    messages = Messages(quiet=settings.quiet, verbose=settings.verbose)
    wanted = ExportOptions(
        format=format,
        columns=columns,
        compress=None if compression is None else compression == "zstd",
        files=files,
        chosen=EntryFilter(slot, (), fid_version),
    )
    with Progress("exporting", quiet=settings.quiet) as progress:
        done = export_tables(
            model_dir,
            output,
            number_of(step),
            patterns=table,
            options=wanted,
            reading=ReadOptions(not no_verify, on_corrupt == "skip", max_record_bytes),
            jobs=jobs,
            progress=progress,
        )
    messages.notes(*done.notes)
    messages.warnings(*done.warnings)
    report = ExportReport(done, model_dir=model_dir, format=format)
    if json:
        show_json(report.document())
    else:
        show_report(report)
    entries = sum(each.entries for each in done.tables)
    messages.took(f"{count_text(entries, 'entry', 'entries')} written")
    end_reading(done.outcome, messages, None)
