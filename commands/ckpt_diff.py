"""`monolith ckpt diff`: two checkpoints as wholes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from monolith_cli.commands import options, pair_options
from monolith_cli.commands.base import Command, Settings
from monolith_cli.commands.each_step import end_with

if TYPE_CHECKING:
    from monolith_cli.care.conditions import Condition


@click.command(
    cls=Command,
    examples={
        "monolith ckpt diff model": "The latest step against the one before it:",
        "monolith ckpt diff model 1000 3000 --json | jq -c '.dense[]'": "Dense variables of two"
        " steps, a line each:",
        "monolith ckpt diff model --entries --fail-if 'change(entries) gt 50%'": "Entries, too, and"
        " whether there are many more:",
        "monolith ckpt diff model 2000 --with model@2000 --exit-code": "Whether a step, here or"
        " elsewhere, is the same:",
    },
    exit_codes={
        1: "something differs, with --exit-code; or a --fail-if holds",
        3: "no such directory or step, or it cannot be read",
        4: "something is damaged or missing; the rest is compared",
    },
)
@options.model_dir
@pair_options.steps
@pair_options.with_other
@options.option(
    "--entries",
    is_flag=True,
    help="Read all tables, and compare them entry by entry, as 'table diff' does.",
)
@options.merge_servers
@pair_options.exit_code
@options.fail_if
@pair_options.memory
@pair_options.tmp
@options.fid_version
@options.no_verify
@options.max_record_bytes
@options.jobs
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
    entries: bool,
    merge_servers: bool,
    exit_code: bool,
    fail_if: tuple[Condition, ...],
    memory: int,
    tmp: str | None,
    fid_version: str,
    no_verify: bool,
    max_record_bytes: int,
    jobs: int | None,
    json: bool,
) -> None:
    """Compare two checkpoints: tables, slots, dense variables, inputs.

    Tables by their numbers of entries and sizes, dense variables value by value, inputs by what
    training has consumed in between. No entry is read without --entries.

    Without steps the latest is compared with the one before it, with A the latest with A.
    """
    pair_options.check_pair(a, b, other)

    from monolith_cli.care.ckpt_diff import CkptMeasured, diff_checkpoints
    from monolith_cli.care.conditions import check_all, errors_of
    from monolith_cli.reports.ckpt_diff import CkptDiffReport
    from monolith_cli.reports.terminal import Messages, Progress, show_report

    messages = Messages(quiet=settings.quiet, verbose=settings.verbose)
    pair = pair_options.open_pair(model_dir, a, b, other, messages)
    compared = None
    if entries:
        from monolith_cli.tables.diff.compare import DiffOptions, diff_tables

        comparing = DiffOptions(
            fid_version=fid_version,
            merge_servers=merge_servers,
            memory_bytes=memory,
            tmp=tmp,
            verify=not no_verify,
            max_record_bytes=max_record_bytes,
            jobs=jobs,
        )
        with Progress("comparing", quiet=settings.quiet) as progress:
            compared = diff_tables(pair.a, pair.b, comparing, progress=progress)
    with Progress("comparing", quiet=settings.quiet) as progress:
        found = diff_checkpoints(
            pair.a, pair.b, merge_servers=merge_servers, compared=compared, progress=progress
        )
    checked = check_all(fail_if, CkptMeasured(found))
    show_report(CkptDiffReport(found, pair, checked), json=json)
    messages.took("compared")
    different = [found.error()] if exit_code and found.differs else []
    end_with([*found.errors, *errors_of(checked), *different], messages)
