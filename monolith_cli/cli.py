"""`monolith`: the table of commands, and how a run ends.

Start-up is part of the contract: `--help`, completion and a typo read the table below and import
no command. Nothing heavy may be imported at the top of this module or of a command's.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from io import TextIOWrapper
from types import FrameType

import click

from monolith_cli import __version__
from monolith_cli.commands import options
from monolith_cli.commands.base import Entry, LazyGroup, Settings
from monolith_cli.failures import CLOSED_PIPE, OK, Failure, Terminated, describe

COMMANDS = {
    "ckpt-info": Entry(
        "monolith_cli.commands.ckpt_info:ckpt_info",
        "Count a checkpoint's entries and write ckpt.info-<step>.",
    ),
    "ckpt": Entry(None, "List, judge and compare checkpoints."),
    "ckpt ls": Entry(
        "monolith_cli.commands.ckpt_look:ls",
        "List the steps of a model directory, and whether each is whole.",
    ),
    "ckpt latest": Entry(
        "monolith_cli.commands.ckpt_look:latest",
        "Print the number of the latest step: the one that 'checkpoint' names.",
    ),
    "ckpt wait": Entry(
        "monolith_cli.commands.ckpt_look:wait",
        "Wait until a step is committed, and print its number.",
    ),
    "ckpt history": Entry(
        "monolith_cli.commands.ckpt_look:history",
        "Show how the numbers of entries have grown, by slot and by table.",
    ),
    "ckpt show": Entry(
        "monolith_cli.commands.ckpt:show",
        "Show what a checkpoint is made of: tables, dense variables, files.",
    ),
    "ckpt fsck": Entry(
        "monolith_cli.commands.ckpt_fsck:fsck",
        "Judge a model directory: whether it is whole, and all that is wrong.",
    ),
    "ckpt metrics": Entry(
        "monolith_cli.commands.ckpt_metrics:metrics",
        "Print metrics of model directories for Prometheus.",
    ),
    "ckpt repair": Entry(
        "monolith_cli.commands.ckpt_repair:repair",
        "Write what is undamaged of a checkpoint into a new directory.",
    ),
    "ckpt prune": Entry(
        "monolith_cli.commands.ckpt_prune:prune",
        "Remove old steps, by policies that say what stays.",
    ),
    "ckpt pin": Entry("monolith_cli.commands.ckpt_pin:pin", "Keep a step: saves do not delete it."),
    "ckpt unpin": Entry(
        "monolith_cli.commands.ckpt_pin:unpin", "End a pin: saves may delete the step again."
    ),
    "ckpt rollback": Entry(
        "monolith_cli.commands.ckpt_rollback:rollback",
        "Go back to an older step with model, tables and inputs; newer steps are moved away.",
    ),
    "ckpt cp": Entry(
        "monolith_cli.commands.ckpt_cp:cp",
        "Copy a step, or all, into another model directory.",
    ),
    "ckpt diff": Entry(
        "monolith_cli.commands.ckpt_diff:diff",
        "Compare two checkpoints: tables, slots, dense variables, inputs.",
    ),
    "ckpt report": Entry(
        "monolith_cli.commands.ckpt_report:report", "Write an HTML page about a model directory."
    ),
    "table": Entry(None, "List hash tables, and read their entries."),
    "table ls": Entry("monolith_cli.commands.table:ls", "List the tables of a checkpoint."),
    "table dump": Entry("monolith_cli.commands.table:dump", "Stream the entries of tables."),
    "table get": Entry("monolith_cli.commands.table:get", "Show the entries of feature ids."),
    "table stats": Entry(
        "monolith_cli.commands.table_stats:stats",
        "Show what values tables hold: NaN, norms, means, ages.",
    ),
    "table diff": Entry(
        "monolith_cli.commands.table_diff:diff", "Compare the tables of two steps, entry by entry."
    ),
    "table export": Entry(
        "monolith_cli.commands.table_export:export",
        "Write the entries of tables as files for analysts: Parquet, Arrow, NumPy.",
    ),
    "table rewrite": Entry(
        "monolith_cli.commands.table_rewrite:rewrite",
        "Write a step into a new directory, with its tables made anew.",
    ),
    "iterator": Entry(None, "Show where each worker's input is."),
    "iterator ls": Entry(
        "monolith_cli.commands.iterator:ls",
        "List the workers of a job, and how far behind the model each one's input is.",
    ),
    "iterator show": Entry(
        "monolith_cli.commands.iterator:show", "Show how far a worker has read its input."
    ),
    "iterator peek": Entry(
        "monolith_cli.commands.iterator:peek",
        "Print the next elements of a worker's input, as JSON lines.",
    ),
    "iterator rollback": Entry(
        "monolith_cli.commands.iterator:rollback",
        "Make inputs resume from an older step; the model stays as it is.",
    ),
    "barrier": Entry(None, "Pause the workers of a running job, and let them go again."),
    "barrier place": Entry(
        "monolith_cli.commands.barrier:place", "Place the barrier: workers stop after their step."
    ),
    "barrier remove": Entry(
        "monolith_cli.commands.barrier:remove", "Remove the barrier: workers go on."
    ),
    "barrier status": Entry(
        "monolith_cli.commands.barrier:status",
        "Show whether the barrier is placed, by whom, and who stands at it.",
    ),
    "barrier wait": Entry(
        "monolith_cli.commands.barrier:wait",
        "Wait until all workers are blocked, or until the barrier is removed.",
    ),
    "barrier hold": Entry(
        "monolith_cli.commands.barrier:hold",
        "Place the barrier, run a command while all workers stand still, and remove it.",
    ),
    "job": Entry(None, "Look at a running job, and make it save or stop."),
    "job status": Entry(
        "monolith_cli.commands.job:status", "Show a running job's global step, and its last save."
    ),
    "job save": Entry(
        "monolith_cli.commands.job:save",
        "Save a checkpoint now; print its step and path once it is committed.",
    ),
    "job stop": Entry(
        "monolith_cli.commands.job:stop",
        "Ask a job for a clean stop: it saves once more, and ends.",
    ),
    "job log": Entry(
        "monolith_cli.commands.job:log",
        "Show who has placed, removed, saved and stopped, when and why.",
    ),
    "sample": Entry(
        "monolith_cli.commands.sample:sample", "Write a synthetic model directory to try things on."
    ),
}
"""Every command by its full name. The help is the first line of the command's own."""


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(f"monolith {__version__}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    table=COMMANDS,
    context_settings={"auto_envvar_prefix": "MONOLITH"},
    epilog="'monolith COMMAND --help' shows the options of a command; its man page"
    " (man monolith-COMMAND) also the keys of its JSON, and the variables: MONOLITH_<OPTION>, or"
    " MONOLITH_<COMMAND>_<OPTION>, in the environment sets any option but --force.",
)
@options.common
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    allow_from_autoenv=False,
    help="Show the version.",
)
def cli() -> None:
    """Look into checkpoints of Monolith-style recommender models.

    Data goes to stdout, everything else to stderr. Commands that read a MODEL_DIR take a model
    directory (of a running job too), one *.assets directory, or an exported SavedModel.
    """


def main() -> int:
    """Run the process's command line and return its exit code; all that it printed is flushed."""
    gc.freeze()  # what was imported so far is no garbage
    _open_closed_streams()
    for name in ("SIGTERM", "SIGHUP"):
        if signal.getsignal(signum := getattr(signal, name)) == signal.SIG_DFL:
            signal.signal(signum, _terminate)
    return run(sys.argv[1:])


def run(args: Sequence[str]) -> int:
    """Run a command line and return its exit code; whatever went wrong has then been reported."""
    settings = Settings()
    try:
        try:
            code = _invoke(list(args), settings)
            sys.stdout.flush()
        except BrokenPipeError:
            raise
        except BaseException as error:  # also signals: this is where a run ends
            if isinstance(error, SystemExit):
                raise
            code = _report(error, settings, args)
    except BrokenPipeError:
        code = CLOSED_PIPE
    finally:
        _abandon_broken_streams()
    return code


def _invoke(args: list[str], settings: Settings) -> int:
    if "_MONOLITH_COMPLETE" in os.environ:
        from monolith_cli.commands.completion import complete

        if complete(cli, os.environ["_MONOLITH_COMPLETE"], args):
            return OK
        cli.main(args, prog_name="monolith", complete_var="_MONOLITH_COMPLETE")
    if isinstance(sys.stdout, TextIOWrapper):
        # Names come from files: bytes that are no text are shown escaped instead of failing.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with cli.make_context("monolith", args, obj=settings) as ctx:
            cli.invoke(ctx)
    except click.exceptions.Exit as done:
        return done.exit_code
    return OK


def _report(error: BaseException, settings: Settings, args: Sequence[str]) -> int:
    failure: Failure = describe(error)
    # An option that came too late to be parsed counts, one that is for the command of 'hold' not.
    own = args[: args.index("--")] if "--" in args else args
    try:
        sys.stdout.flush()  # rows that streamed before the error stay valid rows
    except BrokenPipeError:
        raise
    except OSError:
        pass  # stdout is what failed
    if settings.debug or "--debug" in own:
        import traceback

        traceback.print_exception(error, file=sys.stderr)
    with suppress(OSError):  # nowhere to say it is no other failure
        print(failure.line, file=sys.stderr)
        if settings.json or "--json" in own:
            from monolith_cli.reports.terminal import show_json

            document = failure.document
            document["error"] |= settings.error_keys
            show_json(document, sys.stderr)
    return failure.code


def _open_closed_streams() -> None:
    """Make up for streams that were closed by whoever started us (`>&-`).

    Else the next files to be opened would get their numbers, and None would be in the way of
    writers. A closed stdout becomes a pipe that nobody reads, so what has something to print ends
    as behind `head`; a closed stderr only leaves out what it would have said.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is not None:
            continue
        if name == "stdout":
            reader, writer = os.pipe()
            os.close(reader)
        else:
            writer = os.open(os.devnull, os.O_RDWR)
        if writer != descriptor:
            os.dup2(writer, descriptor, inheritable=False)  # closed to our children, too
            os.close(writer)
        if name != "stdin":  # that one stays None: an empty input would be an answer
            setattr(sys, name, open(descriptor, "w", encoding="utf-8"))  # noqa: SIM115  # kept


def _abandon_broken_streams() -> None:
    """Keep the interpreter from failing once more when it flushes stdout and stderr at exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)


def _terminate(signum: int, frame: FrameType | None) -> None:
    raise Terminated(signum)
