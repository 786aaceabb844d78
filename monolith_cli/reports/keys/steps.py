"""Of what looks at all steps of a directory: `ckpt ls`, `latest`, `wait`, `history`."""

from __future__ import annotations

from collections.abc import Mapping

from monolith_cli.reports.keys.checkpoints import MODEL_DIR, STEP
from monolith_cli.reports.keys.conditions import CONDITIONS
from monolith_cli.reports.keys.declare import (
    BOOLEAN,
    MAP,
    NUMBER,
    OBJECT,
    OBJECTS,
    ONE,
    STRING,
    Key,
    Output,
)

ONE_OBJECT = "With --json the output is one object with these keys:"

OF_A_STEP = {
    "step": STEP,
    "state": Key(
        STRING,
        '"complete" (listed in \'checkpoint\', all files are there and long enough), "incomplete"'
        ' (listed, and not so), "unlisted" (whole, and not listed) or "uncommitted" (neither). What'
        " 'checkpoint' only names as the latest is not listed, but never uncommitted.",
    ),
    "proof": Key(
        STRING,
        '"manifest" if the manifest of the step says which files there are; else "formats": then a'
        " whole table may be missing unseen.",
    ),
    "missing": Key(
        OBJECTS,
        "What is missing, or not long enough.",
        keys={
            "file": Key(STRING, "Its name, relative to MODEL_DIR."),
            "what": Key(STRING, "What is wrong with it."),
        },
    ),
    "time": Key(
        NUMBER,
        "When it was committed, in seconds since 1970.",
        null="if neither 'checkpoint' nor an index tells",
    ),
    "entries": Key(
        NUMBER,
        "The entries of all tables together.",
        null="if no manifest, no ckpt.info and no contents file tells",
    ),
    "tables": Key(NUMBER, "The number of tables.", null="if nothing tells how many share a dump"),
    "table_bytes": Key(NUMBER, "The size of the tables' files."),
    "dense_bytes": Key(NUMBER, "The size of the dense variables' files."),
    "workers": Key(
        NUMBER, "How many workers have an iterator state or a state file in the directory."
    ),
    "workers_with_input": Key(NUMBER, "How many of them have one of this step."),
    "pinned": Key(BOOLEAN, "Whether 'monolith_checkpoint' keeps it from being deleted."),
    "checked_seconds_ago": Key(
        NUMBER,
        "How long ago a full check found no error.",
        null="if nobody has checked it, or a file has changed since",
    ),
    "latest": Key(BOOLEAN, "Whether 'checkpoint' names it as the latest."),
}

LS = {
    "model_dir": MODEL_DIR,
    "steps": Key(OBJECTS, "The steps, in their order, the newest last.", keys=OF_A_STEP),
    "dense_only": Key(
        OBJECTS,
        "The same of the directory dense_only in it.",
        null="if there is none",
        keys=OF_A_STEP,
    ),
    "leftovers": Key(
        OBJECT,
        "What belongs to no committed step.",
        keys={
            "uncommitted": Key(NUMBER, "The number of uncommitted steps."),
            "temporaries": Key(
                NUMBER, "The number of files and directories that a writer has not finished."
            ),
            "rolled_back": Key(NUMBER, "How many rollbacks have moved steps away."),
            "bytes": Key(NUMBER, "Their size together."),
        },
    ),
}

THE_STEP = {"model_dir": MODEL_DIR, "step": Key(NUMBER, "The number of the step.")}

HISTORY = {
    "model_dir": MODEL_DIR,
    "steps": Key(
        OBJECTS,
        "The steps that have a ckpt.info, in their order, the newest last.",
        keys={
            "step": Key(NUMBER, "The number of the step."),
            "time": Key(
                NUMBER,
                "When it was committed, in seconds since 1970; of a step that is gone, when its"
                " ckpt.info was written.",
                null="if nothing tells",
            ),
            "entries": Key(NUMBER, "The sum of the counts.", null="if nothing was counted"),
            "slot_counts": Key(MAP, "Entries of single tables by slot."),
            "feature_counts": Key(MAP, "Entries of multi tables by table."),
        },
    ),
    "latest": Key(
        NUMBER,
        "The latest step: conditions are about it, and not about steps behind it.",
        null="if 'checkpoint' is not there",
    ),
    "conditions": CONDITIONS,
}

OUTPUTS: Mapping[str, tuple[Output, ...]] = {
    "ckpt ls": (Output(ONE_OBJECT, ONE, LS),),
    "ckpt latest": (Output(ONE_OBJECT, ONE, THE_STEP),),
    "ckpt wait": (Output(ONE_OBJECT, ONE, THE_STEP),),
    "ckpt history": (Output(ONE_OBJECT, ONE, HISTORY),),
}
