"""What can be completed from the directory that the line names: steps, tables, slots, workers.

Directories are listed, and small files read that say what is there; never data. What the line says
already counts, wherever it says so: MODEL_DIR, `--step`, `--worker`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from click.shell_completion import CompletionItem

from monolith_cli.errors import MonolithError, UsageError

if TYPE_CHECKING:
    import click

    from monolith_cli.checkpoint.checkpoint import Checkpoint
    from monolith_cli.commands.completion import Asking
    from monolith_cli.commands.types import ColumnsType

    Item = CompletionItem

__all__ = ["columns", "directories", "files", "input_steps", "slots", "steps", "tables", "workers"]


def directories(ctx: click.Context, incomplete: str) -> list[Item]:
    """Directories: the shell looks for them."""
    return [CompletionItem(incomplete, type="dir")]


def files(ctx: click.Context, incomplete: str) -> list[Item]:
    """Files: the shell looks for them."""
    return [CompletionItem(incomplete, type="file")]


def steps(ctx: click.Context, incomplete: str) -> list[Item]:
    """The words that stand for some steps, and the steps that can be read, the newest first."""
    from monolith_cli.checkpoint.model_dir import open_model_dir

    try:
        offer = open_model_dir(_model_dir(ctx)).offer()
    except MonolithError:  # the words mean something wherever MODEL_DIR will be
        return _step_items(ctx, [], None, incomplete)
    found = [str(step) for step in reversed(offer.by_step)]
    return _step_items(ctx, found, offer.latest.step if offer.latest else None, incomplete)


def input_steps(ctx: click.Context, incomplete: str) -> list[Item]:
    """The steps at which the workers' inputs have states, the highest first."""
    worker = _whole(ctx).get("worker")  # one, or several, or none
    wanted = worker if isinstance(worker, tuple) else () if worker is None else (worker,)
    try:
        by_worker = _input_steps(ctx)
    except MonolithError:
        by_worker = {}
    states = [steps for worker, steps in by_worker.items() if worker in wanted or not wanted]
    found = sorted({step for steps in states for step in steps}, reverse=True)
    return _step_items(ctx, [str(step) for step in found], None, incomplete)


def tables(ctx: click.Context, incomplete: str) -> list[Item]:
    """The names of the tables of the step."""
    from monolith_cli.tables.names import table_names

    return [CompletionItem(name) for name in table_names(_checkpoint(ctx), incomplete)]


def slots(ctx: click.Context, incomplete: str) -> list[Item]:
    """The slots that `ckpt.info-<step>` counts entries of; after a comma the others."""
    from monolith_cli.formats.ckpt_info import read_ckpt_info

    path = _checkpoint(ctx).ckpt_info_path
    if path is None:
        return []
    counts = read_ckpt_info(path).slot_counts
    return _listed(
        {
            str(slot): f"{count:,} {'entry' if count == 1 else 'entries'}"
            for slot, count in sorted(counts.items())
        },
        incomplete,
    )


def workers(ctx: click.Context, incomplete: str) -> list[Item]:
    """The workers that have a state, of the step if one is named."""
    step = _whole(ctx).get("step")
    return [
        CompletionItem(str(worker), help="the chief" if worker == 0 else None)
        for worker, steps in _input_steps(ctx).items()
        if str(worker).startswith(incomplete) and (not isinstance(step, int) or step in steps)
    ]


def columns(ctx: click.Context, incomplete: str) -> list[Item]:
    """The columns that the command knows; after a comma the others."""
    option = next(each for each in ctx.command.params if each.name == "columns")
    return _listed(dict.fromkeys(cast("ColumnsType", option.type).known), incomplete)


def _listed(values: dict[str, str | None] | dict[str, str], incomplete: str) -> list[Item]:
    """Candidates for the last of several values with commas between."""
    given, comma, last = incomplete.rpartition(",")
    return [
        CompletionItem(given + comma + value, help=text)
        for value, text in values.items()
        if value.startswith(last) and value not in given.split(",")
    ]


def _step_items(
    ctx: click.Context, steps: list[str], latest: int | None, incomplete: str
) -> list[Item]:
    option = next((each for each in ctx.command.params if each.name == "step"), None)
    metavar = option.metavar if option is not None else None
    words = (metavar or "").split("|")[1:]  # of N|latest|all
    items = [
        CompletionItem(
            word, help=f"step {latest}" if word == "latest" and latest is not None else None
        )
        for word in words
        if word.startswith(incomplete)
    ]
    return items + [CompletionItem(step) for step in steps if step.startswith(incomplete)]


def _input_steps(ctx: click.Context) -> dict[int, list[int]]:
    from monolith_cli.checkpoint.inputs import list_inputs
    from monolith_cli.storage.store import store_of

    model_dir = _model_dir(ctx)
    return list_inputs(store_of(model_dir).names(model_dir))


def _checkpoint(ctx: click.Context) -> Checkpoint:
    from monolith_cli.checkpoint.model_dir import open_model_dir

    step = _whole(ctx).get("step")
    return open_model_dir(_model_dir(ctx)).checkpoint(step if isinstance(step, int) else None)


def _model_dir(ctx: click.Context) -> str:
    """MODEL_DIR, which the line may have behind the cursor."""
    given = cast("str | None", _whole(ctx)["model_dir"])
    if given is None:
        raise UsageError("no MODEL_DIR so far")
    return given


def _whole(ctx: click.Context) -> dict[str, object]:
    """The parameters of the whole line: Click has parsed what is before the cursor only."""
    line = cast("Asking", ctx.obj).line
    words = [*line.before, line.current, *line.after]
    for name in ctx.command_path.split()[1:]:
        words = words[words.index(name) + 1 :]
    whole = ctx.command.make_context(ctx.info_name, words, ctx.parent, resilient_parsing=True)
    return whole.params
