"""Of `ckpt prune`."""

from __future__ import annotations

from collections.abc import Mapping

from monolith_cli.reports.keys.declare import (
    BOOLEAN,
    NUMBER,
    OBJECTS,
    ONE,
    STRING,
    STRINGS,
    Key,
    Output,
)

_STEP = Key(NUMBER, "The number of the step.")
_DENSE_ONLY = Key(BOOLEAN, "Whether it is a step of the directory dense_only in MODEL_DIR.")
_LEFT = Key(
    OBJECTS,
    "Steps that were to go, and stay after all, because of what has happened meanwhile.",
    keys={
        "step": _STEP,
        "dense_only": _DENSE_ONLY,
        "why": Key(STRING, "Why it stays."),
    },
)

PRUNE = {
    "model_dir": Key(STRING, "MODEL_DIR as it was given."),
    "dry_run": Key(BOOLEAN, "Whether only the plan was asked for."),
    "removed": Key(BOOLEAN, "Whether it was carried out."),
    "steps": Key(
        OBJECTS,
        "All steps but uncommitted ones, in their order, the newest last; then those of"
        " dense_only.",
        keys={
            "step": _STEP,
            "dense_only": _DENSE_ONLY,
            "state": Key(STRING, "As 'ckpt ls' has it."),
            "time": Key(
                NUMBER, "When it was committed, in seconds since 1970.", null="if nothing tells"
            ),
            "bytes": Key(NUMBER, "Of its files; of a step that goes, of those that go."),
            "stays": Key(BOOLEAN, "Whether it stays."),
            "reasons": Key(
                STRINGS,
                'Why it stays: "latest", "newest_complete", "pinned", "override", "export"'
                ' (whose tables are those of the step), "elsewhere", "v1_format", "last",'
                ' "within", "daily", "every", "step", "size", "with_the_model", "listed",'
                ' "not_older", "not_asked". Or why it goes: "no_policy", "unlisted",'
                ' "incomplete", "gone".',
            ),
        },
    ),
    "leftovers": Key(
        OBJECTS,
        "What else goes.",
        keys={
            "name": Key(STRING, "Its path below MODEL_DIR."),
            "what": Key(STRING, "What it is."),
            "bytes": Key(NUMBER, "Its size."),
            "age_seconds": Key(NUMBER, "How long ago the last of it was written."),
        },
    ),
    "bytes": Key(NUMBER, "The size of all that goes."),
    "checks": Key(
        OBJECTS,
        "The steps that must be right before anything goes.",
        keys={
            "step": _STEP,
            "dense_only": _DENSE_ONLY,
            "bytes": Key(NUMBER, "How much is read for it."),
            "checked_seconds_ago": Key(
                NUMBER,
                "How old the record of a full check is because of which it is not read.",
                null="without such a record",
            ),
        },
    ),
    "exports": Key(
        OBJECTS,
        "Exports that the training system deletes at its next save, because their steps go.",
        keys={
            "directory": Key(STRING, "The SavedModel."),
            "step": Key(NUMBER, "The step that it was made of."),
        },
    ),
    "left": _LEFT,
}

RESUMED = {
    "model_dir": Key(STRING, "MODEL_DIR as it was given."),
    "resumed": Key(BOOLEAN, "True."),
    "dry_run": Key(BOOLEAN, "Whether only what would be finished was asked for."),
    "steps": Key(
        OBJECTS,
        "The steps that were removed, or would be.",
        keys={"step": _STEP, "dense_only": _DENSE_ONLY},
    ),
    "leftovers": Key(STRINGS, "What else, by paths below MODEL_DIR."),
    "left": _LEFT,
}

OUTPUTS: Mapping[str, tuple[Output, ...]] = {
    "ckpt prune": (
        Output("With --json the output is one object with these keys:", ONE, PRUNE),
        Output(
            "Where a prune was cut off, and is finished, or would be, it is one object with these"
            " keys:",
            ONE,
            RESUMED,
        ),
    ),
}
