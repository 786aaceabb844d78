"""`monolith sample`: a synthetic model directory."""

from __future__ import annotations

import click

from monolith_cli.commands import options
from monolith_cli.commands.base import Command, Settings

EXAMPLES = {
    "monolith sample demo": "A small directory to try the other commands on:",
    "monolith sample big --entries 20000000 --tables 1 --dim 33 --shards 4": "About 7.5 GB:",
}

EXIT_CODES = {
    1: "MODEL_DIR holds something and was left as it is (--force writes into it), or is a file",
    3: "it cannot be written",
}


@click.command(cls=Command, examples=EXAMPLES, exit_codes=EXIT_CODES)
@options.local_model_dir
@options.option(
    "--entries",
    type=click.IntRange(min=0),
    metavar="N",
    default=10_000,
    show_default=True,
    help="Entries of all tables together.",
)
@options.option(
    "--tables",
    type=click.IntRange(min=1),
    metavar="N",
    default=4,
    show_default=True,
    help="Tables, of different sizes.",
)
@options.option(
    "--shards",
    type=click.IntRange(min=1),
    metavar="N",
    show_default="one per million entries, at most 4",
    help="Files per table.",
)
@options.option(
    "--dim",
    type=click.IntRange(min=1),
    metavar="D",
    default=16,
    show_default=True,
    help="Values per embedding.",
)
@options.option(
    "--multi",
    is_flag=True,
    help="All tables share files: one per shard, with SNAPPY, and a contents file beside it.",
)
@options.option(
    "--seed",
    type=click.IntRange(min=0),
    metavar="S",
    default=0,
    show_default=True,
    help="Of all random values; equal seeds give equal files.",
)
@options.force(help="Write into a directory that is not empty.")
@options.json
@options.common
@click.pass_obj
def sample(
    settings: Settings,
    /,
    model_dir: str,
    entries: int,
    tables: int,
    shards: int | None,
    dim: int,
    multi: bool,
    seed: int,
    force: bool,
    json: bool,
) -> None:
    """Write a synthetic model directory to try things on.

    It is in the real formats, with values and lengths that vary. Its checkpoint has a few dense
    variables, too. A run that is killed may leave a hidden directory in MODEL_DIR, which the next
    one with --force removes.
    """
    from monolith_cli.reports.sample import SampleReport
    from monolith_cli.reports.terminal import Messages, Progress, show_report
    from monolith_cli.samples.sample import write_sample

    messages = Messages(quiet=settings.quiet, verbose=settings.verbose)
    with Progress("writing", quiet=settings.quiet, unit="entries") as progress:
        written = write_sample(
            model_dir,
            entries=entries,
            tables=tables,
            shards=shards,
            dim=dim,
            multi=multi,
            seed=seed,
            force=force,
            progress=progress,
        )
    show_report(SampleReport(written, model_dir=model_dir), json=json)
    messages.took("written")
