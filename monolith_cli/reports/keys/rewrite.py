"""Of `table rewrite`."""

from __future__ import annotations

from collections.abc import Mapping

from monolith_cli.reports.keys.declare import (
    BOOLEAN,
    NUMBER,
    OBJECT,
    OBJECTS,
    ONE,
    STRING,
    Key,
    Output,
)

_PASSAGES = {
    "entries": Key(NUMBER, "How many entries there were."),
    "same": Key(NUMBER, "Those of them that stay as they are, bit by bit."),
    "changed": Key(NUMBER, "Those of them that stay with other values, or other feature ids."),
    "gone_by_slot": Key(NUMBER, "Those of them left out by their slot, or with their table."),
    "gone_by_condition": Key(NUMBER, "Those of them left out by --where."),
    "expired": Key(NUMBER, "Those of them left out by --expire."),
    "gone_by_delta": Key(NUMBER, "Those of them that a delta has removed, or replaced."),
    "brought": Key(NUMBER, "Those that a delta has brought besides, and that stay."),
    "brought_changed": Key(NUMBER, "Those of `brought` that stay with other values, by --set."),
    "brought_gone_by_slot": Key(
        NUMBER, "Those that a delta has brought, and that are left out by their slot."
    ),
    "brought_gone_by_condition": Key(
        NUMBER, "Those that a delta has brought, and that are left out by --where."
    ),
}

REWRITE = {
    "model_dir": Key(STRING, "SRC as it was given, without @STEP."),
    "step": Key(NUMBER, "The step."),
    "to": Key(STRING, "The new directory."),
    "made": Key(BOOLEAN, "Whether it was made; with --dry-run all that follows is what would be."),
    "files": Key(NUMBER, "How many files were written of the step; 0 if nothing is made."),
    "bytes": Key(NUMBER, "Their size."),
    "tables": Key(
        OBJECTS,
        "The tables of the step.",
        keys={
            "name": Key(STRING, "Of the table."),
            "dump": Key(STRING, "The base name of its files."),
            "kind": Key(STRING, 'Its files are its own: "single"; or shared: "multi".'),
            "dropped": Key(BOOLEAN, "Whether the table is left out."),
            **_PASSAGES,
            "into": Key(
                OBJECTS,
                "The tables that its entries go to; none if it is left out.",
                keys={
                    "name": Key(STRING, "Of the table."),
                    "dump": Key(STRING, "The base name of its files."),
                    "entries": Key(NUMBER, "How many go there."),
                    "shards": Key(NUMBER, "How many files its dump has."),
                },
            ),
            "expiry": Key(
                OBJECT,
                "When its entries expire.",
                null="if they do not",
                keys={
                    "newest": Key(
                        NUMBER,
                        "The time of its newest entry, in seconds since 1970, from which"
                        " days are counted back.",
                    ),
                    "days": Key(
                        NUMBER, "After how many days; more than DAYS where --min-keep wants it."
                    ),
                },
            ),
            "slots": Key(
                OBJECTS,
                "The same by slot.",
                keys={"slot": Key(NUMBER, "The slot."), **_PASSAGES},
            ),
        },
    ),
}

OUTPUTS: Mapping[str, tuple[Output, ...]] = {
    "table rewrite": (
        Output("With --json the output is one object with these keys:", ONE, REWRITE),
    ),
}
