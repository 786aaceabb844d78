"""`monolith ckpt pin` and `unpin`: steps that saves never delete."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from monolith_cli.commands import options
from monolith_cli.commands.base import Command, Settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from monolith_cli.care.pins import Pinning

_FILES = {
    "MODEL_DIR/monolith_checkpoint": "What training knows of its steps: the pinned ones among it.",
}
_NOT_THERE = "no such directory or step, or no monolith_checkpoint; or it cannot be read or written"


def _step(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.argument(
        "step",
        type=click.IntRange(min=0, max=2**63 - 1),
        metavar="STEP",
        shell_complete=options.completing("steps"),
    )(function)


@click.command(
    cls=Command,
    examples={"monolith ckpt pin model 1000": "Keep a step whatever is saved after it:"},
    exit_codes={
        3: _NOT_THERE,
        4: "a file that says which steps there are does not parse",
        5: "a job is alive, and the step would have to be listed; or a command was cut off here",
    },
    files={
        **_FILES,
        "MODEL_DIR/checkpoint": "The steps that are there: written if it does not list the step.",
    },
)
@options.local_model_dir
@_step
@options.quiet_for
@options.json
@options.common
@click.pass_obj
def pin(
    settings: Settings, /, model_dir: str, step: int, quiet_for: float | None, json: bool
) -> None:
    """Keep a step: saves do not delete it.

    It becomes one of the exempt steps in monolith_checkpoint, which training reads at every save,
    so it works beside a running job. A step that 'checkpoint' does not list is listed there as
    well, because training does not start otherwise; that is done only where no job is alive.

    Without a monolith_checkpoint nothing is done: TensorFlow's own Saver knows no pins.
    """
    from monolith_cli.care.pins import pin as pin_step

    _show(settings, pin_step(model_dir, step, quiet_for_seconds=quiet_for), json=json)


@click.command(
    cls=Command,
    examples={"monolith ckpt unpin model 1000": "Let saves delete a step again:"},
    exit_codes={3: _NOT_THERE, 4: "monolith_checkpoint does not parse"},
    files=_FILES,
)
@options.local_model_dir
@_step
@options.json
@options.common
@click.pass_obj
def unpin(settings: Settings, /, model_dir: str, step: int, json: bool) -> None:
    """End a pin: saves may delete the step again.

    'checkpoint' stays as it is: the step goes when its turn comes. The pin of a step that is gone
    ends, too; training does not start with it.
    """
    from monolith_cli.care.pins import unpin as unpin_step

    _show(settings, unpin_step(model_dir, step), json=json)


def _show(settings: Settings, done: Pinning, *, json: bool) -> None:
    from monolith_cli.reports.pins import PinReport
    from monolith_cli.reports.terminal import Messages, show_report

    messages = Messages(quiet=settings.quiet, verbose=settings.verbose)
    show_report(PinReport(done), json=json)
    messages.notes(*done.notes)
    messages.took("written" if done.files else "looked at")
