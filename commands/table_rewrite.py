"""`monolith table rewrite`: a step in a new directory, with its tables made anew."""

from __future__ import annotations

import click

from monolith_cli.commands import options
from monolith_cli.commands.base import Command, Settings
from monolith_cli.commands.types import PlaceType, WhereType


@click.command(
    cls=Command,
    examples={
        "monolith table rewrite model more-files --shards 16": "The latest step, with 16 files"
        " for each table:",
        "monolith table rewrite -n model@1000 new --drop-slot 7 --drop-table '*_user'": "What"
        " would go:",
        "monolith table rewrite model sound --where nan --set zero": "No NaN any more:",
        "monolith table rewrite model fresh --expire 30 --min-keep 1000": "Without what was not"
        " updated for 30 days:",
        "monolith table rewrite model wider --servers 8 --reset-filters": "For 8 servers:",
        "monolith table rewrite model@2000 later --apply changes.delta": "What `table diff --delta`"
        " has written:",
    },
    exit_codes={
        1: "there is something at DST; the delta is of another base; nobody knows by which rule"
        " entries are spread over servers",
        3: "no such directory, step or table, or it cannot be read or written",
        4: "damaged data, or something is missing; feature ids would become the same; nothing is"
        " made",
    },
)
@click.argument(
    "model_dir",
    metavar="SRC[@STEP]",
    type=PlaceType(local=True),
    shell_complete=options.completing("directories"),
)
@click.argument(
    "target",
    metavar="DST",
    type=PlaceType(local=True),
    shell_complete=options.completing("directories"),
)
@options.option(
    "--shards",
    type=click.IntRange(1, 99_999),
    metavar="N",
    show_default="as many as there are",
    help="Files of each table.",
)
@options.never_set(
    "--keep-table",
    multiple=True,
    metavar="GLOB",
    shell_complete=options.completing("tables"),
    help="Keep tables whose name matches, and no others. Repeatable.",
)
@options.never_set(
    "--drop-table",
    multiple=True,
    metavar="GLOB",
    shell_complete=options.completing("tables"),
    help="Leave out tables whose name matches. Repeatable.",
)
@options.slot_ranges(
    "--keep-slot",
    help="Keep entries of these slots, and no others. Repeatable.",
    never_set=True,
)
@options.slot_ranges(
    "--drop-slot", help="Leave out entries of these slots. Repeatable.", never_set=True
)
@options.never_set(
    "--where",
    type=WhereType(),
    metavar="nan|nonfinite|zero|norm-above:X",
    help="Do something about NaN, about NaN and infinite values, in embeddings or optimizer state;"
    " about embeddings that are all zero, or longer than X. --set says what.",
)
@options.never_set(
    "--set",
    "set_to",
    type=click.Choice(["zero", "drop"]),
    help="With --where: make such values 0, or of norm-above the embedding; or leave out the"
    " entries.",
)
@options.never_set(
    "--expire",
    type=click.IntRange(1, 36_500),
    metavar="DAYS",
    help="Leave out entries that are so many days older than the newest of their table, or more."
    " Not with --apply.",
)
@options.option(
    "--min-keep",
    type=click.IntRange(min=1),
    metavar="N",
    help="With --expire: where fewer entries would stay of a table, expire them after more days.",
)
@options.option(
    "--servers",
    type=click.IntRange(1, 100_000),
    metavar="N",
    help="Spread entries over N parameter servers, by the rule that they obey now: tables NAME_0,"
    " NAME_1, ... of each.",
)
@options.option(
    "--server-rule",
    type=click.Choice(["floored", "unsigned"]),
    help="With --servers or --apply, where the entries obey both rules: the one that the job has,"
    " for feature ids with the top bit.",
)
@options.option(
    "--convert-fids",
    type=click.Choice(["v1:v2"]),
    help="Make feature ids of version 1 those of version 2, and spread them anew. Slots of other"
    " options are of version 1 then. Not with --apply.",
)
@options.never_set(
    "--reset-filters",
    is_flag=True,
    help="With --servers or --convert-fids: make empty occurrence filters in place of those there"
    " are, which do not fit any more.",
)
@options.option(
    "--apply",
    type=click.Path(),
    metavar="DELTA",
    help="Make the tables those of another step, by a file of `table diff --delta`. Its base is"
    " compared before, and the result after. Not with --expire or --convert-fids: apply the delta"
    " first, and rewrite what comes of it.",
)
@options.option(
    "--dry-run",
    "-n",
    is_flag=True,
    help="Read everything, show what would stay, go and change, and make nothing.",
)
@options.fid_version
@options.max_record_bytes
@options.jobs
@options.json
@options.common
@click.pass_obj
def rewrite(
    settings: Settings,
    /,
    model_dir: str,
    target: str,
    shards: int | None,
    keep_table: tuple[str, ...],
    drop_table: tuple[str, ...],
    keep_slot: list[tuple[int, int]],
    drop_slot: list[tuple[int, int]],
    where: tuple[str, float] | None,
    set_to: str | None,
    expire: int | None,
    min_keep: int | None,
    servers: int | None,
    server_rule: str | None,
    convert_fids: str | None,
    reset_filters: bool,
    apply: str | None,
    dry_run: bool,
    fid_version: str,
    max_record_bytes: int,
    jobs: int | None,
    json: bool,
) -> None:
    """Write a step into a new directory, with its tables made anew.

    DST gets the latest step of SRC, or SRC@1000. Entries that stay are kept bit by bit, in their
    order. The rest of the step comes along: dense variables, inputs, occurrence filters, item
    pools, and of dense_only the newest step that is not newer; ckpt.info and the manifest are made
    anew. A job can start from DST.

    All of it is read and verified, and what was written is read back and compared before DST
    appears, whole or not at all. SRC may be a running job's directory: nothing is written there.

    A table with files of its own that is left out keeps empty files, without which the training
    system would not load the step. Entries expire as in the training system, which counts from the
    newest update it has seen: the newest entry of a dump may be older than that.

    An entry is on server `fid mod N`, and the training system has two ways to take that, which
    differ for feature ids with the top bit: of the signed number, floored, and of the unsigned one.
    All entries must obey one of them. Feature ids of version 1 lose 6 bits: those that would become
    the same are listed, and nothing is made. Entries that --expire or --where leaves out count
    for that: where they collide, leave them out first, and convert what comes of it.
    """
    if (where is None) != (set_to is None):
        raise click.UsageError("--where and --set go together: what it is about, and what is done")
    if where is not None and where[0] == "zero" and set_to == "zero":
        raise click.UsageError("--where zero --set zero: such embeddings are zero already")
    if min_keep is not None and expire is None:
        raise click.UsageError("--min-keep goes with --expire only")
    if server_rule and servers is None and apply is None:
        raise click.UsageError("--server-rule goes with --servers or --apply only")
    if reset_filters and servers is None and convert_fids is None:
        raise click.UsageError("--reset-filters goes with --servers or --convert-fids only")
    if apply and (expire is not None or convert_fids):
        which = "--convert-fids" if convert_fids else "--expire"
        raise click.UsageError(f"{which} with --apply: apply the delta first, then rewrite that")
    changes = (shards, keep_table, drop_table, keep_slot, drop_slot, where, expire)
    if not any((*changes, servers, convert_fids, apply)):
        raise click.UsageError(
            "nothing to change: say --shards, --drop-table, --drop-slot, --where or --expire,"
            " --servers, --convert-fids or --apply"
        )

    from monolith_cli.care.rewrite import rewrite_step
    from monolith_cli.checkpoint.pairs import split_place
    from monolith_cli.reports.rewrite import RewriteReport
    from monolith_cli.reports.terminal import Messages, Progress, show_json, show_report
    from monolith_cli.tables.rewrite.plan import RewriteOptions

    messages = Messages(quiet=settings.quiet, verbose=settings.verbose)
    source, step = split_place(model_dir)
    wanted = RewriteOptions(
        shards=shards,
        keep_tables=keep_table,
        drop_tables=drop_table,
        keep_slots=keep_slot,
        drop_slots=drop_slot,
        fid_version="v1" if convert_fids else fid_version,
        where=where[0] if where else "",
        norm=where[1] if where else 0.0,
        set_zero=set_to == "zero",
        expire_days=expire,
        min_keep=min_keep or 0,
        servers=servers,
        server_rule=server_rule,
        convert_fids=convert_fids is not None,
        reset_filters=reset_filters,
        max_record_bytes=max_record_bytes,
    )
    doing = "reading" if dry_run else "rewriting"
    with Progress(doing, quiet=settings.quiet) as progress:
        done = rewrite_step(
            source,
            target,
            step,
            wanted,
            delta=apply,
            dry_run=dry_run,
            jobs=jobs,
            progress=progress,
        )
    messages.notes(*done.notes)
    messages.warnings(*done.warnings)
    report = RewriteReport(done, model_dir=source)
    if json:
        show_json(report.document())
    else:
        show_report(report)
    messages.took("read" if dry_run else "rewritten")
