"""Of what looks into tables: `table ls`, `table dump`, `table get`."""

from __future__ import annotations

from collections.abc import Mapping

from monolith_cli.reports.keys.checkpoints import KIND, STEP
from monolith_cli.reports.keys.declare import (
    LINES,
    LIST,
    NUMBER,
    NUMBERS,
    OBJECT,
    OBJECTS,
    ONE,
    STRING,
    STRINGS,
    Key,
    Output,
)
from monolith_cli.reports.keys.errors import ERROR

ENTRY = {
    "fid": Key(
        STRING,
        "The feature id as it is stored, a signed 64-bit number; with --json-number-ids a number.",
    ),
    "slot": Key(NUMBER, "The slot in it."),
    "table": Key(STRING, "The name of the table.", null="where damage hides it"),
    "embedding": Key(
        NUMBERS,
        "Each the shortest number that reads back as the same float32; null for one that is not"
        " finite.",
    ),
    "opt": Key(
        OBJECTS,
        "The optimizers, in the order of segments: each an object with one key, the type of the"
        " optimizer, whose value is an object of its state.",
    ),
    "last_update_ts_sec": Key(NUMBER, "The time of the last update, in seconds since 1970."),
}

NO_OTHERS = "if entries were not read"

LS = {
    "name": Key(STRING, "The table's name."),
    "kind": Key(STRING, KIND),
    "entries": Key(NUMBER, "The number of entries."),
    "shards": Key(NUMBER, "The number of files."),
    "bytes": Key(NUMBER, "Their size.", null="for a multi table, which shares them"),
    "dim": Key(
        NUMBER,
        "The number of values of an embedding.",
        null="if entries differ, there are none, or they were not read",
    ),
    "optimizers": Key(STRINGS, "The types of optimizer state.", null=NO_OTHERS),
    "slots": Key(NUMBER, "How many slots the entries are in.", null=NO_OTHERS),
}

OF_A_STEP = {
    "step": STEP,
    "tables": Key(OBJECTS, "The tables of that checkpoint, each with the keys above.", keys=LS),
}

CURSOR = {
    "next_offset": Key(STRING, "The cursor to go on from.", null="at the end of the partition"),
    "step": Key(
        NUMBER,
        "The step of the checkpoint that the page is of. Go on with --step and it: the latest"
        " checkpoint may be another one then.",
        null="where it has none",
    ),
}

ABSENT = {
    "error": Key(
        OBJECT,
        "What has gone wrong.",
        keys={
            **ERROR,
            "absent": Key(
                STRINGS,
                "All feature ids that are in none of the tables that are whole; with"
                " --json-number-ids numbers. They may be in tables that are not, or with"
                " --on-corrupt skip in what was left out.",
                only="where there are any",
            ),
        },
    ),
}

OUTPUTS: Mapping[str, tuple[Output, ...]] = {
    "table ls": (
        Output("With --json the output is a list of objects with these keys:", LIST, LS),
        Output(
            "With --step all it is a list of objects, one per step, with these keys:",
            LIST,
            OF_A_STEP,
        ),
    ),
    "table dump": (
        Output(
            "In jsonl, every line is an object with these keys, or with those of --columns:",
            LINES,
            ENTRY,
        ),
        Output(
            "With --cursor the last line is an object with these keys; there is none where a table"
            " is not whole:",
            LINES,
            CURSOR,
        ),
    ),
    "table get": (
        Output(
            "With --json, every line is an object with these keys, or with those of --columns:",
            LINES,
            ENTRY,
        ),
        Output(
            "With --json an error ends standard error with an object with these keys:",
            ONE,
            ABSENT,
            on_stderr=True,
        ),
    ),
}
