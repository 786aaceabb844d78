"""`monolith iterator`: where each worker's input is."""

from __future__ import annotations

import click

from monolith_cli.commands import options
from monolith_cli.commands.base import Command, Settings
from monolith_cli.commands.each_step import end_with, number_of
from monolith_cli.commands.types import PlaceType, StepType

WORKER = options.option(
    "--worker",
    type=click.IntRange(min=0),
    metavar="I",
    shell_complete=options.completing("workers"),
    show_default="the only one",
    help="The worker; 0 is the chief.",
)


@click.command(
    cls=Command,
    examples={
        "monolith iterator ls model": "Where all workers are:",
        "monolith iterator ls --json model | jq '.[] | select(.behind != 0)'": "Workers that"
        " are not at the model's step:",
    },
    exit_codes={
        3: "no such directory, or no iterator states in it, or it cannot be read",
        4: "a state is damaged or gone; the others are shown",
    },
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

    One row for each worker: the step of its latest state, which its state file names and an
    original job restores. With --step N: the state that belongs to the model of step N, which is
    that of step N, or the newest older one.
    """
    from monolith_cli.iterators.workers import list_workers
    from monolith_cli.reports.terminal import Messages, show_report
    from monolith_cli.reports.workers import WorkersReport

    messages = Messages(quiet=settings.quiet, verbose=settings.verbose)
    inputs, states = list_workers(model_dir, number_of(step), verify=not no_verify)
    show_report(WorkersReport(states), json=json)
    messages.notes(*inputs.notes)
    end_with([*(state.problem for state in states), inputs.problem], messages)


@click.command(
    cls=Command,
    examples={
        "monolith iterator show --worker 1 model": "Where worker 1 is:",
        "monolith iterator show --worker 1 --input-dir /data model": "The same, the input's files"
        " having moved to /data:",
        "monolith iterator show --worker 1 --raw model": "All that the state says:",
        "monolith iterator show model/input_worker_1.ckpt-120": "A state by its path; also what"
        " tf.train.Checkpoint(iterator=...) has written:",
    },
    exit_codes={
        3: "no such directory, worker, step or state, or it cannot be read",
        4: "the state is damaged or gone",
    },
)
@options.model_dir
@WORKER
@options.step(several=False, of="input_steps")
@options.option(
    "--input-dir",
    type=PlaceType(local=False, readable=True),
    metavar="DIR",
    shell_complete=options.completing("directories"),
    help="Where the input's files are now, if they have moved: a file is looked for under its path"
    " below the directory that held all of them, or by its name if no other has the same.",
)
@options.option(
    "--raw", is_flag=True, help="The keys and values of the state as they are stored, instead."
)
@options.json
@options.common
@click.pass_obj
def show(
    settings: Settings,
    /,
    model_dir: str,
    worker: int | None,
    step: int | str,
    input_dir: str | None,
    raw: bool,
    json: bool,
) -> None:
    """Show how far a worker has read its input.

    The file that it reads, how far, what is buffered, and what training has consumed. Records are
    counted in the input's files, if they are there. With --step N: the state of exactly that step.
    MODEL_DIR may also be the path of a state.
    """
    from monolith_cli.iterators.inputs import read_input
    from monolith_cli.iterators.workers import find_state
    from monolith_cli.reports.iterators import InputReport, input_notes
    from monolith_cli.reports.terminal import Messages, Progress, show_report

    messages = Messages(quiet=settings.quiet, verbose=settings.verbose)
    state, fingerprints = find_state(model_dir, worker, number_of(step))
    assert state.prefix is not None
    if raw:
        from monolith_cli.iterators.state import raw_parts
        from monolith_cli.reports.raw_state import RawReport

        show_report(RawReport(raw_parts(state.prefix)), json=json)
        return
    with Progress("counting", quiet=settings.quiet) as progress:
        iterators = read_input(state.prefix, fingerprints, input_dir=input_dir, progress=progress)
    show_report(InputReport(state, iterators), json=json)
    messages.notes(*state.remarks, *input_notes(iterators, input_dir))


@click.command(
    cls=Command,
    examples={
        "monolith iterator peek --worker 1 --dataset inputs:train -n 3 model": "What worker 1 reads"
        " next, of the dataset that train() in inputs.py returns:",
        "monolith iterator peek --worker 1 --dataset inputs:train -n 0 model": "Only whether the"
        " dataset fits, and what differs:",
    },
    exit_codes={
        1: "the state does not fit: the dataset has other nodes",
        3: "no such directory, worker, step or state; TensorFlow, the module or the function is not"
        " there; the function raises or returns no dataset; an element cannot be computed",
        4: "the state is damaged, or a record of the input",
    },
)
@options.model_dir
@WORKER
@options.option(
    "--step",
    type=StepType(),
    metavar="N|latest",
    shell_complete=options.completing("input_steps"),
    default="latest",
    callback=options.one_step,
    show_default="where the job would go on",
    help="The step whose state is taken.",
)
@options.option(
    "--dataset",
    metavar="MODULE:FUNCTION",
    required=True,
    help="The function that returns the tf.data.Dataset. It gets the worker if it has an argument"
    " 'worker', or needs exactly one.",
)
@options.option(
    "-n",
    "--count",
    type=click.IntRange(min=0),
    metavar="K",
    default=1,
    show_default=True,
    help="How many elements; 0: only check whether the dataset fits.",
)
@options.option(
    "--iterator",
    metavar="NAME",
    show_default="the only one",
    help="The iterator, as 'show' names it, of a worker that has several.",
)
@options.json_number_ids
@options.json_lines
@options.common
@click.pass_obj
def peek(
    settings: Settings,
    /,
    model_dir: str,
    worker: int | None,
    step: int | str,
    dataset: str,
    count: int,
    iterator: str | None,
    json_number_ids: bool,
    json: bool,
) -> None:
    """Print the next elements of a worker's input, as JSON lines.

    The dataset is built in a process with TensorFlow, with the current directory in its module
    path: in a graph, or eagerly for a state of tf.train.Checkpoint. Nothing is written. TensorFlow
    takes the state of a dataset with other files, order or parameters without an error, and goes
    on at a wrong record; here a warning says what differs. MODEL_DIR may also be the path of a
    state.
    """
    from monolith_cli.iterators.peek import peek as peek_at
    from monolith_cli.iterators.resume import find_input
    from monolith_cli.reports.entries import non_finite_warning
    from monolith_cli.reports.iterator_changes import peeked_note
    from monolith_cli.reports.terminal import Messages, show

    messages = Messages(quiet=settings.quiet, verbose=settings.verbose)
    saved = find_input(model_dir, worker, number_of(step))
    messages.warnings(saved.note)
    done = peek_at(
        saved,
        dataset,
        count,
        name=iterator,
        number_ids=json_number_ids,
        debug=settings.debug,
        show=lambda line: show([line]),
        note=messages.notes,
        warn=messages.warnings,
    )
    messages.notes(peeked_note(done))
    messages.warnings(non_finite_warning(done.non_finite))
    messages.took(f"peeked at {saved.prefix}")


@click.command(
    cls=Command,
    examples={
        "monolith iterator rollback --step 1200 --dry-run model": "What going back would mean:",
        "monolith iterator rollback --step 1200 model": "All inputs resume from step 1200:",
        "monolith iterator rollback --step 1200 --worker 3 model": "One of them alone:",
        "monolith iterator rollback --step latest model": "Cancel a rollback:",
    },
    exit_codes={
        3: "no such directory, nothing committed, or a worker has no state of that step: nothing"
        " is written; or it could not be written",
        4: "a state of that step is damaged or incomplete: nothing is written",
        5: "the job runs: nothing is written",
    },
    files={
        "MODEL_DIR/ckpt.override": "The rollback, until the job has saved every input that was"
        " rolled back; from its first checkpoint on with model_step null.",
        "MODEL_DIR/checkpoint_input_worker_<i>": "The state file of a worker; an original job"
        " goes on from what it names as the latest.",
    },
)
@options.model_dir
@options.option(
    "--step",
    type=StepType(),
    metavar="N|latest",
    shell_complete=options.completing("input_steps"),
    required=True,
    callback=options.one_step,
    help="The step to go back to; latest is the model's own, which ends a rollback.",
)
@options.option(
    "--worker",
    type=click.IntRange(min=0),
    multiple=True,
    metavar="I",
    shell_complete=options.completing("workers"),
    show_default="all",
    help="Only the input of this worker; 0 is the chief. Repeatable. Rollbacks of others stay.",
)
@options.option("--dry-run", is_flag=True, help="Check and show everything, and write nothing.")
@options.force(
    help="Write it even if the job runs. What the job saves from now on is dropped when it next"
    " starts."
)
@options.json
@options.common
@click.pass_obj
def rollback(
    settings: Settings,
    /,
    model_dir: str,
    step: int | str,
    worker: tuple[int, ...],
    dry_run: bool,
    force: bool,
    json: bool,
) -> None:
    """Make inputs resume from an older step; the model stays as it is.

    Each of these workers needs a state of that step, which is read and verified first. The job goes
    back when it next starts. Stop it first: while it answers, nothing is written.
    """
    from monolith_cli.control.running import why_it_may_run
    from monolith_cli.iterators.rollback import roll_back
    from monolith_cli.reports.iterator_changes import (
        RollbackReport,
        rollback_beside,
        rollback_outlook,
    )
    from monolith_cli.reports.terminal import Messages, show_report

    messages = Messages(quiet=settings.quiet, verbose=settings.verbose)
    running = why_it_may_run(model_dir, refuse=not (dry_run or force))
    done = roll_back(model_dir, number_of(step), workers=worker, dry_run=dry_run)
    show_report(RollbackReport(done), json=json)
    messages.notes(*done.notes, rollback_outlook(done))
    if running and done.inputs:
        messages.warnings(f"{running}; {rollback_beside(done)}")
