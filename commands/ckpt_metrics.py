"""`monolith ckpt metrics`: model directories for monitoring."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from monolith_cli.commands import options
from monolith_cli.commands.base import Command, Settings

if TYPE_CHECKING:
    from monolith_cli.care.measures import Measures


@click.command(
    cls=Command,
    examples={
        "monolith ckpt metrics model": "What there is to watch:",
        "monolith ckpt metrics model | grep _age_seconds": "How old the latest step is:",
    },
    exit_codes={
        3: "a directory is not there, or cannot be read; monolith_up says so, the others are shown",
        4: "the file checkpoint of one is damaged; likewise",
    },
)
@click.argument(
    "model_dirs",
    metavar="MODEL_DIR...",
    type=click.Path(readable=False),
    nargs=-1,
    required=True,
    shell_complete=options.completing("directories"),
)
@options.option(
    "-o",
    "--output",
    type=click.Path(),
    metavar="FILE",
    help="Write there instead, as a textfile collector wants it: whole or not at all.",
)
@options.json_errors
@options.common
@click.pass_obj
def metrics(settings: Settings, /, model_dirs: tuple[str, ...], output: str | None) -> None:
    """Print metrics of model directories for Prometheus.

    The latest step and its age, its entries by table, its bytes, the workers whose inputs were
    saved with it; how many steps are in which state, what 'ckpt fsck --quick' finds in them, and
    when one was last checked in full. No table is read. Whatever there is to see, the command ends
    with 0 unless it could not look.
    """
    import time

    from monolith_cli.care.measures import measure
    from monolith_cli.commands.each_step import end_with
    from monolith_cli.errors import MonolithError
    from monolith_cli.reports.metrics import exposition
    from monolith_cli.reports.terminal import Messages, show

    messages = Messages(quiet=settings.quiet, verbose=settings.verbose)
    found: list[tuple[str, Measures | None]] = []
    errors: list[MonolithError] = []
    for model_dir in dict.fromkeys(model_dirs):
        try:
            found.append((model_dir, measure(model_dir)))
        except MonolithError as error:
            found.append((model_dir, None))
            errors.append(error)
    lines = exposition(found, time.time())
    if output is None:
        show(lines)
    else:
        from monolith_cli.storage.location import as_location
        from monolith_cli.storage.store import store_of

        path = as_location(output)
        store_of(path).put(path, "".join(f"{line}\n" for line in lines).encode())
    messages.took("looked")
    end_with(errors, messages)
