"""`monolith ckpt-info`: how many entries a checkpoint has, by slot and by table."""

from __future__ import annotations

import click

from monolith_cli.commands import options
from monolith_cli.commands.base import Command, Settings
from monolith_cli.commands.each_step import EachStep

EXAMPLES = {
    "monolith ckpt-info model": "Count the newest checkpoint and write its ckpt.info file:",
    "monolith ckpt-info --dry-run --step all --json model": "Only count, every checkpoint:",
    "monolith ckpt-info --check model": "In CI, see whether the file is right:",
}

EXIT_CODES = {
    1: "--check found a difference, or the file that is there says something else and was kept"
    " (--force replaces it); with --strict also a slot that is empty now, or fewer entries by name",
    3: "no such directory, step, table or file, or it cannot be read or written",
    4: "damaged data (with --on-corrupt skip at the end, after all counts); tables that are not"
    " whole or are gone, whether they are asked for or not",
}


@click.command(
    cls=Command,
    examples=EXAMPLES,
    exit_codes=EXIT_CODES,
)
@options.model_dir
@options.step()
@options.option("--dry-run", is_flag=True, help="Count and show, write nothing.")
@options.option(
    "--check",
    is_flag=True,
    help="Write nothing; compare with the ckpt.info-<step> that is there, and exit with 1 when it"
    " is wrong.",
)
@options.option(
    "--strict",
    is_flag=True,
    help="Also exit with 1 if the file counts entries of a slot that the dump has none of, or"
    " more of a table by name: they may be gone.",
)
@options.option(
    "--text", is_flag=True, help="Print the text of ckpt.info-<step> in place of the report."
)
@options.force(help="Replace a file that is there, whatever it says, unless tables are gone.")
@options.option(
    "--top",
    type=click.IntRange(min=1),
    metavar="K",
    help="Show the K largest slots only.",
)
@options.option(
    "--scan",
    is_flag=True,
    help="Read multi tables too: verify them and count their slots. Without it their counts come"
    " from their contents files.",
)
@options.table
@options.slot
@options.fid
@options.fid_version
@options.on_corrupt
@options.no_verify
@options.max_record_bytes
@options.jobs
@options.json
@options.common
@click.pass_obj
def ckpt_info(
    settings: Settings,
    /,
    model_dir: str,
    step: int | str,
    dry_run: bool,
    check: bool,
    strict: bool,
    text: bool,
    force: bool,
    top: int | None,
    scan: bool,
    table: tuple[str, ...],
    slot: list[tuple[int, int]],
    fid: tuple[int, ...],
    fid_version: str,
    on_corrupt: str,
    no_verify: bool,
    max_record_bytes: int,
    jobs: int | None,
    json: bool,
) -> None:
    """Count a checkpoint's entries and write ckpt.info-<step>.

    Entries of single tables are read, verified and counted by slot; those of multi tables are
    counted by table name. The counts are shown and written to ckpt.info-<step> beside the
    checkpoint, which the training system reads.

    Nothing is written for a part of a checkpoint (--table, --slot, --fid, or if damaged data or
    tables that are not whole were left out), for --fid-version v1, or without a step. --force is
    needed for a step in another directory, to which 'checkpoint' points, and to replace a file that
    says something else. Some differences are explained: entries may expire between counting and
    saving, an empty file means that nobody counted, and full sync training counts the tables of
    rank 0 alone. A file that counts tables without a dump shows that the dump is not whole, and is
    never replaced.
    """
    if text and json:
        raise click.UsageError("--text and --json exclude each other")
    if check and force:
        raise click.UsageError("--check writes nothing: leave out --force")
    filtered = bool(table or slot or fid)
    if check and (filtered or fid_version != "v2"):
        raise click.UsageError(
            "--check compares a whole checkpoint: leave out --table, --slot, --fid, --fid-version"
        )

    from monolith_cli.checkpoint.model_dir import open_model_dir
    from monolith_cli.errors import PathNotFoundError
    from monolith_cli.formats.ckpt_info import format_ckpt_info
    from monolith_cli.reports.counts import CountsReport, damage_lines
    from monolith_cli.reports.terminal import Messages, Progress, show
    from monolith_cli.reports.text import count_text
    from monolith_cli.tables.ckpt_info_file import settle_ckpt_info
    from monolith_cli.tables.counts import CountOptions, count_checkpoint

    messages = Messages(quiet=settings.quiet, verbose=settings.verbose)
    counting = CountOptions(
        patterns=table,
        slots=slot,
        fids=fid,
        fid_version=fid_version,
        scan_multi=scan,
        verify=not no_verify,
        skip_corrupt=on_corrupt == "skip",
        partial=True,
        max_record_bytes=max_record_bytes,
        jobs=jobs,
    )
    steps = EachStep(open_model_dir(model_dir), step, messages, json=json)
    for checkpoint in steps:
        with steps.attempt(checkpoint):
            with Progress("counting", quiet=settings.quiet) as progress:
                counts = count_checkpoint(checkpoint, counting, progress)
            try:
                outcome = settle_ckpt_info(
                    checkpoint.ckpt_info_path,
                    counts,
                    check=check,
                    dry_run=dry_run,
                    force=force,
                    strict=strict,
                    elsewhere=checkpoint.is_elsewhere,
                    filtered=filtered,
                    fid_version=fid_version,
                )
            except PathNotFoundError as error:
                from monolith_cli.commands.hints import add

                add(error, "ckpt-info without --check writes it")
                raise
            if text:
                show(format_ckpt_info(counts.ckpt_info()).decode("ascii").splitlines())
                messages.notes(f"written: {outcome.written}" if outcome.written else None)
            else:
                steps.show(
                    CountsReport(
                        counts,
                        model_dir=model_dir,
                        step=checkpoint.step,
                        scanned=scan or bool(slot or fid),
                        fid_version=fid_version,
                        written=outcome.written,
                        comparison=outcome.comparison,
                        top=top,
                    )
                )
            messages.took(f"{count_text(counts.entries, 'entry', 'entries')} counted")
            forced = "replaces" if outcome.kept else "writes" if outcome.elsewhere else None
            messages.notes(f"{outcome.note}; --force {forced} it" if forced else outcome.note)
            messages.warnings(*counts.warnings, *damage_lines(counts.skipped), outcome.warning)
            if outcome.failure and outcome.failure.kind == "bad_state_file":
                from monolith_cli.commands.hints import REPLACES, add

                add(outcome.failure, REPLACES)
            steps.failed(outcome.failure, *counts.problems)
    steps.end()
