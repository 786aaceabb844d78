"""`monolith sample`: a synthetic model directory."""

from __future__ import annotations

import click

from monolith_cli.commands import options
from monolith_cli.commands.base import Command, Settings

EXAMPLES = {
    "monolith sample demo": "A small directory to try the other commands on:",
    "monolith sample drifting --steps 5 --drift": "Five steps, to see what has changed:",
    "monolith sample damaged --flip-bit": "One with damage, which ckpt-info finds:",
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
@options.option(
    "--steps",
    type=click.IntRange(1, 10_000),
    metavar="N",
    help="So many checkpoints, with the counts, manifests and workers' inputs that a job leaves.",
)
@options.option(
    "--drift",
    is_flag=True,
    help="Entries come, change and go from step to step; one slot explodes in the last.",
)
@options.option(
    "--nan",
    type=click.IntRange(min=0),
    metavar="N",
    show_default="3 with --drift, else 0",
    help="Entries of the first table that are NaN in the last step.",
)
@options.option(
    "--flip-bit", is_flag=True, help="Flip one bit in a record of the last step, and say which."
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
    steps: int | None,
    drift: bool,
    nan: int | None,
    flip_bit: bool,
    force: bool,
    json: bool,
) -> None:
    """Write a synthetic model directory to try things on.

    It is in the real formats, with values and lengths that vary. Its checkpoint has a few dense
    variables, too. With --steps or --drift it looks as a job of three workers leaves it: each step
    has its counts, its manifest and the states of their inputs, and is an hour older than the next.

    With each step of --drift tables grow by 3 % or not at all, 1 in 250 entries is gone and 1 in 8
    has moved; in the last step one slot grows by far more, and some entries are NaN.

    A run that is killed may leave a hidden directory in MODEL_DIR, which the next one with --force
    removes.
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
            steps=steps,
            drift=drift,
            nan=nan,
            flip_bit=flip_bit,
            force=force,
            progress=progress,
        )
    is_plain = steps is None and not (drift or nan or flip_bit)
    show_report(SampleReport(written, model_dir=model_dir, is_plain=is_plain), json=json)
    messages.took("written")
