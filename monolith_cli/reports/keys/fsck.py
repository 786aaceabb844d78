"""Of `ckpt fsck`."""

from __future__ import annotations

from collections.abc import Mapping

from monolith_cli.reports.keys.checkpoints import MODEL_DIR
from monolith_cli.reports.keys.declare import NUMBER, OBJECTS, ONE, STRING, Key, Output

VERDICT = (
    '"sound" (nothing but notes), "doubtful" (warnings, or something could not be read; with'
    ' --strict notes, too) or "damaged"'
)

CKPT_FSCK = {
    "model_dir": MODEL_DIR,
    "verdict": Key(STRING, f"{VERDICT}."),
    "depth": Key(STRING, '"full", or "quick" where the data was not read.'),
    "bytes_read": Key(NUMBER, "The bytes that were read, small text files left out."),
    "steps": Key(
        OBJECTS,
        "The steps that were checked, in the order of steps.",
        keys={
            "step": Key(NUMBER, "The step.", null="where it has none"),
            "verdict": Key(STRING, "The same of the step."),
            "checked_seconds_ago": Key(
                NUMBER,
                "The age of the check record because of which its data was not read.",
                null="where it was read, and with --quick",
            ),
        },
    ),
    "findings": Key(
        OBJECTS,
        "All findings, worst first.",
        keys={
            "id": Key(STRING, "What it is: one of the kinds of errors."),
            "severity": Key(STRING, '"error", "warning" or "note".'),
            "step": Key(NUMBER, "The step that it is about.", null="if it is about no single one"),
            "table": Key(STRING, "The table, or the occurrence filter.", null="if none is meant"),
            "variable": Key(STRING, "The dense variable.", null="if none is meant"),
            "worker": Key(NUMBER, "The worker whose input it is.", null="if none is meant"),
            "file": Key(
                STRING,
                "The file to look at; where it is missing, that which should be there.",
                null="if it is about no single one",
            ),
            "offset": Key(NUMBER, "The byte of the file, as stored.", null="if no byte is meant"),
            "message": Key(STRING, "What is wrong, in a sentence."),
            "suggest": Key(STRING, "What to do about it.", null="if there is nothing to do"),
        },
    ),
}

OUTPUTS: Mapping[str, tuple[Output, ...]] = {
    "ckpt fsck": (Output("With --json the output is one object with these keys:", ONE, CKPT_FSCK),),
}
