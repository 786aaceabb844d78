"""Of `ckpt pin`, `ckpt unpin` and `ckpt rollback`."""

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

PINNING = {
    "model_dir": Key(STRING, "MODEL_DIR as it was given."),
    "step": Key(NUMBER, "The step."),
    "pinned": Key(BOOLEAN, "Whether saves leave it alone now."),
    "listed": Key(BOOLEAN, "Whether checkpoint lists it now, and did not before."),
    "files": Key(STRINGS, "What was written, below the model directory; empty if nothing was."),
}

ROLLBACK = {
    "model_dir": Key(STRING, "MODEL_DIR as it was given."),
    "step": Key(
        NUMBER,
        "The step that checkpoint names now, or would: a job starts from it. With --to, that of the"
        " new directory.",
        null="where nothing was ever listed of what was moved away",
    ),
    "before": Key(NUMBER, "The step that it named before.", null="with --to"),
    "undo": Key(BOOLEAN, "Whether steps were brought back."),
    "dry_run": Key(BOOLEAN, "Whether nothing was changed."),
    "resumed": Key(BOOLEAN, "Whether this went on with a command that was cut off."),
    "directory": Key(
        STRING,
        "Where newer steps were moved to, or were until now, below the model directory; with --to,"
        " the new directory.",
    ),
    "steps": Key(
        OBJECTS,
        "Those steps, oldest first.",
        keys={
            "step": Key(NUMBER, "The step."),
            "state": Key(
                STRING,
                'As "ckpt ls" has it; or "gone": only counts, inputs or the like are left of it.',
            ),
            "files": Key(NUMBER, "How many files and directories it has in the model directory."),
            "dense_only": Key(BOOLEAN, "Whether it is one of dense_only."),
        },
    ),
    "files": Key(NUMBER, "How many files and directories have got another name."),
    "written": Key(
        STRINGS, "The small files that say something else now, below the model directory."
    ),
    "exports": Key(
        OBJECTS,
        "The exports that the training system deletes at its next save.",
        keys={
            "directory": Key(STRING, "The export."),
            "step": Key(NUMBER, "The step that it was made of."),
        },
    ),
}

_ONE_OBJECT = "With --json the output is one object with these keys:"

OUTPUTS: Mapping[str, tuple[Output, ...]] = {
    "ckpt pin": (Output(_ONE_OBJECT, ONE, PINNING),),
    "ckpt unpin": (Output(_ONE_OBJECT, ONE, PINNING),),
    "ckpt rollback": (Output(_ONE_OBJECT, ONE, ROLLBACK),),
}
