"""`monolith iterator`: where each worker's input is."""

from __future__ import annotations

import sys

import click

from monolith_cli.commands import options
from monolith_cli.commands.base import Command, Settings
from monolith_cli.failures import raise_worst

LS_KEYS = {
    "worker": "The worker; 0 is the chief.",
    "step": "The step of its latest state, as its state file has it; null if it has none.",
    "bytes": "The size of the states of all its iterators; null if they cannot be read.",
    "iterators": "How many iterators have a state; null likewise.",
    "behind": "How many steps that is behind the model's, negative if it is ahead; null where one"
    " of the two is not known.",
    "model_step": "The step of the model that the job's next run begins with; null without one."
    " With --step that step.",
    "resumes_from": "The step of the state that a job of ours goes on from with that model: of its"
    " own step, or the newest older one; null for none.",
    "problem": "What is wrong with the state; null if nothing is.",
    "remarks": "A list of texts: what else there is to say.",
}


@click.command(
    cls=Command,
    examples={
        "monolith iterator ls model": "Where all workers are:",
        "monolith iterator ls --json model | jq '.[] | select(.behind != 0)'": "Who is not where"
        " the model is:",
    },
    exit_codes={
        3: "no such directory, or no iterator states in it, or it cannot be read",
        4: "a state is damaged or gone; the others are shown",
    },
    json_keys=LS_KEYS,
    json_intro="With --json the output is a list of objects with these keys:",
)
@options.model_dir
@options.step(several=False)
@options.no_verify
@options.json
@options.common
@click.pass_obj
def ls(
    settings: Settings,
    /,
    model_dir: str,
    step: int | str,
    no_verify: bool,
    json: bool,
) -> None:
    """List the workers of a job, and how far behind the model each one's input is.

    A row a worker: the step of its latest state as its state file has it, which is what an
    original job restores. With --step N: the state that belongs to the model of step N, which is
    that of step N, or the newest older one.
    """
    from monolith_cli.iterators.workers import list_workers
    from monolith_cli.reports.iterators import workers_document, workers_lines
    from monolith_cli.reports.terminal import Messages, look_of, show_as

    messages = Messages(quiet=settings.quiet, verbose=settings.verbose)
    inputs, states = list_workers(
        model_dir, None if step == "latest" else int(step), verify=not no_verify
    )
    lines = workers_lines(states, look=look_of(sys.stdout))
    show_as(json, workers_document(states), lines)
    messages.notes(*inputs.notes)
    raise_worst([*(state.problem for state in states), inputs.problem], messages.warnings)
